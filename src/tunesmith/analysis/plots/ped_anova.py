"""PED-ANOVA: how much each parameter matters for being among the best trials.

Watanabe, Bansal, Hutter: PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces, IJCAI 2023, section 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.analysis.plots.parameters import Parameter

__all__ = ["divergence", "importances"]

Array = npt.NDArray[np.float64]

_STEPS = 64
"""Cells of a number's range."""
_LEAST = 5
"""So many trials are the best at least, if there are twice as many."""


def importances(parameters: list[Parameter], losses: npt.ArrayLike, quantile: float) -> dict[str, float]:
    """The share of each parameter in what makes a trial one of the best; they sum to 1.

    With gamma' the share of the best trials, and p(x|best) and p(x|all) the densities of parameter x among the best and among all trials,
    the importance of x is the Pearson divergence of the two (theorem 1 of the paper, with gamma = 1)::

        v(x) = gamma'^2 * integral over p(x|all) of (p(x|best) / p(x|all) - 1)^2 dx

    which is the variance over x of the chance to be among the best. p(x|all) is estimated from the trials themselves, so that a searcher
    that looked more often at some values is not mistaken for their being good.

    Densities: of numbers by Gaussian kernels on their (logarithmic) axis, cut off at the bounds, with Scott's bandwidth
    ``1.06 * min(std, IQR / 1.34) * n^(-1/5)`` taken from all trials, on 64 cells; of categories by counts. In both a uniform density counts
    as one more trial.

    Differs from the paper: one bandwidth serves both densities, so that their difference is due to where trials are, not to how many
    there are. At least 5 trials are the best (half of all, if there are fewer than 10). Conditional parameters, which the paper leaves out:
    by the law of total variance x counts where it exists, among the trials that have it, and by their share in all trials; what it matters
    *that* it exists is the matter of the parameter that it depends on.

    Args:
        parameters: values in the order of ``losses``.
        losses: one for each trial, finite, smaller is better.
        quantile: gamma', in (0, 1); ties at the quantile are among the best.

    Returns:
        name -> share, the largest first. All are 0 if no parameter tells the best from the others.

    Example:
        >>> x = Parameter("x", "x", [value / 50 for value in range(50)], lower=0.0, upper=1.0)
        >>> noise = Parameter("noise", "noise", [(value * 7 % 10) / 10 for value in range(50)], lower=0.0, upper=1.0)
        >>> found = importances([x, noise], [value for value in x.values], 0.2)
        >>> list(found), round(sum(found.values()), 6), found["x"] > 0.9
        (['x', 'noise'], 1.0, True)
    """
    scores = np.asarray(losses, dtype=float)
    count = min(len(scores), max(math.ceil(quantile * len(scores)), min(_LEAST, len(scores) // 2), 1))
    best = scores <= np.sort(scores)[count - 1]
    raw = {one.name: _variance(one, best) for one in parameters}
    total = sum(raw.values())
    shares = {name: value / total if total > 0 else 0.0 for name, value in raw.items()}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _variance(parameter: Parameter, best: npt.NDArray[np.bool_]) -> float:
    values = np.asarray(parameter.values, dtype=float)
    having = np.isfinite(values)
    among = best & having
    if not among.any() or not parameter.varies:
        return 0.0
    chance = float(among.sum() / having.sum())  # gamma', among those that have the parameter
    return float(having.mean()) * chance**2 * divergence(parameter, values[among], values[having])


def divergence(parameter: Parameter, best: Array, every: Array) -> float:
    """The Pearson divergence of the density of ``best`` from that of ``every``, >= 0.

    Args:
        best, every: finite values of the parameter.
    """
    if parameter.labels is not None:
        cells: Any = len(parameter.labels)
        top, base = (_smoothed(np.bincount(values.astype(int), minlength=cells).astype(float), len(values)) for values in (best, every))
    else:
        scale = _Scale.of(parameter, every)
        width = scale.bandwidth(every)
        top, base = (_smoothed(scale.weights(values, width), len(values)) for values in (best, every))
    return float(np.sum(base * (top / base - 1) ** 2))


def _smoothed(weights: Array, count: int) -> Array:
    """Probabilities of cells, where a uniform density counts as one more trial."""
    return (weights + 1 / len(weights)) / (count + 1)


class _Scale:
    """A number's axis as [0, 1] in cells."""

    def __init__(self, low: float, high: float, log: bool, cells: int) -> None:
        self.low, self.high, self.log, self.cells = low, high, log, cells
        self.middles = (np.arange(cells) + 0.5) / cells

    @classmethod
    def of(cls, parameter: Parameter, every: Array) -> _Scale:
        """The domain's bounds where there are some, else those of the values."""
        known = np.log(every) if parameter.log else every
        low, high = (math.log(b) if parameter.log and b > 0 else b for b in (parameter.lower, parameter.upper))
        if not (math.isfinite(low) and math.isfinite(high)):
            low, high = math.inf, -math.inf
        low, high = min(low, float(known.min())), max(high, float(known.max()))
        return cls(low, high, parameter.log, _STEPS)

    def placed(self, values: Array) -> Array:
        """Values as parts of the axis."""
        known = np.log(values) if self.log else values
        return (known - self.low) / (self.high - self.low) if self.high > self.low else np.full(len(known), 0.5)

    def bandwidth(self, values: Array) -> float:
        """Scott's rule; at least half a cell."""
        places = self.placed(values)
        low, high = map(float, np.percentile(places, [25, 75]))
        spreads = [spread for spread in (float(places.std()), (high - low) / 1.34) if spread > 0]
        return max(1.06 * min(spreads, default=0.0) / math.pow(len(places), 0.2), 0.5 / self.cells)

    def weights(self, values: Array, width: float) -> Array:
        """How much of each value's kernel is in each cell; each value adds up to 1."""
        counts = np.bincount(np.clip((self.placed(values) * self.cells).astype(int), 0, self.cells - 1), minlength=self.cells)
        kernels = np.exp(-0.5 * ((self.middles[:, None] - self.middles[None, :]) / width) ** 2)  # of values in the middle of each cell
        kernels /= kernels.sum(axis=0, keepdims=True)
        found: Array = kernels @ counts.astype(float)
        return found
