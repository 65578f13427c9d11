"""How promising configurations are: the logarithm of the expected improvement, times the probability of being feasible.

Logarithms, because far from the best the improvement itself underflows to 0 and climbs have no direction (Ament et al., "Unexpected
Improvements to Expected Improvement for Bayesian Optimization", NeurIPS 2023). With several fantasies of what is pending the mean of
their improvements is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erfcx, log_ndtr

from tunesmith.search.gp.columns import Array
from tunesmith.search.gp.posterior import Posterior

__all__ = ["Acquisition", "log_improvement", "log_phi"]

_LOG_ROOT = 0.5 * np.log(2.0 * np.pi)
_TAIL = -300.0


def log_phi(z: Array) -> Array:
    """The logarithm of the standard normal density."""
    return np.asarray(-0.5 * z * z - _LOG_ROOT)


def log_improvement(z: Array) -> Array:
    """The logarithm of ``phi(z) + z * Phi(z)``, the expected improvement by a standard normal variable over ``-z``; finite for all z.

    Example:
        >>> log_improvement(np.array([0.0, -1e6])).round(3).tolist()
        [-0.919, -500000000028.55]
    """
    z = np.asarray(z, dtype=float)
    found = np.empty_like(z)
    high = z > -1.0
    some = z[high]
    found[high] = np.log(np.exp(log_phi(some)) + some * np.exp(log_ndtr(some)))
    low = ~high
    some = z[low]
    # phi(z) * (1 - |z| * Phi(z) / phi(z)); the bracket is 1/z**2 - 3/z**4 + 15/z**6 ... where its two terms have few digits between them
    near = np.maximum(some, _TAIL)
    bracket = 1.0 + near * (np.sqrt(np.pi / 2.0) * erfcx(-near / np.sqrt(2.0)))
    far = 1.0 / (some * some)
    found[low] = log_phi(some) + np.where(some > _TAIL, np.log(bracket), np.log(far) + np.log1p(-3.0 * far + 15.0 * far * far))
    return found


@dataclass(frozen=True, slots=True)
class Acquisition:
    """What is maximised.

    Args:
        objective: of the loss; None: nothing feasible is known, and only that is sought.
        best: s: the loss to be improved on, in each of its fantasies.
        limits: of what must be at most a number each, with that number.
    """

    objective: Posterior | None
    best: Array
    limits: Sequence[tuple[Posterior, float]] = ()

    def __call__(self, rows: Array) -> Array:
        """Values at rows, m x columns; larger is better."""
        return self._of(rows, slopes=False)[0]

    def with_slopes(self, rows: Array) -> tuple[Array, Array]:
        """Values at rows, and their derivatives by the coordinates, m x columns."""
        return self._of(rows, slopes=True)

    def _of(self, rows: Array, *, slopes: bool) -> tuple[Array, Array]:
        values, found = np.zeros(len(rows)), np.zeros(rows.shape if slopes else (0, 0))
        if self.objective is not None:
            values, more = self._improvement(self.objective, rows, slopes=slopes)
            found = found + more
        for posterior, limit in self.limits:
            belief = posterior.at(rows)
            z = (limit - belief.means) / belief.deviations[:, None]
            logs = log_ndtr(z)
            share, whole = _shares(logs)
            values = values + whole
            if slopes:
                by_z = share * np.exp(log_phi(z) - logs)
                by_deviations = -(by_z * z).sum(1) / belief.deviations
                found = found + posterior.slopes(rows, belief, -by_z / belief.deviations[:, None], by_deviations)
        return values, found

    def _improvement(self, posterior: Posterior, rows: Array, *, slopes: bool) -> tuple[Array, Array]:
        belief = posterior.at(rows)
        z = (self.best - belief.means) / belief.deviations[:, None]
        logs = log_improvement(z)
        share, whole = _shares(logs)
        values = whole + np.log(belief.deviations)
        if not slopes:
            return values, np.zeros((0, 0))
        by_means = -share * np.exp(log_ndtr(z) - logs) / belief.deviations[:, None]
        by_deviations = (share * np.exp(log_phi(z) - logs)).sum(1) / belief.deviations
        return values, posterior.slopes(rows, belief, by_means, by_deviations)


def _shares(logs: Array) -> tuple[Array, Array]:
    """Of each row: the share of each fantasy in the mean of their exponentials, and the logarithm of that mean."""
    top = logs.max(1, keepdims=True)
    exponentials = np.exp(logs - top)
    total = exponentials.sum(1, keepdims=True)
    return exponentials / total, np.asarray((top + np.log(total / logs.shape[1]))[:, 0])
