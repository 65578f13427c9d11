"""What a simulation has in the place of a clock, of a disk and of processes."""

from __future__ import annotations

import copy
from heapq import heapify, heappop, heappush
from typing import Any, Generic, TypeVar

__all__ = ["VirtualClock", "VirtualStore", "Workers"]

Who = TypeVar("Who")


class VirtualClock:
    """Seconds since the simulation began; they pass when they are told to.

    Example:
        >>> clock = VirtualClock()
        >>> clock.advance(2.5)
        >>> clock.advance(1.0)  # it never goes back
        >>> clock.now()
        2.5
    """

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        return self._now

    def wall(self) -> float:
        """The same: a simulation begins at the epoch."""
        return self._now

    def advance(self, at: float) -> None:
        """It is ``at`` now, if it was earlier."""
        if at > self._now:
            self._now = at


class VirtualStore:
    """Checkpoints without files: the memory of trials by the checkpoint's id, where they have any."""

    def __init__(self) -> None:
        self._memories: dict[str, dict[str, Any]] = {}
        self._next: dict[int, int] = {}

    def save(self, trial: int, memory: dict[str, Any]) -> str:
        """The new checkpoint's id."""
        index = self._next.get(trial, 0)
        self._next[trial] = index + 1
        checkpoint = f"{trial}/checkpoint_{index:06d}"
        if memory:
            self._memories[checkpoint] = copy.deepcopy(memory)
        return checkpoint

    def load(self, checkpoint: str | None) -> dict[str, Any]:
        """A copy of the memory in it; empty without one."""
        return copy.deepcopy(self._memories.get(checkpoint, {})) if checkpoint is not None else {}

    def path(self, checkpoint: str) -> str:
        """There are no files; its id."""
        return checkpoint

    def delete(self, checkpoint: str) -> None:
        """Nobody needs it any more."""
        self._memories.pop(checkpoint, None)

    def close(self) -> None:
        """Nothing is under way."""


class Workers(Generic[Who]):
    """Who is on which worker; the free one with the lowest number is the next.

    Args:
        clock: the simulation's.

    Attributes:
        busy_s: seconds for which workers had somebody, all together, those included that have been left.
        down: numbers of those that are away.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.busy_s = 0.0
        self.down: set[int] = set()
        self._clock = clock
        self._free: list[int] = []
        self._count = 0  # those with lower numbers are taken, free, or down
        self._on: dict[int, tuple[Who, float]] = {}

    def take(self, who: Who) -> int:
        """Number of the worker that ``who`` has from now on."""
        if self._free:
            worker = heappop(self._free)
        else:
            worker = self._count
            self._count += 1
        self._on[worker] = who, self._clock.now()
        return worker

    def leave(self, worker: int) -> None:
        """It is free again; nothing happens if nobody is on it."""
        if worker in self._on:
            self.busy_s += self._clock.now() - self._on.pop(worker)[1]
            if worker not in self.down:
                heappush(self._free, worker)

    def on(self, worker: int) -> Who | None:
        """Who is on it."""
        found = self._on.get(worker)
        return None if found is None else found[0]

    def lose(self, worker: int) -> None:
        """Nobody gets it until :meth:`give_back`; who is on it has to leave."""
        while self._count <= worker:
            heappush(self._free, self._count)
            self._count += 1
        if worker in self._free:
            self._free.remove(worker)
            heapify(self._free)
        self.down.add(worker)

    def give_back(self, worker: int) -> None:
        """It is there again."""
        self.down.discard(worker)
        if worker not in self._on:
            heappush(self._free, worker)

    def close(self) -> None:
        """Everybody leaves."""
        for worker in [*self._on]:
            self.leave(worker)
