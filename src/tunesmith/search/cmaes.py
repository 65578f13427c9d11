"""CMA-ES: a normal distribution over the space that moves, and takes on the shape of the objective around its best parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.optional import load
from tunesmith.search.base import SearcherCapabilities
from tunesmith.search.cmaes_sampler import CMAESSampler
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Problem

__all__ = ["CMAESSampler", "CMAESSearch"]


class CMAESSearch(NativeSearcher):
    """CMA-ES, the strongest known method for numbers that act together, when there are many trials.

    A normal distribution proposes; after each generation of ``popsize`` results it moves to where the better half was, and its covariance
    follows the directions in which that paid. It takes no notice of the scale of parameters or of the objective, only of the order of
    results, and learns rotated and badly scaled objectives. Below some hundred trials TPE or a Gaussian process finds more.

    Numbers live in the unit cube, in which equal lengths are equally likely under the space's own distribution (logarithms are undone).
    Bounds: what falls outside is proposed at the bound, and ranked with a penalty. Integers and other numbers with 3 to 1,000 values have a
    margin: the values beside the present one keep a least probability, so that the search does not get stuck at one. Choices have a
    distribution of their own, of which every option keeps a least part. Parameters that depend on others are refused.

    **Results in any order.** A generation is complete when enough results have come, whoever proposed them and when: trials that are
    slow, that users chose, or that an earlier generation proposed, count as they come. More trials at once than ``popsize`` cost some
    precision, but less than a larger ``popsize`` would (100 at once, 600 trials, popsize 10 or 100: 0.05 or 0.25 of what random ones had).
    **Infeasible** trials, failed ones and those that break a bound, are the last of their generation, by how much they break; that moves
    the distribution away from them. **Restarts**: when a generation has become a point, or nothing has changed for long, a new
    distribution begins at a random place, with twice the ``popsize``.

    Papers: Hamano et al., "CatCMA with Margin: Stochastic Optimization for Continuous, Integer, and Categorical Variables" (2025), as
    implemented by the package ``cmaes``, which is needed; Auger and Hansen, "A Restart CMA Evolution Strategy With Increasing
    Population Size" (2005); Nomura et al., "Warm Starting CMA-ES for Hyperparameter Optimization" (2021). What differs: the library is
    given ranks instead of losses, which only its penalties for bounds would see; where a generation has shrunk below 1e-9 of all ranges
    that counts as converged.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed, duplicates: as for
            :class:`~tunesmith.search.native.NativeSearcher`. The first distribution is around the best evaluated point, with ten or more of
            them it is fitted to the best tenth; without any it is around the first of ``points_to_evaluate``, else in the middle.
        sigma0: standard deviation of the first distribution, as a part of each parameter's range: above 0, at most 0.5. About a third of
            how far the optimum may be from where it starts.
        popsize: trials of one generation, >= 4. More explore more and learn slower. None: 4 + 3 ln(parameters).

    Raises:
        SpecError: the package ``cmaes`` is missing, an argument is of the wrong kind, or (when bound to a space) the space has parameters
            that depend on others, or there are several metrics.

    Example:
        >>> from tunesmith.space import Space, loguniform, randint
        >>> searcher = CMAESSearch("loss", "min", points_to_evaluate=[{"lr": 0.1, "layers": 4}])
        >>> searcher.bind(Space.parse({"lr": loguniform(1e-4, 1), "layers": randint(1, 20)}), seed=1)
        >>> for n in range(200):
        ...     values = searcher.propose(n, str(n)).values
        ...     loss = abs(values["lr"] - 0.003) + abs(values["layers"] - 12)
        ...     searcher.on_trial_complete(str(n), {"loss": loss})
        >>> round(values["lr"], 3), values["layers"]
        (0.003, 12)
    """

    capabilities = SearcherCapabilities(constraints=True, batch=True)

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        sigma0: float = 1 / 6,
        popsize: int | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
        seed: int | None = None,
        duplicates: bool = False,
    ) -> None:
        load("CMAESSearch", "cmaes", "cmaes")
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent, seed=seed, duplicates=duplicates,
        )  # fmt: skip
        if isinstance(sigma0, bool) or not isinstance(sigma0, int | float) or not 0 < sigma0 <= 0.5:
            raise SpecError(f"CMAESSearch: sigma0 must be a part of the range, above 0 and at most 0.5, got {sigma0!r}.")
        if popsize is not None and (isinstance(popsize, bool) or not isinstance(popsize, int) or popsize < 4):
            raise SpecError(f"CMAESSearch: popsize must be a whole number >= 4, or None, got {popsize!r}.")
        self.sigma0 = float(sigma0)
        self.popsize = popsize

    def make_sampler(self, problem: Problem) -> CMAESSampler:
        """See the base."""
        tried = self._points[len(self._rewards) :]
        start = problem.space.values_from(tried[0]) if tried else None
        return CMAESSampler(problem, self.sigma0, self.popsize, start)
