"""Trials that report the same though their configurations differ."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis, ResultGrid
from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.errors import MetricError, SpecError

Make = Callable[..., ExperimentAnalysis]
SPEC = {"metrics": ["loss"], "modes": ["min"]}


@pytest.fixture
def curves(in_memory: Make) -> Callable[..., ExperimentAnalysis]:
    """An analysis of trials given as (values drawn, curve)."""

    def make(*trials: tuple[dict[str, Any], list[Any]]) -> ExperimentAnalysis:
        records = []
        for number, (values, curve) in enumerate(trials):
            records.append(Record(ev.Suggested(number, values)))
            records += [Record(ev.Reported(number, 0, step, {"loss": value, "other": step})) for step, value in enumerate(curve, 1)]
        return in_memory(*records, spec=SPEC)

    return make


DOWN = [1.0, 0.5, 0.25, 0.125]


def numbers(analysis: ExperimentAnalysis, metric: str | None = None) -> list[list[int]]:
    return [[trial.number for trial in group.trials] for group in analysis.identical_curves(metric)]


def test_groups_and_what_differs(curves: Any) -> None:
    told = {0.1: DOWN, 0.2: [1.0, 0.5, 0.3], 0.3: DOWN, 0.4: DOWN}
    analysis = curves(*(({"lr": lr, "k": 1}, curve) for lr, curve in told.items()))
    (group,) = analysis.identical_curves()
    assert ([trial.number for trial in group.trials], group.differ, group.metric, group.reports) == ([0, 2, 3], ("lr",), "loss", 4)
    assert str(group) == "3f2a9_00000, 3f2a9_00002, 3f2a9_00003: the same loss in all of up to 4 reports, with different lr"


def test_one_that_was_stopped_earlier_belongs_to_the_longer_one(curves: Any) -> None:
    other = [1.0, 0.5, 0.25, 9.0]
    analysis = curves(({"x": 1}, DOWN[:3]), ({"x": 2}, DOWN), ({"x": 3}, other), ({"x": 4}, [*other, 1.0]))
    assert numbers(analysis) == [[0, 2, 3]]  # in a group once
    assert numbers(curves(({"x": 1}, DOWN), ({"x": 2}, DOWN[:3]), ({"x": 3}, other))) == [[0, 1]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (DOWN, [1.0, 0.5, 0.25, math.nextafter(0.125, 1)]),
        ([1.0, 0.5], [1.0, 0.5]),  # too short
        ([0.0] * 9, [0.0] * 9),  # nothing happens in it
        ([math.nan] * 9, [math.nan] * 9),
        ([0.5, math.inf, 0.5, math.nan], [0.5, math.inf, 0.5, math.nan]),
        ([], [1.0]),
        (["a", "b", "c"], ["a", "b", "c"]),
    ],
)
def test_what_is_no_sign(curves: Any, first: list[Any], second: list[Any]) -> None:
    analysis = curves(({"x": 1}, first), ({"x": 2}, second))
    assert analysis.identical_curves() == []


def test_the_same_values_at_other_steps_are_no_sign(in_memory: Make) -> None:
    reports = [Record(ev.Reported(0, 0, step, {"loss": value})) for step, value in enumerate(DOWN, 1)]
    reports += [Record(ev.Reported(1, 0, 2 * step, {"loss": value})) for step, value in enumerate(DOWN, 1)]
    analysis = in_memory(Record(ev.Suggested(0, {"x": 1})), Record(ev.Suggested(1, {"x": 2})), *reports, spec=SPEC)
    assert analysis.identical_curves() == []


def test_equal_configurations_may_well_be_equal(curves: Any, caplog: pytest.LogCaptureFixture) -> None:
    analysis = curves(({"x": 1}, DOWN), ({"x": 1}, DOWN))
    assert analysis.identical_curves() == []
    assert analysis.best_trial.number == 0
    assert not caplog.messages


def test_nan_in_the_same_place_is_the_same(curves: Any) -> None:
    assert numbers(curves(({"x": 1}, [1.0, math.nan, 2.0]), ({"x": 2}, [1.0, math.nan, 2.0]))) == [[0, 1]]


def test_conditional_parameters_differ(curves: Any) -> None:
    (group,) = curves(({"opt": "a", "a/lr": 1}, DOWN), ({"opt": "b"}, DOWN)).identical_curves()
    assert group.differ == ("a/lr", "opt")


def test_it_is_said_once_when_the_best_is_asked_for(curves: Any, caplog: pytest.LogCaptureFixture) -> None:
    analysis = curves(({"x": 1}, DOWN), ({"x": 2}, DOWN), ({"x": 3}, [3.0, 2.0, 1.0]), ({"x": 4}, [3.0, 2.0, 1.0]))
    assert not caplog.messages
    _ = analysis.best_trial, analysis.best_config, ResultGrid(analysis).get_best_result(), analysis.get_best_trial("other", "max")
    (line,) = caplog.messages
    assert "3f2a9_00000, 3f2a9_00001: the same loss" in line
    assert "different x" in line
    assert "(2 such groups.)" in line
    assert "analysis.identical_curves()" in line
    _ = pickle.loads(pickle.dumps(analysis)).best_trial
    assert len(caplog.messages) == 1


def test_automatic_keys_are_alike_by_nature(curves: Any, in_memory: Make, caplog: pytest.LogCaptureFixture) -> None:
    records = [Record(ev.Suggested(number, {"x": number})) for number in range(2)]
    records += [Record(ev.Reported(number, 0, step, {"training_iteration": step})) for number in range(2) for step in range(1, 5)]
    analysis = in_memory(*records, spec={})
    assert analysis.get_last_checkpoint() is None
    assert analysis.get_best_trial("training_iteration", "max").number == 0
    assert len(analysis.identical_curves("training_iteration")) == 1, "whoever asks is told"
    assert not caplog.messages


def test_a_metric_that_is_no_ones(curves: Any, in_memory: Make) -> None:
    with pytest.raises(MetricError, match=r"'los' was reported by no trial. Did you mean 'loss'"):
        curves(({"x": 1}, DOWN)).identical_curves("los")
    with pytest.raises(SpecError, match=r"identical_curves\(\) needs a metric.*as in identical_curves\(metric='loss'\),"):
        in_memory(Record(ev.Suggested(0, {}))).identical_curves()
