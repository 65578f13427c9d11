"""What is to be done with a process if it has not ended by then."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from itertools import count

from tunesmith.executors.process import Process

__all__ = ["Alarms"]


class Alarms:
    """Calls that are due at a moment, unless the process has got another attempt or none by then.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: list[tuple[float, int, Process, int, Callable[[Process], None]]] = []
        self._order = count()

    def set(self, process: Process, seconds: float, act: Callable[[Process], None]) -> None:
        """Call ``act(process)`` in so many seconds."""
        heapq.heappush(self._due, (self._clock() + seconds, next(self._order), process, process.launches, act))

    def patience(self, timeout: float | None) -> float | None:
        """How long the loop may wait, if otherwise it would wait for ``timeout`` (None: for ever)."""
        if not self._due:
            return timeout
        left = max(0.0, self._due[0][0] - self._clock())
        return left if timeout is None else min(timeout, left)

    def ring(self) -> None:
        """Call what is due."""
        while self._due and self._due[0][0] <= self._clock():
            _, _, process, launches, act = heapq.heappop(self._due)
            if process.launches == launches and not process.gone and not process.idle:
                act(process)

    def clear(self) -> None:
        """Nothing is due any more."""
        self._due.clear()
