"""Limits in seconds, measured by a driver that is slow itself: what came in time counts."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

import tunesmith as tune
from tunesmith import execute
from tunesmith.core import events as ev
from tunesmith.executors.base import STOP, Assignment, ExecutorCapabilities, ExecutorSetup


class Clock:
    """Only the tests let time pass."""

    time = 0.0

    def __init__(self, start: float = 0.0) -> None:
        Clock.time = start

    def now(self) -> float:
        return Clock.time

    def wall(self) -> float:
        return 0.0


class Queue:
    """An executor whose messages wait until somebody asks for them. A trial reports once for each number in ``config["at"]``."""

    capabilities = ExecutorCapabilities(name="queue", kill=True)

    def __init__(self) -> None:
        self.messages: deque[ev.Event] = deque()
        self.told: list[tuple[str, ...]] = []

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        return {"cpu": 1.0}

    def launch(self, assignment: Assignment) -> None:
        self.messages.append(ev.AttemptStarted(assignment.trial, assignment.attempt))

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        self.told.append((action,))
        self.messages.append(ev.AttemptEnded(trial, attempt, "stopped" if action == STOP else "finished"))

    def save(self, trial: int, attempt: int) -> None: ...

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        self.told.append(("kill", outcome))
        self.messages.append(ev.AttemptEnded(trial, attempt, outcome))

    def poll(self, timeout: float | None) -> list[ev.Event]:
        if not self.messages and timeout:
            Clock.time += timeout
        found = list(self.messages)
        self.messages.clear()
        return found

    def wake(self) -> None: ...

    def close(self) -> None: ...


class Busy(tune.Callback):
    """When the trial has started, it keeps the loop for two seconds; in the first of them the trial reports (or says nothing)."""

    def __init__(self, executor: Queue, says: bool) -> None:
        self.executor, self.says = executor, says

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        if self.says:
            self.executor.messages.append(ev.Reported(trial.number, 0, 1, {"loss": 1.0, "training_iteration": 1}))
        Clock.time += 2.0


def train(config: dict[str, Any]) -> None:
    """The executor makes it all up."""


@pytest.mark.parametrize(
    ("limit", "says", "told"),
    [
        ("max_silence_s", True, [("continue",)]),  # it was not silent
        ("max_silence_s", False, [("kill", "silent")]),
        ("max_trial_s", True, [("continue",), ("kill", "timeout")]),  # too long, but what it has reported counts
        ("time_budget_s", True, [("stop",), ("stop",)]),  # the answer to that report is not "go on"
    ],
)
def test_what_came_in_time_counts(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, limit: str, says: bool, told: list[tuple[str, ...]]
) -> None:
    monkeypatch.setattr(execute, "SystemClock", Clock)
    executor = Queue()
    settings: dict[str, Any] = {limit: 1.0, "raise_on_failed_trial": False}
    busy = [Busy(executor, says)]
    analysis = tune.run(train, storage_path=tmp_path, verbose=0, executor=executor, callbacks=busy, loggers=(), **settings)
    assert executor.told == told
    rows = len(next(iter(analysis.trial_dataframes.values()), []))
    assert rows == (says and limit != "time_budget_s")  # what a trial reports after it was told to end does not count
