"""What TensorFlow draws in a trial belongs to the trial."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.heavy, pytest.mark.e2e]

SCRIPT = """
import json, sys
import tunesmith as tune

if sys.argv[1] == "at once":
    import tensorflow

def train(config):
    import tensorflow
    tune.report(drawn=float(tensorflow.random.normal([])))

space = {"a": tune.grid_search([1, 2])}
analysis = tune.run(train, config=space, seed=int(sys.argv[2]), storage_path=sys.argv[3], name="x", verbose=0)
print(json.dumps([trial.last_result["drawn"] for trial in analysis.trials]))
"""


def drawn(folder: Path, when: str, seed: int) -> list[float]:
    folder = folder / f"{when}_{seed}".replace(" ", "_")
    words = [sys.executable, "-c", SCRIPT, when, str(seed), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    values: list[float] = json.loads(done.stdout.splitlines()[-1])
    return values


def test_the_seed_governs_what_is_drawn_whenever_it_is_imported(tmp_path: Path) -> None:
    at_once, late, another = drawn(tmp_path, "at once", 1), drawn(tmp_path, "late", 1), drawn(tmp_path, "late", 2)
    assert at_once == late
    assert len({*late, *another}) == 4
