"""GPSearch: what users see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.search.base import SearcherCapabilities
from tunesmith.search.gp.sampler import GPSampler
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Problem

__all__ = ["GPSearch"]


class GPSearch(NativeSearcher):
    """Bayesian optimisation with Gaussian processes: few trials, each of which is worth a tenth of a second of thought.

    The best choice up to a few hundred trials of spaces with up to about twenty parameters, above all if most of them are numbers.

    The first configurations are a scrambled Sobol sequence. After each result a Gaussian process (Matern-5/2, a length scale for each
    parameter, noise as the data say) is fitted to losses that were made to look normal, and the configuration is proposed that has the
    greatest expected improvement over the best that the process believes in, times the probability that it is feasible. Trials that are
    under way count with several results that they may have. Parameters of options that were not taken are not there: two configurations
    differ by that, and not by values that they do not have. Every fifth trial seeks a larger improvement, or takes options of choices with
    parameters inside that are drawn at random and improves on what is best with them, so that none is given up for ever.

    Several metrics are optimised at once, each trial with other weights (ParEGO), so that a whole front of compromises is found.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed, duplicates: see
            :class:`tunesmith.search.native.NativeSearcher`.
        n_initial_points: trials before the first that is proposed by the model, >= 1; evaluated points count. None: 8, and 12 if
            parameters hang on options, which have to share them.
        input_warping: also learn how each number is best stretched (Kumaraswamy's distribution), for losses that change much faster at one
            end of a range than at the other. It takes twice the time; a logarithmic domain (``loguniform``) does most of it.
        max_observations: a model is conditioned on so many observations, >= 20: of more than that on the best, the newest, and others
            spread over the space. The time of a suggestion grows with its square, of a fit with its cube.

    Raises:
        SpecError: an argument is of the wrong kind; names it.

    Example:
        >>> from tunesmith.space import Space, uniform
        >>> searcher = GPSearch("loss", "min", n_initial_points=3)
        >>> searcher.bind(Space.parse({"x": uniform(-1, 1)}), seed=1)
        >>> tried = []
        >>> for number in range(10):
        ...     tried.append(searcher.propose(number, str(number)).values["x"])
        ...     searcher.on_trial_complete(str(number), {"loss": (tried[-1] - 0.3) ** 2})
        >>> min(abs(x - 0.3) for x in tried) < 0.02
        True
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True
    )

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
        seed: int | None = None,
        duplicates: bool = False,
        n_initial_points: int | None = None,
        input_warping: bool = False,
        max_observations: int = 500,
    ) -> None:
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent, seed=seed, duplicates=duplicates,
        )  # fmt: skip
        if n_initial_points is not None:
            _at_least("n_initial_points", n_initial_points, 1)
        _at_least("max_observations", max_observations, 20)
        if not isinstance(input_warping, bool):
            raise SpecError(f"GPSearch: input_warping must be True or False, got {input_warping!r}.")
        self._options = {"n_initial_points": n_initial_points, "input_warping": input_warping, "max_observations": max_observations}

    def make_sampler(self, problem: Problem) -> GPSampler:
        """See the base."""
        return GPSampler(problem, **self._options)  # type: ignore[arg-type]


def _at_least(name: str, given: Any, least: int) -> None:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise SpecError(f"GPSearch: {name} must be a whole number >= {least}, got {given!r}.")
