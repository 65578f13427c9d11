"""What all trials had to show at one moment of their own time, without looking at each of them.

A trial's value (its running mean, say) holds from one report to its next. Trials report at times of their own, so that at the time of any
report each other trial is somewhere between two of its. :class:`Timeline` gives the values that they had then, in order.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Timeline", "is_below", "quantile"]

_UNIT = 20
_SCALE = 1 << _UNIT
"""Times are cut into cells in units of ``2 ** -_UNIT``, as whole numbers: so no cut ever suffers from rounding."""

_SIGNIFICANT = 10
"""Bits that tell one cell from the next: it is as long as 0.1 to 0.2 % of the time at which it is, and at most 1."""

_FARTHEST = 2.0**43
"""Beyond it there is but one cell."""

Part = Sequence[float]
"""Ascending numbers."""


@dataclass(slots=True)
class Timeline:
    """The values of all trials over their own times. The trials themselves are not told apart.

    A stretch of time during which a trial had one value is cut into whole cells, which are joined to pieces ``[m * 2**e, (m + 1) * 2**e)``,
    as few as possible, and what is left of a cell at either end. For each piece the values are kept in order, and a moment lies in one
    piece of each size. Where reports come at successive whole numbers a stretch is one piece, and a question looks at one. Else both are
    a handful of pieces (the logarithm of the stretch's cells, twice at most), and a question looks through the ends in its cell too: those
    are few, as times are cut into hundreds of cells for each doubling. A piece takes 8 bytes for each value.

    Example:
        >>> timeline = Timeline()
        >>> timeline.arrive(1, 0.5)  # a trial reports at 1, and at 4.03
        >>> timeline.leave(1, 4.03, 0.5)
        >>> timeline.arrive(4.03, 0.7)
        >>> [[list(part) for part in timeline.at(time)] for time in (3.5, 4.029, 4.03, 5)]
        [[[0.5]], [[0.5]], [[0.7]], []]
    """

    _pieces: dict[int, dict[int, array[float]]] = field(default_factory=dict)
    _ends: dict[int, list[tuple[float, float, float]]] = field(default_factory=dict)
    _newest: dict[float, array[float]] = field(default_factory=dict)

    def arrive(self, time: float, value: float) -> None:
        """A trial's newest report is this one: its value holds at that very moment."""
        _put(self._newest, time, value)

    def leave(self, time: float, until: float, value: float) -> None:
        """A trial that had arrived so reports again: its value held from ``time`` to just before ``until``, which is not less."""
        values = self._newest[time]
        del values[bisect_left(values, value)]
        if not values:
            del self._newest[time]
        if time < until:
            self._hold(time, until, value)

    def at(self, time: float) -> list[Part]:
        """The values of all trials that have come as far, in a few parts. Not to be changed."""
        cell = _cell(time)
        found: list[Part] = [values for size, row in self._pieces.items() if (values := row.get(cell >> size)) is not None]
        if ends := sorted(value for start, end, value in self._ends.get(cell, ()) if start <= time < end):
            found.append(ends)
        if (newest := self._newest.get(time)) is not None:
            found.append(newest)
        return found

    def _hold(self, start: float, end: float, value: float) -> None:
        at, last = _cell(start), _cell(end)
        stretch = (start, end, value)
        if at == last:
            self._ends.setdefault(at, []).append(stretch)
            return
        if start * _SCALE != at:
            self._ends.setdefault(at, []).append(stretch)
            at += 1 << _fineness(at)
        if end * _SCALE != last:
            self._ends.setdefault(last, []).append(stretch)
        while at < last:
            size = (last - at).bit_length() - 1
            if at:
                size = min(size, (at & -at).bit_length() - 1)
            _put(self._pieces.setdefault(size, {}), at >> size, value)
            at += 1 << size


def _cell(time: float) -> int:
    """Where the cell begins in which a time lies."""
    at = math.floor(time * _SCALE) if -_FARTHEST < time < _FARTHEST else int(math.copysign(_FARTHEST, time)) * _SCALE
    fine = _fineness(at)
    return at >> fine << fine


def _fineness(at: int) -> int:
    """The binary logarithm of the length of a cell."""
    bits = at.bit_length() - _SIGNIFICANT
    return 0 if bits < 0 else bits if bits < _UNIT else _UNIT


def _put(row: dict[Any, array[float]], at: float, value: float) -> None:
    values = row.get(at)
    if values is None:
        row[at] = array("d", (value,))
    else:
        insort(values, value)


# -- several ascending arrays as one -------------------------------------------------------------------------------------


def nth(parts: Sequence[Part], n: int) -> float:
    """The number at place ``n``, 0 for the smallest, of ascending arrays taken together. Costs O(parts * log^2)."""
    lows, highs = [0] * len(parts), [len(part) for part in parts]
    while True:
        widest = max(range(len(parts)), key=lambda part: highs[part] - lows[part])
        pivot = parts[widest][(lows[widest] + highs[widest]) // 2]
        below = [bisect_left(part, pivot, low, high) for part, low, high in zip(parts, lows, highs)]
        if sum(below) > n:
            highs = below
            continue
        reached = [bisect_right(part, pivot, low, high) for part, low, high in zip(parts, lows, highs)]
        if sum(reached) > n:
            return pivot
        lows = reached


def quantile(parts: Sequence[Part], share: float) -> float:
    """The number below which a share of all lies, between neighbours in proportion, as ``numpy.percentile(..., 100 * share)``."""
    spot = share * (sum(map(len, parts)) - 1)
    low = math.floor(spot)
    lower = nth(parts, low)
    return lower if spot == low else between(lower, nth(parts, low + 1), spot - low)


def between(lower: float, upper: float, share: float) -> float:
    """A number on the way from one to another."""
    return lower if lower == upper else lower * (1.0 - share) + upper * share


def is_below(value: float, parts: Sequence[Part], share: float) -> bool:
    """Whether a value is less than the :func:`quantile`. Costs O(parts * log); the quantile itself is found only where it matters."""
    spot = share * (sum(map(len, parts)) - 1)
    low = math.floor(spot)
    places = [bisect_right(part, value) for part in parts]
    reached = sum(places)
    if reached <= low:
        return True
    if reached > low + 1 or spot == low:
        return False
    lower = max(part[place - 1] for part, place in zip(parts, places) if place)
    upper = min(part[place] for part, place in zip(parts, places) if place < len(part))
    return value < between(lower, upper, spot - low)
