"""The model of PB2: which hyperparameters will improve a member of a population most, learned from how much others have improved.

A Gaussian process over hyperparameters, the score that the member starts from, and time, of which old observations tell less and less:
``k((x, t), (x', t')) = s2 * exp(-0.5 * sum(((x - x') / length) ** 2)) * (1 - omega) ** (|t - t'| / 2)``. The next point maximises an upper
confidence bound; points that are being evaluated count as observed where uncertainty is concerned, so that no two members try the same.

Jack Parker-Holder, Vu Nguyen and Stephen Roberts, "Provably Efficient Online Hyperparameter Optimization with Population-Based Bandits",
NeurIPS 2020, sections 3 and 4. What differs from it: length scales are one for each input and, as all of the kernel's parameters, have weak
priors (a population of four gives few data); the bound takes the standard deviation (the authors' code: the variance).

It lives here and not with the schedulers because those are folded, and what is folded needs the standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

__all__ = ["WINDOW", "Bandit", "Kernel", "Observations", "fit", "loss", "propose", "standardized"]

Array = NDArray[np.float64]

WINDOW = 1000
"""Observations that are looked at, the newest ones."""

_FITTED = 200
"""Observations, the newest ones, that the kernel's parameters are fitted to; all of the window are conditioned on."""

_CANDIDATES, _REFINED = 256, 3
"""Random points whose bound is computed, and how many of the best are climbed from."""

_NOISE_FLOOR = 1e-3
"""Least variance of the noise, of rewards with variance 1: keeps the condition number of 1,000 equal points below 1e7."""

_HUGE = 1e150
"""Larger numbers count as this: their squares can still be added."""


@dataclass(frozen=True, slots=True)
class Observations:
    """What is known.

    Args:
        inputs: n x (d + 1): hyperparameters in [0, 1], then the standardized score that the member started from.
        times: n: when it started, in perturbation intervals.
        rewards: n: how much it improved in a unit of time, standardized; larger is better.
    """

    inputs: Array
    times: Array
    rewards: Array

    def newest(self, n: int) -> Observations:
        """The last ``n`` by time."""
        order = np.argsort(self.times, kind="stable")[-n:]
        return Observations(self.inputs[order], self.times[order], self.rewards[order])


@dataclass(frozen=True, slots=True)
class Kernel:
    """Parameters of the covariance.

    Args:
        lengths: d + 1 length scales, in units of the inputs.
        variance: of the function, ``s2``.
        noise: variance of an observation around it.
        rate: a time difference of ``dt`` intervals multiplies the covariance by ``exp(-rate * dt)``.
    """

    lengths: Array
    variance: float = 1.0
    noise: float = 0.1
    rate: float = 0.05

    @property
    def omega(self) -> float:
        """The paper's: the share that is forgotten from one interval to the next, 0 to 1."""
        return float(-np.expm1(-2 * self.rate))

    def __call__(self, inputs: Array, times: Array, others: Array, others_times: Array) -> Array:
        """Covariances of n with m points, n x m."""
        scaled, scaled_others = inputs / self.lengths, others / self.lengths
        squares = (scaled**2).sum(1)[:, None] + (scaled_others**2).sum(1) - 2 * scaled @ scaled_others.T
        return np.asarray(self.variance * np.exp(-0.5 * np.maximum(squares, 0) - self.rate * np.abs(times[:, None] - others_times)))

    @classmethod
    def of(cls, logs: Array) -> Kernel:
        """From the logarithms of lengths, variance, noise and rate."""
        values = np.exp(logs)
        return cls(values[:-3], float(values[-3]), float(values[-2]), float(values[-1]))


def _prior(inputs: int) -> tuple[Array, Array]:
    """Means and standard deviations of the logarithms of the parameters: where the data do not speak, 10% is forgotten in an interval."""
    lengths = [0.5] * (inputs - 1) + [1.0]
    return np.log([*lengths, 1.0, 0.1, 0.05]), np.array([0.7] * inputs + [0.7, 1.5, 1.0])


def _limits(inputs: int) -> list[tuple[float, float]]:
    logs = [(0.05, 20.0)] * inputs + [(0.05, 10.0), (_NOISE_FLOOR, 2.0), (1e-3, 3.0)]
    return [(float(np.log(low)), float(np.log(high))) for low, high in logs]


def _factor(covariance: Array, noise: float) -> Array:
    """The lower Cholesky factor of the covariance of noisy observations."""
    noisy = covariance.copy()
    noisy.flat[:: len(noisy) + 1] += noise
    return np.asarray(cholesky(noisy, lower=True, overwrite_a=True, check_finite=False))


def _inverse(factor: Array) -> Array:
    """Of the matrix with this lower Cholesky factor."""
    half, _ = dpotri(factor, lower=1)
    return np.asarray(np.tril(half) + np.tril(half, -1).T)


def loss(logs: Array, data: Observations) -> tuple[float, Array]:
    """What :func:`fit` minimises: minus the logarithm of likelihood times prior, up to a constant, and its gradient.

    Args:
        logs: logarithms of the kernel's parameters, as in :meth:`Kernel.of`.
        data: at most a few hundred observations; the cost is cubic in them.
    """
    kernel = Kernel.of(logs)
    dims = data.inputs.shape[1]
    covariance = kernel(data.inputs, data.times, data.inputs, data.times)
    factor = _factor(covariance, kernel.noise)
    inverse = _inverse(factor)
    weights = inverse @ data.rewards
    sensitivity = 0.5 * (inverse - np.outer(weights, weights))
    weighted = sensitivity * covariance
    gradient = np.empty(dims + 3)
    for at in range(dims):
        column = data.inputs[:, at] / kernel.lengths[at]
        gradient[at] = (weighted * (column[:, None] - column) ** 2).sum()
    gradient[dims] = weighted.sum()
    gradient[dims + 1] = kernel.noise * np.trace(sensitivity)
    gradient[dims + 2] = -kernel.rate * (weighted * np.abs(data.times[:, None] - data.times)).sum()
    means, deviations = _prior(dims)
    off = (logs - means) / deviations
    value = 0.5 * data.rewards @ weights + np.log(np.diag(factor)).sum() + 0.5 * off @ off
    return float(value), gradient + off / deviations


def fit(data: Observations) -> Kernel:
    """The most probable parameters, given the newest observations; those of the prior where there are none."""
    inputs = data.inputs.shape[1]
    start, _ = _prior(inputs)
    if not len(data.rewards):
        return Kernel.of(start)
    found = minimize(loss, start, (data.newest(_FITTED),), "L-BFGS-B", True, bounds=_limits(inputs), options={"maxiter": 50})
    return Kernel.of(found.x)


class Bandit:
    """What is believed, and how promising a point is.

    Args:
        kernel: of the process.
        data: observations, at most :data:`WINDOW`.
        time, score: of the member that a point is looked for, as in ``data``.
        pending: m x (d + 1), and their times: points that are being evaluated.

    Attributes:
        beta: how much uncertainty is worth: ``0.2 + max(0, log(0.4 * n))``, the square of the weight of the standard deviation.
    """

    def __init__(self, kernel: Kernel, data: Observations, time: float, score: float, pending: tuple[Array, Array] | None = None) -> None:
        self.kernel = kernel
        self.beta = 0.2 + max(0.0, float(np.log(0.4 * max(1, len(data.rewards)))))
        self._n, self._score = len(data.rewards), score
        inputs, times = data.inputs, data.times
        self._weights = cho_solve((self._factor(inputs, times), True), data.rewards, check_finite=False)
        if pending is not None and len(pending[1]):
            inputs, times = np.vstack([inputs, pending[0]]), np.concatenate([times, pending[1]])
        self._inputs, self._times, self._time = inputs, times, np.array([time])
        self._precision = _inverse(self._factor(inputs, times))

    def _factor(self, inputs: Array, times: Array) -> Array:
        return _factor(self.kernel(inputs, times, inputs, times), self.kernel.noise)

    def _covariances(self, points: Array) -> Array:
        inputs = np.column_stack([points, np.full(len(points), self._score)])
        return self.kernel(inputs, np.repeat(self._time, len(points)), self._inputs, self._times)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Means, and standard deviations without the noise, at m x d hyperparameters."""
        covariances = self._covariances(points)
        variances = self.kernel.variance - ((covariances @ self._precision) * covariances).sum(1)
        return covariances[:, : self._n] @ self._weights, np.sqrt(np.maximum(variances, 1e-12))

    def bounds(self, points: Array) -> Array:
        """Upper confidence bounds at m x d hyperparameters."""
        means, deviations = self.predict(points)
        return np.asarray(means + np.sqrt(self.beta) * deviations)

    def bound(self, point: Array) -> tuple[float, Array]:
        """The upper confidence bound at one point, and its gradient."""
        covariances = self._covariances(point[None])[0]
        solved = self._precision @ covariances
        slopes = covariances[:, None] * (self._inputs[:, :-1] - point) / self.kernel.lengths[:-1] ** 2
        deviation = np.sqrt(max(self.kernel.variance - covariances @ solved, 1e-12))
        weight = np.sqrt(self.beta)
        value = covariances[: self._n] @ self._weights + weight * deviation
        return float(value), slopes[: self._n].T @ self._weights - weight / deviation * (slopes.T @ solved)

    def best(self, draw: np.random.Generator) -> Array:
        """Points of the unit cube, those with the largest upper confidence bounds first: where climbs have ended, then random ones."""
        dims = self._inputs.shape[1] - 1
        candidates = draw.random((_CANDIDATES, dims))
        candidates = candidates[np.argsort(-self.bounds(candidates), kind="stable")]

        def downhill(point: Array) -> tuple[float, Array]:
            value, gradient = self.bound(point)
            return -value, -gradient

        limits, options = [(0, 1)] * dims, {"maxiter": 50}
        climbed = [minimize(downhill, start, (), "L-BFGS-B", True, bounds=limits, options=options) for start in candidates[:_REFINED]]
        tops = [np.clip(found.x, 0, 1) for found in sorted(climbed, key=lambda found: float(found.fun))]
        return np.vstack([tops, candidates])


@dataclass(frozen=True, slots=True)
class Scaling:
    """``(value - centre) / scale``, clipped to -2 ... 2."""

    centre: float
    scale: float

    def __call__(self, values: Array) -> Array:
        return np.asarray(np.clip((np.clip(values, -_HUGE, _HUGE) - self.centre) / self.scale, -2, 2))


def standardized(values: Array) -> tuple[Array, Scaling]:
    """Values with mean 0 and deviation 1, clipped to -2 ... 2; and what does the same to others.

    Infinite ones become -2 or 2. Outliers beyond three times the interquartile range are drawn in first: a single loss that has exploded
    would make all the others equal.
    """
    tame = np.clip(values[np.isfinite(values)], -_HUGE, _HUGE)
    if not len(tame):
        scaling = Scaling(0.0, 1.0)
    else:
        low, high = np.quantile(tame, [0.25, 0.75])
        if high > low:
            tame = np.clip(tame, low - 3 * (high - low), high + 3 * (high - low))
        spread = float(tame.std())
        scaling = Scaling(float(tame.mean()), spread if spread > 1e-12 * np.abs(tame).max() else 1.0)
    return scaling(values), scaling


def propose(
    rows: Sequence[tuple[float, float, Sequence[float], float]],
    time: float,
    score: float,
    pending: Sequence[tuple[float, float, Sequence[float]]],
    dims: int,
    seed: int,
    allowed: Callable[[list[float]], bool] | None = None,
) -> list[float]:
    """Hyperparameters that a member should go on with.

    Args:
        rows: what was observed, in any order: when it began, in perturbation intervals; the score that it began with; the hyperparameters
            in [0, 1]; how much the score rose in a unit of time (infinite: as bad or as good as can be).
        time, score: where the member stands.
        pending: what others are trying: time, score, hyperparameters.
        dims: number of hyperparameters, >= 1.
        seed: equal ones give equal answers.
        allowed: whether it may have a point; the best that it may have is taken. None: any; so too if it may have none that was looked at.

    Returns:
        ``dims`` numbers in [0, 1]; drawn evenly if there are no rows.

    Example:
        >>> rows = [(0.0, 0.0, [x / 9], -((x / 9 - 0.7) ** 2)) for x in range(10)]
        >>> 0.5 < propose(rows, 1.0, 0.0, [], dims=1, seed=1)[0] < 0.9
        True
    """
    draw = np.random.default_rng(seed)
    if not rows:
        return _first(draw.random((_CANDIDATES, dims)), allowed)
    rows = sorted(rows, key=lambda row: row[0])[-WINDOW:]
    rewards, _ = standardized(_array([row[3] for row in rows]))
    before, scaling = standardized(_array([row[1] for row in rows]))
    data = Observations(np.column_stack([_array([row[2] for row in rows]), before]), _array([row[0] for row in rows]), rewards)
    others = _array([one[2] for one in pending]).reshape(len(pending), dims)
    trying = np.column_stack([others, scaling(_array([one[1] for one in pending]))]), _array([one[0] for one in pending])
    with threadpool_limits(1, "blas"):  # the trials have the cores; and with more threads sums would depend on how many there are
        bandit = Bandit(fit(data), data, time, float(scaling(_array([score]))[0]), trying)
        return _first(bandit.best(draw), allowed)


def _first(points: Array, allowed: Callable[[list[float]], bool] | None) -> list[float]:
    """The first that is allowed; the first if none is."""
    found: list[list[float]] = points.tolist()
    return next((point for point in found if allowed is None or allowed(point)), found[0])


def _array(values: Sequence[Any]) -> Array:
    return np.array(values, dtype=np.float64)
