"""Who is better by several objectives: non-dominated fronts, and within a front the order that keeps the best spread.

A score is a tuple, larger is better in each place. Fronts are kept up to date as scores come and go; the order within a front is worked out
only where somebody asks, only as far as they ask, and kept until the front changes there.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from tunesmith.schedulers.nets import Front, Point, covers
from tunesmith.schedulers.ranking import Candidates, Found, Score, ordinal

__all__ = ["ParetoRanking"]


@dataclass(slots=True)
class ParetoRanking:
    """A ranking by several numbers: by front, and within a front by an epsilon net.

    The first front is what nothing dominates (no worse in each objective, better in one), the second what only those dominate, and so on.
    A front's net begins with whoever is best in the first objective (then the second, ...); each next one is the one farthest from all
    before it. Distances are Euclidean, with each objective scaled to the front's own range, so units do not matter. Trials with equal
    scores stand side by side, by number. The order depends on nothing but the scores, not on how they came.

    Costs, for fronts of m different scores: adding compares with O(m log fronts) scores, and with more where others are pushed to later
    fronts; whether a trial is :meth:`within` the first k takes a look at the fronts, and O(k' * m) distances if the k-th is inside its own
    front, of which the k' th is asked for, and that front has changed there; :meth:`place` and :meth:`best` likewise. With two objectives
    and thousands of trials a front has some dozens.

    Paper: Schmucker et al., "Multi-objective Asynchronous Successive Halving" (2021), for the order; the scale is ours.

    Example:
        >>> ranking = ParetoRanking()
        >>> for trial, score in enumerate([(1.0, 1.0), (9.0, 2.0), (2.0, 9.0), (8.0, 3.0)]):
        ...     ranking.add(trial, score)
        >>> ranking.best(4), ranking.place(0), ranking.standing(0)
        ([1, 2, 3, 0], 3, 'in the 2nd front of 2, of 4')
    """

    _points: dict[int, Point] = field(default_factory=dict)
    _fronts: list[Front] = field(default_factory=list, repr=False)
    _home: dict[Point, Front] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self._points)

    def __contains__(self, trial: object) -> bool:
        return trial in self._points

    def score(self, trial: int) -> Point:
        """What was recorded."""
        return self._points[trial]

    def add(self, trial: int, score: Score) -> None:
        """Record the score (a tuple of numbers, none of them nan) of a trial that has none yet."""
        assert isinstance(score, tuple) and trial not in self._points
        self._points[trial] = score
        front = self._home.get(score)
        if front is not None:
            insort(front.points[score], trial)
            front.count += 1
        else:
            self._push_down({score: [trial]}, self._level(score))

    def remove(self, trial: int) -> None:
        """Forget a trial that has a score."""
        point = self._points.pop(trial)
        front = self._home[point]
        front.points[point].remove(trial)
        front.count -= 1
        if not front.points[point]:
            level = self._index(front)
            front.leave(point)
            del self._home[point]
            self._pull_up([point], level)

    def place(self, trial: int) -> int:
        """0 for the best."""
        point = self._points[trial]
        front = self._home[point]
        return self._before(front) + front.before(point, front.count) + front.points[point].index(trial)

    def within(self, trial: int, k: int, *, ties: bool = False) -> bool:
        """Whether it is one of the first ``k``. ``ties``: or has the same score as one of them."""
        point = self._points[trial]
        front = self._home[point]
        left = k - self._before(front)
        if left <= 0 or left >= front.count:
            return left > 0
        return front.before(point, left) + (0 if ties else front.points[point].index(trial)) < left

    def best(self, k: int) -> list[int]:
        """The first ``k`` trials, best first; all if there are fewer."""
        found: list[int] = []
        for front in self._fronts:
            if len(found) >= k:
                break
            found += islice(front.trials(k - len(found)), k - len(found))
        return found

    def standing(self, trial: int) -> str:
        """Where it is: "in the 2nd front of 4, of 12"."""
        front = self._index(self._home[self._points[trial]])
        return f"in the {ordinal(front + 1)} front of {len(self._fronts)}, of {len(self._points)}"

    def candidates(self) -> Candidates:
        """An empty choice of its trials; the best one costs a look at all of them, and the order within the front of the k-th."""
        return _ParetoCandidates(self)

    # -- fronts ----------------------------------------------------------------------------------------------------------

    def _level(self, point: Point) -> int:
        """The first front in which nothing dominates the point: what is dominated in one front is so in all before it."""
        low, high = 0, len(self._fronts)
        while low < high:
            middle = (low + high) // 2
            if self._fronts[middle].dominates(point):
                low = middle + 1
            else:
                high = middle
        return low

    def _push_down(self, arriving: dict[Point, list[int]], level: int) -> None:
        """Put points of equal rank into a front; those whom they dominate there go to the next one, and so on."""
        while arriving:
            if level == len(self._fronts):
                self._fronts.append(Front())
            front = self._fronts[level]
            leaving = {point: trials for point, trials in front.points.items() if any(covers(new, point) for new in arriving)}
            if leaving and len(leaving) == len(front.points):  # all of it: the fronts from here on are one later
                front = Front()
                self._fronts.insert(level, front)
                leaving = {}
            for point in leaving:
                front.leave(point)
            for point, trials in arriving.items():
                front.join(point, trials)
                self._home[point] = front
            arriving, level = leaving, level + 1

    def _pull_up(self, gone: Iterable[Point], level: int) -> None:
        """Points have left a front: whom nobody else dominated there comes up from the next one, and so on."""
        while self._fronts[level].points:
            if level + 1 == len(self._fronts):
                return
            front, below = self._fronts[level], self._fronts[level + 1]
            freed = [point for point in below.points if any(covers(old, point) for old in gone) and not front.dominates(point)]
            if not freed:
                return
            for point in freed:
                front.join(point, below.leave(point))
                self._home[point] = front
            gone, level = freed, level + 1
        del self._fronts[level]  # empty: the fronts from here on are one earlier

    def _index(self, front: Front) -> int:
        return next(index for index, one in enumerate(self._fronts) if one is front)

    def _before(self, front: Front) -> int:
        """How many trials are in better fronts."""
        count = 0
        for one in self._fronts:
            if one is front:
                break
            count += one.count
        return count


@dataclass(slots=True)
class _ParetoCandidates:
    """Looked for from the best front on."""

    ranking: ParetoRanking = field(repr=False)
    _members: dict[int, None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, trial: object) -> bool:
        return trial in self._members

    def __iter__(self) -> Iterator[int]:
        return iter(self._members)

    def add(self, trial: int) -> None:
        self._members[trial] = None

    def discard(self, trial: int) -> None:
        self._members.pop(trial, None)

    def first(self, k: int, usable: Callable[[int], Found | None]) -> Found | None:
        for front in self.ranking._fronts:
            if k <= 0:
                break
            if any(trial in self._members for trials in front.points.values() for trial in trials):
                for trial in islice(front.trials(k), k):
                    if trial in self._members and (found := usable(trial)) is not None:
                        return found
            k -= front.count
        return None
