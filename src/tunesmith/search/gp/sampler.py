"""From observations to the next configuration."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from tunesmith.errors import SpaceError
from tunesmith.search.base import Proposal
from tunesmith.search.gp.acquisition import Acquisition
from tunesmith.search.gp.beliefs import Beliefs
from tunesmith.search.gp.climb import improve
from tunesmith.search.gp.columns import Array, Columns
from tunesmith.search.gp.pool import around, cover, first_point
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler

__all__ = ["GPSampler"]

_POOL, _NEAR = 512, 64
"""Candidates that cover the space, and those around each of the best."""

_STARTS = 10
_DRAWN = 64
"""Candidates that keep the constraints of the space, where it has some."""

_BOLD_EVERY, _BOLD = 5, 0.1
"""Every fifth trial seeks an improvement by a tenth of the losses' standard deviation: where a minimum has been found to the last digits,
the expected improvement is greatest in even more digits, and other basins would never be looked at. It also takes options drawn at random
of choices with parameters inside, and seeks what is best with these: what the model knows of one option says little about the others."""

_CHECKED = 300
"""So many candidates, the most promising first, are checked for whether they would be refused."""


@cache
def _threads() -> ThreadpoolController:
    """Made once: it looks through all libraries of the process."""
    return ThreadpoolController()


class GPSampler(Sampler):
    """Gaussian processes of the loss and of what must be kept; see :class:`tunesmith.search.gp.GPSearch`.

    Args:
        problem: what is to be solved.
        n_initial_points: see there.
        input_warping: see there.
        max_observations: see there.

    Example:
        >>> from tunesmith.space import Space, uniform
        >>> sampler = GPSampler(Problem(Space.parse({"x": uniform(0, 1)})), n_initial_points=2)
        >>> for trial, x in enumerate([0.1, 0.5, 0.9]):
        ...     sampler.observe(Observation(trial, {"x": x}, ((x - 0.6) ** 2,)))
        >>> found = sampler.propose(Asked(3, 0, np.random.default_rng(1), {}, lambda values: False))
        >>> 0.5 < found.values["x"] < 0.8
        True
    """

    def __init__(
        self,
        problem: Problem,
        *,
        n_initial_points: int | None = None,
        input_warping: bool = False,
        max_observations: int = 500,
    ) -> None:
        super().__init__(problem)
        self.columns = Columns(problem.space)
        self.beliefs = Beliefs(problem, self.columns, input_warping, max_observations)
        self._initial = n_initial_points or (12 if self.columns.forks else 8)

    def observe(self, observation: Observation) -> None:
        """See the base."""
        self.beliefs.observe(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base."""
        if not self.columns.dim:
            return None
        rows = [row for values in asked.pending.values() if (row := self.columns.encode(values)) is not None]
        pending = np.array(rows).reshape(-1, self.columns.dim)
        known = len(self.beliefs.data)
        # with many workers nearly all of the first trials are pending when a model is first asked
        if known < max(1, self._initial // 2) or known + len(pending) < self._initial:
            return self._initial_point(asked)
        # the trials have the cores; and with more threads sums would depend on how many there are
        with _threads().limit(limits=1, user_api="blas"):
            gain, taken = 0.0, {}
            if asked.trial % _BOLD_EVERY == _BOLD_EVERY - 1:
                gain, taken = _BOLD, {at: asked.rng.choice(levels) for at, levels in self.columns.forks.items()}
            values = self._best(asked, pending, gain, taken)
            if values is None and taken:  # with these options all is known, or forbidden
                values = self._best(asked, pending, gain, {})
        return None if values is None else Proposal(values, "gp")

    def _initial_point(self, asked: Asked) -> Proposal | None:
        if asked.attempt:
            return None
        row = first_point(self.columns, self.problem.seed, asked.trial)
        return Proposal(self.columns.decode(row), "sobol")

    def _best(self, asked: Asked, pending: Array, gain: float, taken: Mapping[int, float]) -> dict[str, Any] | None:
        """What promises most, with the options of ``taken`` (column -> coordinate)."""
        acquisition, tops = self.beliefs.acquisition(pending, asked.rng, gain, taken)
        pool = self._pool(asked, tops)
        for at, level in taken.items():
            pool[:, at] = level
        values = acquisition(pool)
        order = np.argsort(-values, kind="stable")
        constrained = bool(self.problem.space.constraints)
        if constrained:
            starts = np.array([row for row, _ in self._allowed(pool[order], asked, _STARTS)]).reshape(-1, self.columns.dim)
        else:
            starts = pool[order[:_STARTS]]
        if len(starts):
            ends, reached = improve(acquisition, self.columns, starts, asked.rng, taken)
            pool, values = np.vstack([ends, pool]), np.concatenate([reached, values])
            if constrained:
                pool, values = self._between(acquisition, starts, ends, pool, values)
        order = np.argsort(-values, kind="stable")
        return next((found for _, found in self._allowed(pool[order], asked, 1)), None)

    def _pool(self, asked: Asked, tops: Array) -> Array:
        parts = [cover(self.columns, _POOL, asked.rng), around(self.columns, tops, _NEAR, asked.rng), tops]
        if self.problem.space.constraints:
            parts.append(self._drawn(asked, tops))
        return np.vstack(parts)

    def _drawn(self, asked: Asked, tops: Array) -> Array:
        """Rows that keep the constraints; few, if they are hard to keep."""
        space, rng = self.problem.space, random.Random(int(asked.rng.integers(1 << 62)))
        rows = [tops[:0]]
        for _ in range(_DRAWN):
            try:
                row = self.columns.encode(space.draw(rng))
            except SpaceError:
                break
            if row is not None:
                rows.append(row[None])
        return np.vstack(rows)

    def _between(self, acquisition: Acquisition, starts: Array, ends: Array, pool: Array, values: Array) -> tuple[Array, Array]:
        """Also what lies on the ways from starts, which keep the constraints, to where climbs ended, which perhaps do not."""
        ways = np.vstack([self.columns.snap(starts + share * (ends - starts)) for share in (0.25, 0.5, 0.75, 0.9)])
        return np.vstack([ways, pool]), np.concatenate([acquisition(ways), values])

    def _allowed(self, rows: Array, asked: Asked, count: int) -> Iterator[tuple[Array, dict[str, Any]]]:
        """The first ``count`` rows that are not refused, and their values."""
        space, seed = self.problem.space, int(asked.rng.integers(1 << 62))
        for row in rows[:_CHECKED]:
            values: Mapping[str, Any] = self.columns.decode(row)
            if space.computes:
                values = space.complete(values, random.Random(seed))
            if not asked.refused(values):
                yield row, dict(values)
                count -= 1
                if not count:
                    return
