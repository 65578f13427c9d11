"""The book of the promoting form: rungs where trials wait, who has gone on from them, and who can still come to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tunesmith.schedulers.ranking import Candidates, Found, Objective, Score
from tunesmith.schedulers.rungs import Rung

__all__ = ["Course", "Ladder", "Stage", "share"]


def share(count: int, reduction_factor: float) -> int:
    """How many of ``count`` the rule lets go on: one in ``reduction_factor``, rounded down.

    Example:
        >>> share(7, 4), share(8, 4), share(33, 1.1)
        (1, 2, 30)
    """
    return math.floor(count / reduction_factor + 1e-9)


@dataclass(slots=True)
class Course:
    """A live trial.

    Args:
        bracket: its own.
        due: results before this time need no look.
        goal: the stage that is its next, or where it waits.
        waits: it waits there.
    """

    bracket: int
    due: float
    goal: int = 0
    waits: bool = False


@dataclass(slots=True)
class Stage:
    """A rung, and what becomes of those that reach it.

    Args:
        rung: all that have reached it, whatever became of them.
        waiting: those that wait there to be promoted.
        promoted: those that have gone on.
        settled: who waits there will be promoted as soon as there is room, all others are out.
        quiet: nobody who waits there may be promoted, unless more is recorded.
    """

    rung: Rung
    waiting: Candidates
    promoted: dict[int, None] = field(default_factory=dict)
    settled: bool = False
    quiet: bool = False

    @classmethod
    def at(cls, milestone: float, objective: Objective) -> Stage:
        """An empty one."""
        rung = Rung.at(milestone, objective)
        return cls(rung, rung.ranking.candidates())

    def record(self, trial: int, score: Score) -> bool:
        """Record a trial; false if it was recorded before (that stands)."""
        if not self.rung.record(trial, score):
            return False
        self.settled = self.quiet = False
        return True


@dataclass(slots=True)
class Ladder:
    """The stages of one bracket, lowest first, and the live trials on their way between them.

    Args:
        coming: for each stage how many trials have it as their next; the last number is of those that go on from the top one.
    """

    stages: list[Stage] = field(default_factory=list)
    coming: list[int] = field(default_factory=lambda: [0])

    def extend(self, stage: Stage) -> None:
        """One more on top; whoever had gone on from the top one has it as its next."""
        self.stages.append(stage)
        self.coming.append(0)

    def highest(self, trial: int) -> int:
        """The highest stage that a trial has been recorded at; -1: at none."""
        return next((level for level in reversed(range(len(self.stages))) if trial in self.stages[level].rung), -1)

    def leave(self, trial: int, course: Course) -> None:
        """A trial is where it was no more."""
        if course.waits:
            self.stages[course.goal].waiting.discard(trial)
        else:
            self.coming[course.goal] -= 1

    def wait(self, trial: int, course: Course, level: int) -> None:
        """A trial that was nowhere waits at a stage."""
        course.goal, course.waits = level, True
        stage = self.stages[level]
        stage.waiting.add(trial)
        stage.settled = stage.quiet = False

    def go_on(self, trial: int, course: Course, level: int) -> None:
        """A trial that was nowhere goes on from a stage to the next one."""
        course.goal, course.waits = level + 1, False
        self.stages[level].promoted[trial] = None
        self.coming[level + 1] += 1

    def come_back(self, trial: int, course: Course) -> None:
        """A trial that was over goes on: from a stage where it was promoted to the next one, else where it has come to."""
        level = self.highest(trial)
        course.goal = level + 1 if level >= 0 and trial in self.stages[level].promoted else max(level, 0)
        self.coming[course.goal] += 1

    def losers(self, quota: Callable[[int], int]) -> Iterator[tuple[int, int]]:
        """(level, trial) of those that wait for nothing, now that no trials are added; they do not wait any more.

        Nobody can come any more to the stage where they are, so who is among the best there, as many as ``quota(level)`` says, stays so.
        """
        ahead = 0
        for level, stage in enumerate(self.stages):
            ahead += self.coming[level]
            if ahead:  # so somebody may come to all the later ones, too
                return
            if len(stage.waiting) and not stage.settled:
                best = set(stage.rung.ranking.best(quota(level)))
                for trial in [trial for trial in stage.waiting if trial not in best]:
                    stage.waiting.discard(trial)
                    yield level, trial
                stage.settled = True
            ahead += len(stage.waiting)

    def promotable(self, level: int, quota: Callable[[int], int], usable: Callable[[int], Found | None]) -> Found | None:
        """The best of those that wait at a stage, are among its best ``quota(level)``, and can be used."""
        stage = self.stages[level]
        if stage.quiet or not (best := quota(level)):
            return None
        met = False

        def use(trial: int) -> Found | None:
            nonlocal met
            met = True
            return usable(trial)

        found = stage.waiting.first(best, use)
        stage.quiet = not met
        return found
