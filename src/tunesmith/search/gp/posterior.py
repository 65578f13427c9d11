"""What is believed after observations, also of what is still being tried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dtrtri

from tunesmith.search.gp.columns import Array
from tunesmith.search.gp.features import Features
from tunesmith.search.gp.fit import factor
from tunesmith.search.gp.kernel import Kernel, matern, matern_slope, squares

__all__ = ["Belief", "Posterior"]

_LEAST = 1e-12
"""Least variance of a prediction, in shares of the function's: below it is rounding only."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Predictions at m rows.

    Attributes:
        means: m x s: one for each of s fantasies (1 if nothing is pending).
        deviations: m, without the noise; equal in all fantasies.
    """

    means: Array
    deviations: Array
    _squared: Array
    _points: Array
    _solved: Array


class Posterior:
    """A Gaussian process, conditioned on observations.

    Args:
        features: of the space.
        kernel: its parameters.
        rows: n x columns, what was observed.
        targets: n x s: losses; more than one column: s cases with the same rows.
    """

    def __init__(self, features: Features, kernel: Kernel, rows: Array, targets: Array) -> None:
        self._features, self.kernel, self.rows, self.targets = features, kernel, rows, targets
        self._points = kernel.points(features, rows)
        covariance = matern(squares(self._points, self._points), kernel.scale)
        covariance.flat[:: len(rows) + 1] += kernel.noise
        self._lower = factor(covariance)
        # variances from the inverse of the factor: from that of the matrix they would lose twice as many digits
        self._inverse = np.asarray(dtrtri(self._lower, lower=1)[0]) if len(rows) else np.empty((0, 0))
        self._weights = self._inverse.T @ (self._inverse @ (targets - kernel.mean))

    def at(self, rows: Array) -> Belief:
        """Predictions at rows, m x columns."""
        points = self.kernel.points(self._features, rows)
        squared = squares(points, self._points)
        covariances = matern(squared, self.kernel.scale)
        half = covariances @ self._inverse.T
        variances = self.kernel.scale - (half**2).sum(1)
        deviations = np.sqrt(np.maximum(variances, _LEAST * self.kernel.scale))
        return Belief(self.kernel.mean + covariances @ self._weights, deviations, squared, points, half)

    def slopes(self, rows: Array, belief: Belief, by_means: Array, by_deviations: Array) -> Array:
        """Derivatives by the coordinates of ``rows`` (m x columns) of what has these derivatives by ``belief``.

        Args:
            rows, belief: from :meth:`at`.
            by_means: m x s.
            by_deviations: m.
        """
        by_variances = by_deviations / (2.0 * belief.deviations)
        by_covariances = by_means @ self._weights.T - 2.0 * by_variances[:, None] * (belief._solved @ self._inverse)
        by_squares = by_covariances * matern_slope(belief._squared, self.kernel.scale)[1]
        by_points = 2.0 * (by_squares.sum(1)[:, None] * belief._points - by_squares @ self._points)
        return self._features.back(rows, by_points / self.kernel.lengths[self._features.group], self.kernel.warp)

    def with_pending(self, rows: Array, draws: Array) -> Posterior:
        """Conditioned on what is being tried, too: each fantasy has other results there, as likely as they are.

        Args:
            rows: p x columns, at least one.
            draws: p x s standard normal numbers.
        """
        points = self.kernel.points(self._features, rows)
        between = matern(squares(points, self._points), self.kernel.scale)
        half = solve_triangular(self._lower, between.T, lower=True, check_finite=False).T if len(self.rows) else between
        covariance = matern(squares(points, points), self.kernel.scale) - half @ half.T
        covariance.flat[:: len(rows) + 1] += self.kernel.noise
        fantasies = self.kernel.mean + between @ self._weights + factor(covariance) @ draws
        known = np.broadcast_to(self.targets, (len(self.rows), draws.shape[1]))
        return Posterior(self._features, self.kernel, np.vstack([self.rows, rows]), np.vstack([known, fantasies]))
