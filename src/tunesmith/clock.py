"""The clock of a running experiment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["SystemClock"]


@dataclass(slots=True)
class SystemClock:
    """The experiment's clock: monotonic, and continued from ``start`` (the last record's time)."""

    start: float = 0.0
    _zero: float = field(default_factory=time.monotonic)

    def now(self) -> float:
        """Seconds of the experiment."""
        return self.start + time.monotonic() - self._zero

    def wall(self) -> float:
        """Seconds since the epoch, for showing only."""
        return time.time()
