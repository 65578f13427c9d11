"""The inside of CMA-ES: the distributions of one generation after the other, as a function of the observations in their order."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.core.rng import stream
from tunesmith.optional import load
from tunesmith.search.base import Proposal
from tunesmith.search.cmaes_space import Layout, Point
from tunesmith.search.fronts import violation
from tunesmith.search.native import ATTEMPTS
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler

__all__ = ["CMAESSampler"]

Array = npt.NDArray[np.float64]

_KEPT = 16
"""Generations that a trial which is over now may have been proposed by."""

_NEAR = 1e-6
"""Solutions farther apart than this are different; so near they are compared value by value."""

_TINY = 1e-9
"""Where a whole generation is closer together than this part of each range, nothing is left to be found."""

_LONG, _FLAT = 10, 1e-12
"""After so many generations, and 30 trials for each parameter, whose losses differ by no more than this part nothing more is expected."""

_WARM, _WARM_PART, _WARM_WIDTH = 10, 0.1, 0.1
"""From so many evaluated points on, this part of them gives the first distribution, which is this much wider than they are spread."""


@dataclass(slots=True)
class _Generation:
    """A distribution, of the library's, and the run (the number of restarts before it) that it belongs to.

    The distribution is not changed any more; only its generator is set before each use.
    """

    run: int
    optimizer: Any


@dataclass(slots=True)
class _Run:
    """What has happened since the last restart.

    Args:
        number: how many restarts there were.
        results: of the present generation: solutions, and what they are ranked by: how much they break bounds, and the loss.
        extremes: best and worst loss of generations.
    """

    number: int
    results: list[tuple[Any, tuple[float, float]]] = field(default_factory=list)
    extremes: list[tuple[float, float]] = field(default_factory=list)


class CMAESSampler(Sampler):
    """See :class:`tunesmith.search.cmaes.CMAESSearch`.

    Args:
        problem: what is to be solved.
        sigma0, popsize: see there.
        start: values, maybe not all, in the middle of the first distribution.

    Raises:
        SpecError: the space has parameters that depend on others, or the package is missing.
    """

    def __init__(
        self,
        problem: Problem,
        sigma0: float = 1 / 6,
        popsize: int | None = None,
        start: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(problem)
        self._library = load("CMAESSearch", "cmaes", "cmaes")
        self.layout = Layout(problem.space)
        self._sigma0, self._start = sigma0, start
        self._popsize = popsize or 4 + math.floor(3 * math.log(max(sum(self.layout.sizes), 1)))
        # without constraints, and with real numbers, proposals are hardly ever turned down
        self._attempts = ATTEMPTS if problem.space.constraints or not len(self.layout.reals) else 1
        self._known: list[Observation] = []  # evaluated before the first trial was over
        self._begun = False
        self._run = _Run(0)
        self._generations: deque[_Generation] = deque(maxlen=_KEPT)

    # ---- proposing

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base."""
        if not any(self.layout.sizes):
            return None
        return Proposal(self.layout.values(_point(self._ask(self._newest(), asked.trial, asked.attempt))), "cma-es")

    def _ask(self, generation: _Generation, trial: int, attempt: int) -> Any:
        """The solution that a generation has for this trial: always the same."""
        generation.optimizer.reseed_rng(stream(self.problem.seed, f"cma-es {attempt}", trial).getrandbits(32))
        return generation.optimizer.ask()

    def _newest(self) -> _Generation:
        if not self._generations:
            self._generations.append(self._first())
        return self._generations[-1]

    # ---- distributions

    def _first(self) -> _Generation:
        """The first distribution: around the start point, or where evaluated points were good (Nomura et al., 2021)."""
        layout = self.layout
        good = sorted((one for one in self._known if one.feasible and one.losses is not None), key=lambda one: one.loss)
        points = [layout.point(one.values) for one in good[: max(1, math.floor(len(good) * _WARM_PART))]]
        if len(good) >= _WARM:
            numbers = np.array([point.numbers for point in points])
            away = numbers - numbers.mean(axis=0)
            cov = away.T @ away / len(away) + _WARM_WIDTH**2 * np.eye(away.shape[1])
            return self._generation(numbers.mean(axis=0), 1.0, cov, [point.options for point in points])
        if not points and self._start is not None:
            points = [layout.point(self._start)]
        if points:
            return self._around(points[0].numbers, [points[0].options])
        return self._around(np.full(sum(layout.sizes[:2]), 0.5))

    def _around(self, mean: Array, options: Sequence[tuple[int, ...]] = ()) -> _Generation:
        return self._generation(mean, self._sigma0, np.eye(len(mean)), options)

    def _generation(self, mean: Array, sigma: float, cov: Array, options: Sequence[tuple[int, ...]]) -> _Generation:
        """A distribution. ``options``: categories of points that were good; each has the weight of all options together."""
        layout = self.layout
        shares = np.zeros((len(layout.categorical), max((len(one.options) for one in layout.categorical), default=0)))
        for row, category in enumerate(layout.categorical):
            shares[row, : len(category.options)] = 1.0 / len(category.options)
            for option in (point[row] for point in options if point[row] >= 0):
                shares[row, option] += 1.0
            shares[row] /= shares[row].sum()
        optimizer = self._library.CatCMAwM(
            x_space=[[0.0, 1.0]] * len(layout.continuous) or None,
            z_space=[steps.places.tolist() for steps in layout.stepped] or None,
            c_space=[len(category.options) for category in layout.categorical] or None,
            population_size=self._popsize * 2**self._run.number, mean=mean.copy(), sigma=sigma, cov=cov,
            cat_param=shares if layout.categorical else None,
        )  # fmt: skip
        return self._settled(optimizer)[0]

    def _settled(self, optimizer: Any) -> tuple[_Generation, Point]:
        """A generation, and some point of it. The first question changes the last bits of what the next update starts from, so that it
        must not depend on whether a trial was proposed in between.
        """
        generation = _Generation(self._run.number, optimizer)
        return generation, _point(self._ask(generation, 0, 0))

    # ---- learning

    def observe(self, observation: Observation) -> None:
        """See the base. The distribution moves when as many results have come as a generation has."""
        if (observation.losses is None and observation.feasible) or not any(self.layout.sizes):
            return
        if observation.trial < 0 and not self._begun:
            self._known.append(observation)
            self._generations.clear()
            return
        self._begun = True
        newest = self._newest()
        found = self._asked_before(observation)
        if found is not None and found[0].run != newest.run:
            return  # from before a restart: it would draw the new run to where the old one ended
        solution = found[1] if found is not None else self._solution(self.layout.point(observation.values))
        broken = violation(observation, self.problem.bounds)
        self._run.results.append((solution, (broken, observation.loss if broken == 0 else 0.0)))
        if len(self._run.results) == newest.optimizer.population_size:
            self._advance(newest)

    def _asked_before(self, observation: Observation) -> tuple[_Generation, Any] | None:
        """Who proposed it, and the solution as it was before it was rounded and brought inside; None: nobody did."""
        if observation.trial < 0:
            return None
        layout, values = self.layout, observation.values
        reals = layout.point(values).numbers[layout.reals]
        for attempt in range(self._attempts):
            for generation in reversed(self._generations):
                solution = self._ask(generation, observation.trial, attempt)
                point = _point(solution)
                near = np.abs(point.numbers[layout.reals] - reals).max(initial=0.0) < _NEAR
                if near and all(values.get(name) == value for name, value in layout.values(point).items()):
                    return generation, solution
        return None

    def _solution(self, point: Point) -> Any:
        """A point that somebody else proposed, as the library takes it."""
        continuous, hot = self.layout.sizes[0], None
        if point.options:
            hot = np.zeros((len(point.options), max(len(one.options) for one in self.layout.categorical)), dtype=bool)
            hot[np.arange(len(point.options)), point.options] = True
        return self._library.CatCMAwM.Solution(point.numbers[:continuous], point.numbers[continuous:], hot, point.numbers)

    def _advance(self, newest: _Generation) -> None:
        """Go on to the next generation, or begin anew."""
        run = self._run
        results, run.results = sorted(run.results, key=lambda result: result[1]), []
        losses = [loss for _, (broken, loss) in results if broken == 0] or [math.inf]
        run.extremes.append((losses[0], losses[-1]))
        solutions = [solution for solution, _ in results]
        following = None if self._has_converged(solutions) else self._moved(newest, solutions)
        self._generations.append(following or self._restarted())

    def _moved(self, generation: _Generation, solutions: Sequence[Any]) -> _Generation | None:
        """The distribution after one more update, with solutions from the best to the worst; None: there is no going on from here."""
        optimizer = copy.deepcopy(generation.optimizer)
        try:
            # ranks instead of losses: only their order counts, and that however large they are
            with np.errstate(all="ignore"):
                optimizer.tell([(solution, float(rank)) for rank, solution in enumerate(solutions)])
                moved, point = self._settled(optimizer)
                stuck = any(self.layout.sizes[:2]) and optimizer.should_stop()
        except np.linalg.LinAlgError:
            return None
        return None if stuck or not np.isfinite(point.numbers).all() else moved

    def _has_converged(self, solutions: Sequence[Any]) -> bool:
        """Whether a generation is all in one place, or has not differed from those before for long."""
        points = [_point(solution) for solution in solutions]
        if len({point.options for point in points}) == 1 and np.ptp([point.numbers for point in points], axis=0).max(initial=0.0) < _TINY:
            return True
        long = _LONG + math.ceil(30 * sum(self.layout.sizes) / len(points))
        extremes = self._run.extremes[-long:]
        if len(extremes) < long:
            return False
        low, high = min(best for best, _ in extremes), max(worst for _, worst in extremes)
        return high == low or high - low <= _FLAT * max(abs(low), abs(high))

    def _restarted(self) -> _Generation:
        """A wide distribution again, somewhere else, with twice as many trials in a generation (Auger and Hansen, 2005)."""
        self._run = _Run(self._run.number + 1)
        rng = stream(self.problem.seed, "cma-es restart", self._run.number)
        return self._around(np.array([rng.random() for _ in range(sum(self.layout.sizes[:2]))]))


def _point(solution: Any) -> Point:
    """A solution of the library's, rounded and inside of the bounds."""
    numbers = [part for part in (solution.x, solution.z) if part is not None]
    options = () if solution.c is None else tuple(int(option) for option in np.argmax(solution.c, axis=1))
    return Point(np.concatenate(numbers) if numbers else np.empty(0), options)
