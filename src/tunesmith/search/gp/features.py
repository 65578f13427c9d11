"""From coordinates to points whose Euclidean distances the kernel sees; input warping, options, and what does not exist.

Each column becomes a few features, which share a length scale:

- a number: itself, warped; its ends are at distance 1;
- a choice: one feature for each option, so that different options are at distance 1 (Hamming distance, as one-hot codes / sqrt(2));
- a number that hangs on an option: a point of a quarter circle whose chord is 1, and its centre where the number does not exist: so
  the distance between "there" and "not there" is the same for all values (the arc kernel of Swersky et al., "Raiders of the Lost
  Architecture", NIPS BayesOpt workshop 2013; theirs is a half circle with a radius of its own, ours keeps chords nearly proportional to
  differences). Two configurations in which it does not exist do not differ in it;
- a choice that hangs on an option: its one-hot code, zeros where it does not exist.

A kernel of Euclidean distances of such points is positive definite whatever exists in which configuration.

Warping is Kumaraswamy's ``1 - (1 - u**a)**b`` (Snoek et al., "Input Warping for Bayesian Optimization of Non-Stationary Functions", ICML
2014), monotone on [0, 1], and the identity at ``a = b = 1``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tunesmith.search.gp.columns import Array, Columns

__all__ = ["Features", "Warp", "kumaraswamy"]

_RADIUS = np.sqrt(0.5)
_ANGLE = np.pi / 2
_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Warp:
    """Logarithms of the parameters of the warping of each number that is warped; zeros: no warping."""

    log_a: Array
    log_b: Array


def kumaraswamy(units: Array, warp: Warp) -> tuple[Array, Array, Array, Array]:
    """Warped coordinates (n x k), and their derivatives by the coordinates, by ``log_a`` and by ``log_b``."""
    inside = np.clip(units, _EDGE, 1 - _EDGE)
    a, b = np.exp(warp.log_a), np.exp(warp.log_b)
    logs = np.log(inside)
    power = np.exp(a * logs)
    rest = np.log1p(-power)
    tail = np.exp(b * rest)
    slope = b * np.exp((b - 1) * rest) * power * a  # by log(u)
    return 1 - tail, slope / inside, slope * logs, -b * tail * rest


class Features:
    """What becomes of the columns.

    Args:
        columns: of the space.

    Attributes:
        count: number of features.
        group: column of each feature.
        warped: columns that may be warped: numbers with more than two values.
    """

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        group: list[int] = []
        self._plain: list[tuple[int, int]] = []
        self._arcs: list[tuple[int, int]] = []
        self._codes: list[tuple[int, int]] = []
        for at, (options, parent) in enumerate(zip(columns.options, columns.parents)):
            kind, width = (self._codes, options) if options else (self._plain, 1) if parent is None else (self._arcs, 2)
            kind.append((at, len(group)))
            group += [at] * width
        self.count = len(group)
        self.group = np.array(group, dtype=np.int64)
        many = [levels is None or len(levels) > 2 for levels in columns.levels]
        self.warped = np.flatnonzero(np.array(many, dtype=bool) & (np.array(columns.options, dtype=int) == 0))
        self._from = np.array([at for at, _ in self._plain], dtype=int)
        self._to = np.array([start for _, start in self._plain], dtype=int)

    def of(self, rows: Array, warp: Warp | None = None) -> Array:
        """Features of rows, n x count."""
        units = rows
        if warp is not None and len(self.warped):
            units = rows.copy()
            units[:, self.warped] = kumaraswamy(rows[:, self.warped], warp)[0]
        points = np.zeros((len(rows), self.count))
        points[:, self._to] = units[:, self._from]
        if self._arcs or self._codes:
            self._conditional(rows, units, points)
        return points

    def _conditional(self, rows: Array, units: Array, points: Array) -> None:
        exists = self.columns.active(rows)
        for at, start in self._arcs:
            there, angle = exists[:, at], _ANGLE * units[:, at]
            points[:, start] = _RADIUS * np.cos(angle) * there
            points[:, start + 1] = _RADIUS * np.sin(angle) * there
        each = np.arange(len(rows))
        for at, start in self._codes:
            points[each, start + self.columns.option(rows[:, at], at)] = _RADIUS * exists[:, at]

    def back(self, rows: Array, slopes: Array, warp: Warp | None = None) -> Array:
        """Derivatives by the coordinates (n x columns), given those by the features (n x count); 0 for choices."""
        found = self._by_units(rows, slopes, warp)
        if warp is not None and len(self.warped):
            found[:, self.warped] *= kumaraswamy(rows[:, self.warped], warp)[1]
        return found

    def back_to_warp(self, rows: Array, slopes: Array, warp: Warp) -> tuple[Array, Array]:
        """Derivatives by ``log_a`` and ``log_b``, given those by the features."""
        by_units = self._by_units(rows, slopes, warp)[:, self.warped]
        _, _, by_a, by_b = kumaraswamy(rows[:, self.warped], warp)
        return (by_units * by_a).sum(0), (by_units * by_b).sum(0)

    def _by_units(self, rows: Array, slopes: Array, warp: Warp | None) -> Array:
        """By the warped coordinates."""
        found = np.zeros(rows.shape)
        found[:, self._from] = slopes[:, self._to]
        if self._arcs:
            points = self.of(rows, warp)
            for at, start in self._arcs:  # cos' = -sin, sin' = cos; both are 0 where it does not exist
                found[:, at] = _ANGLE * (points[:, start] * slopes[:, start + 1] - points[:, start + 1] * slopes[:, start])
        return found
