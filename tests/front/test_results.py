"""What a run gives back: metrics, configuration and checkpoint that belong together, through the whole stack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


class Model(tune.Trainable):
    """Six steps; its state is their number."""

    def setup(self, config: Config) -> None:
        self.steps = 0

    def step(self) -> Config:
        self.steps += 1
        return {"loss": 1 / self.steps + self.config["x"], "done": self.steps == 6}

    def save_checkpoint(self, checkpoint_dir: str) -> Config:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: Config) -> None:
        self.steps = checkpoint["steps"]


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., tune.ResultGrid]:
    """``Tuner.fit`` of ``Model`` with two configurations."""

    def fitted(**checkpoints: Any) -> tune.ResultGrid:
        return tune.Tuner(
            Model,
            param_space={"x": tune.grid_search([0, 1])},
            tune_config=tune.TuneConfig(metric="loss", mode="min"),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path), verbose=0, executor="inline", checkpoint_config=tune.CheckpointConfig(**checkpoints)
            ),
        ).fit()

    return fitted


def test_a_checkpoint_of_an_earlier_step_says_so(fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    results = fit(checkpoint_frequency=4, checkpoint_at_end=False)
    best = results.get_best_result()
    assert (best.metrics["training_iteration"], best.config) == (6, {"x": 0})
    assert best.checkpoint.to_dict() == {"steps": 4}
    assert (best.checkpoint_iteration, best.checkpoint_metrics["loss"]) == (4, 0.25)
    assert [result.checkpoint_iteration for result in results] == [4, 4]
    assert all(result.checkpoint is not None for result in results)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "the result is of step 6, its checkpoint of step 4" in line


def test_a_checkpoint_at_the_end_is_of_the_last_step(fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    best = fit(checkpoint_frequency=4).get_best_result()
    assert (best.checkpoint.to_dict(), best.checkpoint_iteration, best.checkpoint_metrics) == ({"steps": 6}, 6, best.metrics)
    assert caplog.text == ""


def test_only_the_kept_checkpoints_are_handed_out(fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    results = fit(checkpoint_frequency=1, num_to_keep=2, checkpoint_score_attribute="loss", checkpoint_score_order="max")
    result = results[0]
    kept = [(checkpoint.to_dict()["steps"], row["training_iteration"]) for checkpoint, row in result.best_checkpoints]
    assert kept == [(1, 1), (6, 6)]
    worst = results.get_best_result("loss", "max", scope="all")
    assert (worst.metrics["training_iteration"], worst.checkpoint_iteration) == (1, 1)
    assert caplog.text == ""
    third = tune.Result(result.trial, 3)
    assert (third.checkpoint_iteration, third.checkpoint_metrics["loss"]) == (1, 1.0)


def test_a_checkpoint_deleted_by_hand(fit: Any, caplog: pytest.LogCaptureFixture) -> None:
    results = fit(checkpoint_frequency=3)
    shutil.rmtree(results[0].checkpoint.path)
    again = tune.open_experiment(results.experiment_path)
    result = tune.Result(again.trials[0])
    assert (result.checkpoint, result.checkpoint_iteration, result.checkpoint_metrics) == (None, None, {})
    assert "is not in" in caplog.text
    assert len(caplog.records) == 1
    assert [Path(path).name for path, _ in again.get_trial_checkpoints_paths(again.trials[0])] == ["checkpoint_000000"]


def test_an_infeasible_configuration_is_never_the_best(go: Go) -> None:
    def train(config: Config) -> None:
        tune.report(loss=config["x"])
        if config["x"] < 0:
            raise tune.Infeasible("negative")

    analysis = go(train, config={"x": tune.grid_search([-100, 1, 2])}, metric="loss", mode="min")
    assert [trial.outcome for trial in analysis.trials] == ["infeasible", "finished", "finished"]
    assert (analysis.best_config, analysis.best_result["loss"]) == ({"x": 1}, 1)
    assert analysis.get_best_config(scope="all") == {"x": 1}
