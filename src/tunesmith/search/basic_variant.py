"""Grid x random: the default searcher."""

from __future__ import annotations

import bisect
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tunesmith.core.rng import stream
from tunesmith.errors import BugError, SpaceError, SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.space import Space

__all__ = ["BasicVariantGenerator"]


class BasicVariantGenerator(Searcher):
    """Walks through the grid again and again, and draws all else at random, anew at each of its points.

    Trial n's configuration depends on the seed and n only: not on the order of requests, results, or the number of workers. Trials
    go through the grid with the alphabetically first path varying fastest. ``num_samples`` passes over the whole grid are made. If a resume
    brings another space, earlier trials count where they lie inside: each point of the new grid is tried as often as it was not yet.

    Args:
        points_to_evaluate: configurations, whole or partial, to try first. Each takes the place of one sample: what it leaves out is
            drawn, and of the grid only what it leaves open is walked through. All are tried, even if they are more than ``num_samples``.
        max_concurrent: at most so many trials of it at once; 0: no bound of its own.
        constant_grid_search: draw once per pass over the grid, so that its points differ in the grid's parameters only (as far as
            constraints, which make single points draw anew, allow).
        random_state: an int takes the place of the experiment's seed; a ``random.Random`` or numpy generator gives one.

    Raises:
        SpaceError: (when bound to a space) a point does not fit; names its number and the path.
        SpecError: an argument is of the wrong type.

    Example:
        >>> from tunesmith.space import Space, grid_search, uniform
        >>> searcher = BasicVariantGenerator()
        >>> searcher.bind(Space.parse({"lr": uniform(0, 1), "layers": grid_search([1, 2])}), seed=1)
        >>> searcher.total_samples(3)
        6
        >>> [searcher.propose(n, "").values["layers"] for n in range(4)]
        [1, 2, 1, 2]
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True, deterministic=True, cheap=True, grid=True
    )

    def __init__(
        self,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: Any = None,
    ) -> None:
        super().__init__()
        if not isinstance(max_concurrent, int) or max_concurrent < 0:
            raise SpecError(f"BasicVariantGenerator: max_concurrent must be a whole number, 0 for no bound, got {max_concurrent!r}.")
        if isinstance(points_to_evaluate, Mapping | str):
            raise SpecError("BasicVariantGenerator: points_to_evaluate is a list of configs; got a single one, so put it into [ ].")
        self.max_concurrent = max_concurrent
        self.constant_grid_search = constant_grid_search
        self._points = list(points_to_evaluate or ())
        self._own_seed = _seed_of(random_state)
        self._bound: Space | None = None
        self._seed = 0
        self._limit: int | None = None
        self._rest: _Rest | None = None

    def set_search_properties(
        self, metric: str | list[str] | None, mode: str | list[str] | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        super().set_search_properties(metric, mode, config, **spec)
        self._bound = spec["space"]
        self._seed = spec["seed"] if self._own_seed is None else self._own_seed
        self._fixed = [self._point(number, point) for number, point in enumerate(self._points)]
        if self._space.computes:
            # a function of the user's may return a grid, which makes it larger: the first trial's draw tells
            self._first: Proposal | None = self._draw(0, 0, 0, self._fixed[0] if self._fixed else None)
        else:
            self._first = None
        self._cells = self._feasible() if self._space.constraints and self._space.has_grid else None
        sizes = (self._space.grid_count(fixed) for fixed in self._fixed)
        self._ends = list(itertools.accumulate(sizes))
        return True

    @property
    def _space(self) -> Space:
        if self._bound is None:
            raise BugError("BasicVariantGenerator was asked before it was bound to a space; make its SearchHost first.")
        return self._bound

    def _point(self, number: int, point: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._space.values_from(point)
        except SpaceError as error:
            raise SpaceError(f"points_to_evaluate[{number}]: {error}") from None

    def _feasible(self) -> list[int]:
        """Points of the grid at which constraints can be satisfied; the others are left out of every pass."""
        cells = []
        for cell in range(self._space.grid_count()):
            try:
                self._space.draw(stream(self._seed, "feasible", cell), cell)
            except SpaceError as error:
                refusal = error
            else:
                cells.append(cell)
        if not cells:
            raise refusal
        return cells

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """Leave out what has been tried: of the points, and of the passes over the grid."""
        space, covered = self._space, Counter[int]()
        points = [(number, cell) for number, fixed in enumerate(self._fixed) for cell in range(space.grid_count(fixed))]
        for values in inside:
            tried = next((unit for unit in points if space.grid_point(values, self._fixed[unit[0]]) == unit[1]), None)
            if tried is not None:
                points.remove(tried)
            elif (cell := space.grid_point(values)) is not None and space.has_grid:
                covered[cell] += 1
        cells = range(self._pass_size()) if self._cells is None else self._cells
        begun = max(covered.values(), default=0)
        left = [(number, cell) for number in range(begun) for cell in cells if covered[cell] <= number]
        self._rest = _Rest(first, points, covered, left, begun)

    def total_samples(self, num_samples: int | None) -> int | None:
        """Trials of ``num_samples`` passes over the grid, points included; None (until a limit): no end, but a pure grid ends after one.

        After a change of the space: those before it, and what is left. Without a grid ``num_samples`` counts all.
        """
        pure = self._space.is_grid_only
        if num_samples is None and not pure:
            return None
        passes = max(0, (1 if num_samples is None else num_samples) - len(self._fixed))
        rest = self._rest
        if rest is None:
            total = (self._ends[-1] if self._ends else 0) + passes * self._pass_size()
        elif self._space.has_grid:
            tried = sum(min(passes, times) for times in rest.covered.values())
            total = rest.first + len(rest.points) + passes * self._pass_size() - tried
        else:
            total = max(num_samples or 0, rest.first + len(rest.points))
        if pure:
            self._limit = total  # further trials could only repeat it
        return total

    def _pass_size(self) -> int:
        return self._space.grid_count() if self._cells is None else len(self._cells)

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        del trial_id
        if self._limit is not None and trial >= self._limit:
            points = self._limit if self._rest is None else self._pass_size()
            return Exhausted(f"all {points} points of the grid have been proposed, and nothing else in the space varies")
        if self._rest is not None:
            return self._propose_rest(trial, self._rest)
        if trial == 0 and self._first is not None:
            first, self._first = self._first, None
            return first
        given = self._ends[-1] if self._ends else 0
        if trial < given:
            number = bisect.bisect_right(self._ends, trial)
            return self._draw(trial, number, trial - (self._ends[number - 1] if number else 0), self._fixed[number])
        sample, cell = divmod(trial - given, self._pass_size())
        if self._cells is not None:
            cell = self._cells[cell]
        return self._draw(trial, sample + len(self._fixed), cell, None)

    def _propose_rest(self, trial: int, rest: _Rest) -> Proposal:
        index = trial - rest.first
        if index < len(rest.points):
            number, cell = rest.points[index]
            return self._draw(trial, number, cell, self._fixed[number])
        index -= len(rest.points)
        if index < len(rest.begun):
            sample, cell = rest.begun[index]
        else:
            sample, cell = divmod(index - len(rest.begun), self._pass_size())
            sample += rest.passes
            cell = cell if self._cells is None else self._cells[cell]
        return self._draw(trial, sample + len(self._fixed), cell, None)

    def get_state(self) -> dict[str, Any]:
        """Nothing: what comes next depends on the seed and the trial's number only."""
        return {}

    def _draw(self, trial: int, sample: int, cell: int, fixed: dict[str, Any] | None) -> Proposal:
        rng = stream(self._seed, "pass", sample) if self.constant_grid_search else stream(self._seed, "search", trial)
        try:
            values = self._space.draw(rng, cell, fixed)
        except SpaceError as error:
            if fixed is None:
                raise
            raise SpaceError(f"points_to_evaluate[{sample}]: {error}") from error
        if fixed is not None:
            return Proposal(values, f"point {sample}")
        return Proposal(values, "grid" if self._space.is_grid_only else "random")


@dataclass(slots=True)
class _Rest:
    """What is left to try since the space changed.

    Args:
        first: number of the first trial of the present space.
        points: number and point of the grid of those of ``points_to_evaluate`` that were not tried.
        covered: how often each point of the grid was tried.
        begun: pass and point of the grid of what is left of the passes that were begun; ``passes``: how many these are.
    """

    first: int
    points: list[tuple[int, int]]
    covered: Counter[int]
    begun: list[tuple[int, int]]
    passes: int


def _seed_of(random_state: Any) -> int | None:
    if random_state is None or (isinstance(random_state, int) and not isinstance(random_state, bool)):
        return random_state
    for method in ("getrandbits", "integers", "randint"):
        if hasattr(random_state, method):
            return int(getattr(random_state, method)(31 if method == "getrandbits" else 1 << 31))
    if hasattr(random_state, "__index__"):
        return int(random_state)
    raise SpecError(f"BasicVariantGenerator: random_state must be an int or a random generator, got {type(random_state).__name__}.")
