"""Successive halving: its brackets, and whole experiments."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.brackets import Plan
from tunesmith.schedulers.successive_halving import SuccessiveHalvingScheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.scheduler_kit import SchedulerKit
from tunesmith.testing.world import Fates, World


class TestOneBracket(SchedulerKit):
    """Twelve of 27."""

    def make(self, metric: str, mode: str) -> Scheduler:
        return SuccessiveHalvingScheduler(metric=metric, mode=mode, max_t=27)


class TestManyBrackets(SchedulerKit):
    num_samples = 15

    def make(self, metric: str, mode: str) -> Scheduler:
        return SuccessiveHalvingScheduler(metric=metric, mode=mode, max_t=10, grace_period=2, reduction_factor=2, n=5)


@pytest.mark.parametrize(
    ("options", "plan"),
    [
        ({"max_t": 81}, Plan(81, (1, 3, 9, 27, 81))),
        ({}, Plan(243, (1, 3, 9, 27, 81, 100))),
        ({"max_t": 1000, "reduction_factor": 10}, Plan(1000, (1, 10, 100, 1000))),
        ({"max_t": 8, "grace_period": 2, "reduction_factor": 2}, Plan(4, (2, 4, 8))),
        ({"max_t": 8, "grace_period": 8}, Plan(1, (8,))),
        ({"max_t": 2, "grace_period": 0.5, "reduction_factor": 2.5, "n": 7}, Plan(7, (0.5, 1.25, 2))),
        ({"max_t": 7, "reduction_factor": 2.5}, Plan(12, (1, 2.5, 6.25, 7))),
    ],
)
def test_its_bracket(options: dict[str, Any], plan: Plan) -> None:
    assert SuccessiveHalvingScheduler(**options).plans() == [plan]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "SuccessiveHalvingScheduler: n must be a whole number, at least 1, got 0"),
        ({"n": 2.5}, "n must be"),
        ({"n": True}, "n must be"),
        ({"grace_period": 0}, "grace_period must be positive"),
        ({"grace_period": 101}, "max_t=100 is below grace_period=101"),
        ({"reduction_factor": 1}, "reduction_factor"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        SuccessiveHalvingScheduler(**options)


def test_what_a_resume_compares() -> None:
    options = SuccessiveHalvingScheduler(n=9).options()
    assert options == {
        "time_attr": "training_iteration", "max_t": 100, "grace_period": 1, "reduction_factor": 3, "n": 9, "stop_last_trials": True,
    }  # fmt: skip


@pytest.mark.parametrize("cpus", [1.0, 3.0, 100.0])
@pytest.mark.parametrize(
    ("options", "reached"),
    [
        ({"max_t": 9}, [9, 3, 3, 1, 1, 1, 1, 1, 1]),
        ({"max_t": 9, "n": 3}, [9, 1, 1] * 3),
        ({"max_t": 9, "n": 20}, [9, 9, 9, 3, 3, 3, 3, 1, 1]),
        ({"max_t": 27}, [27, 9, 9, 3, 3, 3, 3, 3, 3]),
        ({"max_t": 8, "grace_period": 2, "reduction_factor": 2, "n": 9}, [8, 8, 8, 4, 4, 2, 2, 2, 2]),
    ],
)
def test_how_far_nine_trials_come(options: dict[str, Any], reached: list[int], cpus: float) -> None:
    """By their places within their bracket, whatever the number of slots."""

    def loss(values: Any, iteration: int) -> dict[str, float]:
        return {"loss": values["x"]}

    loop = Loop(
        lambda: SuccessiveHalvingScheduler(**options),
        {"num_samples": 9, "metrics": ["loss"], "modes": ["min"], "warm_pause": True},
        World(5, Fates(reports=(99, 99), metrics=loss), totals={"cpu": cpus}),
    )
    loop.run()
    drawn = {record.event.trial: record.event.values["x"] for record in loop.records if isinstance(record.event, ev.Suggested)}
    size = min(options.get("n") or 9, 9)
    came = []
    for first in range(0, 9, size):
        came += [loop.ended[number].iteration for number in sorted(range(first, first + size), key=drawn.__getitem__)]
    assert came == reached
