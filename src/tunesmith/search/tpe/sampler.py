"""The tree-structured Parzen estimator: what is proposed next."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith.search.base import Proposal
from tunesmith.search.fronts import violation
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.search.tpe.beliefs import beliefs_of
from tunesmith.search.tpe.columns import Columns, Floats, Ints, Points
from tunesmith.search.tpe.parzen import Belief, Mixture, bandwidth
from tunesmith.search.tpe.ranking import Ranking
from tunesmith.search.tpe.tree import Level, Rows, Split

__all__ = ["MOST_BAD", "TPESampler", "default_gamma"]

_Ranked = tuple[Columns, Points, Ints]
"""Candidates, and their order."""

MOST_BAD = 500
"""At most so many observations, the latest, are kernels of the bad side, and as many pending ones: beyond, the cost is constant."""

_SCALE = 0.08
"""Of the width of kernels: a third of what is usual. What is sought is the best place, not the density."""
_FAILED_SCALE = 0.2
"""Where trials fail is a matter of regions."""

_BRANCHING = 0.5
"""So often the option of a choice with parameters inside is drawn at random: it may be good where it was not looked yet."""
_BRANCHING_TRIALS = 100.0
"""But no more often than this number / observations: what is good is known in the end."""

_BELIEF_TRIALS = 10.0
"""Beliefs count in full up to so many observations, and at n to the power of this number / n."""


def default_gamma(count: int) -> int:
    """So many of ``count`` observations are good: a tenth, at most 25."""
    return min(math.ceil(0.1 * count), 25)


class TPESampler(Sampler):
    """See :class:`~tunesmith.search.tpe.search.TPESearch`.

    Args:
        problem: what is to be solved.
        n_initial_points, n_candidates, gamma, multivariate, prior_weight, priors: see there; checked there.

    Raises:
        SpecError: ``priors`` does not fit the space.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        n_initial_points: int | None = None,
        n_candidates: int = 24,
        gamma: float | Callable[[int], int] | None = None,
        multivariate: bool = True,
        prior_weight: float = 1.0,
        priors: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(problem)
        self._candidates, self._gamma = n_candidates, gamma
        self._multivariate, self._prior_weight = multivariate, prior_weight
        self._beliefs = beliefs_of("TPESearch", priors, problem.space)
        self._pending_rows: dict[int, tuple[Mapping[str, Any], Rows]] = {}
        self._forget()
        self._initial = n_initial_points or (20 if self._root.below else 10)

    # ---- learning

    def _forget(self) -> None:
        self._levels: list[Level] = []
        self._root = Level(self.problem.space.group, self._levels)
        self._ranking = Ranking()
        self._count = 0

    def observe(self, observation: Observation) -> None:
        """See the base."""
        self._pending_rows.pop(observation.trial, None)
        broken = violation(observation, self.problem.bounds)
        self._learn(self._root.encode(observation.values), observation.losses, broken)

    def _learn(self, rows: Rows, losses: tuple[float, ...] | None, broken: float) -> None:
        """One more observation; ``broken``: by how much, infinite: it has no losses that count."""
        if losses is None and broken <= 0:
            return
        number = self._count
        self._count += 1
        levels = [self._levels[place] for place in rows]
        for level, row in zip(levels, rows.values()):
            level.add(number, row, broken > 0)
        if losses is not None and math.isfinite(broken):
            for ranking in (self._ranking, *(level.ranking for level in levels if level is not self._root)):
                ranking.add(number, losses, broken)

    # ---- proposing

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base. Several candidates of the highest ratio are tried until one is not refused."""
        if self._count < self._initial:
            return self._first(asked)
        question = _Question(asked.rng, self._good(self._ranking), self._pending(asked))
        values: dict[str, Any] = {}
        for number in range(self._candidates):
            values = {}
            self._fill(self._root, values, question, number)
            if self.problem.space.computes:
                values = self.problem.space.complete(values, random.Random(int(asked.rng.integers(1 << 62))))
            if not asked.refused(values):
                break
        return Proposal(values, "tpe")

    def _good(self, ranking: Ranking) -> list[int]:
        """Numbers of the good observations."""
        count = ranking.feasible or ranking.broken
        if not count:
            return []
        if self._gamma is None:
            good = default_gamma(count)
        else:
            good = self._gamma(count) if callable(self._gamma) else math.ceil(self._gamma * count)
        return ranking.best(min(max(int(good), 1), count))

    def _pending(self, asked: Asked) -> list[Rows]:
        """Rows of the trials under way that count as bad."""
        return self._rows_of(asked.pending)

    def _rows_of(self, pending: Mapping[int, Mapping[str, Any]]) -> list[Rows]:
        """Rows of what is under way, the latest last; each is made once."""
        found = []
        for trial, values in pending.items():
            known = self._pending_rows.get(trial)
            if known is None or known[0] is not values:
                known = self._pending_rows[trial] = (values, self._root.encode(values))
            found.append(known[1])
        return found[-MOST_BAD:]

    def _fill(self, level: Level, values: dict[str, Any], question: _Question, number: int) -> None:
        """Add a level's parameters, of its candidate of this number, and then those of the options that are taken."""
        ranked = question.ranked.get(level.place)
        if ranked is None:
            ranked = question.ranked[level.place] = self._rank(level, question)
        for columns, points, order in ranked:
            values |= columns.decode(points, int(order[number]))
        for choice, levels in level.below:
            index = choice.index(values[choice.name]) if choice.name in values else 0  # without a column it has one option
            self._fill(levels[index or 0], values, question, number)

    def _rank(self, level: Level, question: _Question) -> list[_Ranked]:
        """Candidates for a level's own parameters, by columns that are modelled together."""
        columns = level.columns
        if not len(columns):
            return []
        # Where little is good on the whole, it is looked for what is best among the bad.
        good = max([number for number in question.good if number in level], self._good(level.ranking), key=len)
        split = level.split(good, MOST_BAD)
        split.liars = [rows[level.place] for rows in question.pending if level.place in rows]
        width = len(columns) if self._multivariate else 1
        blocks = [slice(first, first + width) for first in range(0, len(columns), width)]
        return [self._rank_block(columns.of(block), split, block, question.rng) for block in blocks]

    def _rank_block(self, columns: Columns, split: Split, block: slice, rng: np.random.Generator) -> _Ranked:
        """Points that are drawn where it is good, and their order by how much likelier they are there than where it is bad."""
        beliefs: list[Belief | None] = [self._beliefs.get(column.name) for column in columns]
        nothing: list[Belief | None] = [None] * len(columns)
        trust = min(_BELIEF_TRIALS / self._count, 1.0)
        assumed = beliefs if rng.random() < trust else nothing
        best, bad = split.best.of(block), split.bad.of(block)
        count, dimensions = len(best) + len(bad), len(columns)
        # As wide on both sides: where one was wider, points would be good just for lying far from others, or near to them.
        here, elsewhere = (
            Mixture(columns, side, self._prior_weight, known, bandwidth(count, dimensions, _SCALE))
            for side, known in ((best, assumed), (bad, nothing))
        )
        points = here.sample(rng, self._candidates)
        for i, column in enumerate(columns):
            if column.branches and rng.random() < min(_BRANCHING, _BRANCHING_TRIALS / self._count):
                points.index[:, i] = rng.integers(column.options)
        score = here.log_density(points) - elsewhere.log_density(points)
        if split.any_failed:
            wide = bandwidth(count, dimensions, _FAILED_SCALE)
            kept, failed = (Mixture(columns, side.of(block), 1.0, nothing, wide) for side in split.feasible)
            score += _log_feasible(kept, failed, points)
        for i, (column, belief) in enumerate(zip(columns, beliefs)):
            if belief is not None:
                score += trust * belief.log_density(column, points.units[:, i], points.index[:, i])
        return columns, points, np.argsort(-score, kind="stable")

    # ---- before there is a model

    def _first(self, asked: Asked) -> Proposal | None:
        """Before there is a model: what is believed."""
        values = {
            column.name: column.decode(place, int(place))
            for level in self._levels
            for column in level.columns
            if (belief := self._beliefs.get(column.name)) is not None
            for place in belief.quantile(asked.rng.random(1)).tolist()
        }
        return Proposal(values, "random") if values else None


@dataclass(slots=True)
class _Question:
    """One question, and what was made for it: what is good, rows of what is pending, and candidates by level."""

    rng: np.random.Generator
    good: list[int]
    pending: list[Rows]
    ranked: dict[int, list[_Ranked]] = field(default_factory=dict)


def _log_feasible(kept: Mixture, failed: Mixture, points: Points) -> Floats:
    """Log of the probability that a configuration there is feasible."""
    return np.asarray(-np.logaddexp(0.0, failed.log_sum(points) - kept.log_sum(points)))
