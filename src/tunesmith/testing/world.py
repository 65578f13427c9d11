"""A tiny world for the controller: searcher, workers, timers and people in virtual time. No clock, no threads; same seed, same story.

:class:`World` takes commands and makes events, with seeded delays and fates; hostile ones repeat themselves, come late, get lost.
:class:`~tunesmith.testing.loop.Loop` plays an experiment in it.

Example:
    >>> world = World(seed=1)
    >>> world.obey(cmd.Suggest(1, 0))
    >>> world.next().trial
    0
"""

from __future__ import annotations

import copy
import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.policy import FAILURES
from tunesmith.core.rng import stream
from tunesmith.schedulers.base import Exploration, Mutated
from tunesmith.space import Space, uniform

__all__ = ["Fates", "World", "falling_loss", "nudge"]

Metrics = Callable[[Mapping[str, Any], int], Mapping[str, Any]]

_OF_AN_ATTEMPT = (ev.AttemptStarted, ev.Reported, ev.CheckpointSaved, ev.SaveSkipped, ev.AttemptEnded)


def falling_loss(values: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """The usual curve: it falls with the iterations, the lower the smaller ``x`` is."""
    return {"loss": values.get("x", 0.5) + 1.0 / iteration}


def nudge(exploration: Exploration) -> dict[str, Any]:
    """The usual exploration: ``x`` becomes a little smaller."""
    return {**exploration.values, "x": exploration.values.get("x", 0.5) * 0.8}


@dataclass(slots=True)
class Fates:
    """What may happen in a world; probabilities are per attempt or per report.

    Args:
        reports: fewest and most reports of a trial that is left alone.
        checkpoint: a report brings a checkpoint.
        no_room: a checkpoint, asked for or not, is not saved, and the attempt says so.
        failures: outcome -> probability, per report, that the attempt ends so instead.
        unstarted: an attempt is lost before its code runs.
        ask_save: a requested save is answered (a function may never get to it).
        hostile: an event is repeated later, or made again for an older attempt.
        users: a person stops, pauses or resumes some trial, per event; a pause is followed by a resume.
        capacity: it changes to half or back, per event.
        quarantine: a GPU card may not be leased for a while, per event.
        exhausted_after: suggestions that the searcher has; None: no end.
        resources: drawn for each suggestion; (): the experiment's default.
        metrics: (values, iteration) -> metrics of the report.
        lives: what an attempt does depends on how often its trial has failed, and not on the attempt's number: then the death of a driver
            changes nothing about it.
    """

    reports: tuple[int, int] = (1, 6)
    checkpoint: float = 0.0
    no_room: float = 0.0
    failures: Mapping[str, float] = field(default_factory=dict)
    unstarted: float = 0.0
    ask_save: float = 1.0
    hostile: float = 0.0
    users: float = 0.0
    capacity: float = 0.0
    quarantine: float = 0.0
    exhausted_after: int | None = None
    resources: tuple[Mapping[str, float], ...] = ()
    metrics: Metrics = falling_loss
    lives: bool = False


@dataclass(slots=True)
class _Attempt:
    """A worker: ``told`` is what it will do at its present or next report."""

    trial: int
    number: int
    values: Mapping[str, Any]
    iteration: int
    total: int
    blocked: bool = False
    over: bool = False
    told: cmd.Command | None = None
    save: bool = False
    checkpoints: int = 0
    clock: float = 0.0


class World:
    """Obeys commands and makes events.

    Args:
        seed: of everything that the world is free to choose.
        fates: what may happen; None: trials run to their ends.
        totals, slots: what there is to run on.
        timing: a seed of the delays alone; None: ``seed``. What an attempt does never depends on it.
        can_save: attempts write a checkpoint when asked.

    Attributes:
        now: virtual time, seconds.
        deleted: ids of deleted checkpoints; using one of them is an error of the controller.
        launches: all launches so far, in order.
        failed: how often each trial has failed.
        done: the number of reports after which each trial has ended by itself.
        shrunk: the capacity has been smaller at some time.
        quiet: no more mischief.
        explore: answers ``Explore``; a scheduler's own method where it has one.
        space: what the values are drawn from.
    """

    def __init__(
        self,
        seed: int = 0,
        fates: Fates | None = None,
        *,
        totals: Mapping[str, float] | None = None,
        slots: int | None = None,
        timing: int | None = None,
        can_save: bool = True,
    ) -> None:
        self.seed = seed
        self.totals = dict(totals or {"cpu": 2.0})
        self.slots = slots
        self.fates = fates or Fates()
        self.can_save = can_save
        self.chance = random.Random(seed if timing is None else timing)
        self.now = 0.0
        self.deleted: set[str] = set()
        self.launches: list[cmd.Launch] = []
        self.done: dict[int, int] = {}
        self.timers: dict[str, float] = {}
        self.failed: Counter[int] = Counter()
        self.quiet = self.shrunk = False
        self.explore: Callable[[Exploration], Mutated | Mapping[str, Any]] = nudge
        self.space = Space.parse({"x": uniform(0.0, 1.0)})
        self._heap: list[tuple[float, int, ev.Event, _Attempt | None]] = []
        self._count = 0
        self._searched = 0.0
        self._attempts: dict[tuple[int, int], _Attempt] = {}

    # -- events out ------------------------------------------------------------------------------------------------------

    def next(self) -> ev.Event | None:
        """The next thing that happens, stamped; None: nothing ever will."""
        while self._heap:
            at, _, event, attempt = heapq.heappop(self._heap)
            if isinstance(event, ev.TimerFired) and self.timers.get(event.timer) != at:
                continue
            if attempt is not None and isinstance(attempt.told, cmd.Kill) and not isinstance(event, ev.AttemptEnded):
                continue  # it was killed before it could say so
            self.now = max(self.now, at)
            event.at = self.now
            if isinstance(event, ev.TimerFired):
                del self.timers[event.timer]
            if attempt is not None:
                self._happened(event, attempt)
            self._mischief(event)
            return event
        return None

    def send(self, event: ev.Event, delay: float = 0.0) -> None:
        """Let something happen later."""
        self._push(event, self.now + delay)

    def crash(self) -> None:
        """The driver dies: whatever was on its way is gone, and so are all workers."""
        self._heap.clear()
        self._attempts.clear()
        self.timers.clear()

    def _push(self, event: ev.Event, at: float, attempt: _Attempt | None = None) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, event, attempt))

    def _say(self, attempt: _Attempt, event: ev.Event) -> None:
        """A worker sends a message; its messages keep their order."""
        attempt.clock = max(attempt.clock, self.now) + self._delay()
        self._push(event, attempt.clock, attempt)

    def _delay(self) -> float:
        return self.chance.choice((0.0, 0.1, 1.0)) * self.chance.random()

    def _happened(self, event: ev.Event, attempt: _Attempt) -> None:
        """A worker's message arrives."""
        if isinstance(event, ev.Reported):
            attempt.iteration = event.iteration
            attempt.blocked = True
            if attempt.told is not None:
                self._yield_to(attempt)
        elif isinstance(event, ev.AttemptEnded):
            attempt.over = True
            self.failed[attempt.trial] += event.outcome in FAILURES
            if event.outcome == "finished":
                self.done[attempt.trial] = attempt.iteration

    def _mischief(self, event: ev.Event) -> None:
        """What hostile executors, users and clusters add."""
        fates, chance = self.fates, self.chance
        if self.quiet:
            return
        if fates.hostile and chance.random() < fates.hostile and not isinstance(event, (ev.ExperimentStarted, ev.CapacityChanged)):
            again = copy.copy(event)
            if isinstance(event, _OF_AN_ATTEMPT) and chance.random() < 0.5:
                again = replace(event, attempt=event.attempt - 1)
            if not isinstance(event, (ev.UserAction, ev.StopRequested, ev.SpecChanged)):
                self.send(again, self._delay())
        if fates.users and self.launches and chance.random() < fates.users:
            trial = chance.choice(self.launches).trial
            action = chance.choice(("pause", "pause", "resume", "stop"))
            self.send(ev.UserAction(action, trial), self._delay())
            if action == "pause":
                self.send(ev.UserAction("resume", trial), 3.0)
        if fates.capacity and chance.random() < fates.capacity:
            self.shrunk = True
            self.send(ev.CapacityChanged({name: amount // 2 for name, amount in self.totals.items()}, self.slots), self._delay())
            self.send(ev.CapacityChanged(self.totals, self.slots), 2.0)
        if fates.quarantine and chance.random() < fates.quarantine:
            self.shrunk = True
            card = chance.randrange(max(1, int(self.totals.get("gpu", 0))))
            self.send(ev.CapacityChanged(self.totals, self.slots, out=(card,)), self._delay())
            self.send(ev.CapacityChanged(self.totals, self.slots), 2.0)

    # -- commands in -----------------------------------------------------------------------------------------------------

    def obey(self, command: cmd.Command) -> None:
        """Carry out one command."""
        match command:
            case cmd.Suggest(n, first):
                self._suggest(n, first)
            case cmd.Launch():
                self._launch(command)
            case cmd.SetTimer(timer, at):
                self._set_timer(timer, at)
            case cmd.Explore():
                self._explore(command)
            case cmd.DeleteCheckpoint(checkpoint):
                assert checkpoint not in self.deleted, f"{checkpoint} is deleted twice"
                self.deleted.add(checkpoint)
            case cmd.Finish():
                pass
            case _:
                attempt = self._attempts.get((command.trial, command.attempt))
                if attempt is not None and not attempt.over:
                    self._tell(attempt, command)

    def _explore(self, command: cmd.Explore) -> None:
        asked = Exploration(
            command.trial, command.source, command.number, dict(command.values), command.data, self.space, self.seed
        )  # fmt: skip
        answer = self.explore(asked)
        mutated = answer if isinstance(answer, Mutated) else Mutated(dict(answer))
        self.send(ev.Explored(command.trial, mutated.values, exploit=command.number, changes=mutated.changes), self._delay())

    def _suggest(self, n: int, first: int) -> None:
        for number in range(first, first + n):  # a searcher answers in order
            self._searched = max(self._searched, self.now) + self._delay()
            if self.fates.exhausted_after is not None and number >= self.fates.exhausted_after:
                self._push(ev.SearchExhausted(f"the searcher had {self.fates.exhausted_after}"), self._searched)
                return
            draw = stream(self.seed, "suggest", number)
            values = {"x": draw.random()}
            resources = dict(draw.choice(self.fates.resources)) if self.fates.resources else None
            self._push(ev.Suggested(number, values, "world", resources), self._searched)

    def _set_timer(self, timer: str, at: float | None) -> None:
        self.timers.pop(timer, None)
        if at is not None:
            self.timers[timer] = max(at, self.now)
            self._push(ev.TimerFired(timer), self.timers[timer])

    def _launch(self, command: cmd.Launch) -> None:
        key = (command.trial, command.attempt)
        assert key not in self._attempts, f"attempt {key} is launched twice"
        assert not any(one.trial == command.trial and not one.over for one in self._attempts.values()), f"trial {command.trial} runs twice"
        assert command.checkpoint not in self.deleted, f"attempt {key} starts from {command.checkpoint}, which was deleted"
        self.launches.append(command)
        total = stream(self.seed, "reports", command.trial).randint(*self.fates.reports)
        attempt = _Attempt(command.trial, command.attempt, command.values, command.iteration, total)
        self._attempts[key] = attempt
        if self.fates.unstarted and self._draw(attempt, "start").random() < self.fates.unstarted:
            self._end(attempt, "worker_lost")
            return
        self._say(attempt, ev.AttemptStarted(command.trial, command.attempt, {"pid": 1000 + command.trial}))
        self._work(attempt)

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _draw(self, attempt: _Attempt, purpose: str) -> random.Random:
        """A worker's own chance: what it does depends on nothing but itself."""
        life = self.failed[attempt.trial] if self.fates.lives else attempt.number
        return stream(self.seed, f"{purpose}|{life}|{attempt.iteration}", attempt.trial)

    def _work(self, attempt: _Attempt) -> None:
        """The attempt goes on to its next report, or to its end."""
        attempt.blocked = False
        draw = self._draw(attempt, "fate")
        fate = draw.random()
        for outcome, probability in self.fates.failures.items():
            fate -= probability
            if fate < 0:
                self._end(attempt, outcome)
                return
        iteration = attempt.iteration + 1
        if iteration > attempt.total:
            self._end(attempt, "finished")
            return
        checkpoint = self._checkpoint(attempt, iteration) if draw.random() < self.fates.checkpoint else None
        metrics = {**self.fates.metrics(attempt.values, iteration), "training_iteration": iteration, "time_total_s": float(iteration)}
        size = self._size(attempt) if checkpoint is not None else 0
        self._say(attempt, ev.Reported(attempt.trial, attempt.number, iteration, metrics, checkpoint, bytes=size))

    def _checkpoint(self, attempt: _Attempt, iteration: int) -> str | None:
        """Save the state after ``iteration``; None: there was no room."""
        if self.fates.no_room and self._draw(attempt, "room").random() < self.fates.no_room:
            self._say(attempt, ev.SaveSkipped(attempt.trial, attempt.number, iteration, "the world is full"))
            return None
        attempt.checkpoints += 1
        return f"{attempt.trial}/checkpoint_{attempt.number:03d}{attempt.checkpoints:03d}"

    def _size(self, attempt: _Attempt) -> int:
        return self._draw(attempt, "size").randint(1, 100)

    def _end(self, attempt: _Attempt, outcome: str) -> None:
        error = {"type": "ValueError", "message": "bad luck", "where": f"train.py:{attempt.trial}"} if outcome == "user_error" else None
        self._say(attempt, ev.AttemptEnded(attempt.trial, attempt.number, outcome, error))

    def _tell(self, attempt: _Attempt, command: cmd.Command) -> None:
        if isinstance(command, cmd.Save):
            attempt.save = self.can_save and self._draw(attempt, "save").random() < self.fates.ask_save
            if attempt.blocked and attempt.told is None:
                self._save(attempt)
        elif isinstance(command, cmd.Continue):
            if attempt.blocked and not isinstance(attempt.told, (cmd.Stop, cmd.Kill)):
                attempt.told = None
                self._save(attempt)
                self._work(attempt)
        elif isinstance(command, cmd.Kill):
            attempt.told, attempt.over = command, True
            self._end(attempt, command.outcome)
        elif not isinstance(attempt.told, (cmd.Stop, cmd.Kill)):
            attempt.told = command
            if attempt.blocked:
                self._yield_to(attempt)

    def _yield_to(self, attempt: _Attempt) -> None:
        """At its report, the attempt does what it was told: it is held, or ends."""
        told = attempt.told
        if isinstance(told, cmd.Pause) and told.mode == "warm":
            self._save(attempt)
            return
        saves = told.mode == "cold" if isinstance(told, cmd.Pause) else isinstance(told, cmd.Stop) and told.save
        attempt.save = attempt.save or (saves and self.can_save)
        attempt.over = True
        self._save(attempt)
        self._end(attempt, "stopped")

    def _save(self, attempt: _Attempt) -> None:
        """Write a checkpoint if one was asked for."""
        if attempt.save:
            attempt.save = False
            checkpoint = self._checkpoint(attempt, attempt.iteration)
            if checkpoint is not None:
                size = self._size(attempt)
                self._say(attempt, ev.CheckpointSaved(attempt.trial, attempt.number, attempt.iteration, checkpoint, bytes=size))
