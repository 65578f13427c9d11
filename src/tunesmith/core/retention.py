"""Which checkpoints of a trial may go. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Saved", "superfluous"]


@dataclass(slots=True)
class Saved:
    """A durable checkpoint of a trial.

    Args:
        id: the checkpoint's id.
        iteration: of the report that it came with.
        time_total: of the trial at that moment, seconds.
        score: the metric it is ranked by; None or nan: ranks below all others, by age.
        value: the run's one objective, such that greater is better; None: there is none, or it is not finite.
        bytes: size; 0: unknown.
    """

    id: str
    iteration: int
    time_total: float
    score: float | None = None
    value: float | None = None
    bytes: int = 0


def superfluous(saved: Sequence[Saved], keep: int | None, order: str = "max") -> list[str]:
    """Ids to delete so that ``keep`` are left: the worst by score, the older on a tie; never the newest.

    Args:
        saved: in the order of saving.
        keep: how many may stay, >= 1; None: all.
        order: "max" or "min".

    Example:
        >>> superfluous([Saved("0/a", 1, 1.0, 0.9), Saved("0/b", 2, 2.0, 0.5), Saved("0/c", 3, 3.0, 0.7)], 2)
        ['0/b']
    """
    if keep is None or len(saved) <= keep:
        return []
    sign = 1.0 if order == "max" else -1.0

    def rank(index: int) -> tuple[float, int]:
        score = saved[index].score
        return (-math.inf if score is None or math.isnan(score) else sign * score, index)

    worst_first = sorted(range(len(saved) - 1), key=rank)
    return [saved[index].id for index in worst_first[: len(saved) - keep]]
