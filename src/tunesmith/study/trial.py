"""One trial of a study, and what is raised where there is none."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.flat import ResultDict
from tunesmith.errors import TuneError

__all__ = ["COUNTED", "OUTCOMES", "NoSuggestion", "StudyTrial", "front", "losses"]

OUTCOMES = {"finished": "finished", "stopped": "stopped", "failed": "user_error", "infeasible": "infeasible", "lost": "worker_lost"}
"""What a user may say of a trial -> the outcome that a run would have recorded."""
COUNTED = frozenset({"finished", "stopped"})
"""States of trials that can be the best."""


class NoSuggestion(TuneError):
    """There is nothing to ask for; the message says why.

    Attributes:
        final: there never will be; else: not before a pending trial is told.
    """

    def __init__(self, reason: str, *, final: bool) -> None:
        super().__init__(reason)
        self.final = final


@dataclass(slots=True, eq=False)
class StudyTrial:
    """A trial that was asked for, or is known from elsewhere.

    Attributes:
        number: 0, 1, 2 ... in the order of asking; negative: one that was added.
        config: the whole configuration, nested; this trial's own copy.
        params: what was drawn of it: flat path -> scalar, or a text for what is none.
        seed: for the trial's own random numbers: as a run's trial of this number has it.
        source: who proposed it ("random", "start point", ...).
        state: "pending", "finished", "stopped", "failed", "infeasible", "nan" (its metric was) or "lost".
        reports: all its results, flat, in order.
    """

    number: int
    config: dict[Any, Any]
    params: dict[str, Any]
    seed: int
    source: str = ""
    state: str = "pending"
    reports: list[ResultDict] = field(default_factory=list, repr=False)

    @property
    def trial_id(self) -> str:
        """What the searcher knows it by."""
        return f"{self.number:05d}"

    @property
    def result(self) -> ResultDict | None:
        """Its newest; None: it never reported."""
        return self.reports[-1] if self.reports else None


def front(trials: Iterable[tuple[StudyTrial, Sequence[float]]]) -> list[StudyTrial]:
    """Those that no other is better than: no worse in each loss, less in one. With one loss: all that have the least.

    Example:
        >>> trials = [StudyTrial(number, {}, {}, 0) for number in range(4)]
        >>> [trial.number for trial in front(zip(trials, [(1, 4), (2, 2), (3, 3), (4, 1)]))]
        [0, 1, 3]
    """
    best: list[tuple[StudyTrial, Sequence[float]]] = []
    for trial, losses in trials:
        if any(_dominates(other, losses) for _, other in best):
            continue
        best = [each for each in best if not _dominates(losses, each[1])]
        best.append((trial, losses))
    return [trial for trial, _ in best]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other)) and any(a < b for a, b in zip(one, other))


def losses(result: Mapping[str, Any] | None, metrics: Sequence[str], signs: Sequence[float]) -> tuple[float, ...] | None:
    """What to compare by, smaller is better; None: a metric is missing, or no finite number."""
    values = [None if result is None else result.get(metric) for metric in metrics]
    numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
    return tuple(sign * value for sign, value in zip(signs, numbers)) if len(numbers) == len(values) else None
