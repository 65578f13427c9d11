"""Figures from runs: means over tasks and suites, what chance makes of them, ranks, and paired differences.

A suite counts as the mean of its tasks, and everything as the mean of its suites: suites with many tasks do not count more. Intervals are
95 % bootstrap intervals over seeds, drawn for each task by itself: they say what other seeds would give on these very tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from _search_runs import BUDGETS, Job, Run
from _search_tasks import normalised

__all__ = ["Interval", "Table"]

_DRAWS = 2000

Interval = tuple[float, float, float]
"""Mean, lower and upper end."""


@dataclass(frozen=True, slots=True)
class Table:
    """Normalised regrets of searchers that have run on equal tasks and seeds.

    Args:
        tasks: their names.
        seeds: how many, from 0.
        budgets: those looked at.
        regrets: searcher -> [task, seed, budget].
        ms: searcher -> median of the milliseconds it takes per evaluation.
        versions: searcher -> all versions that its runs had.
        partly: searcher -> how many of the runs it has, for those that lack some.
    """

    tasks: tuple[str, ...]
    seeds: int
    budgets: tuple[int, ...]
    regrets: dict[str, np.ndarray]
    ms: dict[str, float]
    versions: dict[str, list[dict[str, str]]]
    partly: dict[str, int]

    @classmethod
    def of(cls, runs: Mapping[Job, Run], tasks: Sequence[str], seeds: int, budget: int) -> Table:
        """Of all searchers that are in ``runs`` with this budget."""
        found = cls(tuple(tasks), seeds, tuple(each for each in BUDGETS if each <= budget), {}, {}, {}, {})
        for searcher in sorted({job.searcher for job in runs}):
            jobs = [[Job(searcher, task, seed, budget) for seed in range(seeds)] for task in tasks]
            there = [runs[job] for row in jobs for job in row if job in runs]
            if len(there) < len(tasks) * seeds:
                if there:
                    found.partly[searcher] = len(there)
                continue
            found.regrets[searcher] = np.array([[[normalised(job.task, left) for left in runs[job].left] for job in row] for row in jobs])
            found.ms[searcher] = float(np.median([run.ms for run in there]))
            found.versions[searcher] = [dict(each) for each in sorted({tuple(run.versions.items()) for run in there})]
        return found

    @classmethod
    def of_those_there(cls, runs: Mapping[Job, Run], searcher: str, tasks: Sequence[str], seeds: int, budget: int) -> Table | None:
        """On the tasks of which this searcher has all seeds; None: there is none."""
        there = [task for task in tasks if all(Job(searcher, task, seed, budget) in runs for seed in range(seeds))]
        return cls.of(runs, there, seeds, budget) if there else None

    @staticmethod
    def seeds_there(runs: Mapping[Job, Run], tasks: Sequence[str], seeds: int, budget: int) -> int:
        """How many of the seeds can be compared: those that all searchers have on all tasks which have the first one on all."""
        found = []
        for searcher in {job.searcher for job in runs}:
            whole = [all(Job(searcher, task, seed, budget) in runs for task in tasks) for seed in range(seeds)]
            found.append([*whole, False].index(False))
        return min((each for each in found if each), default=seeds)

    @property
    def suites(self) -> list[str]:
        return list(dict.fromkeys(task.split()[0] for task in self.tasks))

    def of_suite(self, suite: str) -> Table:
        rows = [at for at, task in enumerate(self.tasks) if task.split()[0] == suite]
        regrets = {searcher: values[rows] for searcher, values in self.regrets.items()}
        return Table(tuple(self.tasks[at] for at in rows), self.seeds, self.budgets, regrets, self.ms, self.versions, self.partly)

    def _weights(self) -> np.ndarray:
        """Of tasks; their sum is 1."""
        of = [task.split()[0] for task in self.tasks]
        return np.array([1 / (of.count(suite) * len(self.suites)) for suite in of])

    def _interval(self, values: np.ndarray) -> Interval:
        """Of values by task and seed."""
        rng = np.random.default_rng(0)
        tasks, seeds = values.shape
        drawn = rng.integers(seeds, size=(_DRAWS, tasks, seeds))
        means = np.take_along_axis(values[None], drawn, 2).mean(2) @ self._weights()
        low, high = np.percentile(means, [2.5, 97.5]).tolist()
        return float(values.mean(1) @ self._weights()), low, high

    def mean(self, searcher: str, budget: int | None = None) -> Interval:
        """Of the normalised regret; None: of all budgets together."""
        return self._interval(self._at(searcher, budget))

    def _at(self, searcher: str, budget: int | None) -> np.ndarray:
        values = self.regrets[searcher]
        found: np.ndarray = values.mean(2) if budget is None else values[:, :, self.budgets.index(budget)]
        return found

    def behind(self, ours: str, theirs: str, budget: int | None = None) -> Interval:
        """Our regret minus theirs, paired by task and seed."""
        return self._interval(self._at(ours, budget) - self._at(theirs, budget))

    def ranks(self) -> dict[str, float]:
        """Mean rank, over all tasks, seeds and budgets; 1 is the best, and equals share theirs."""
        every = np.stack([*self.regrets.values()])
        smaller, equal = ((every[None] < every[:, None]).sum(1), (every[None] == every[:, None]).sum(1))
        mean = (smaller + (equal + 1) / 2).mean((2, 3)) @ self._weights()
        return dict(zip(self.regrets, mean.tolist(), strict=True))

    def outcomes(self, ours: str, theirs: str) -> tuple[int, int, int]:
        """On how many tasks we are better, neither, and worse, over all budgets: such that the interval of the difference is off 0."""
        found = [0, 0, 0]
        for at in range(len(self.tasks)):
            one = Table((self.tasks[at],), self.seeds, self.budgets, {}, {}, {}, {})
            _, low, high = one._interval((self._at(ours, None) - self._at(theirs, None))[at : at + 1])
            found[0 if high < 0 else 2 if low > 0 else 1] += 1
        return found[0], found[1], found[2]
