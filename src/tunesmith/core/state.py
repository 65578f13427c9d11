"""The state that the controller folds events into, and the commands that it owes.

Everything here is plain data. Nothing grows with the number of ended trials but one byte each.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core import commands as cmd
from tunesmith.core.placement import Pool, Request, request_of
from tunesmith.core.policy import Breaker
from tunesmith.core.settings import Settings
from tunesmith.core.shelf import Shelf
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED, Trial

__all__ = ["State"]

_CODES = {TERMINATED: 1, ERROR: 2}


@dataclass(slots=True)
class State:
    """Everything that decisions depend on, but for the scheduler's own state.

    Args:
        session: -1 before the first ``ExperimentStarted``; ``ready``: this session's capacity is known, so trials may be started.
        only: this session is about some trials only, and draws no new ones; ``skipped``: live ones that it leaves as they are.
        space: version of the search space: 0, and one more with each change of it. Whatever is suggested belongs to the newest.
        trials: the live ones by number; ``ended``: one byte per number (0 live, 1 TERMINATED, 2 ERROR).
        running: numbers that hold resources; ``paused``: numbers in order of pausing; ``warm``: those of
            them whose attempt still exists, blocked in ``report`` or unwinding; ``held``: those that a person paused,
            and only a person or the next session resumes; ``woken``: those that a person wants resumed next; ``lost``: PENDING ones that
            ran when the last driver died, which go on before others, as they would have.
        kinds: how many of the paused ask for each request.
        queues: for each request, a heap of pending numbers that are ready; stale entries are skipped when met.
        room: how many attempts may be held warm for all that this session's executor has said; None: it has not.
        asked: suggestions asked for and not answered; ``drawn``: no more will be, and the scheduler has been told.
        stopping: why the experiment is ending ("" while it is not); ``kind``: stop, budget, breaker, fail_fast, unplaceable, metric, drain.
        unseen: objectives that no trial has reported yet.
        pins: checkpoint id -> how many need it; ``doomed``: superfluous ones that are still pinned.
        shelf: checkpoints of the whole experiment.
        out: commands of the event in hand.
    """

    settings: Settings = field(default_factory=Settings)
    session: int = -1
    ready: bool = False
    only: bool = False
    skipped: set[int] = field(default_factory=set)
    now: float = 0.0
    space: int = 0
    trials: dict[int, Trial] = field(default_factory=dict)
    ended: bytearray = field(default_factory=bytearray)
    running: set[int] = field(default_factory=set)
    paused: dict[int, None] = field(default_factory=dict)
    warm: set[int] = field(default_factory=set)
    held: set[int] = field(default_factory=set)
    woken: dict[int, None] = field(default_factory=dict)
    lost: dict[int, None] = field(default_factory=dict)
    kinds: dict[Request, int] = field(default_factory=dict)
    queues: dict[Request, list[int]] = field(default_factory=dict)
    pool: Pool = field(default_factory=Pool)
    slots: int | None = None
    room: int | None = None
    default_request: Request = ()
    asked: int = 0
    drawn: bool = False
    infeasible: int = 0
    exhausted: str = ""
    stopping: str = ""
    kind: str = ""
    finished: str = ""
    unseen: set[str] = field(default_factory=set)
    breaker: Breaker = field(default_factory=Breaker)
    timers: dict[str, float] = field(default_factory=dict)
    pins: dict[str, int] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    shelf: Shelf = field(default_factory=Shelf)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys((PENDING, RUNNING, PAUSED, TERMINATED, ERROR), 0))
    late: int = 0
    out: list[cmd.Command] = field(default_factory=list)

    # -- trials ----------------------------------------------------------------------------------------------------------

    @property
    def next_number(self) -> int:
        """The number that the next suggestion gets."""
        return len(self.ended)

    def add(self, number: int, values: dict[str, Any], resources: dict[str, float] | None) -> Trial:
        """A new PENDING trial."""
        self.ended.append(0)
        return self.revive(number, values, resources)

    def revive(self, number: int, values: dict[str, Any], resources: dict[str, float] | None) -> Trial:
        """A PENDING trial in the place of a number; ``resources`` None: the experiment's default."""
        if resources is None:
            wanted, request = self.settings.resources, self.default_request
        else:
            wanted, request = resources, request_of(resources)
        trial = Trial(number, values, wanted, request, space=self.space)
        self.ended[number] = 0
        self.trials[number] = trial
        self.counts[PENDING] += 1
        return trial

    def move(self, trial: Trial, status: str) -> None:
        """Change a live trial's status and the counts."""
        self.counts[trial.status] -= 1
        self.counts[status] += 1
        self.lost.pop(trial.number, None)
        if trial.status == PAUSED:
            del self.paused[trial.number]
            self.woken.pop(trial.number, None)
            self._count(trial.request, -1)
        if status == PAUSED:
            self.paused[trial.number] = None
            self._count(trial.request, 1)
        trial.status = status

    def resize(self, trial: Trial, resources: dict[str, float]) -> None:
        """The trial, which holds nothing now, takes this from its next attempt on. If it waits it is to be enqueued again."""
        if trial.first is None:
            trial.first = trial.resources
        before, trial.resources, trial.request = trial.request, resources, request_of(resources)
        if trial.status == PAUSED:
            self._count(before, -1)
            self._count(trial.request, 1)

    def _count(self, request: Request, step: int) -> None:
        """So many more of the paused ask for this."""
        self.kinds[request] = self.kinds.get(request, 0) + step
        if not self.kinds[request]:
            del self.kinds[request]

    def retire(self, trial: Trial, status: str) -> None:
        """The trial is over: only its status stays."""
        self.move(trial, status)
        self.held.discard(trial.number)
        self.ended[trial.number] = _CODES[status]
        del self.trials[trial.number]

    def enqueue(self, trial: Trial) -> None:
        """A PENDING trial is ready to be launched."""
        heapq.heappush(self.queues.setdefault(trial.request, []), trial.number)

    def heads(self) -> list[Trial]:
        """The first pending trial of each kind of request that fits now, in order of number."""
        found = []
        empty = []
        for request, heap in self.queues.items():
            while heap and not self._ready(heap[0], request):
                heapq.heappop(heap)
            if not heap:
                empty.append(request)
            elif self.pool.fits(request):
                found.append(self.trials[heap[0]])
        for request in empty:
            del self.queues[request]
        return found if len(found) < 2 else sorted(found, key=lambda trial: trial.number)

    def _ready(self, number: int, request: Request) -> bool:
        trial = self.trials.get(number)
        if trial is None or number in self.skipped:
            return False
        return trial.status == PENDING and trial.exploit is None and trial.request == request

    # -- resources, pins, timers -----------------------------------------------------------------------------------------

    def hold(self, trial: Trial) -> None:
        """Take what the trial needs."""
        trial.gpus = self.pool.take(trial.request)
        trial.holds = True
        self.running.add(trial.number)

    def release(self, trial: Trial) -> None:
        """Give back what the trial holds."""
        if trial.holds:
            self.pool.give(trial.request, trial.gpus)
            trial.holds = False
            trial.gpus = ()
            self.running.discard(trial.number)

    def pin(self, checkpoint: str) -> None:
        """Something needs this checkpoint."""
        self.pins[checkpoint] = self.pins.get(checkpoint, 0) + 1

    def unpin(self, checkpoint: str) -> None:
        """It needs it no longer; a doomed one goes when nobody does."""
        left = self.pins.get(checkpoint, 0) - 1
        if left > 0:
            self.pins[checkpoint] = left
            return
        self.pins.pop(checkpoint, None)
        self.shelf.freed = True
        if checkpoint in self.doomed:
            self.doomed.discard(checkpoint)
            self.out.append(cmd.DeleteCheckpoint(checkpoint))

    def doom(self, checkpoint: str) -> None:
        """Superfluous: delete it now, or when the last pin goes."""
        if self.pins.get(checkpoint):
            self.doomed.add(checkpoint)
        else:
            self.out.append(cmd.DeleteCheckpoint(checkpoint))

    def arm(self, timer: str, at: float) -> None:
        """Set a timer."""
        self.timers[timer] = at
        self.out.append(cmd.SetTimer(timer, at))

    def disarm(self, timer: str) -> None:
        """Cancel a timer, if it is set."""
        if self.timers.pop(timer, None) is not None:
            self.out.append(cmd.SetTimer(timer, None))

    def exploring(self) -> list[int]:
        """Trials whose new values were asked for and are not there, by number. Nothing is asked for while the experiment ends."""
        if self.stopping:
            return []
        waiting = [number for number, trial in self.trials.items() if trial.exploit is not None and trial.exploit.values is None]
        return [number for number in waiting if number not in self.skipped]

    def waiting(self) -> list[Trial]:
        """The PENDING trials that this session is about."""
        return [trial for trial in self.trials.values() if trial.status == PENDING and trial.number not in self.skipped]

    def first_paused(self) -> Trial | None:
        """Of the paused trials that this session is about the one that was paused first."""
        return next((self.trials[number] for number in self.paused if number not in self.skipped), None)

    # -- what is owed ----------------------------------------------------------------------------------------------------

    def launch_command(self, trial: Trial) -> cmd.Launch:
        """The ``Launch`` of the trial's present attempt."""
        start = trial.restore
        return cmd.Launch(
            trial.number,
            trial.attempt,
            trial.values,
            start.id if start else None,
            start.iteration if start else 0,
            start.time_total if start else 0.0,
            trial.resources,
            trial.gpus,
            trial.space,
        )

    def explore_command(self, trial: Trial) -> cmd.Explore:
        """The ``Explore`` for the trial's exploit."""
        exploit = trial.exploit
        assert exploit is not None
        return cmd.Explore(trial.number, exploit.source, exploit.data["source_values"], exploit.data, exploit.space, exploit.number)

    def owed(self, trial: Trial) -> cmd.Command | None:
        """The last command sent for the trial's attempt, if no event has confirmed it."""
        number, attempt, owed = trial.number, trial.attempt, trial.owed
        if owed == "launch":
            return self.launch_command(trial)
        if owed == "continue":
            return cmd.Continue(number, attempt)
        if owed in ("warm", "cold", "rerun"):
            return cmd.Pause(number, attempt, owed)
        if owed.startswith("stop"):
            return cmd.Stop(number, attempt, save=owed == "stop+save")
        if owed.startswith("kill:"):
            return cmd.Kill(number, attempt, owed[5:])
        return None

    def say_again(self, trial: Trial) -> None:
        """Repeat what the trial's attempt was told last."""
        command = self.owed(trial)
        if command is not None:
            self.out.append(command)

    def wanted(self) -> Iterator[cmd.Command]:
        """Every command that no event has confirmed yet, derived from the state alone."""
        for trial in self.trials.values():
            command = self.owed(trial)
            if command is not None:
                yield command
            if trial.saving:
                yield cmd.Save(trial.number, trial.attempt)
        for number in self.exploring():
            yield self.explore_command(self.trials[number])
        if self.asked:
            yield cmd.Suggest(self.asked, self.next_number)
        for timer, at in self.timers.items():
            yield cmd.SetTimer(timer, at)
        if self.finished:
            yield cmd.Finish(self.finished)

    def digest(self, *more: object) -> str:
        """A hash of all of it (but the clock and the count of late events), and of ``more``: equal states, equal digests."""
        trials = [repr(self.trials[number]) for number in sorted(self.trials)]
        queues = sorted((request, sorted(n for n in set(heap) if self._ready(n, request))) for request, heap in self.queues.items())
        parts = (
            self.settings, self.session, self.space, self.ready, self.only, sorted(self.skipped), trials, bytes(self.ended),
            sorted(self.running), list(self.paused), sorted(self.warm), sorted(self.held), list(self.woken), list(self.lost),
            sorted(self.kinds.items()), [pair for pair in queues if pair[1]], self.pool.totals, sorted(self.pool.used.items()),
            self.pool.cards, sorted(self.pool.out), self.slots, self.room, self.asked, self.drawn, self.infeasible, self.exhausted,
            self.stopping, self.kind, self.finished, sorted(self.unseen), self.breaker, sorted(self.timers.items()),
            sorted(self.pins.items()), sorted(self.doomed), sorted(self.counts.items()), self.shelf.digest(), more,
        )  # fmt: skip
        return hashlib.blake2b(repr(parts).encode(), digest_size=16).hexdigest()
