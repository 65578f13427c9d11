"""Models of what is optimised and of what must be kept, from everything that was observed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType

import numpy as np

from tunesmith.search.gp.acquisition import Acquisition
from tunesmith.search.gp.columns import Array, Columns
from tunesmith.search.gp.data import Data, signed_logs, subset
from tunesmith.search.gp.features import Features
from tunesmith.search.gp.fit import fit
from tunesmith.search.gp.kernel import Kernel, Prior
from tunesmith.search.gp.losses import warped
from tunesmith.search.gp.posterior import Posterior
from tunesmith.search.problem import Observation, Problem

__all__ = ["Beliefs", "scalarized", "scheduled"]

_FITTED = 200
"""Observations that parameters of kernels are fitted to, at most; conditioned on are more."""

_FITTED_OFTEN = 60
"""The same where losses are weighted anew, and the fit cannot be kept, for each question."""

_FANTASIES = 16
_TOPS = 5


def scheduled(count: int) -> int:
    """Of how many observations, the first ones, parameters are fitted to when there are ``count``: all up to 15, then every second ...

    A function of the count alone, so that a resumed experiment has the same parameters.

    Example:
        >>> [scheduled(count) for count in (15, 16, 17, 32, 35, 300)]
        [15, 16, 16, 32, 32, 288]
    """
    step = 1
    while step * 16 <= count:
        step *= 2
    return count // step * step


def scalarized(losses: Array, weights: Array) -> Array:
    """One loss for several: the augmented Chebyshev function of ParEGO (Knowles, IEEE TEC 2006), each loss scaled by its own warping.

    Args:
        losses: n x metrics, finite.
        weights: of the metrics, positive with sum 1.
    """
    parts = np.stack([warped(column) for column in losses.T], axis=1)
    parts = (parts - parts.min(0)) * weights
    return np.asarray(parts.max(1) + 0.05 * parts.sum(1))


class Beliefs:
    """Gaussian processes for the loss, for each bound, and for whether a configuration is possible at all.

    Args:
        problem: what is to be solved.
        columns: of its space.
        warping: whether coordinates are warped in the model of the loss.
        limit: observations that a model is conditioned on, at most.
    """

    def __init__(self, problem: Problem, columns: Columns, warping: bool, limit: int) -> None:
        self.data = Data(columns, len(problem.metrics), len(problem.bounds))
        self._columns, self._features = columns, Features(columns)
        self._priors = Prior.make(self._features, warping), Prior.make(self._features, False)
        self._limit = limit
        # What follows is kept only because it takes time: it depends on the observations alone.
        self._kernels: dict[Hashable, tuple[int, Kernel]] = {}
        self._limits: tuple[int, list[tuple[Posterior, float]]] | None = None
        self._loss: tuple[int, Posterior | None, Array] | None = None

    def observe(self, observation: Observation) -> None:
        """One more."""
        self.data.add(observation)

    def acquisition(
        self, pending: Array, rng: np.random.Generator, gain: float = 0.0, taken: Mapping[int, float] = MappingProxyType({})
    ) -> tuple[Acquisition, Array]:
        """What to maximise; and the best rows known, to look around.

        Args:
            pending: p x columns, what is being tried.
            rng: draws fantasies, and weights of several metrics.
            gain: less than this, in standard deviations of the losses, counts as no improvement on the best of all.
            taken: options, column -> coordinate. What is best with them is to be improved on, and returned.
        """
        objective, good = self._objective(rng)
        among = self._columns.agree(good, taken)
        if not among[0]:
            gain = 0.0
        tops = self.data.filled((good[among] if among.any() else good)[:_TOPS])
        limits = self._bounds()
        if len(pending):
            limits = [(model.with_pending(pending, np.zeros((len(pending), 1))), limit) for model, limit in limits]
        if objective is None:
            return Acquisition(None, np.empty(0), limits), tops
        best = np.array([objective.at(tops).means.min()])
        if len(pending):
            half = rng.standard_normal((len(pending), _FANTASIES // 2))
            objective = objective.with_pending(pending, np.hstack([half, -half]))
            compared = pending[self._columns.agree(pending, taken)]
            if len(compared) and not limits:  # else it is not known whether they may be compared with
                best = np.minimum(best, objective.at(compared).means.min(0))
        return Acquisition(objective, best - gain, limits), tops

    # ---- the loss

    def _objective(self, rng: np.random.Generator) -> tuple[Posterior | None, Array]:
        """The model of the loss, and the feasible rows, the best by it first; if nothing feasible is known None, and the last rows."""
        count, data = len(self.data), self.data
        several = data.losses().shape[1] > 1
        if self._loss is not None and self._loss[0] == count and not several:
            return self._loss[1:]
        rows, losses, feasible = data.rows(), data.losses(), data.feasible()
        if not feasible.any():
            return None, rows[-_TOPS:]
        weights = rng.dirichlet(np.ones(losses.shape[1])) if several else np.ones(1)
        known = ~np.isnan(losses[:, 0])
        rows, losses, feasible = rows[known], losses[known], feasible[known]
        merged = scalarized(losses, weights) if several else losses[:, 0]
        first = scheduled(int(known.sum()))
        kernel = self._kernel(None if several else "loss", rows[:first], merged[:first], warp=True)
        kept = subset(rows, np.where(feasible, merged, np.inf), self._limit)
        rows, feasible = rows[kept], feasible[kept]
        model = Posterior(self._features, kernel, rows, warped(merged[kept])[:, None])
        good = rows[feasible]
        good = good[np.argsort(model.at(good).means[:, 0], kind="stable")]
        self._loss = count, model, good
        return model, good

    def _kernel(self, kept_as: Hashable | None, rows: Array, values: Array, *, warp: bool) -> Kernel:
        """Fitted to raw losses (``warp``), or to values that are standardised already."""
        known = self._kernels.get(kept_as)
        if kept_as is not None and known is not None and known[0] == len(rows):
            return known[1]
        part = subset(rows, values, _FITTED_OFTEN if kept_as is None else _FITTED)
        targets = warped(values[part]) if warp else values[part]
        kernel = fit(self._features, rows[part], targets, self._priors[0 if warp else 1])
        if kept_as is not None:
            self._kernels[kept_as] = len(rows), kernel
        return kernel

    # ---- what must be kept

    def _bounds(self) -> list[tuple[Posterior, float]]:
        """Models of all that must be at most a number, with that number."""
        count = len(self.data)
        if self._limits is None or self._limits[0] != count:
            rows, excess, failed = self.data.rows(), self.data.excess(), self.data.failed()
            found = [self._bound(at, rows, values) for at, values in enumerate(excess.T)]
            if failed.any():
                found.append(self._bound("possible", rows, np.where(failed, 1.0, -1.0)))
            self._limits = count, [bound for bound in found if bound is not None]
        return self._limits[1]

    def _bound(self, name: Hashable, rows: Array, values: Array) -> tuple[Posterior, float] | None:
        known = ~np.isnan(values)
        if not known.any():
            return None
        rows, values = rows[known], values[known]
        first = scheduled(len(rows))
        kernel = self._kernel(name, rows[:first], signed_logs(values[:first])[0], warp=False)
        kept = subset(rows, np.abs(values), self._limit)  # those near the bound tell where it is
        targets, limit = signed_logs(values[kept])
        return Posterior(self._features, kernel, rows[kept], targets[:, None]), limit

