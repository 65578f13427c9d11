"""Early stopping of each trial by itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.patience import PatienceScheduler
from tunesmith.testing import SchedulerKit


class TestPatience(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PatienceScheduler(metric=metric, mode=mode, patience=2, min_delta=0.01)


class TestPatienceByTheClock(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return PatienceScheduler("time_total_s", metric, mode, patience=2.5, grace_period=4.0)


@dataclass
class View:
    number: int = 0


def begun(mode: str = "min", **options: Any) -> PatienceScheduler:
    scheduler = PatienceScheduler(**options)
    scheduler.start(Settings(metrics=("loss",), modes=(mode,)))
    return scheduler


def lasts(scheduler: PatienceScheduler, losses: list[float], number: int = 0) -> int | None:
    """At which report it is stopped."""
    for iteration, loss in enumerate(losses, 1):
        if scheduler.on_result(View(number), {"training_iteration": iteration, "loss": loss}) != "CONTINUE":
            return iteration
    return None


def test_it_waits_for_so_many_reports_without_a_better_one() -> None:
    assert lasts(begun(patience=3), [5, 4, 4, 3, 3, 3, 3, 2]) == 7
    assert lasts(begun(patience=3), [5, 4, 4, 3, 3, 3, 2.99, 3, 3, 2.98]) is None
    assert lasts(begun(patience=1), [5, 5]) == 2
    assert lasts(begun("max", patience=2), [1, 2, 2.5, 2, 1]) == 5


def test_small_steps_are_no_improvement_until_they_add_up() -> None:
    assert lasts(begun(patience=2, min_delta=1), [5, 4.5, 4]) == 3, "not better by more than 1"
    assert lasts(begun(patience=3, min_delta=1), [5, 4.5, 4, 3.5, 3, 2.5]) is None


def test_getting_worse_is_no_improvement_either() -> None:
    """On a plateau, by the spread of its values, it is not."""
    assert lasts(begun(patience=2), [1, 5, 9]) == 3


def test_nobody_is_stopped_in_the_grace_period() -> None:
    assert lasts(begun(patience=2, grace_period=6), [1, 1, 1, 1, 1, 1, 1]) == 6
    assert lasts(begun(patience=2, grace_period=6), [1, 1, 1, 1, 1, 0.5, 1, 1]) == 8


def test_nan_is_no_improvement_and_everything_is_one_on_nan() -> None:
    assert lasts(begun(patience=2), [1, math.nan, math.nan]) == 3
    assert lasts(begun(patience=3), [math.nan, math.nan, 7, 7, 7]) is None
    scheduler = begun(patience=2)
    lasts(scheduler, [math.nan, math.nan])
    answer = scheduler.on_result(View(), {"training_iteration": 3, "loss": math.nan})
    assert answer == scheduler.stop("nan at training_iteration 3: not better than what it began with, which it had at 1")


def test_the_reason() -> None:
    scheduler = begun(patience=20, min_delta=0.01, time_attr="epochs")
    scheduler.on_result(View(), {"epochs": 7.5, "loss": 0.61})
    answer = scheduler.on_result(View(), {"epochs": 27.5, "loss": 0.605})
    assert answer == scheduler.stop("0.605 at epochs 27.5: not better by more than 0.01 than 0.61, which it had at 7.5")


def test_results_that_say_too_little_are_passed_over() -> None:
    scheduler = begun(patience=1)
    for result in ({"loss": 1.0}, {"training_iteration": 2}, {"training_iteration": 3, "loss": "bad"}):
        assert scheduler.on_result(View(), result) == "CONTINUE"
    assert not scheduler._best


def test_each_trial_by_itself() -> None:
    scheduler = begun(patience=2)
    assert lasts(scheduler, [1, 1], 0) is None
    assert lasts(scheduler, [9, 8, 7, 6, 5], 1) is None
    assert lasts(scheduler, [3, 3, 3], 2) == 3


def test_of_ended_trials_nothing_stays() -> None:
    scheduler = begun(patience=2)
    lasts(scheduler, [1, 1], 0)
    scheduler.on_trial_end(View(0), "finished")
    assert not scheduler._best
    assert lasts(scheduler, [2, 2, 1], 0) is None, "it was reopened, and its patience begins anew"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 4), st.integers(0, 2))
def test_decides_as_early_stopping_callbacks_do(losses: list[int], patience: int, delta: int) -> None:
    best, waited, expected = math.inf, 0, None
    for iteration, loss in enumerate(losses, 1):
        best, waited = (loss, 0) if loss < best - delta else (best, waited + 1)
        if waited >= patience:
            expected = iteration
            break
    assert lasts(begun(patience=patience, min_delta=delta), [float(loss) for loss in losses]) == expected


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"patience": 0}, "PatienceScheduler: patience must be a number above 0, got 0"),
        ({"min_delta": -0.1}, "min_delta must be a number at least 0, got -0.1"),
        ({"grace_period": "late"}, "grace_period must be a number at least 0, got 'late'"),
        ({"patience": math.inf}, "patience must be"),
        ({"time_attr": 3}, "time_attr must be the name of what trials report, such as 'training_iteration', got 3"),
    ],
)
def test_bad_arguments(option: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        PatienceScheduler(**option)
