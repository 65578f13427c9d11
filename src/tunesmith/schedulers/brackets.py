"""Synchronous brackets: members run to a milestone, wait there for the others, and the best of them go on to the next one.

Plain data, and the sizes. Who reports, waits and dies is told to a bracket; what follows for trials is its scheduler's affair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction

from tunesmith.schedulers.ranking import Objective, Ranking, Score

__all__ = ["Bracket", "Cut", "Plan", "hyperband_plans", "share"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a bracket begins with.

    Args:
        places: how many members it takes.
        milestones: where they wait for each other, ascending; at the last one they are done.
    """

    places: int
    milestones: tuple[float, ...]


def share(count: int, reduction_factor: float) -> int:
    """How many of ``count`` go on: the ``reduction_factor``-th part, rounded up.

    Example:
        >>> share(34, 3), share(5, 2.5), share(1, 3)
        (12, 2, 1)
    """
    return math.ceil(count / Fraction(reduction_factor))


def hyperband_plans(max_t: float, reduction_factor: float) -> list[Plan]:
    """The brackets of one band, the least aggressive first; sizes as in Li et al. 2018, all computed exactly.

    Bracket s has ``ceil((s_max + 1) / (s + 1) * eta ** s)`` places; its members wait at ``floor(max_t / eta ** k)``, k = s ... 1, and are
    done at ``max_t``. ``s_max`` is the logarithm of ``max_t``, rounded; brackets whose first milestone would be below 1 are left out.

    Example:
        >>> [(plan.places, *plan.milestones) for plan in hyperband_plans(81, 3)]
        [(5, 81), (8, 27, 81), (15, 9, 27, 81), (34, 3, 9, 27, 81), (81, 1, 3, 9, 27, 81)]
    """
    eta, top = Fraction(reduction_factor), Fraction(max_t)
    steps = _rounded_log(top, eta)
    plans = []
    for s in range(steps + 1):
        waits = [math.floor(top / eta**k) for k in range(s, 0, -1)]
        if s and waits[0] < 1:
            break
        distinct = sorted({wait for wait in waits if wait < max_t})
        plans.append(Plan(math.ceil(Fraction(steps + 1, s + 1) * eta**s), (*distinct, max_t)))
    return plans


def _rounded_log(value: Fraction, base: Fraction) -> int:
    """The logarithm, rounded to the nearest whole number (a half to the even one), at least 0."""
    found, square, bound = 0, value * value, base
    while bound < square:  # bound: the square of base ** (found + 1/2)
        found, bound = found + 1, bound * base * base
    return found + 1 if bound == square and found % 2 else found


@dataclass(slots=True)
class Cut:
    """A round that was decided.

    Args:
        milestone: where it was.
        keep: how many go on.
        order: all that were there, best first; scores: theirs.
    """

    milestone: float
    keep: int
    order: list[int]
    scores: list[Score]


@dataclass(slots=True)
class Bracket:
    """The book of one bracket. Every live member is either ``going`` or ``waiting``.

    Args:
        index: 0, 1, 2 ... in the order in which brackets were begun.
        vacant: how many members it still takes.
        places: how many may take part in this round.
        milestones: ascending; the bracket is in round number ``round``, whose milestone is ``milestones[round]``.
        ranking: of those that wait.
        going: members on the way to the milestone; promoted: those of them that were paused and are to be resumed, best first, and why.
        waiting: members that have reached it, and at what time.
    """

    index: int
    vacant: int
    places: int
    milestones: list[float]
    objective: Objective
    ranking: Ranking
    round: int = 0
    going: dict[int, None] = field(default_factory=dict)
    promoted: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, index: int, plan: Plan, objective: Objective) -> Bracket:
        """An empty one."""
        return cls(index, plan.places, plan.places, list(plan.milestones), objective, objective.ranking())

    @property
    def milestone(self) -> float:
        """Of this round."""
        return self.milestones[self.round]

    @property
    def left(self) -> int:
        """Cuts that are still to come."""
        return len(self.milestones) - 1 - self.round

    @property
    def open(self) -> bool:
        """Whether it takes members."""
        return self.round == 0 and self.vacant > 0

    @property
    def resting(self) -> int:
        """How many are paused, as far as the bracket has a say in it."""
        return len(self.waiting) + len(self.promoted)

    def join(self, trial: int) -> None:
        """A new member."""
        self.vacant -= 1
        self.going[trial] = None

    def reach(self, trial: int, time: float, score: Score) -> bool:
        """A member that is going reports; whether it has to wait now."""
        if trial not in self.going or not self.left or time < self.milestone:
            return False
        del self.going[trial]
        self.waiting[trial] = time
        self.ranking.add(trial, score)
        return True

    def leave(self, trial: int) -> bool:
        """A member is over; false if it was none any more."""
        if trial in self.waiting:
            del self.waiting[trial]
            self.ranking.remove(trial)
            return True
        return self.going.pop(trial, 0) is None

    def complete(self, drawn: bool, reduction_factor: float) -> bool:
        """Whether the round can be decided: all are there, or there are so few of them that none will be stopped.

        Args:
            drawn: nobody else will join.
        """
        if not self.waiting or not self.left or (self.open and not drawn):
            return False
        return not self.going or len(self.going) + len(self.waiting) <= share(self.places, reduction_factor)

    def halve(self, reduction_factor: float) -> Cut:
        """Decide the round: the best go on. Who is at the next milestone already waits there."""
        order = self.ranking.best(len(self.ranking))
        scores = [self.ranking.score(trial) for trial in order]
        self.places = share(self.places, reduction_factor)
        cut = Cut(self.milestone, min(self.places, len(order)), order, scores)
        times = self.waiting
        self.waiting, self.ranking = {}, self.objective.ranking()
        self.round += 1
        for trial, score in zip(order[: cut.keep], scores):
            self.going[trial] = None
            if not self.reach(trial, times[trial], score):
                self.promoted[trial] = ""
        return cut

    def extend(self, max_t: float, reduction_factor: float) -> None:
        """Members may run to a later end: what was the last milestone is one like the others now."""
        eta = Fraction(reduction_factor)
        further = Fraction(self.milestones[-1]) * eta
        while self.milestones[-1] < max_t:
            if further >= max_t:
                self.milestones.append(max_t)
            elif math.floor(further) > self.milestones[-1]:
                self.milestones.append(math.floor(further))
            further *= eta
