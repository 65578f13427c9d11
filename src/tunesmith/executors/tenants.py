"""Which processes are still on which GPU cards, and which attempts wait until they are off them."""

from __future__ import annotations

from collections.abc import Iterable

from tunesmith.executors.base import Assignment
from tunesmith.executors.process import Process

__all__ = ["Tenants"]


class Tenants:
    """Workers that were sent away or are gone, as long as their cards are not known to be clean."""

    def __init__(self) -> None:
        self._clearing: dict[int, Process] = {}  # gone, but what they had is being looked at
        self._waiting: list[tuple[Assignment, bytes]] = []

    def held(self, assignment: Assignment, processes: Iterable[Process]) -> bool:
        """Whether one of those of ``processes`` that were sent away, or what is left of one that is gone, is still on its cards."""
        wanted = {card for card, _ in assignment.gpus}
        leaving = [process for process in processes if process.dismissed] if wanted else ()
        return bool(wanted) and any(wanted & process.cards for process in [*leaving, *self._clearing.values()])

    def wait(self, assignment: Assignment, config: bytes) -> None:
        """It can't begin yet."""
        self._waiting.append((assignment, config))

    def withdraw(self, trial: int, attempt: int) -> bool:
        """Whether the attempt waited; it does not any more."""
        found = [one for one in self._waiting if (one[0].trial, one[0].attempt) == (trial, attempt)]
        self._waiting = [one for one in self._waiting if one not in found]
        return bool(found)

    def leave(self, process: Process) -> None:
        """It is gone, and its cards are being looked at."""
        self._clearing[process.number] = process

    def cleared(self, process: Process, processes: Iterable[Process]) -> list[tuple[Assignment, bytes]]:
        """Its cards are clean (or given up): what can begin now, with the configurations, in the order of waiting."""
        del self._clearing[process.number]
        processes = list(processes)
        blocked = [one for one in self._waiting if self.held(one[0], processes)]
        begin = [one for one in self._waiting if one not in blocked]
        self._waiting = blocked
        return begin

    def clear(self) -> None:
        """Nobody waits any more."""
        self._clearing.clear()
        self._waiting.clear()
