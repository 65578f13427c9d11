"""The quick start of Tune's own early documentation runs with only its import lines changed.

The original begins ``import ray``, ``from ray import tune``, ``ray.init()``. Model, optimiser and data set are ellipses there; the
smallest ones that have the methods it calls stand in for them. Everything from ``def train_func`` on is as it was written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

DIGITS = [([0, 1], 0), ([1, 0], 1)] * 2


class SGD:
    """Records what it was made with."""

    def __init__(self, parameters: list[float], momentum: float) -> None:
        self.parameters, self.momentum = parameters, momentum


class Model:
    """Gets better with each batch, from 60 to 99 % in four steps."""

    def __init__(self) -> None:
        self.weights = [0.0]

    def parameters(self) -> list[float]:
        return self.weights

    def fit(self, data: list[int], target: int) -> float:
        self.weights[0] += 1.0
        return 47.0 + 13.0 * self.weights[0]


def train_func(config: Any, reporter: Any) -> None:  # add a reporter arg
    model = (Model())
    optimizer = SGD(model.parameters(),
                    momentum=config["momentum"])
    dataset = (DIGITS * 2)
    assert optimizer.momentum in (0.1, 0.2)

    for idx, (data, target) in enumerate(dataset):  # noqa: B007 - as it was written
        accuracy = model.fit(data, target)
        reporter(mean_accuracy=accuracy) # report metrics


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default place of results, in a home of this test's own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "tunesmith_results"


@pytest.mark.e2e
def test_seed_quick_start(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    all_trials = tune.run(
        train_func,
        name="quick-start",
        stop={"mean_accuracy": 99},
        config={"momentum": tune.grid_search([0.1, 0.2])}
    )

    assert [trial.config for trial in all_trials.trials] == [{"momentum": 0.1}, {"momentum": 0.2}]
    for trial in all_trials.trials:
        assert trial.status == "TERMINATED"
        assert trial.last_result["mean_accuracy"] == 99
        assert trial.last_result["training_iteration"] == 4, "stopped at the first report that reached 99"
        assert Path(trial.logdir).parent == results / "quick-start"
        assert len(Path(trial.logdir, "result.json").read_text().splitlines()) == 4
        assert json.loads(Path(trial.logdir, "params.json").read_text()) == trial.config
    assert "quick-start" in capsys.readouterr().out
    assert os.listdir(results) == ["quick-start"]
