"""Output warping: from losses as users measure them to numbers that a Gaussian process can believe in.

Losses of bad configurations are often enormous, and a single one would make all good ones look equal. So

1. what is far worse than the rest is drawn in: beyond the median, by more than five times the distance from the best to the median;
2. a power transform (Yeo and Johnson, 2000) with the exponent of greatest likelihood, at most 1, makes the rest look normal, which HEBO
   found to help much on real tasks (Cowen-Rivers et al., JAIR 2022). It never spreads the bad end more than the good one;
3. they are standardised.

All steps are monotone, so the order of losses, which is what counts, remains.
"""

from __future__ import annotations

import numpy as np

from tunesmith.search.gp.columns import Array

__all__ = ["standardized", "warped", "yeo_johnson"]

_LAMBDAS = np.linspace(-1.0, 1.0, 21)
_REACH = 5.0


def warped(losses: Array) -> Array:
    """Losses (n, finite) with mean 0 and deviation 1, or all 0 if they are equal."""
    if not len(losses):
        return losses
    tame = losses / 16.0  # the sums and differences of the largest floats are infinite
    low, middle = float(tame.min()), float(np.median(tame))
    if middle > low:
        tame = np.minimum(tame, middle + _REACH * (middle - low))
    tame = tame - low
    tame = standardized(tame / max(float(tame.max()), 1e-300))
    return standardized(yeo_johnson(tame, _exponent(tame)))

def standardized(values: Array) -> Array:
    """Values with mean 0 and deviation 1; 0 if they are equal up to rounding."""
    rest = values - values.mean()
    spread = float(rest.std())
    return np.asarray(rest / spread) if spread > 1e-14 * float(np.abs(values).max()) else np.zeros_like(values)


def yeo_johnson(values: Array, exponent: float) -> Array:
    """The transform with this exponent: 1 is the identity, less compresses large values and spreads small ones."""
    size = np.log1p(np.abs(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        above = size if exponent == 0 else np.expm1(exponent * size) / exponent
        below = -size if exponent == 2 else -np.expm1((2 - exponent) * size) / (2 - exponent)
    return np.where(values >= 0, above, below)


def _exponent(values: Array) -> float:
    """Of greatest likelihood, of a grid (nothing finer is known from a few dozen losses)."""
    jacobian = float((np.sign(values) * np.log1p(np.abs(values))).sum())
    likelihood = [_log_likelihood(yeo_johnson(values, float(each)), (float(each) - 1.0) * jacobian) for each in _LAMBDAS]
    return float(_LAMBDAS[int(np.argmax(likelihood))])


def _log_likelihood(transformed: Array, jacobian: float) -> float:
    variance = float(transformed.var())
    return jacobian - 0.5 * len(transformed) * float(np.log(variance)) if variance > 0 else -np.inf
