"""What native searchers and adapters share: their arguments, and the problem that these and the experiment pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import BugError, SpecError
from tunesmith.search.arguments import points_given, several, whole_number
from tunesmith.search.base import Searcher
from tunesmith.search.problem import Bound, Problem
from tunesmith.space import Space

__all__ = ["PosedSearcher"]


class PosedSearcher(Searcher):
    """A searcher that solves a :class:`~tunesmith.search.problem.Problem`, known once it is bound.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed: see
            :class:`tunesmith.search.native.NativeSearcher`.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
    """

    needs_metric: ClassVar[bool] = True
    """Whether there must be something to learn from."""

    def __init__(
        self,
        metric: str | list[str] | None,
        mode: str | list[str] | None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None,
        evaluated_rewards: Sequence[Any] | None,
        outcome_constraints: Sequence[str],
        max_concurrent: int | None,
        seed: int | None,
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        self._points = points_given(owner, points_to_evaluate)
        self._rewards = list(evaluated_rewards or ())
        if len(self._rewards) > len(self._points):
            raise SpecError(f"{owner}: {len(self._rewards)} evaluated_rewards were given for {len(self._points)} points_to_evaluate.")
        if isinstance(outcome_constraints, str):
            raise SpecError(f"{owner}: outcome_constraints must be a list of texts; put {outcome_constraints!r} into [ ].")
        self.bounds = tuple(Bound.parse(owner, text) for text in outcome_constraints)
        self.max_concurrent = whole_number(owner, "max_concurrent", max_concurrent)
        self.seed = whole_number(owner, "seed", seed, least=None)
        self._problem: Problem | None = None

    @property
    def problem(self) -> Problem:
        """What is to be solved; known once the searcher is bound."""
        if self._problem is None:
            raise BugError(f"{type(self).__name__} was asked before it was bound to a space; call bind(space, ...) first.")
        return self._problem

    def pose(self, space: Space, spec: Mapping[str, Any]) -> Problem:
        """The problem on ``space``, with what :meth:`bind` told of the experiment as ``spec``.

        Raises:
            SpecError: there is no metric, and one is needed.
        """
        metrics = several(self.metric)
        if not metrics and self.needs_metric:
            raise SpecError(f"{type(self).__name__}: needs a metric to optimise; give metric=... and mode='min' or 'max'.")
        signs = tuple(-1.0 if mode == "max" else 1.0 for mode in several(self.mode))
        seed = spec["seed"] if self.seed is None else self.seed
        at_once = self.max_concurrent or spec.get("concurrency")
        return Problem(space, metrics, signs, seed, self.bounds, spec.get("budget"), at_once, spec.get("early", False))

    def values_of(self, reward: Any, failed: bool) -> list[Any]:
        """What a point that users know is said to have, as one value for each metric.

        Raises:
            SpecError: these are not as many.
        """
        metrics = self.problem.metrics
        values = list(reward) if isinstance(reward, list | tuple) else [reward]
        if not failed and len(values) != len(metrics):
            raise SpecError(
                f"{type(self).__name__}: {len(values)} values were given for an evaluated point, and there are {len(metrics)} metrics."
            )
        return values
