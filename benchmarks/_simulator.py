"""Workers, trials and a clock in virtual time, small enough to be read at a glance: what the peers' schedulers are driven with.

Needs the standard library only (and numpy to read a file of curves), so that it runs in any peer's environment.

Starting, pausing and resuming a trial take no time; a paused trial goes on where it was.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

__all__ = ["CONTINUE", "PAUSE", "STOP", "Curves", "Limits", "Peer", "Run", "rows", "simulate"]

CONTINUE, PAUSE, STOP = "CONTINUE", "PAUSE", "STOP"


@dataclass(frozen=True, slots=True)
class Curves:
    """What configurations would report: [row][iteration - 1].

    Args:
        loss: the smaller the better.
        seconds: of each iteration.
    """

    loss: Sequence[Sequence[float]]
    seconds: Sequence[Sequence[float]]

    @classmethod
    def load(cls, path: str) -> Curves:
        """From a file that has both as arrays."""
        import numpy as np

        with np.load(path) as file:
            return cls(file["loss"].tolist(), file["seconds"].tolist())


def rows(seed: int, total: int) -> Iterator[int]:
    """Which configuration each trial has, without end: all of them in random order, then all again in another."""
    for lap in count():
        order = list(range(total))
        random.Random(f"{seed}|{lap}").shuffle(order)
        yield from order


class Peer:
    """A scheduler, as the simulator sees it. Trials are numbered from 0 as they are drawn.

    Attributes:
        ahead: how many trials are drawn before there is a slot for them.
    """

    ahead = 0

    def choose(self) -> int | None:
        """A slot is free: the trial to start or resume; None: the one that has waited longest, or a new one."""
        return None

    def add(self, trial: int) -> None:
        """A trial was drawn."""

    def result(self, trial: int, iteration: int, loss: float) -> str:
        """A running trial reported: CONTINUE, PAUSE or STOP."""
        raise NotImplementedError

    def over(self, trial: int, iteration: int, loss: float) -> None:
        """A trial has ended: it was told to stop, or was through."""

    def dropped(self) -> list[int]:
        """Paused or waiting trials that it has given up since it was asked last."""
        return []

    def closed(self) -> None:
        """No more trials are drawn; told once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a simulation ends.

    Args:
        workers: trials at once.
        samples: trials to draw; None: without end.
        horizon: seconds after which nothing counts.
        target: a loss that is to be reached; -inf: none.
        least: seconds that it goes on even if the target was reached.
    """

    workers: int
    samples: int | None = None
    horizon: float = math.inf
    target: float = -math.inf
    least: float = math.inf


@dataclass(slots=True)
class Run:
    """What came of a simulation.

    Args:
        best: (seconds, loss) whenever a loss was reported that was smaller than all before.
        seconds: when the last report came.
        busy: seconds that workers worked, all together.
        trials: drawn.
        reports: of all trials.
    """

    best: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    busy: float = 0.0
    trials: int = 0
    reports: int = 0

    def seen(self, seconds: float, loss: float) -> None:
        """A report."""
        self.seconds = seconds
        self.reports += 1
        if not self.best or loss < self.best[-1][1]:
            self.best.append((seconds, loss))

    def done(self, limits: Limits) -> bool:
        """The target was reached, and it need not go on."""
        return bool(self.best) and self.best[-1][1] <= limits.target and self.seconds >= limits.least

    def reached(self, loss: float) -> float:
        """When there was first a loss as small as that; inf: never."""
        return next((seconds for seconds, found in self.best if found <= loss), math.inf)

    def at(self, seconds: float) -> float:
        """The smallest loss until then; inf: none yet."""
        return min((found for when, found in self.best if when <= seconds), default=math.inf)


def simulate(peer: Peer, curves: Curves, draw: Iterator[int], limits: Limits) -> Run:
    """Play one search.

    Args:
        peer: decides.
        curves: what trials report.
        draw: the configuration of each trial.
        limits: when it ends, besides that nothing is left to do.
    """
    run = Run()
    state = _State(peer, curves, draw, limits)
    while True:
        state.fill()
        if not state.events:
            break
        now, _, trial = heapq.heappop(state.events)
        if now > limits.horizon:
            run.seconds = limits.horizon
            break
        run.busy += state.spent(trial)
        run.seen(now, state.report(now, trial))
        if run.done(limits):
            break
    run.trials = len(state.rows)
    return run


@dataclass(slots=True)
class _State:
    peer: Peer
    curves: Curves
    draw: Iterator[int]
    limits: Limits
    now: float = 0.0
    events: list[tuple[float, int, int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    waiting: deque[int] = field(default_factory=deque)
    order: Iterator[int] = field(default_factory=count)
    closed: bool = False

    def fill(self) -> None:
        """Give every free slot a trial, as long as there is one."""
        while len(self.events) < self.limits.workers:
            self.add(self.peer.ahead)
            trial = self.peer.choose()
            for other in self.peer.dropped():
                self.forget(other)
            if trial is None:
                self.add(1)
                if not self.waiting:
                    return
                trial = self.waiting[0]
            self.forget(trial)
            curve = self.curves.loss[self.rows[trial]]
            if self.iterations[trial] == len(curve):  # it was paused at its last report
                self.peer.over(trial, len(curve), curve[-1])
            else:
                self.work(trial)

    def add(self, wanted: int) -> None:
        while len(self.waiting) < wanted and (self.limits.samples is None or len(self.rows) < self.limits.samples):
            self.rows.append(next(self.draw))
            self.iterations.append(0)
            self.waiting.append(len(self.rows) - 1)
            self.peer.add(len(self.rows) - 1)
        if len(self.rows) == self.limits.samples and not self.closed:
            self.closed = True
            self.peer.closed()

    def forget(self, trial: int) -> None:
        if trial in self.waiting:
            self.waiting.remove(trial)

    def work(self, trial: int) -> None:
        heapq.heappush(self.events, (self.now + self.curves.seconds[self.rows[trial]][self.iterations[trial]], next(self.order), trial))

    def spent(self, trial: int) -> float:
        """How long the iteration took that is just over."""
        return self.curves.seconds[self.rows[trial]][self.iterations[trial]]

    def report(self, now: float, trial: int) -> float:
        """A trial is through an iteration: what the peer decides is done. Returns the loss."""
        self.now = now
        curve = self.curves.loss[self.rows[trial]]
        loss = curve[self.iterations[trial]]
        self.iterations[trial] += 1
        decision = self.peer.result(trial, self.iterations[trial], loss)
        for other in self.peer.dropped():
            self.forget(other)
        if decision == CONTINUE and self.iterations[trial] < len(curve):
            self.work(trial)
        elif decision != PAUSE:
            self.peer.over(trial, self.iterations[trial], loss)
        return loss
