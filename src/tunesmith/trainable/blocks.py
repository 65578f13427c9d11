"""Where a script writes its ``checkpoint_dir`` blocks: before the report that their state belongs to, or after it."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Blocks"]


class Blocks:
    """Tells where blocks stand, by the steps they are given. A script has them in one place, so the first one tells for all.

    After n reports a script that counts from 0 saves step n before the next report or n - 1 after the last one; if it counts from 1,
    n + 1 or n. Step n may thus be either. It is taken for the latter until there is a second block: of every k-th step the first one
    that is saved is k - 1 if they count from 0.

    Args:
        noted: :attr:`noted` of an earlier attempt of the trial.

    Example:
        >>> blocks = Blocks()
        >>> blocks.stand_before(1, 1, fresh=False), blocks.stand_before(2, 2, fresh=False)  # after the first and the second report
        (False, False)
        >>> blocks.noted
        'after'
    """

    def __init__(self, noted: str = "") -> None:
        self._place = noted
        self._doubt: float | None = None  # the step of the first block, if it may stand elsewhere

    @property
    def noted(self) -> str:
        """What later attempts should know: "before", "after", or "" for nothing."""
        return self._place if self._doubt is None else ""

    def stand_before(self, step: Any, reports: int, fresh: bool) -> bool:
        """Whether this block belongs to the report after it; else to the one before it.

        Args:
            step: what the script calls it.
            reports: the trial's, so far.
            fresh: the attempt has not reported yet.
        """
        number = _number(step)
        if not self._place:
            self._place = "before" if fresh or number > reports else "after"
            self._doubt = number if self._place == "after" and number == reports else None
        elif self._doubt is not None:
            if number - self._doubt == self._doubt + 1:
                self._place = "before"
            self._doubt = None
        return self._place == "before"


def _number(step: Any) -> float:
    """A step as a number; what is none compares as such."""
    try:
        return float(step)
    except (TypeError, ValueError):
        return math.nan
