"""A script for the controller: events are written one by one, and invariants are checked after each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.controller import Controller
from tunesmith.core.invariants import check
from tunesmith.core.placement import UNIT
from tunesmith.core.ports import Record, TrialView
from tunesmith.core.state import State
from tunesmith.core.trial import Trial
from tunesmith.schedulers.base import Scheduler


class Told(Scheduler):
    """Does what the test wrote down: ``says[trial, iteration]``, ``chosen(runnable)``; remembers what it was shown."""

    def __init__(self, says: Mapping[tuple[int, int], Any] | None = None, *, chosen: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.says = dict(says or {})
        self.at_end: dict[int, Any] = {}
        self.at_add: dict[int, Any] = {}
        self.chosen = chosen
        self.shown: list[tuple[int, int]] = []
        self.ended: list[tuple[int, str]] = []

    def on_trial_add(self, trial: TrialView) -> Any:
        return self.at_add.get(trial.number)

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
        self.shown.append((trial.number, trial.iteration))
        return self.says.get((trial.number, trial.iteration), self.CONTINUE)

    def on_trial_end(self, trial: TrialView, outcome: str) -> Any:
        self.ended.append((trial.number, outcome))
        return self.at_end.get(trial.number)

    def choose(self, runnable: Any) -> Any:
        return self.chosen(runnable) if self.chosen is not None else super().choose(runnable)


def never(runnable: Any) -> None:
    """A ``choose`` that resumes nobody, but takes whoever waits."""
    return runnable.pending[0] if runnable.pending else None


class Script:
    """One experiment, told event by event."""

    def __init__(
        self, scheduler: Scheduler | None = None, totals: Mapping[str, float] | None = None, slots: int | None = None, **spec: Any
    ) -> None:
        self.scheduler = scheduler or Told()
        self.controller = Controller(self.scheduler)
        self.totals = {"cpu": 2.0} if totals is None else dict(totals)
        self.slots = slots
        self.shrunk = False
        self.takes_pending = True
        self.now = 0.0
        self.decisions: list[Decision] = []
        self.records: list[Record] = []
        self.feed(ev.ExperimentStarted({"num_samples": 1, **spec}))
        self.commands = self.feed(ev.CapacityChanged(self.totals, slots))

    @property
    def state(self) -> State:
        return self.controller.state

    def trial(self, number: int) -> Trial:
        return self.state.trials[number]

    def status(self, number: int) -> str:
        code = self.state.ended[number]
        return ("", "TERMINATED", "ERROR")[code] or self.state.trials[number].status

    def feed(self, event: ev.Event, after: float = 0.0) -> list[cmd.Command]:
        """Handle an event; the commands. What was decided is in ``decisions``."""
        self.now += after
        event.at = self.now
        late = self.state.late
        if isinstance(event, ev.CapacityChanged):
            before = self.state.pool.totals.items()
            self.shrunk = self.shrunk or bool(event.out) or any(event.totals.get(name, 0) < amount / UNIT for name, amount in before)
        self.decisions, self.commands = self.controller.handle(event)
        if self.state.late == late:
            self.records.append(Record(event, self.decisions))
        check(self.controller, shrunk=self.shrunk, takes_pending=self.takes_pending)
        return self.commands

    def did(self) -> list[tuple[str, int | None]]:
        """What the last event led to."""
        return [(decision.do, decision.trial) for decision in self.decisions]

    def reason(self, do: str) -> str:
        return next(decision.reason for decision in self.decisions if decision.do == do)

    # -- what happens ----------------------------------------------------------------------------------------------------

    def suggest(self, values: dict[str, Any] | None = None, resources: dict[str, float] | None = None) -> list[cmd.Command]:
        number = self.state.next_number
        return self.feed(ev.Suggested(number, values or {"x": number / 10}, "test", resources))

    def begin(self, count: int = 1, resources: dict[str, float] | None = None) -> None:
        """``count`` more trials are suggested and run."""
        for _ in range(count):
            number = self.state.next_number
            self.suggest(resources=resources)
            self.started(number)

    def started(self, trial: int) -> list[cmd.Command]:
        return self.feed(ev.AttemptStarted(trial, self.trial(trial).attempt))

    def report(self, trial: int, checkpoint: str | None = None, verdict: str | None = None, **metrics: Any) -> list[cmd.Command]:
        """The trial's next report; ``loss`` is there unless another metric is given."""
        one = self.trial(trial)
        iteration = one.iteration + 1
        values = {**(metrics or {"loss": 1.0 / iteration}), "training_iteration": iteration, "time_total_s": float(iteration)}
        return self.feed(ev.Reported(trial, one.attempt, iteration, values, checkpoint, verdict))

    def saved(self, trial: int, checkpoint: str) -> list[cmd.Command]:
        one = self.trial(trial)
        return self.feed(ev.CheckpointSaved(trial, one.attempt, one.iteration, checkpoint))

    def end(self, trial: int, outcome: str = "finished", error: dict[str, str] | None = None) -> list[cmd.Command]:
        return self.feed(ev.AttemptEnded(trial, self.trial(trial).attempt, outcome, error))

    def fire(self, timer: str) -> list[cmd.Command]:
        """The timer is due now."""
        self.now = max(self.now, self.state.timers[timer])
        return self.feed(ev.TimerFired(timer))

    def resume(self, totals: Mapping[str, float] | None = None, **changes: Any) -> list[cmd.Command]:
        """The driver died; another one begins a session."""
        lost = self.controller.alive()
        commands = self.feed(ev.ExperimentStarted({}, self.state.session + 1))
        if changes:
            commands += self.feed(ev.SpecChanged(changes))
        for trial, attempt in lost:
            commands += self.feed(ev.AttemptEnded(trial, attempt, "driver_lost"))
        return commands + self.feed(ev.CapacityChanged(dict(totals or self.totals), self.slots))


@pytest.fixture
def script() -> type[Script]:
    return Script


@pytest.fixture
def told() -> type[Told]:
    return Told


@pytest.fixture
def takes_waiting_only() -> Callable[[Any], Any]:
    return never
