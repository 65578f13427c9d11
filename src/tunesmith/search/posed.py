"""What native searchers and adapters share: their arguments, and the problem that these and the experiment pose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, SupportsFloat

from tunesmith.core.rng import stream
from tunesmith.errors import BugError, SpaceError, SpecError
from tunesmith.search.arguments import points_given, several, whole_number
from tunesmith.search.base import Searcher
from tunesmith.search.problem import Bound, Problem
from tunesmith.space import Space
from tunesmith.space.nodes import Computed, show

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
        self._kept: dict[str, Any] | None = None  # a state that was restored before there was a space
        self._shift = 0  # so many trials came before the experiment's first one

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
        """What a point that users know is said to have, as one value for each metric; None or nan: nothing.

        Raises:
            SpecError: these are not as many, or no numbers.
        """
        metrics = self.problem.metrics
        values = list(reward) if isinstance(reward, list | tuple) else [reward]
        if not failed and len(values) != len(metrics):
            raise SpecError(
                f"{type(self).__name__}: {len(values)} values were given for an evaluated point, and there are {len(metrics)} metrics."
            )
        for metric, value in zip(metrics, values):
            if not failed and not isinstance(value, SupportsFloat | None):
                raise SpecError(f"{type(self).__name__}: an evaluated point must have a number as {metric}, got {value!r}.")
        return values

    def known_values(self, given: Mapping[str, Any], number: int) -> dict[str, Any]:
        """``given`` as values of a configuration that users know, with what functions compute.

        Raises:
            SpaceError: a parameter has no value, which must not be made up here.
        """
        space = self.problem.space
        whole = space.complete(given, stream(self.problem.seed, "complete", number))
        for name in whole:
            if name not in given and not isinstance(node := space.nodes[name], Computed):
                raise SpaceError(f"{show(node.keys)}: a point that was evaluated needs a value of it, and there is none.")
        return whole

    def still_there(self, values: Mapping[str, Any]) -> None:
        """Check that a configuration of a restored state lies in the space.

        Raises:
            SpecError: it does not.
        """
        space = self.problem.space
        try:
            space.values_from(space.resolve(values))
        except SpaceError as error:
            raise SpecError(
                f"{type(self).__name__}: the state that was restored is of another space: {error} "
                "What fits of an earlier experiment is told by add_evaluated_trials(its path)."
            ) from None
