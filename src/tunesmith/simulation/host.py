"""The searcher's host in virtual time: it is called in the loop, and what it takes is charged to the clock if that is asked for."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tunesmith.core.events import SearchExhausted, Suggested
from tunesmith.core.ports import Clock
from tunesmith.search.host import SearchHost

__all__ = ["VirtualHost"]


class VirtualHost(SearchHost):
    """Asks a searcher at once, and gives its answers when they are due.

    Args:
        clock: the simulation's.
        charge: seconds that it thinks for each suggestion; True: as long as it really takes, for everything that it is called for. It
            has one thought after the other, and trials go on meanwhile.
        later: makes the loop come back at that second.
        timer: gives real seconds.
        given: as for :class:`SearchHost`.
    """

    def __init__(
        self,
        *given: Any,
        clock: Clock,
        charge: bool | float,
        later: Callable[[float], None],
        timer: Callable[[], float] = time.perf_counter,
        **more: Any,
    ) -> None:
        self._clock = clock
        self._charge = charge
        self._later = later
        self._timer = timer
        self._free_at = 0.0  # when it has done what it was asked for so far
        self._due: deque[float] = deque()  # of the answers that are ready
        super().__init__(*given, threaded=False, **more)

    def poll(self) -> list[Suggested | SearchExhausted]:
        """Answers that are due, in the order of the trials."""
        if not self._ready:
            return []
        if not self._due or self._due[-1] <= self._clock.now():
            self._due.clear()
            return super().poll()
        now = self._clock.now()
        held: deque[Any] = deque()
        times: deque[float] = deque()
        while self._due and self._due[-1] > now:
            held.appendleft(self._ready.pop())
            times.appendleft(self._due.pop())
        found = super().poll()
        self._ready, self._due = held, times
        return found

    def _submit(self, job: Callable[[], None]) -> None:
        if self._charge is False:
            super()._submit(job)
            return
        began = self._timer()
        super()._submit(job)
        spent = self._timer() - began if self._charge is True else 0.0
        self._free_at = max(self._free_at, self._clock.now()) + spent
        while len(self._due) < len(self._ready):
            if self._charge is not True:
                self._free_at += self._charge
            self._due.append(self._free_at)
            self._later(self._free_at)
