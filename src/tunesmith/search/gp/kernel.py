"""The kernel, its parameters, and what is believed of them before anything is seen.

``k(x, x') = scale * m(r)`` with ``m(r) = (1 + sqrt(5) r + 5/3 r**2) * exp(-sqrt(5) r)`` (Matern-5/2) and ``r**2`` the sum of squared
distances of :mod:`tunesmith.search.gp.features`, each divided by the square of its column's length scale; observations have noise of
variance ``noise`` around the function, whose mean is the constant ``mean``.

Losses are standardised, so that priors can be given in numbers. That of the length scales is log-normal, with a median that grows with the
square root of the number of columns (Hvarfner et al., "Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024):
distances grow like that, too, and with a fixed prior nothing would be like anything else in twenty dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunesmith.search.gp.columns import Array
from tunesmith.search.gp.features import Features, Warp

__all__ = ["Kernel", "Prior", "matern", "matern_slope", "squares"]

LENGTH, LENGTH_SPREAD = 0.3, 1.0
"""Median of a length scale where a configuration has one parameter, and the standard deviation of its logarithm."""

SCALE_SPREAD, MEAN_SPREAD, WARP_SPREAD = 1.0, 0.5, 0.3
"""Standard deviations: of the logarithm of the function's variance (median 1), of its mean, of the logarithms of warping parameters."""

NOISE, NOISE_SPREAD, NOISE_FLOOR = 1e-4, 3.0, 1e-6
"""Median of the noise's variance, the standard deviation of its logarithm, and the least one."""


def matern(squared: Array, scale: float = 1.0) -> Array:
    """Covariances at squared scaled distances."""
    root = np.sqrt(5.0 * squared)
    return np.asarray((scale + scale * root + (scale * 5.0 / 3.0) * squared) * np.exp(-root))


def matern_slope(squared: Array, scale: float = 1.0) -> tuple[Array, Array]:
    """Covariances as :func:`matern`, and their derivatives by the squared distances: together they cost little more than one of them."""
    root = np.sqrt(5.0 * squared)
    decay = scale * np.exp(-root)
    slope = decay + decay * root
    return slope + (5.0 / 3.0) * squared * decay, (-5.0 / 6.0) * slope


def squares(points: Array, others: Array) -> Array:
    """Squared distances between rows, n x m."""
    found = (points**2).sum(1)[:, None] + (others**2).sum(1) - 2.0 * (points @ others.T)
    return np.asarray(np.maximum(found, 0.0))


@dataclass(frozen=True, slots=True)
class Kernel:
    """Parameters of the process.

    Args:
        lengths: a length scale for each column, > 0.
        scale: variance of the function.
        noise: variance of an observation around it.
        mean: of the function.
        warp: of numbers; None: they are taken as they are.
    """

    lengths: Array
    scale: float = 1.0
    noise: float = 1e-4
    mean: float = 0.0
    warp: Warp | None = None

    def points(self, features: Features, rows: Array) -> Array:
        """Rows as points in which the kernel is isotropic with length scale 1."""
        return features.of(rows, self.warp) / self.lengths[features.group]

    @classmethod
    def of(cls, vector: Array, columns: int) -> Kernel:
        """From a vector: logarithms of lengths, scale and noise; mean; and, if there is more, logarithms of both warping parameters."""
        logs, rest = vector[: columns + 2], vector[columns + 3 :]
        positive = np.exp(logs)
        warp = Warp(rest[: len(rest) // 2], rest[len(rest) // 2 :]) if len(rest) else None
        return cls(positive[:columns], float(positive[columns]), float(positive[columns + 1]), float(vector[columns + 2]), warp)


@dataclass(frozen=True, slots=True)
class Prior:
    """Independent normal distributions of the entries of :meth:`Kernel.of`'s vector, and the range in which they are sought.

    Attributes:
        centre, spread: means and standard deviations.
        low, high: bounds.
    """

    centre: Array
    spread: Array
    low: Array
    high: Array

    @classmethod
    def make(cls, features: Features, warping: bool) -> Prior:
        """The prior for a space.

        Args:
            features: of the space.
            warping: whether numbers are warped.
        """
        columns = features.columns
        size = max(1.0, float(columns.weight.sum()))  # parameters of one configuration
        length = np.log(LENGTH) + 0.5 * np.log(size)
        rows = [(length, LENGTH_SPREAD, np.log(0.02), np.log(100.0 * np.sqrt(size)))] * columns.dim
        rows.append((0.0, SCALE_SPREAD, np.log(0.01), np.log(100.0)))
        rows.append((np.log(NOISE), NOISE_SPREAD, np.log(NOISE_FLOOR), np.log(2.0)))
        rows.append((0.0, MEAN_SPREAD, -5.0, 5.0))
        if warping:
            rows += [(0.0, WARP_SPREAD, -2.5, 2.5)] * (2 * len(features.warped))
        return cls(*(np.array(part, dtype=float) for part in zip(*rows)))
