"""The example that ``make quickstart`` runs, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "quick_start.py"


@pytest.mark.e2e
def test_quick_start_example(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--smoke-test", "--storage-path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Best config:   {'momentum': 0." in done.stdout
    experiment = tmp_path / "quick-start"
    assert f"All files:     {experiment}" in done.stdout

    trials = sorted(path for path in experiment.iterdir() if path.is_dir())
    assert len(trials) == 2
    assert {json.loads((trial / "params.json").read_text())["momentum"] for trial in trials} == {0.1, 0.9}
    for trial in trials:
        results = [json.loads(line) for line in (trial / "result.json").read_text().splitlines()]
        assert [result["training_iteration"] for result in results] == [1, 2]


def test_the_first_three_lines_of_an_example_say_what_to_expect() -> None:
    """What it shows; what to install; how long it takes."""
    for path in EXAMPLE.parent.glob("*.py"):
        what, install, takes = path.read_text(encoding="utf-8").splitlines()[:3]
        assert what.startswith('"""')
        assert install.startswith("Install: ")
        assert takes.startswith("Takes: ")
