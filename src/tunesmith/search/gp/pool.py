"""Candidates: an even cover of the cube, and what lies around the best that is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tunesmith.search.gp.columns import Array, Columns

__all__ = ["around", "cover", "first_point"]


def cover(columns: Columns, count: int, rng: np.random.Generator) -> Array:
    """``count`` rows that fill the cube evenly; all there are, if these are not many more."""
    if (every := columns.every(4 * count)) is not None:
        return every
    return columns.snap(_sequence(columns.dim, np.arange(count), rng.random(columns.dim)))


def first_point(columns: Columns, seed: int, number: int) -> Array:
    """Row ``number`` of a sequence that fills the cube evenly, whatever its length: the beginning of a search."""
    shift = np.random.Generator(np.random.PCG64(seed % (1 << 63))).random(columns.dim)
    return np.asarray(columns.snap(_sequence(columns.dim, np.array([number]), shift))[0])


def _sequence(dim: int, numbers: npt.NDArray[np.int64], shift: Array) -> Array:
    """Points of the additive recurrence with the generalised golden ratio, moved by ``shift``.

    Roberts, "The unreasonable effectiveness of quasirandom sequences" (2018): as even as Sobol's where there are few points, and it needs
    no ``scipy.stats``, which takes longer to load than many a trial.
    """
    golden = 1.5
    for _ in range(40):  # the root of x ** (dim + 1) = x + 1
        golden = (1.0 + golden) ** (1.0 / (dim + 1))
    return np.asarray((shift + np.outer(numbers, golden ** -np.arange(1.0, dim + 1))) % 1.0)


def around(columns: Columns, rows: Array, count: int, rng: np.random.Generator) -> Array:
    """``count`` rows near each of ``rows``: half of them differ in all columns, half in a few, by 0.1% to 30% of the range.

    Options of choices are drawn anew in one of three rows, or if they are among those few.
    """
    copies = np.repeat(rows, count, axis=0)
    sizes = 10.0 ** rng.uniform(-3.0, np.log10(0.3), (len(copies), 1))
    moved = np.clip(copies + sizes * rng.standard_normal(copies.shape), 0.0, 1.0)
    few = rng.random(copies.shape) < min(1.0, 2.0 / columns.dim)
    few[np.arange(len(few)), rng.integers(columns.dim, size=len(few))] = True
    changes = np.where(np.arange(len(few))[:, None] % 2 == 0, few, True)
    choices = np.array(columns.options) > 0
    anew = rng.random(copies.shape)
    moved[:, choices] = anew[:, choices]
    changes[:, choices] &= few[:, choices]
    return columns.snap(np.where(changes, moved, copies))
