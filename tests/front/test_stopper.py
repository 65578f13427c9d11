"""Stoppers: each class, what ``stop=`` accepts, and the texts that people read."""

from __future__ import annotations

import functools
import logging
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.flat import ResultDict
from tunesmith.errors import SpecError
from tunesmith.stopper import (
    CombinedStopper,
    DictStopper,
    EarlyStopping,
    ExperimentPlateauStopper,
    FunctionStopper,
    MaximumIterationStopper,
    NoopStopper,
    Stopper,
    TimeoutStopper,
    TrialPlateauStopper,
    stopper_from,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# --- dict ------------------------------------------------------------------------------------------------------------------


def test_dict_stops_at_or_above_any_bound() -> None:
    stop = DictStopper({"mean_accuracy": 99, "training_iteration": 3})
    assert stop.verdict("t", {"mean_accuracy": 98.9, "training_iteration": 1}) is None
    assert stop.verdict("t", {"mean_accuracy": 99, "training_iteration": 2}) == "stop criterion mean_accuracy >= 99 reached (99)"
    assert stop.verdict("t", {"training_iteration": 3}) == "stop criterion training_iteration >= 3 reached (3)"
    assert not stop.stop_all()


@pytest.mark.parametrize("result", [{"eval/loss": 2.0}, {"eval": {"loss": 2.0}}, ResultDict({"eval/loss": 2.0})])
def test_dict_finds_nested_keys(result: dict[str, Any]) -> None:
    assert DictStopper({"eval/loss": 1.5})("t", result)


@pytest.mark.parametrize("result", [{}, {"a": None}, {"a": "high"}, {"a": float("nan")}, {"a": {"b": 1}}, {"a": 1, "other/a": 9}])
def test_dict_passes_over_what_it_cannot_compare(result: dict[str, Any]) -> None:
    assert not DictStopper({"a": 2, "a/b/c": 0})("t", result)


def test_dict_done() -> None:
    stop = stopper_from({"done": True})
    assert stop is not None
    assert stop.verdict("t", {"done": False}) is None
    assert stop.verdict("t", {"done": True}) == "the trial said that it is done"


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"a": {"b": 1}}, r"stop\['a'\].*'a/b'"),
        ({"a": "5"}, r"stop\['a'\].*'5'"),
        ({"a": None}, r"stop\['a'\].*None"),
        ({"a": float("nan")}, r"stop\['a'\].*nan"),
        ({3: 1}, "keys are names"),
    ],
)
def test_dict_refuses_bad_bounds(bounds: dict[Any, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        DictStopper(bounds)


def test_a_bound_that_the_first_report_meets_is_pointed_out_once(caplog: pytest.LogCaptureFixture) -> None:
    stop = DictStopper({"loss": 0.1})
    with caplog.at_level(logging.WARNING, logger="tunesmith"):
        assert stop("t0", {"loss": 2.3})
        assert stop("t1", {"loss": 2.1})
    assert [record.getMessage() for record in caplog.records] == [
        "stop={'loss': 0.1}: the first report of trial t0 already meets it (2.3), and ended the trial. A bound in a dict always means >=. "
        "To stop at or below it, pass a function: stop=lambda trial_id, result: result['loss'] <= 0.1"
    ]


def test_bounds_on_progress_and_later_reports_are_not_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    DictStopper({"training_iteration": 1})("t", {"training_iteration": 1})
    DictStopper({"time_total_s": 1})("t", {"time_total_s": 5.0})
    stop = DictStopper({"acc": 0.9})
    stop("t", {"acc": 0.1})
    assert stop("t", {"acc": 0.95})
    assert not caplog.records


@given(
    st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=True)), st.dictionaries(st.sampled_from("abc"), st.floats(allow_nan=False))
)
def test_dict_is_any_of_greater_or_equal(result: dict[str, float], bounds: dict[str, float]) -> None:
    assert DictStopper(bounds)("t", result) == any(key in result and result[key] >= bound for key, bound in bounds.items())


# --- functions, combinations, what stop= accepts --------------------------------------------------------------------------


def stop_low(trial_id: str, result: dict[str, Any]) -> bool:
    return bool(result["loss"] < 1)


class Both:
    """Looks like another library's stopper: callable, with ``stop_all``, of no class of ours."""

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return True


def test_function() -> None:
    stop = stopper_from(stop_low)
    assert isinstance(stop, FunctionStopper)
    assert stop.verdict("t", {"loss": 2}) is None
    assert stop.verdict("t", {"loss": 0}) == "stopped by stop_low"
    assert FunctionStopper(lambda trial_id, result: True).verdict("t", {}) == "stopped by the stop function"
    assert FunctionStopper(functools.partial(lambda limit, trial_id, result: result["n"] > limit, 3))("t", {"n": 4})
    assert not stop.stop_all()


def test_a_foreign_stopper_is_taken_by_what_it_can_do() -> None:
    stop = stopper_from(Both())
    assert stop is not None
    assert stop.stop_all()
    assert stop.reason() == "stopped by Both"


@pytest.mark.parametrize("function", [lambda: True, lambda trial_id: True, lambda a, b, c: True, lambda *, trial_id, result: True])
def test_function_with_other_parameters_is_refused(function: Any) -> None:
    with pytest.raises(SpecError, match="two positional arguments"):
        stopper_from(function)


@pytest.mark.parametrize(("stop", "message"), [("loss", "expected a dict"), (3, "expected a dict"), (NoopStopper, "pass an instance")])
def test_other_things_are_refused(stop: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        stopper_from(stop)


def test_nothing_to_stop_by() -> None:
    assert stopper_from(None) is None
    assert stopper_from({}) is None
    assert stopper_from([]) is None


def test_list() -> None:
    clock = Clock()
    inner = MaximumIterationStopper(2)
    stop = stopper_from([{"acc": 1}, inner, stop_low, TimeoutStopper(10, clock)])
    assert isinstance(stop, CombinedStopper)
    assert stopper_from([inner]) is inner
    assert stop.verdict("t", {"acc": 0, "loss": 5}) is None
    assert stop.verdict("t", {"acc": 0, "loss": 5}) == "reached 2 reports"
    assert stop.remaining() == 10
    clock.now += 10
    assert stop.stop_all()
    assert stop.reason() == "the time budget of 10 s is used up"


def test_combined_shows_every_report_to_all() -> None:
    counting = MaximumIterationStopper(3)
    stop = CombinedStopper(NoopStopper(), FunctionStopper(lambda trial_id, result: True), counting)
    assert [stop("t", {}) for _ in range(2)] == [True, True]
    assert counting("t", {})


def test_a_subclass_needs_only_call() -> None:
    class Mine(Stopper):
        def __call__(self, trial_id: str, result: Any) -> bool:
            return bool(result["x"])

    stop = stopper_from(Mine())
    assert stop is not None
    assert stop.verdict("t", {"x": 1}) == "stopped by Mine"
    assert (stop.verdict("t", {"x": 0}), stop.stop_all(), stop.remaining()) == (None, False, None)
    with pytest.raises(NotImplementedError, match="__call__"):
        Stopper()("t", {})


# --- the classes ----------------------------------------------------------------------------------------------------------


def test_maximum_iteration_counts_reports_per_trial() -> None:
    stop = MaximumIterationStopper(3)
    assert [stop("a", {}) for _ in range(4)] == [False, False, True, True]
    assert not stop("b", {})
    stop.forget("a")
    assert not stop("a", {})
    with pytest.raises(SpecError, match="max_iter"):
        MaximumIterationStopper(0)


def test_maximum_iteration_does_not_count_repeats_after_a_rewind() -> None:
    stop = MaximumIterationStopper(5)
    answers = [stop("a", {"training_iteration": iteration}) for iteration in (1, 2, 3, 4, 3, 4, 5)]
    assert answers == [False] * 6 + [True]
    steps = MaximumIterationStopper(4)
    assert [steps("a", {"training_iteration": i}) for i in (1000, 2000, 1000, 2000, 3000, 4000)] == [False] * 5 + [True]


def test_trial_plateau() -> None:
    stop = TrialPlateauStopper("loss", std=0.01, num_results=3, grace_period=4)
    losses = [1.0, 0.5, 0.5, 0.5, 0.5]
    assert [stop("a", {"loss": loss}) for loss in losses] == [False, False, False, True, True]
    assert not stop("a", {"loss": 9.0})
    assert "plateau for 3 reports" in stop.reason()


def test_trial_plateau_needs_a_full_window_and_passes_over_missing_values() -> None:
    stop = TrialPlateauStopper("eval/loss", num_results=2, grace_period=1)
    results: list[dict[str, Any]] = [{"eval": {"loss": 1.0}}, {}, {"eval/loss": None}, {"eval/loss": float("nan")}, {"eval/loss": 1.0}]
    assert [stop("a", result) for result in results] == [False] * 5
    assert stop("a", {"eval/loss": 1.0})
    stop.forget("a")
    assert not stop("a", {"eval/loss": 1.0})


def test_trial_plateau_threshold_of_zero_counts() -> None:
    bad = TrialPlateauStopper("loss", num_results=2, grace_period=2, metric_threshold=0, mode="min")
    assert [bad("a", {"loss": 0.5}) for _ in range(3)] == [False] * 3
    good = TrialPlateauStopper("score", num_results=2, grace_period=2, metric_threshold=0, mode="max")
    assert [good("a", {"score": 0.5}) for _ in range(2)] == [False, True]
    with pytest.raises(SpecError, match="mode"):
        TrialPlateauStopper("loss", metric_threshold=0)


def test_experiment_plateau_with_patience() -> None:
    stop = ExperimentPlateauStopper("score", std=0.01, top=3, mode="max", patience=2)
    reports = [1.0, 1.0, 0.1, 1.0, 0.0, 1.0]
    assert [stop("t", {"score": value}) for value in reports] == [False, False, False, False, True, True]
    assert stop.stop_all()
    assert "3 best values of score" in stop.reason()


def test_experiment_plateau_leaves_the_plateau_and_passes_over_bad_values() -> None:
    stop = ExperimentPlateauStopper("loss", std=0.01, top=2)
    assert not stop("t", {})
    assert not stop("t", {"loss": float("nan")})
    assert [stop("t", {"loss": value}) for value in (1.0, 1.0)] == [False, True]
    assert not stop("t", {"loss": 0.1})
    assert not stop.stop_all()
    assert EarlyStopping is ExperimentPlateauStopper


@pytest.mark.parametrize("arguments", [{"mode": "best"}, {"top": 1}, {"top": 2.5}, {"patience": -1}, {"std": 0}, {"std": "1"}])
def test_experiment_plateau_checks_its_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=next(iter(arguments))):
        ExperimentPlateauStopper("loss", **arguments)


def test_timeout_starts_at_the_first_question() -> None:
    clock = Clock()
    stop = TimeoutStopper(timedelta(seconds=5), clock)
    clock.now += 100
    assert not stop.stop_all()
    clock.now += 4
    assert (stop.stop_all(), stop.remaining(), stop("t", {})) == (False, 1.0, False)
    clock.now += 1
    assert stop.stop_all()
    with pytest.raises(SpecError, match="timeout"):
        TimeoutStopper("5")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="timeout"):
        TimeoutStopper(-1)


def test_timeout_goes_on_with_the_remainder_after_pickling() -> None:
    stop = TimeoutStopper(10, ticking)
    TICKS[:] = [0.0]
    assert not stop.stop_all()
    TICKS[:] = [7.0]
    copied = pickle.dumps(stop)
    TICKS[:] = [500.0]
    again = pickle.loads(copied)
    assert again.remaining() == 3.0
    TICKS[:] = [503.0]
    assert again.stop_all()


TICKS = [0.0]


def ticking() -> float:
    return TICKS[0]


@pytest.mark.parametrize(
    "stop", [DictStopper({"a": 1}), MaximumIterationStopper(2), TrialPlateauStopper("a"), ExperimentPlateauStopper("a"), TimeoutStopper(5)]
)
def test_stoppers_travel(stop: Stopper) -> None:
    stop("t", {"a": 0.0})
    again = pickle.loads(pickle.dumps(stop))
    assert again("t", {"a": 5.0}) == stop("t", {"a": 5.0})
