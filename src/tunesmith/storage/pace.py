"""When the next round of a mirror is due. Times are seconds of a monotonic clock."""

from __future__ import annotations

import math

__all__ = ["Pace"]

SPACING_S = 5.0
"""Rounds begin at least so far apart, and leave at least as much time between them as one took."""
LONGEST_S = 60.0
"""Between two attempts while storage cannot be reached."""


class Pace:
    """Decides by what has happened.

    Args:
        period_s: what waits to be stored waits no longer than this.
        spacing_s: None: :data:`SPACING_S`.
    """

    def __init__(self, period_s: float, spacing_s: float | None = None) -> None:
        self._period = period_s
        self._spacing = min(SPACING_S if spacing_s is None else spacing_s, period_s)
        self._since = math.inf  # when the oldest news that waits came
        self._urgent = False
        self._not_before = -math.inf
        self._failed = 0

    def news(self, now: float, urgent: bool) -> None:
        """Something is to be stored; ``urgent``: at the next opportunity."""
        self._since = min(self._since, now)
        self._urgent = self._urgent or urgent

    def due(self) -> float:
        """When a round should begin; infinity: there is nothing to do."""
        if self._since == math.inf:
            return math.inf
        return max(self._not_before, self._since if self._urgent or self._failed else self._since + self._period)

    def begins(self) -> None:
        """A round begins, and takes up all the news there is."""
        self._since, self._urgent = math.inf, False

    def ended(self, began: float, now: float) -> None:
        """It has stored everything."""
        self._failed = 0
        self._not_before = now + max(self._spacing, now - began)

    def failed(self, now: float) -> None:
        """It has not: it is tried again, less and less often."""
        self._failed += 1
        self._since = min(self._since, now)
        self._not_before = now + min(LONGEST_S, max(1.0, self._spacing) * 2.0 ** min(self._failed - 1, 10))

    @property
    def troubled(self) -> bool:
        """Whether the last round failed."""
        return self._failed > 0
