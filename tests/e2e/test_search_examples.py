"""The examples of searchers from other libraries with HyperBand, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.e2e
@pytest.mark.parametrize(("name", "first"), [("hyperopt_hyperband", {"units": 64}), ("nevergrad_hyperband", {"units": 64, "lr": 0.1})])
def test_example(name: str, first: dict[str, float], tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--smoke-test", "--storage-path", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "Best accuracy: " in done.stdout
    assert "Best config:   {'units': " in done.stdout

    trials = sorted(path for path in (tmp_path / name.replace("_", "-")).iterdir() if path.is_dir())
    configs = [json.loads((trial / "params.json").read_text()) for trial in trials]
    assert len(configs) == 4
    assert any(first.items() <= config.items() for config in configs), "the start point was not tried"
    assert len({config["units"] for config in configs}) > 1
