"""ResultGrid and Result: metrics, configuration and checkpoint of one and the same step."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tunesmith.analysis import ExperimentAnalysis, Result, ResultGrid
from tunesmith.errors import JournalError, MetricError, SpecError, UserCodeError


@pytest.fixture
def grid(analysis: ExperimentAnalysis) -> ResultGrid:
    return ResultGrid(analysis)


def test_a_sequence_of_results(grid: ResultGrid, directory: Path) -> None:
    assert len(grid) == 4
    assert [result.trial.number for result in grid] == [0, 1, 2, 3]
    assert grid[-1].trial.number == 3
    assert (grid.num_errors, grid.num_terminated, grid.experiment_path) == (1, 3, str(directory))
    assert [type(error) for error in grid.errors] == [UserCodeError]
    assert str(directory) in repr(grid)
    assert list(grid.get_dataframe("loss", "min")["loss"]) == [0.2, 0.4, 0.8]
    assert len(grid.get_dataframe()) == 3


def test_a_result_is_the_newest_step(grid: ResultGrid, directory: Path) -> None:
    result = grid[1]
    assert result.metrics["loss"] == 0.4
    assert result.config == {"lr": 0.2, "net": {"act": "abs"}, "epochs": 3}
    assert result.path == str(directory / "3f2a9_00001")
    assert result.checkpoint is not None
    assert result.checkpoint.path == str(directory / "3f2a9_00001" / "checkpoint_000000")
    assert result.error is None
    frame = result.metrics_dataframe
    assert frame is not None
    assert list(frame["loss"]) == [0.9, 0.7, 0.4]
    assert [(checkpoint.path, row["loss"]) for checkpoint, row in result.best_checkpoints] == [(result.checkpoint.path, 0.4)]
    assert repr(result).startswith("Result(trial=3f2a9_00001, metrics={'loss': 0.4, 'val/acc': 0.3")


def test_a_trial_that_never_reported(grid: ResultGrid) -> None:
    result = grid[3]
    assert result.metrics == {}
    assert result.config["lr"] == pytest.approx(0.4)
    assert (result.checkpoint, result.metrics_dataframe, result.best_checkpoints) == (None, None, [])
    assert result.get_best_checkpoint("loss", "min") is None
    assert "KeyError: 'lr' at train.py:42" in str(result.error)
    assert "error=user_error" in repr(result)


def test_the_best_result_is_one_step(grid: ResultGrid) -> None:
    """Trial 0 is best at iteration 2, where it wrote a checkpoint; its newest report is a worse one."""
    best = grid.get_best_result(scope="all")
    assert (best.metrics["loss"], best.metrics["training_iteration"], best.config["lr"]) == (0.2, 2, 0.1)
    assert best.checkpoint is not None
    assert best.metrics["checkpoint_dir_name"] == Path(best.checkpoint.path).name
    newest = grid.get_best_result("loss", "min")
    assert (newest.trial.number, newest.metrics["loss"]) == (1, 0.4)


def test_the_checkpoint_of_a_step_without_one_is_the_nearest_earlier_never_a_later_one(grid: ResultGrid) -> None:
    worst = grid.get_best_result("loss", "max", scope="all")
    assert (worst.metrics["training_iteration"], worst.checkpoint) == (1, None)
    newest = grid[0]
    assert newest.metrics["training_iteration"] == 3
    assert newest.checkpoint is not None
    assert newest.checkpoint.path.endswith("checkpoint_000000")


def test_a_deleted_checkpoint_is_none(grid: ResultGrid, directory: Path) -> None:
    (directory / "3f2a9_00001" / "checkpoint_000000").rmdir()
    assert grid[1].checkpoint is None
    assert grid[1].best_checkpoints == []


def test_best_checkpoint_of_a_trial(grid: ResultGrid) -> None:
    result = grid[0]
    assert result.get_best_checkpoint("loss", "min") == result.best_checkpoints[0][0]
    with pytest.raises(MetricError, match=r"'los'. Did you mean 'loss'\?"):
        result.get_best_checkpoint("los", "min")
    with pytest.raises(SpecError, match="mode must be"):
        result.get_best_checkpoint("loss", "low")


def test_no_best_result(grid: ResultGrid) -> None:
    with pytest.raises(MetricError, match="Reported were: loss, val/acc"):
        grid.get_best_result("reward", "max")


def test_from_path(directory: Path) -> None:
    result = Result.from_path(directory / "3f2a9_00000")
    assert result.metrics["loss"] == 0.6
    with pytest.raises(JournalError, match="is no trial's directory"):
        Result.from_path(directory.parent / "nowhere")
    with pytest.raises(JournalError, match=r"is an experiment, not the directory of a trial: open it with tune\.open_experiment"):
        Result.from_path(directory)


def test_results_survive_pickling(grid: ResultGrid) -> None:
    result: Result = pickle.loads(pickle.dumps(grid.get_best_result(scope="all")))
    assert (result.metrics["loss"], result.config["lr"]) == (0.2, 0.1)
    assert result.checkpoint is not None
    assert result.metrics_dataframe is not None
    again: ResultGrid = pickle.loads(pickle.dumps(grid))
    assert [one.metrics for one in again][3] == {}
    assert again.get_best_result().metrics["loss"] == 0.4
