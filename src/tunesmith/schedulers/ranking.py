"""Who is better: scores of trials, kept in order, so that a place, a cut or the best few cost O(log n) and not a sort.

A score is larger for what is better, whatever the mode: a number for one objective, a tuple of numbers for several.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Protocol

__all__ = ["Objective", "Ranking", "ScalarRanking", "Score"]

Score = float | tuple[float, ...]


class Ranking(Protocol):
    """Scores of trials, best first. Each trial has one; of equal ones the smaller trial number comes first."""

    def add(self, trial: int, score: Score) -> None:
        """Record the score of a trial that has none yet."""

    def remove(self, trial: int) -> None:
        """Forget a trial that has one."""

    def place(self, trial: int) -> int:
        """0 for the best."""

    def best(self, k: int) -> list[int]:
        """The first ``k`` trials, best first; all if there are fewer."""

    def score(self, trial: int) -> Score:
        """What was recorded."""

    def __contains__(self, trial: object) -> bool: ...
    def __len__(self) -> int: ...


@dataclass(slots=True)
class ScalarRanking:
    """A ranking by one number: a sorted list in blocks. All but :meth:`best` cost O(log n) comparisons and a few block counts.

    Example:
        >>> ranking = ScalarRanking()
        >>> for trial, score in enumerate([0.3, 0.9, 0.5]):
        ...     ranking.add(trial, score)
        >>> ranking.best(2), ranking.place(0), ranking.quantile(0.5)
        ([1, 2], 2, 0.5)
    """

    block: int = 1024
    _scores: dict[int, float] = field(default_factory=dict)
    _blocks: list[list[tuple[float, int]]] = field(default_factory=list)
    _tails: list[tuple[float, int]] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._scores)

    def __contains__(self, trial: object) -> bool:
        return trial in self._scores

    def add(self, trial: int, score: Score) -> None:
        """Record the score (a number, not nan) of a trial that has none yet."""
        assert isinstance(score, float) and trial not in self._scores
        self._scores[trial] = score
        key = (-score, trial)
        if not self._blocks:
            self._blocks, self._tails, self._counts = [[key]], [key], [1]
            return
        at = min(bisect_left(self._tails, key), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > 2 * self.block:
            self._blocks[at : at + 1] = block[: self.block], block[self.block :]
            self._tails[at : at + 1] = block[self.block - 1], block[-1]
            self._counts[at : at + 1] = self.block, len(block) - self.block
        else:
            self._tails[at] = block[-1]
            self._counts[at] += 1

    def remove(self, trial: int) -> None:
        """Forget a trial that has a score."""
        key = (-self._scores.pop(trial), trial)
        at = bisect_left(self._tails, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._tails[at] = block[-1]
            self._counts[at] -= 1
        else:
            del self._blocks[at], self._tails[at], self._counts[at]

    def place(self, trial: int) -> int:
        """0 for the best."""
        key = (-self._scores[trial], trial)
        at = bisect_left(self._tails, key)
        return sum(self._counts[:at]) + bisect_left(self._blocks[at], key)

    def best(self, k: int) -> list[int]:
        """The first ``k`` trials, best first; all if there are fewer. Costs O(k)."""
        return [trial for _, trial in islice(chain.from_iterable(self._blocks), k)]

    def score(self, trial: int) -> float:
        """What was recorded."""
        return self._scores[trial]

    def at(self, place: int) -> float:
        """The score at a place, 0 to len - 1."""
        for block, count in zip(self._blocks, self._counts):
            if place < count:
                return -block[place][0]
            place -= count
        raise IndexError(place)

    def quantile(self, q: float) -> float:
        """The score below which a share ``q`` (0 to 1) of the scores lies, interpolated linearly; there must be one at least.

        As ``numpy.percentile(scores, 100 * q)`` gives it, infinities apart: there it is the better of the two neighbours.
        """
        spot = q * (len(self._scores) - 1)
        low = math.floor(spot)
        share = spot - low
        worse = self.at(len(self._scores) - 1 - low)
        if not share:
            return worse
        better = self.at(len(self._scores) - 2 - low)
        if math.isinf(worse) or math.isinf(better):
            return better
        return worse + (better - worse) * share


@dataclass(frozen=True, slots=True)
class Objective:
    """What a scheduler ranks by: the run's metrics, turned so that larger is better.

    Args:
        metrics: names in a result.
        signs: 1.0 where larger is better, -1.0 where smaller is; as many.

    Example:
        >>> objective = Objective.of(["loss"], ["min"])
        >>> objective.score({"loss": 0.25}), objective.show(-0.25), objective.score({})
        (-0.25, '0.25', None)
    """

    metrics: tuple[str, ...]
    signs: tuple[float, ...]

    @classmethod
    def of(cls, metrics: Sequence[str], modes: Sequence[str]) -> Objective:
        """From names and modes ("min" or "max")."""
        return cls(tuple(metrics), tuple(1.0 if mode == "max" else -1.0 for mode in modes))

    def score(self, result: Mapping[str, Any]) -> Score | None:
        """The score of a result; None: one of the metrics is not there, or no number. nan is worse than all else (``-inf``)."""
        found = []
        for name, sign in zip(self.metrics, self.signs):
            value = result.get(name)
            if not isinstance(value, (int, float)):
                return None
            found.append(-math.inf if math.isnan(value) else sign * value)
        return float(found[0]) if len(found) == 1 else tuple(found)

    def ranking(self) -> Ranking:
        """An empty ranking for such scores."""
        if len(self.metrics) == 1:
            return ScalarRanking()
        from tunesmith.schedulers.pareto import ParetoRanking

        return ParetoRanking()

    def show(self, score: Score) -> str:
        """A score as the user reported it, for reasons."""
        if isinstance(score, tuple):
            return "(" + ", ".join(f"{name} {sign * value:.6g}" for name, sign, value in zip(self.metrics, self.signs, score)) + ")"
        return f"{self.signs[0] * score:.6g}"
