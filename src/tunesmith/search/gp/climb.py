"""Local search on mixed spaces: climbs along gradients where coordinates are continuous, in turn with moves to neighbouring values."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from tunesmith.search.gp.acquisition import Acquisition
from tunesmith.search.gp.columns import Array, Columns, Flags

__all__ = ["climb", "improve"]

_STEPS = 40
_REACH = 0.3
"""Most that a coordinate changes in one step of a climb."""

_GAIN = 1e-6
"""A climb ends where a step gains less (in the logarithm of the improvement)."""

_RELAXED = 16
"""Numbers with more values than this are climbed along as if they were continuous, and rounded afterwards."""

_TRIED = 12
"""Of so many other values of one coordinate at most a move is tried."""

_ROUNDS, _MOVES = 2, 6

Slopes = Callable[[Array], tuple[Array, Array]]


def improve(
    acquisition: Acquisition, columns: Columns, rows: Array, rng: np.random.Generator, held: Collection[int] = ()
) -> tuple[Array, Array]:
    """Better rows from ``rows``, each climbed from by itself, and their values.

    Args:
        acquisition: what is maximised.
        columns: of the space.
        rows: m x columns.
        rng: draws which of many values are tried.
        held: columns of choices that stay as they are.
    """
    free = np.array([
        levels is None or (not options and len(levels) > _RELAXED) for levels, options in zip(columns.levels, columns.options)
    ])  # fmt: skip
    if columns.continuous.all():
        return climb(acquisition.with_slopes, rows, free)
    values = acquisition(rows)
    for _ in range(_ROUNDS):
        if free.any():
            climbed = columns.snap(climb(acquisition.with_slopes, rows, free)[0])
            rows, values = _better(rows, values, climbed, acquisition(climbed))
        before = values
        rows, values = _move(acquisition, columns, rows, values, rng, held)
        if not free.any() or (values <= before + _GAIN).all():
            break
    return rows, values


def _better(rows: Array, values: Array, others: Array, theirs: Array) -> tuple[Array, Array]:
    wins = theirs > values
    return np.where(wins[:, None], others, rows), np.where(wins, theirs, values)


# ---- along gradients


def climb(slopes: Slopes, rows: Array, free: Flags) -> tuple[Array, Array]:
    """Local maxima in the unit cube: the BFGS method from all rows at once, each with a matrix of its own.

    Args:
        slopes: values and derivatives at rows.
        rows: where to begin, m x columns.
        free: which columns may change.

    Returns:
        rows, and their values, never smaller than at the beginning.
    """
    rows = rows.copy()
    values, gradients = slopes(rows)
    gradients = gradients[:, free]
    size = int(free.sum())
    curved = np.repeat(np.eye(size)[None] * 0.01, len(rows), axis=0)
    going = np.arange(len(rows))
    for _ in range(_STEPS):
        x, g = rows[np.ix_(going, free)], gradients[going]
        stuck = ((x <= 0) & (g < 0)) | ((x >= 1) & (g > 0))
        g = np.where(stuck, 0.0, g)
        step = np.where(stuck, 0.0, (curved[going] @ g[..., None])[..., 0])
        step *= np.minimum(1.0, _REACH / np.maximum(np.abs(step).max(1), 1e-300))[:, None]
        new_rows, new_values, new_gradients, moved = _search(slopes, rows[going], values[going], g, step, free)
        gained = new_values - values[going]
        change, difference = new_rows[:, free] - x, gradients[going] - new_gradients
        rows[going], values[going], gradients[going] = new_rows, new_values, new_gradients
        curved[going] = _updated(curved[going], change, difference)
        going = going[moved & (gained > _GAIN)]
        if not len(going):
            break
    return rows, values


def _search(
    slopes: Slopes, rows: Array, values: Array, gradients: Array, step: Array, free: Flags
) -> tuple[Array, Array, Array, Flags]:
    """Go along ``step`` as far as it gains, halving it and more at most six times."""
    found, best, at = rows.copy(), values.copy(), gradients.copy()
    moved = np.zeros(len(rows), dtype=bool)
    length = 1.0
    left = np.arange(len(rows))
    for _ in range(7):
        tried = rows[left]
        tried[:, free] = np.clip(tried[:, free] + length * step[left], 0.0, 1.0)
        new_values, new_gradients = slopes(tried)
        expected = ((tried[:, free] - rows[np.ix_(left, free)]) * gradients[left]).sum(1)
        good = new_values >= values[left] + 1e-4 * np.maximum(expected, 0.0)
        where = left[good]
        found[where], best[where], at[where], moved[where] = tried[good], new_values[good], new_gradients[np.ix_(good, free)], True
        left = left[~good]
        if not len(left):
            break
        length *= 0.25
    return found, best, at, moved


def _updated(curved: Array, change: Array, difference: Array) -> Array:
    """The BFGS update of inverse second derivatives of minus the function, where its curvature is right."""
    along = (change * difference).sum(1)
    right = along > 1e-10 * np.maximum((change**2).sum(1), 1e-300)
    rate = np.where(right, 1.0 / np.where(right, along, 1.0), 0.0)[:, None, None]
    product = (curved @ difference[..., None])[..., 0]
    outer = change[:, :, None] * product[:, None, :]
    twist = 1.0 + rate[:, :, 0] * (difference * product).sum(1)[:, None]
    return np.asarray(curved + rate * (twist[..., None] * change[:, :, None] * change[:, None, :] - outer - outer.transpose(0, 2, 1)))


# ---- to neighbouring values


def _move(
    acquisition: Acquisition, columns: Columns, rows: Array, values: Array, rng: np.random.Generator, held: Collection[int]
) -> tuple[Array, Array]:
    """Change one coordinate at a time, each time the best change there is, until none gains."""
    rows, values = rows.copy(), values.copy()
    going = np.arange(len(rows))
    for _ in range(_MOVES):
        going = going[np.sort(np.unique(rows[going], axis=0, return_index=True)[1])]  # those that have met go on as one
        neighbours, owners = _neighbours(columns, rows[going], rng, held)
        if not len(owners):
            break
        theirs = acquisition(neighbours)
        order = np.lexsort((-theirs, owners))
        who, firsts = np.unique(owners[order], return_index=True)
        best = order[firsts]
        gains = theirs[best] > values[going[who]] + _GAIN
        going = going[who[gains]]
        if not len(going):
            break
        rows[going], values[going] = neighbours[best[gains]], theirs[best[gains]]
    return rows, values


def _neighbours(columns: Columns, rows: Array, rng: np.random.Generator, held: Collection[int]) -> tuple[Array, Array]:
    """Rows that differ from one of ``rows`` in one coordinate with levels that is not held, and the number of that one."""
    exists = columns.active(rows)
    found, owners = [rows[:0]], [np.arange(0)]
    for at, levels in enumerate(columns.levels):
        if levels is None or len(levels) < 2 or at in held:
            continue
        who = np.flatnonzero(exists[:, at])
        others = _others(levels, rows[who, at], bool(columns.options[at]), rng)
        copies = np.repeat(rows[who], others.shape[1], axis=0)
        copies[:, at] = others.ravel()
        found.append(copies)
        owners.append(np.repeat(who, others.shape[1]))
    return np.concatenate(found), np.concatenate(owners)


def _others(levels: Array, here: Array, choice: bool, rng: np.random.Generator) -> Array:
    """For each coordinate ``here`` the levels to try: all; or, of many, the next ones and some at random."""
    if len(levels) <= _TRIED + 1:
        return np.repeat(levels[None], len(here), axis=0)
    at = np.abs(levels[None] - here[:, None]).argmin(1)
    drawn = rng.integers(len(levels), size=(len(here), _TRIED if choice else _TRIED // 2))
    if not choice:
        steps = np.array([-4, -2, -1, 1, 2, 4])
        drawn = np.concatenate([np.clip(at[:, None] + steps, 0, len(levels) - 1), drawn], axis=1)
    return levels[drawn]
