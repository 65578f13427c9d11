"""The kit's runs through the shell find schedulers with faults."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.schedulers import FIFOScheduler, Scheduler
from tunesmith.testing import SchedulerKit

_calls = itertools.count()


class Chooses(FIFOScheduler):
    def choose(self, runnable: Any) -> Any:
        return None


class Wavers(FIFOScheduler):
    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop("now and then") if next(_calls) % 7 == 3 else None


class FallsOver(FIFOScheduler):
    def on_trial_end(self, trial: Any, outcome: str) -> Any:
        assert outcome != "silent", "who did that?"


class NeedsMemory(FIFOScheduler):
    """Cannot go on with a trial that was paused cold."""

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.pause("a rest") if trial.iteration == 2 else None

    def choose(self, runnable: Any) -> Any:
        assert all(runnable.get(number).attempt == 0 for number in runnable.paused), "a new attempt"
        return super().choose(runnable)


class NeverSaves(FIFOScheduler):
    """Expects that the trainable can."""

    def on_result(self, trial: Any, result: Any) -> Any:
        assert trial.checkpoint or trial.iteration < 3, "no checkpoint"
        return self.save(trial.number)


@pytest.mark.parametrize(
    ("scheduler", "test", "message"),
    [
        (Chooses, "test_in_virtual_time_every_experiment_ends", "waits although it fits"),
        (Wavers, "test_in_virtual_time_equal_seeds_are_decided_alike", "it decides otherwise"),
        (FallsOver, "test_in_virtual_time_with_workers_and_messages_that_are_lost", "who did that"),
        (NeedsMemory, "test_in_virtual_time_every_experiment_ends", "a new attempt"),
        (NeverSaves, "test_in_a_real_run_every_experiment_ends", "no checkpoint"),
    ],
)
def test_the_runs_find_faults(scheduler: Callable[[], Scheduler], test: str, message: str, tmp_path: Path) -> None:
    kit = SchedulerKit()
    kit.make = lambda metric, mode: scheduler()  # type: ignore[method-assign]
    with pytest.raises(Exception, match=message):
        getattr(kit, test)(*([tmp_path] if "real" in test else []))
