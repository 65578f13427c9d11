"""The searcher around :class:`~tunesmith.search.tpe.sampler.TPESampler`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.search.base import SearcherCapabilities
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Problem
from tunesmith.search.sampler import Sampler
from tunesmith.search.tpe.sampler import TPESampler

__all__ = ["TPESearch", "at_least"]


class TPESearch(NativeSearcher):
    """Tree-structured Parzen estimators: robust for spaces of any kind, from some dozens to thousands of trials, on any number of workers.

    Observations are split into good ones (a tenth, at most 25) and bad ones. Both sides get a density: a mixture of kernels, one around
    each observation. Of some candidates that are drawn where it is good, the one is proposed that is likelier there than where it is bad
    by the greatest factor. A suggestion takes about a millisecond with ten parameters, and no longer with more than 500 observations
    than with 525: beyond, the bad side has the latest 500.

    - *Spaces.* Kernels are products over all parameters that exist together, so dependences between these are learned. Parameters inside
      an option of a choice have a density of their own, of the observations that took this option; the option is decided first.
      Integers and steps have kernels that are integrated over their cells; logarithms are taken; a category's kernel has
      n / (n + 1) of its mass on its own option.
    - *Trials that are under way* count as bad: suggestions keep away from each other.
    - *Stopped trials* count like others, with their last value. It is not looked at how far they came: a scheduler that
      compares trials at the same step stops those whose losses are large at that step, so they are rarely good; and one that stops
      trials because they do not improve any more stops good ones. To compare losses at equal steps only, use
      :class:`tunesmith.search.BOHBSearch`.
    - *What is infeasible* counts as bad: trials that failed, and those that break one of ``outcome_constraints``. Only while none keeps
      them all, those are good that come closest.
    - *Several metrics.* Good are those in the first fronts, the less crowded first.

    Papers: Bergstra et al., Algorithms for Hyper-Parameter Optimization, NIPS 2011; Watanabe, Tree-Structured Parzen Estimator, 2023
    (arXiv 2304.11127); for priors Hvarfner et al., piBO, ICLR 2022. Where it differs:

    - Kernels have the same width on both sides: 0.08 (n + 1)^(-1 / (d + 4)) of the range, at least 0.01, with n observations of d
      parameters. That is a third of the usual; it finds more on smooth and on mixed functions, and somewhat less on functions with
      very many local optima.
    - The kernel that knows nothing is uniform, and old observations weigh as much as new ones.
    - Where trials have failed or broken bounds, the ratio is multiplied with the probability that a configuration is feasible,
      of kernels twice as wide.
    - Of a choice with parameters inside, an option is drawn at random every second time (with n > 200 observations 100 / n of the times),
      and it is searched for what is best within it: else options that were unlucky at first would never be taken again.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed, duplicates: see
            :class:`tunesmith.search.native.NativeSearcher`.
        n_initial_points: so many observations come before the first that is proposed by the model, >= 1; evaluated points count.
            None: 10, and 20 if parameters hang on options of choices, because the options have to share them.
        n_candidates: so many are compared for a suggestion, >= 1. More of them search more greedily, and take longer.
        gamma: how many observations are good: a part of them in (0, 1), or a function from how many there are (those that are
            infeasible left out) to how many are good; None: a tenth, at most 25.
        multivariate: kernels over all parameters at once; false: each parameter by itself, as in 2011.
        prior_weight: of the kernel that knows nothing, >= 0; that of an observation is 1. The larger, the more is explored.
        priors: what you believe, by name of the parameter ("net/lr"; inside option i of a choice "net/i/lr"). A number has
            (value, spread): a normal distribution; the spread of a parameter with a logarithm is a factor > 1. A category has weights
            > 0, in the order of its options, or as a dict option -> weight (1 where it is missing). The first configurations are drawn
            from it, and then it counts with the power 10 / number of observations, so that it can be overcome.

    Raises:
        SpecError: an argument is of the wrong kind, or (when bound to a space) ``priors`` does not fit it; names it.

    Example:
        >>> from tunesmith.space import Space, choice, loguniform
        >>> searcher = TPESearch("loss", "min", priors={"lr": (1e-3, 10)})
        >>> searcher.bind(Space.parse({"lr": loguniform(1e-5, 1), "act": choice(["relu", "tanh"])}), seed=1)
        >>> for number in range(40):
        ...     values = searcher.propose(number, str(number)).values
        ...     loss = abs(values["lr"] - 0.01) + (values["act"] == "relu")
        ...     searcher.on_trial_complete(str(number), {"loss": loss})
        >>> values["act"], 0.003 < values["lr"] < 0.03
        ('tanh', True)
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True
    )  # fmt: skip

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
        n_candidates: int = 24,
        gamma: float | Callable[[int], int] | None = None,
        multivariate: bool = True,
        prior_weight: float = 1.0,
        priors: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent, seed=seed, duplicates=duplicates,
        )  # fmt: skip
        if n_initial_points is not None:
            at_least("TPESearch", "n_initial_points", n_initial_points, 1)
        at_least("TPESearch", "n_candidates", n_candidates, 1)
        if not (gamma is None or callable(gamma) or (_is_number(gamma) and 0 < gamma < 1)):
            raise SpecError(f"TPESearch: gamma must be a number in (0, 1), a function of a count, or None, got {gamma!r}.")
        if not isinstance(multivariate, bool):
            raise SpecError(f"TPESearch: multivariate must be True or False, got {multivariate!r}.")
        if not (_is_number(prior_weight) and prior_weight >= 0):
            raise SpecError(f"TPESearch: prior_weight must be a number >= 0, got {prior_weight!r}.")
        if not (priors is None or isinstance(priors, Mapping)):
            raise SpecError(f"TPESearch: priors must be a dict from names of parameters, got {priors!r}.")
        self._options: dict[str, Any] = {
            "n_initial_points": n_initial_points, "n_candidates": n_candidates, "gamma": gamma, "multivariate": multivariate,
            "prior_weight": prior_weight, "priors": priors,
        }  # fmt: skip

    def make_sampler(self, problem: Problem) -> Sampler:
        """See the base."""
        return TPESampler(problem, **self._options)


def at_least(owner: str, name: str, given: Any, least: int) -> None:
    """Check a count.

    Raises:
        SpecError: it is no whole number, or less.
    """
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise SpecError(f"{owner}: {name} must be a whole number >= {least}, got {given!r}.")


def _is_number(given: Any) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
