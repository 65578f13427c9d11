"""The arithmetic that the halving family shares: milestones, bracket sizes, and rungs that remember who came how far with what.

Milestones are computed with whole numbers (or exact fractions of the floats given), never with logarithms: so a maximum that is a power of
the reduction factor times the grace period, as (1000, 10) or (243, 3), keeps its top rung.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.schedulers.ranking import Objective, Ranking, Score, ordinal

__all__ = ["Rung", "check_halving", "milestones", "ordinal", "time_of"]


def check_halving(owner: str, max_t: Any, grace_period: Any, reduction_factor: Any) -> None:
    """Refuse what makes no rungs.

    Raises:
        SpecError: one of them is no finite number, or not ``max_t >= grace_period > 0`` and ``reduction_factor > 1``.
    """
    for name, value in (("max_t", max_t), ("grace_period", grace_period), ("reduction_factor", reduction_factor)):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SpecError(f"{owner}: {name} must be a finite number, got {value!r}.")
    if grace_period <= 0:
        raise SpecError(f"{owner}: grace_period must be positive, got {grace_period!r}.")
    if max_t < grace_period:
        raise SpecError(f"{owner}: max_t={max_t!r} is below grace_period={grace_period!r}; a trial may run at least its grace period.")
    if reduction_factor <= 1:
        raise SpecError(f"{owner}: reduction_factor must be above 1, got {reduction_factor!r}.")


def milestones(grace_period: float, max_t: float, reduction_factor: float) -> list[float]:
    """``grace_period * reduction_factor ** k`` for k = 0, 1, ... as far as it is at most ``max_t``, ascending; ints where they are whole.

    Example:
        >>> milestones(1, 243, 3), milestones(1, 1000, 10)
        ([1, 3, 9, 27, 81, 243], [1, 10, 100, 1000])
    """
    found: list[float] = []
    at, factor, top = Fraction(grace_period), Fraction(reduction_factor), Fraction(max_t)
    while at <= top:
        found.append(int(at) if at.denominator == 1 else float(at))
        at *= factor
    return found


def time_of(result: Mapping[str, Any], time_attr: str) -> float | None:
    """How far a trial is; None: the result does not say, or not with a number."""
    value = result.get(time_attr)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return value


@dataclass(slots=True)
class Rung:
    """A milestone, and the scores of the trials that have reached it.

    Args:
        milestone: in units of the scheduler's ``time_attr``.
        ranking: who is how good, at their first result at or after the milestone. A trial is recorded once, also if it rewinds.
    """

    milestone: float
    ranking: Ranking

    @classmethod
    def at(cls, milestone: float, objective: Objective) -> Rung:
        """An empty rung."""
        return cls(milestone, objective.ranking())

    def __contains__(self, trial: object) -> bool:
        return trial in self.ranking

    def __len__(self) -> int:
        return len(self.ranking)

    def record(self, trial: int, score: Score) -> bool:
        """Record a trial; false if it was recorded before (that stands)."""
        if trial in self.ranking:
            return False
        self.ranking.add(trial, score)
        return True

    def standing(self, trial: int) -> str:
        """For reasons: "7th of 12"."""
        return self.ranking.standing(trial)
