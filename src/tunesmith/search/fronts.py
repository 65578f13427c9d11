"""Who is better by several losses at once: fronts, how crowded they are, and the volume that they dominate.

Arrays of shape (n, m): n points with m losses, all to be minimised. A point dominates another if it is no worse in every loss and better in
one; equal points do not dominate each other. Schedulers, which do without numpy, have their own way (``schedulers/pareto.py``): they keep
fronts up to date as scores come and go one by one, and order them by spread.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tunesmith.search.problem import Bound, Observation

__all__ = ["crowding", "front_ranks", "hypervolume", "violation"]

Array = npt.NDArray[np.float64]


def front_ranks(losses: npt.ArrayLike) -> npt.NDArray[np.int_]:
    """Which front each point is in: 0 for those that nothing dominates, 1 for those that only these dominate, and so on.

    With one or two losses it takes O(n log n), else O(n) array operations for each front, in the worst case.

    Args:
        losses: shape (n, m), m >= 1; infinite ones are allowed.

    Returns:
        shape (n,); equal points are in the same front.

    Raises:
        ValueError: the shape is another one, or a loss is nan.

    Example:
        >>> front_ranks([[1, 4], [2, 2], [4, 1], [3, 3], [5, 5]]).tolist()
        [0, 0, 0, 1, 2]
    """
    points = _points("front_ranks", losses)
    unique, inverse = np.unique(points, axis=0, return_inverse=True)  # in lexicographic order: nobody dominates one before him
    if unique.shape[1] == 1:
        ranks = np.arange(len(unique))
    elif unique.shape[1] == 2:
        ranks = _ranks_of_two(unique)
    else:
        ranks = _ranks_of_many(unique)
    return ranks[inverse.reshape(-1)]


def _ranks_of_two(ordered: Array) -> npt.NDArray[np.int_]:
    ranks = np.zeros(len(ordered), dtype=int)
    lowest: list[float] = []  # by front, the smallest second loss so far: it grows from front to front
    for index, second in enumerate(ordered[:, 1].tolist()):
        rank = bisect_right(lowest, second)  # just the fronts whose smallest is no larger dominate it
        lowest[rank : rank + 1] = [second]
        ranks[index] = rank
    return ranks


def _ranks_of_many(ordered: Array) -> npt.NDArray[np.int_]:
    ranks = np.zeros(len(ordered), dtype=int)
    left, rank = np.arange(len(ordered)), 0
    while len(left):
        front = _first_front(ordered[left])
        ranks[left[front]] = rank
        left, rank = left[~front], rank + 1
    return ranks


def _first_front(ordered: Array) -> npt.NDArray[np.bool_]:
    """Which of different points in lexicographic order nothing dominates."""
    front = np.zeros(len(ordered), dtype=bool)
    left = np.arange(len(ordered))
    while len(left):
        best = left[0]
        front[best] = True
        left = left[(ordered[left] < ordered[best]).any(axis=1)]
    return front


def crowding(losses: npt.ArrayLike, ranks: npt.ArrayLike | None = None) -> Array:
    """How far apart each point's neighbours in its own front are: the crowding distance of NSGA-II (Deb et al., 2002, section III-B).

    For each loss the difference between the next larger and the next smaller point of the front, as a part of the front's range; these are
    added up. Points that are the first or the last of their front in some loss have infinity. Of equal points in the order of the array
    some stand between others, so their distance may be 0: it is they who are the first to be dispensed with.

    Args:
        losses: shape (n, m), m >= 1, all finite.
        ranks: shape (n,), the fronts, as of :func:`front_ranks`; None: all are in one.

    Returns:
        shape (n,), >= 0.

    Raises:
        ValueError: the shape is another one, or a loss is not finite.

    Example:
        >>> crowding([[0, 4], [1, 2], [2, 1], [4, 0]]).tolist()
        [inf, 1.25, 1.25, inf]
    """
    points = _points("crowding", losses)
    if not np.isfinite(points).all():
        raise ValueError("crowding: losses must be finite.")
    levels = np.zeros(len(points), dtype=int) if ranks is None else np.asarray(ranks)
    distance = np.zeros(len(points))
    for column in points.T if len(points) else ():
        order = np.lexsort((column, levels))  # front after front, each by this loss
        level, value = levels[order], column[order] / 2  # halves: the range of the largest floats is finite then
        new = np.flatnonzero(level[1:] != level[:-1]) + 1
        first, last = np.concatenate(([0], new)), np.concatenate((new, [len(points)])) - 1
        span = np.repeat(value[last] - value[first], last - first + 1)
        gap = np.zeros(len(points))
        gap[1:-1] = value[2:] - value[:-2]
        gap = np.divide(gap, span, out=np.zeros(len(points)), where=span > 0)
        gap[first] = gap[last] = math.inf
        distance[order] += gap
    return distance


def hypervolume(losses: npt.ArrayLike, reference: Sequence[float]) -> float:
    """The volume that the points dominate and that ends at ``reference``; exact for any number of losses.

    Points that are not better than the reference in every loss add nothing. For n points of the first front it takes O(n log n) with two
    losses, O(n^2 log n) with three; with more the points are taken one by one, each counting what those after it do not dominate (the WFG
    algorithm), which is exponential in the worst case, and a matter of seconds for a hundred points of five losses.

    Paper: While, Bradstreet and Barone, "A Fast Way of Calculating Exact Hypervolumes", IEEE Trans. Evolutionary Computation 16 (2012).

    Args:
        losses: shape (n, m), m >= 1, all finite.
        reference: m numbers, in the losses' units.

    Returns:
        the product of the losses' units; 0 without points.

    Raises:
        ValueError: the shapes do not fit each other, or a number is not finite.

    Example:
        >>> hypervolume([[1, 3], [2, 1]], [4, 4])
        7.0
        >>> hypervolume([[0, 0, 0]], [2, 3, 4])
        24.0
    """
    corner = np.asarray(reference, dtype=float)
    points = _points("hypervolume", losses) if len(np.asarray(losses)) else np.empty((0, len(corner)))
    if corner.shape != (points.shape[1],) or not (np.isfinite(corner).all() and np.isfinite(points).all()):
        raise ValueError(f"hypervolume: expected a reference of {points.shape[1]} finite numbers and finite losses, got {reference!r}.")
    inside = points[(points < corner).all(axis=1)]
    return _volume(_nondominated(corner - inside)) if len(inside) else 0.0


def _nondominated(gains: Array) -> Array:
    """Those of some points that nothing dominates, where larger is better; each once, and the best in the first place first."""
    ordered = np.unique(-gains, axis=0)
    return -ordered[_first_front(ordered)]


def _volume(gains: Array) -> float:
    """The union of boxes from the origin to each of some points, none of which dominates another, the largest first."""
    if gains.shape[1] == 1 or len(gains) == 1:
        return float(gains[0].prod())
    if gains.shape[1] == 2:
        return float(np.diff(gains[:, 1], prepend=0.0) @ gains[:, 0])
    if gains.shape[1] == 3:
        return _by_slices(gains)
    total = 0.0
    for index, gain in enumerate(gains):
        rest = gains[index + 1 :]
        covered = _volume(_nondominated(np.minimum(rest, gain))) if len(rest) else 0.0
        total += float(gain.prod()) - covered
    return total


def _by_slices(gains: Array) -> float:
    """Three dimensions: between two values of the first, the area that those with larger ones cover in the others."""
    depths = np.append(gains[:, 0], 0.0)
    depths = depths[:-1] - depths[1:]
    return float(sum(depth * _volume(_nondominated(gains[: index + 1, 1:])) for index, depth in enumerate(depths) if depth > 0))


def violation(observation: Observation, bounds: Sequence[Bound]) -> float:
    """By how much a configuration broke what it has to keep, in all: 0 if it kept everything.

    Each bound's excess counts as a part of its limit (of 1, if the limit is 0), so that seconds and bytes can be added.

    Args:
        observation: what became of it.
        bounds: of the problem.

    Returns:
        >= 0; infinite if it failed, had no losses, or did not report what a bound is on.

    Example:
        >>> bounds = [Bound.parse("search", "latency <= 20")]
        >>> violation(Observation(0, {}, (0.5,), excess=(5.0,)), bounds)
        0.25
    """
    if observation.feasible:
        return 0.0
    if observation.losses is None:
        return math.inf
    parts = [max(excess, 0.0) / (abs(bound.limit) or 1.0) for excess, bound in zip(observation.excess, bounds)]
    return sum(parts)


def _points(owner: str, losses: npt.ArrayLike) -> Array:
    points = np.asarray(losses, dtype=float)
    if points.ndim != 2 or not points.shape[1] or np.isnan(points).any():
        raise ValueError(f"{owner}: expected losses of shape (n, m) without nan, got shape {points.shape}.")
    return points
