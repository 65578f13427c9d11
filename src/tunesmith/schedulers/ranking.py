"""Who is better: scores of trials, kept in order, so that a place, a cut or the best few cost O(log n) and not a sort.

A score is larger for what is better, whatever the mode: a number for one objective, a tuple of numbers for several.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import chain, islice
from typing import Any, Protocol, TypeVar

__all__ = ["Candidates", "Objective", "Ranking", "ScalarRanking", "Score", "ordinal"]

Score = float | tuple[float, ...]
Found = TypeVar("Found")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th ...

    Example:
        >>> [ordinal(number) for number in (1, 2, 3, 11, 22)]
        ['1st', '2nd', '3rd', '11th', '22nd']
    """
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class Candidates(Protocol):
    """Some of the trials of a ranking: those of which the best is wanted next. In the order in which they were added."""

    def add(self, trial: int) -> None:
        """Take in a trial that the ranking has."""

    def discard(self, trial: int) -> None:
        """Let go of a trial, if it is one of them."""

    def first(self, k: int, usable: Callable[[int], Found | None]) -> Found | None:
        """What ``usable`` gives for the best of them that it gives something for, among those that are of the ranking's first ``k``."""

    def __contains__(self, trial: object) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[int]: ...


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

    def within(self, trial: int, k: int, *, ties: bool = False) -> bool:
        """Whether it is one of the first ``k``. ``ties``: or has the same score as one of them. Cheaper than :meth:`place`."""

    def standing(self, trial: int) -> str:
        """Where it is, for reasons: "7th of 12"."""

    def score(self, trial: int) -> Score:
        """What was recorded."""

    def candidates(self) -> Candidates:
        """An empty choice of its trials."""

    def __contains__(self, trial: object) -> bool: ...
    def __len__(self) -> int: ...


@dataclass(slots=True)
class ScalarRanking:
    """A ranking by one number: a sorted list in blocks, and a tree of their sizes. All but :meth:`best` cost O(log n).

    Example:
        >>> ranking = ScalarRanking()
        >>> for trial, score in enumerate([0.3, 0.9, 0.5]):
        ...     ranking.add(trial, score)
        >>> ranking.best(2), ranking.place(0), ranking.quantile(0.5)
        ([1, 2], 2, 0.5)
    """

    block: int = 512
    _scores: dict[int, float] = field(default_factory=dict)
    _blocks: list[list[tuple[float, int]]] = field(default_factory=list, repr=False)
    _tails: list[tuple[float, int]] = field(default_factory=list, repr=False)
    _sizes: list[int] = field(default_factory=lambda: [0], repr=False)
    """At i the size of as many blocks, the last of them number i - 1, as the lowest bit of i says (a Fenwick tree)."""

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
            self._blocks, self._tails, self._sizes = [[key]], [key], [0, 1]
            return
        at = min(bisect_left(self._tails, key), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, key)
        if len(block) > 2 * self.block:
            self._blocks[at : at + 1] = block[: self.block], block[self.block :]
            self._tails[at : at + 1] = block[self.block - 1], block[-1]
            self._measure()
        else:
            self._tails[at] = block[-1]
            self._resize(at, 1)

    def remove(self, trial: int) -> None:
        """Forget a trial that has a score."""
        key = (-self._scores.pop(trial), trial)
        at = bisect_left(self._tails, key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if block:
            self._tails[at] = block[-1]
            self._resize(at, -1)
        else:
            del self._blocks[at], self._tails[at]
            self._measure()

    def place(self, trial: int) -> int:
        """0 for the best."""
        return self._before((-self._scores[trial], trial))

    def best(self, k: int) -> list[int]:
        """The first ``k`` trials, best first; all if there are fewer. Costs O(k)."""
        return [trial for _, trial in islice(chain.from_iterable(self._blocks), k)]

    def within(self, trial: int, k: int, *, ties: bool = False) -> bool:
        """Whether it is one of the first ``k``. ``ties``: or has the same score as one of them."""
        if k >= len(self._scores):
            return True
        return self._before((-self._scores[trial], -1 if ties else trial)) < k

    def standing(self, trial: int) -> str:
        """Where it is: "7th of 12"."""
        return f"{ordinal(self.place(trial) + 1)} of {len(self._scores)}"

    def candidates(self) -> Candidates:
        """An empty choice of its trials; the best one costs O(log n)."""
        return _ScalarCandidates(self)

    def score(self, trial: int) -> float:
        """What was recorded."""
        return self._scores[trial]

    def at(self, place: int) -> float:
        """The score at a place, 0 to len - 1."""
        if not 0 <= place < len(self._scores):
            raise IndexError(place)
        sizes, block, step = self._sizes, 0, 1 << (len(self._blocks).bit_length() - 1)
        while step:
            if block + step < len(sizes) and sizes[block + step] <= place:
                block += step
                place -= sizes[block]
            step >>= 1
        return -self._blocks[block][place][0]

    def quantile(self, q: float) -> float:
        """The score below which a share ``q`` (0 to 1) of the scores lies, interpolated linearly; there must be one at least.

        As ``numpy.percentile(scores, 100 * q)`` gives it, infinities apart: there it is the better of the two neighbours.
        """
        spot = q * (len(self._scores) - 1)
        if abs(spot - round(spot)) < 1e-12 * len(self._scores):
            spot = round(spot)  # (1 - 1/3) * 9 is a little more than 6: the cut would be above the score that it falls on
        low = math.floor(spot)
        share = spot - low
        worse = self.at(len(self._scores) - 1 - low)
        if not share:
            return worse
        better = self.at(len(self._scores) - 2 - low)
        if math.isinf(worse) or math.isinf(better):
            return better
        step = better - worse
        return worse + step * share if share < 0.5 else better - step * (1 - share)  # numpy's way, to the last digit

    # -- blocks ----------------------------------------------------------------------------------------------------------

    def _before(self, key: tuple[float, int]) -> int:
        """How many are better than a key that is not better than the worst."""
        at = bisect_left(self._tails, key)
        count = bisect_left(self._blocks[at], key)
        while at:
            count += self._sizes[at]
            at &= at - 1
        return count

    def _resize(self, block: int, by: int) -> None:
        sizes, at = self._sizes, block + 1
        while at < len(sizes):
            sizes[at] += by
            at += at & -at

    def _measure(self) -> None:
        """Anew, for there are more blocks or fewer."""
        sizes = self._sizes = [0, *map(len, self._blocks)]
        for at in range(1, len(sizes)):
            if (parent := at + (at & -at)) < len(sizes):
                sizes[parent] += sizes[at]


@dataclass(slots=True)
class _ScalarCandidates:
    """A heap beside the ranking; who was discarded stays in it until it comes to the top."""

    ranking: ScalarRanking = field(repr=False)
    _members: dict[int, None] = field(default_factory=dict)
    _heap: list[tuple[float, int]] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, trial: object) -> bool:
        return trial in self._members

    def __iter__(self) -> Iterator[int]:
        return iter(self._members)

    def add(self, trial: int) -> None:
        self._members[trial] = None
        heappush(self._heap, (-self.ranking.score(trial), trial))

    def discard(self, trial: int) -> None:
        self._members.pop(trial, None)

    def first(self, k: int, usable: Callable[[int], Found | None]) -> Found | None:
        heap, passed, found = self._heap, [], None
        while heap and found is None:
            trial = heap[0][1]
            if trial not in self._members:
                heappop(heap)
            elif not self.ranking.within(trial, k):
                break
            elif (found := usable(trial)) is None:
                passed.append(heappop(heap))
        for key in passed:
            heappush(heap, key)
        return found


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
        """A score as the user reported it, for reasons. Which of nan and the infinite values it was, a score does not say."""
        parts = score if isinstance(score, tuple) else (score,)
        texts = ["nan or infinite" if value == -math.inf else f"{sign * value:.6g}" for sign, value in zip(self.signs, parts)]
        if not isinstance(score, tuple):
            return texts[0]
        return "(" + ", ".join(f"{name} {text}" for name, text in zip(self.metrics, texts)) + ")"
