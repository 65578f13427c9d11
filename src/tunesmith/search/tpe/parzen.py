"""Mixtures of kernels, one around each observation and one that knows nothing: drawn from, and their density."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf, ndtr, ndtri

from tunesmith.search.tpe.columns import Column, Columns, Floats, Ints, Points

__all__ = ["Belief", "Mixture", "bandwidth"]

_NARROWEST = 0.01
_TINY = 1e-300
_ROOT, _HALF_ROOT = float(np.sqrt(2 * np.pi)), float(np.sqrt(0.5))


@dataclass(frozen=True, slots=True)
class Belief:
    """What is believed of one parameter before anything was seen.

    Args:
        mean, spread: of a number, in [0, 1]: a normal distribution, cut off at 0 and 1.
        weights: of a category's options, all positive, with the sum 1; None: it is a number.
    """

    mean: float = 0.5
    spread: float = 1.0
    weights: Floats | None = None

    def quantile(self, parts: Floats) -> Floats:
        """Where numbers below have these parts of all probability; for a category: the options, as whole numbers."""
        if self.weights is not None:
            return np.searchsorted(np.cumsum(self.weights)[:-1], parts, side="right").astype(float)
        return _quantile(parts, np.asarray(self.mean), np.asarray(self.spread))

    def log_density(self, column: Column, units: Floats, index: Ints) -> Floats:
        """Shape (points,)."""
        if self.weights is not None:
            return np.asarray(np.log(self.weights[index] * len(self.weights)))
        return _log_density(column, units, index, np.array([self.mean]), self.spread)[:, 0]


class Mixture:
    """A density over the columns.

    Args:
        columns: what it is over, at least one.
        points: the observations, one kernel each; may be none.
        prior: weight of the kernel that knows nothing; that of all others is 1. Only where there are no others may it be 0.
        beliefs: what that kernel does know, one for each column; None: nothing.
        width: standard deviation of the kernels of numbers, in parts of the range.
    """

    def __init__(self, columns: Columns, points: Points, prior: float, beliefs: Sequence[Belief | None], width: float) -> None:
        self._columns, self._points, self._beliefs = columns, points, beliefs
        count = len(points)
        self._weights = np.append(np.ones(count), prior if count else 1.0)
        self._total = float(self._weights.sum())
        self._weights /= self._total
        self._width = width
        self._share = count / (count + 1.0)  # of a kernel of a category, on its own option; the rest is spread over all

    def sample(self, rng: np.random.Generator, size: int) -> Points:
        """Points drawn from it."""
        columns, points = self._columns, self._points
        kernel = np.searchsorted(np.cumsum(self._weights)[:-1], rng.random(size), side="right")
        draws, keep = rng.random((2, size, len(columns)))
        blank = kernel == len(points)
        homes = np.where(blank, 0, kernel)
        units, index = np.zeros((size, len(columns))), np.full((size, len(columns)), -1, dtype=np.int64)
        numbers = columns.numbers
        units[:, numbers] = draws[:, numbers]
        if len(points):
            own = ~blank
            units[np.ix_(own, numbers)] = _quantile(
                draws[np.ix_(own, numbers)], points.units[np.ix_(kernel[own], numbers)], np.asarray(self._width)
            )
        for i, (column, belief) in enumerate(zip(columns, self._beliefs)):
            if column.options:
                index[:, i] = _draw_options(belief, column.options, draws[:, i])
                if len(points):
                    index[:, i] = np.where(~blank & (keep[:, i] < self._share), points.index[homes, i], index[:, i])
                continue
            if belief is not None and blank.any():
                units[blank, i] = belief.quantile(draws[blank, i])
            if len(column.edges) > 1:
                index[:, i] = column.cells(units[:, i])
        return Points(units, index)

    def log_density(self, at: Points) -> Floats:
        """Shape (points,); of integers and steps as a density over their cells."""
        logs = np.zeros((len(at), len(self._points) + 1))
        kernels, prior = logs[:, :-1], logs[:, -1]
        if len(self._points) and len(self._columns.smooth):
            kernels += self._smooth(at, self._columns.smooth)
        for i, (column, belief) in enumerate(zip(self._columns, self._beliefs)):
            units, index = at.units[:, i], at.index[:, i]
            if belief is not None:
                prior += belief.log_density(column, units, index)
            if not len(self._points):
                continue
            if column.options:
                kernels += self._category(i, index)
            elif column.table_sized:
                kernels += column.table(self._width, _log_table)[index][:, self._points.index[:, i]]
            elif len(column.edges) > 1:
                kernels += _log_density(column, units, index, self._points.units[:, i], self._width)
        logs += np.log(np.maximum(self._weights, _TINY))
        top = logs.max(axis=1, keepdims=True)
        logs -= top
        return np.asarray(top[:, 0] + np.log(np.exp(logs, out=logs).sum(axis=1)))

    def log_sum(self, at: Points) -> Floats:
        """As :meth:`log_density`, but of the sum of all kernels, of which each integrates to its weight."""
        return np.asarray(self.log_density(at) + np.log(self._total))

    def _smooth(self, at: Points, columns: Ints) -> Floats:
        """Log densities of the kernels in the directions without wide cells, all at once."""
        width = self._width
        means, places = self._points.units[:, columns] / width, at.units[:, columns] / width
        # What is cut off at the farther end is nothing.
        mass = 0.5 + 0.5 * erf(np.minimum(means, 1.0 / width - means) * _HALF_ROOT)  # takes half the time of ndtr
        half = 0.5 * np.einsum("ij,ij->i", means, means) + np.log(mass.prod(axis=1)) + means.shape[1] * np.log(width * _ROOT)
        return np.asarray(places @ means.T - 0.5 * np.einsum("ij,ij->i", places, places)[:, None] - half)

    def _category(self, column: int, index: Ints) -> Floats:
        """Log of the masses, as multiples of what each option has where nothing is known."""
        belief, options = self._beliefs[column], self._columns.columns[column].options
        base = (1.0 - self._share) * (np.ones(options) if belief is None or belief.weights is None else belief.weights * options)
        same = index[:, None] == self._points.index[:, column]
        return np.where(same, np.log(base[index] + self._share * options)[:, None], np.log(base[index])[:, None])


def bandwidth(count: int, dimensions: int, scale: float) -> float:
    """Standard deviation of the kernels of ``count`` observations over so many columns, in parts of the range.

    Scott's exponent; but it depends on nothing that was observed. ``scale``: of the first one.
    """
    return max(scale * math.pow(count + 1, -1 / (dimensions + 4)), _NARROWEST)


def _quantile(parts: Floats, means: Floats, width: Floats) -> Floats:
    """Of normal distributions that are cut off at 0 and 1; means are in [0, 1]."""
    low, high = ndtr(-means / width), ndtr((1.0 - means) / width)
    return np.asarray(np.clip(means + width * ndtri(low + parts * (high - low)), 0.0, 1.0))


def _draw_options(belief: Belief | None, options: int, draws: Floats) -> Ints:
    found = draws * options if belief is None else belief.quantile(draws)
    return np.minimum(found.astype(np.int64), options - 1)


def _log_table(edges: Floats, width: float) -> Floats:
    """Shape (cells, cells): log density in each cell of a kernel at each cell's middle."""
    return _log_cells(edges[:-1], edges[1:], 0.5 * (edges[:-1] + edges[1:]), width)


def _log_density(column: Column, units: Floats, index: Ints, means: Floats, width: float) -> Floats:
    """Shape (points, kernels), where some points lie in wide cells: the mean density over the cell."""
    wide, cells = index >= 0, np.zeros(len(units))
    if wide.any():
        cells[wide] = column.edges[index[wide] + 1] - column.edges[index[wide]]
        units = np.where(wide, column.edges[index] + cells / 2, units)
    # A kernel that is spread over the cell's width has nearly the same mean density there, if the cell is not too wide.
    spread = np.sqrt(width * width + cells * cells / 12)
    away = (units[:, None] - means) / spread[:, None]
    whole = ndtr((1.0 - means) / width) - ndtr(-means / width)
    logs = -0.5 * away * away - np.log(spread * _ROOT)[:, None] - np.log(whole)
    wide = cells > 1.5 * width
    if wide.any():
        found, back = np.unique(index[wide], return_inverse=True)
        logs[wide] = _log_cells(column.edges[found], column.edges[found + 1], means, width)[back]
    return np.asarray(logs)


def _log_cells(low: Floats, high: Floats, means: Floats, width: float) -> Floats:
    """Log of the mean density between ``low`` and ``high`` (one row each) of kernels at ``means``."""
    mass = ndtr((high[:, None] - means) / width) - ndtr((low[:, None] - means) / width)
    whole = (high - low)[:, None] * (ndtr((1.0 - means) / width) - ndtr(-means / width))
    return np.asarray(np.log(np.maximum(mass / whole, _TINY)))
