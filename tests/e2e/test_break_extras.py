"""What is not installed is named, with the command that installs it; all else works without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
EXAMPLE = Path(__file__).parents[2] / "examples" / "quick_start.py"

WITHOUT = """
import sys

missing = sys.argv[1]

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

TABLES = """
import tunesmith as tune

analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([2, 1])}, metric="loss", mode="min",
                    storage_path=sys.argv[2], verbose=0)
print(analysis.best_config, analysis.best_result["loss"], len(analysis.results))
for attempt in (analysis.dataframe, lambda: analysis.trial_dataframes):
    try:
        attempt()
    except tune.TuneError as error:
        print(error)
"""

QUICK_START = """
import runpy

path = sys.argv[2]
sys.argv[1:] = ["--smoke-test"]
runpy.run_path(path, run_name="__main__")
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_pandas_only_dataframes_are_missing(tmp_path: Path) -> None:
    done = run(TABLES, "pandas", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    message = 'dataframes need pandas, which is not installed: pip install "tunesmith[pandas]"'
    assert done.stdout.splitlines() == ["{'x': 1} 1 2", message, message]


def test_the_quick_start_without_scikit_learn_says_what_to_install() -> None:
    done = run(QUICK_START, "sklearn", EXAMPLE)
    assert done.returncode == 1
    assert done.stderr == 'This example needs scikit-learn: pip install "tunesmith[sklearn]"\n'
