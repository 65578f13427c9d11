"""FIFO passes the scheduler kit; schedulers with the faults that the kit is for do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.testing.scheduler_kit import SchedulerKit


class TestFIFO(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return FIFOScheduler()


class Median(Scheduler):
    """A small honest one: pauses at iteration 3, and goes on with the better half of those that got there."""

    capabilities = SchedulerCapabilities(pauses=True)

    def __init__(self, metric: str, mode: str) -> None:
        super().__init__(metric, mode)
        self.rung: dict[int, float] = {}

    def on_result(self, trial: Any, result: Any) -> Any:
        value = result.get(self.metric)
        if trial.iteration != 3 or value is None:
            return self.CONTINUE
        self.rung[trial.number] = -value if self.mode == "max" else value
        return self.pause(f"{value} at iteration 3")

    def on_trial_end(self, trial: Any, outcome: str) -> None:
        self.rung.pop(trial.number, None)

    def choose(self, runnable: Any) -> Any:
        if runnable.pending:
            return runnable.pending[0]
        waiting = [view for number in runnable.paused if (view := runnable.get(number)) is not None and number in self.rung]
        half = sorted(self.rung, key=lambda number: (self.rung[number], number))[: (len(self.rung) + 1) // 2]
        return next((view for view in waiting if view.number in half), None)


class TestMedian(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return Median(metric, mode)


class Writes(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        trial.status = "TERMINATED"


class Peeks(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop("waiters") if trial.waiters else None


class Changes(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        result["loss"] = 0.0


class Blind(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop("small") if result["loss"] < 0.3 else None


class Silent(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.STOP if trial.iteration == 2 else None


class Undeclared(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.pause("often") if trial.iteration == 2 else None


class Clock(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        self.last = time.perf_counter_ns()


class Hoards(FIFOScheduler):
    def on_trial_add(self, trial: Any) -> None:
        self.one = object()


class Unordered(FIFOScheduler):
    def on_trial_add(self, trial: Any) -> None:
        self.names = {f"trial {trial.number}", "other"}


class OneSided(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop("small") if trial.iteration == 2 and result["loss"] < 0.9 else None


class Chooses(FIFOScheduler):
    def choose(self, runnable: Any) -> Any:
        return None


def kit_for(scheduler: Callable[[], Scheduler]) -> SchedulerKit:
    kit = SchedulerKit()
    kit.make = lambda metric, mode: scheduler()  # type: ignore[method-assign]
    return kit


@pytest.mark.parametrize(
    ("scheduler", "test", "message"),
    [
        (Writes, "test_every_experiment_ends", "views are read-only"),
        (Peeks, "test_every_experiment_ends", "not 'waiters'"),
        (Changes, "test_every_experiment_ends", "does not support item assignment"),
        (Blind, "test_a_metric_that_is_missing_now_and_then", "loss"),
        (Silent, "test_capabilities_are_declared_and_decisions_have_reasons", "does not say why"),
        (Undeclared, "test_capabilities_are_declared_and_decisions_have_reasons", "capabilities must say so"),
        (Clock, "test_resumed_in_the_middle", "another state"),
        (Clock, "test_equal_events_give_equal_decisions", "its state differs"),
        (Hoards, "test_state_is_plain_data", "no repr of its own"),
        (Unordered, "test_state_is_plain_data", "another order in each process"),
        (OneSided, "test_the_best_is_the_smallest_or_the_largest", "decided differently"),
        (Chooses, "test_one_slot", "waits although it fits"),
    ],
)
def test_the_kit_finds_faults(scheduler: Callable[[], Scheduler], test: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        getattr(kit_for(scheduler), test)()
