"""Candidates: an even cover of the cube, and what lies around the best that is known."""

from __future__ import annotations

import numpy as np

from tunesmith.search.gp.columns import Array, Columns

__all__ = ["around", "cover", "first_point"]


def cover(columns: Columns, count: int, rng: np.random.Generator) -> Array:
    """About ``count`` rows (the next power of 2) that fill the cube evenly; all there are, if these are fewer."""
    if (every := columns.every(4 * count)) is not None:
        return every
    from scipy.stats import qmc

    power = max(1, int(np.ceil(np.log2(count))))
    sobol = qmc.Sobol(columns.dim, scramble=True, seed=int(rng.integers(1 << 31)))
    return columns.snap(sobol.random_base2(power))


def first_point(columns: Columns, seed: int, number: int) -> Array:
    """Row ``number`` of a scrambled Sobol sequence: the beginning of a search."""
    from scipy.stats import qmc

    sobol = qmc.Sobol(columns.dim, scramble=True, seed=seed % (1 << 31))
    if number:
        sobol.fast_forward(number)
    return np.asarray(columns.snap(sobol.random(1))[0])


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
