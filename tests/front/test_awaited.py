"""Names that nothing reports: said once, with the one that may be meant."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import MetricError
from tunesmith.stopper import TrialPlateauStopper


def steps(count: int) -> Any:
    def train(config: dict[str, Any]) -> None:
        for step in range(count):
            tune.report(loss=1.0 / (step + 1), eval={"error": 1.0})

    return train


def said(caplog: pytest.LogCaptureFixture, tmp_path: Path, trainable: Any, **options: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "tunesmith"):
        tune.run(trainable, storage_path=tmp_path, executor="inline", verbose=0, loggers=(), **options)
    return [record.getMessage() for record in caplog.records]


def test_a_misspelt_stop_criterion_is_pointed_out_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (line,) = said(caplog, tmp_path, steps(4), stop={"training_iterations": 3}, num_samples=3)
    assert line.startswith("the stop criterion 'training_iterations' is not among what was reported: eval/error, loss.")
    assert "Did you mean 'training_iteration'?" in line


@pytest.mark.parametrize(
    ("options", "who"),
    [
        ({"stop": TrialPlateauStopper("losss")}, "the stop criterion 'losss'"),
        ({"checkpoint_score_attr": "losss", "keep_checkpoints_num": 1}, "the score attribute of checkpoints 'losss'"),
    ],
)
def test_so_is_what_a_stopper_or_checkpoints_look_for(caplog: Any, tmp_path: Path, options: dict[str, Any], who: str) -> None:
    (line,) = said(caplog, tmp_path, steps(4), **options)
    assert line.startswith(who)
    assert "Did you mean 'loss'?" in line


@pytest.mark.parametrize("stop", [{"loss": 9}, {"eval/error": 9}, {"done": True}, {"training_iteration": 3}, {"time_total_s": 60}])
def test_what_is_there_is_not_spoken_of(caplog: pytest.LogCaptureFixture, tmp_path: Path, stop: dict[str, Any]) -> None:
    assert said(caplog, tmp_path, steps(4), stop=stop) == []


def test_what_comes_late_is_waited_for(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1)
        tune.report(loss=1)
        tune.report(loss=1, accuracy=0.5)

    assert said(caplog, tmp_path, train, stop={"accuracy": 1}) == []


def test_a_trial_that_reports_nothing_is_pointed_out_once(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    space = {"x": tune.uniform(0, 1)}
    (line,) = said(caplog, tmp_path, lambda config: None, metric="loss", mode="min", num_samples=3, config=space)
    assert "has ended and reported nothing, so there is no 'loss' to compare it by" in line
    assert said(caplog, tmp_path, lambda config: None, num_samples=3) == [], "nobody has asked for anything"


@pytest.mark.parametrize(
    ("value", "what"), [(np.ones(2), "an array or an object"), ((0.5, 1), "an array or an object"), ("0.5", "the text '0.5'")]
)
def test_a_metric_that_is_no_number_is_not_called_missing(tmp_path: Path, value: Any, what: str) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=value)

    with pytest.raises(MetricError, match=f"metric 'loss' was reported as {what}, and must be a number"):
        tune.run(train, storage_path=tmp_path, executor="inline", verbose=0, metric="loss", mode="min")


def reports(**values: Any) -> Any:
    """Six reports; where a list is given, its items one after the other."""

    def train(config: dict[str, Any]) -> None:
        for step in range(6):
            tune.report({"loss": 1.0, "epoch": step + 1} | {key: value[step] for key, value in values.items()})

    return train


BY_EPOCHS: dict[str, Any] = {"metric": "loss", "mode": "min", "num_samples": 2}


@pytest.mark.parametrize(
    ("value", "what"),
    [("1", "'1' (str)"), (True, "True (bool)"), (None, "None (NoneType)"), (math.nan, "nan (float)"), ([1], "an array or an object"),
     ({"a": 1}, "a dict"), ("e" * 99, f"'{'e' * 56}... (str)")],
)  # fmt: skip
def test_a_time_that_is_no_number_is_pointed_out_once(caplog: pytest.LogCaptureFixture, tmp_path: Path, value: Any, what: str) -> None:
    scheduler = tune.ASHAScheduler(time_attr="epoch", max_t=3)
    (line,) = said(caplog, tmp_path, reports(epoch=[value] * 6), scheduler=scheduler, **BY_EPOCHS)
    assert line.startswith(f"the scheduler's time_attr 'epoch' was reported as {what}, and must be a number: nothing can be decided by")


@pytest.mark.parametrize(
    ("values", "what"),
    [([1.0, "a", "b", "c", 2.0, "d"], "'a' (str)"), ([None] * 6, "None (NoneType)")],
)
def test_so_is_a_metric(caplog: pytest.LogCaptureFixture, tmp_path: Path, values: Any, what: str) -> None:
    (line,) = said(caplog, tmp_path, reports(loss=values), **BY_EPOCHS)
    assert line.startswith(f"the metric 'loss' was reported as {what}, and must be a number")


def test_a_metric_that_is_text_is_pointed_out_before_a_trial_is_over(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss="0.5")
        tune.report(loss="0.4")
        lines.extend(record.getMessage() for record in caplog.records)

    lines: list[str] = []
    with pytest.raises(MetricError):
        said(caplog, tmp_path, train, metric="loss", mode="min")
    assert [line.partition(",")[0] for line in lines] == ["the metric 'loss' was reported as '0.5' (str)"]


@pytest.mark.parametrize(
    ("key", "values"),
    [("loss", [None, 1.0, None, None, None, None]), ("loss", [True] * 6), ("loss", [math.nan] * 6), ("epoch", [None, None, 3, 4, None, 6]),
     ("epoch", [1.5, math.nan, math.nan, math.nan, 2.0, 2.5])],
)  # fmt: skip
def test_what_is_only_now_and_then_not_measured_is_not_spoken_of(caplog: Any, tmp_path: Path, key: str, values: list[Any]) -> None:
    scheduler = tune.ASHAScheduler(time_attr="epoch", max_t=99)
    options: dict[str, Any] = {"scheduler": scheduler, "failure_config": tune.FailureConfig(nan="continue")}
    assert said(caplog, tmp_path, reports(**{key: values}), **options, **BY_EPOCHS) == []
