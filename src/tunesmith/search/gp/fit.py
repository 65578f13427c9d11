"""The most probable parameters of the kernel, by a quasi-Newton method with exact gradients."""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri

from tunesmith.search.gp.columns import Array
from tunesmith.search.gp.features import Features
from tunesmith.search.gp.kernel import Kernel, Prior, matern_slope, squares

__all__ = ["factor", "fit", "loss"]

_STEPS = 60
_JITTER = (0.0, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2, 1.0)
"""Added to the diagonal, in shares of it, one after the other until the matrix is positive definite in floating point."""


def factor(covariance: Array) -> Array:
    """The lower Cholesky factor of a covariance matrix, or of one that differs a little on the diagonal; zeros above."""
    size = float(np.abs(covariance.diagonal()).max()) if len(covariance) else 1.0
    for share in _JITTER:
        matrix = covariance.copy()
        matrix.flat[:: len(matrix) + 1] += share * size
        found, failed = dpotrf(matrix, lower=1, clean=1)
        if not failed and np.isfinite(found.flat[-1] if found.size else 0.0):
            return np.asarray(found)
    raise np.linalg.LinAlgError(f"a covariance of {len(covariance)} observations holds numbers that are not finite")


def loss(vector: Array, features: Features, rows: Array, targets: Array, prior: Prior) -> tuple[float, Array]:
    """What :func:`fit` minimises: minus the logarithm of likelihood times prior, up to a constant, and its gradient.

    Args:
        vector: parameters, as in :meth:`Kernel.of`.
        features: of the space.
        rows: n x columns.
        targets: n standardised losses.
        prior: of the parameters.
    """
    columns = features.columns.dim
    kernel = Kernel.of(vector, columns)
    points = kernel.points(features, rows)
    clean, slopes = matern_slope(squares(points, points), kernel.scale)
    covariance = clean.copy()
    covariance.flat[:: len(covariance) + 1] += kernel.noise
    lower = factor(covariance)
    half, _ = dpotri(lower, lower=1)
    inverse = half + np.tril(half, -1).T
    rest = targets - kernel.mean
    weights = inverse @ rest
    off = (vector - prior.centre) / prior.spread
    value = 0.5 * rest @ weights + np.log(lower.diagonal()).sum() + 0.5 * off @ off

    sensitivity = 0.5 * (inverse - np.outer(weights, weights))  # by the covariance
    gradient = off / prior.spread
    by_squares = sensitivity * slopes
    by_points = 4.0 * (by_squares.sum(1)[:, None] * points - by_squares @ points)
    by_lengths = -(by_points * points).sum(0)
    gradient[:columns] += np.bincount(features.group, by_lengths, columns)
    gradient[columns] += (sensitivity * clean).sum()
    gradient[columns + 1] += kernel.noise * sensitivity.trace()
    gradient[columns + 2] -= weights.sum()
    if kernel.warp is not None:
        by_a, by_b = features.back_to_warp(rows, by_points / kernel.lengths[features.group], kernel.warp)
        gradient[columns + 3 :] += np.concatenate([by_a, by_b])
    return float(value), gradient


def fit(features: Features, rows: Array, targets: Array, prior: Prior) -> Kernel:
    """The most probable parameters that two climbs find: one from the centre of the prior, one from shorter length scales and more noise.

    Args:
        features, rows, targets, prior: as in :func:`loss`. Where all targets are 0, or there are none, the centre of the prior is returned:
            that nothing has differed yet does not mean that nothing differs.
    """
    from scipy.optimize import minimize

    columns = features.columns.dim
    if not targets.any():
        return Kernel.of(prior.centre, columns)
    rough = prior.centre.copy()
    rough[:columns] -= 1.0
    rough[columns + 1] = np.log(1e-2)
    limits = list(zip(prior.low, prior.high))
    found = [
        minimize(
            loss, np.clip(start, prior.low, prior.high), (features, rows, targets, prior), "L-BFGS-B", True, bounds=limits,
            options={"maxiter": _STEPS},
        )
        for start in (prior.centre, rough)
    ]  # fmt: skip
    return Kernel.of(min(found, key=lambda each: float(each.fun)).x, columns)
