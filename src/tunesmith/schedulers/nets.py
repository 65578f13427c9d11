"""Fronts of scores none of which is better in all respects, and the order in them that spreads the first few as far as it can."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import ge

__all__ = ["Front", "Point", "covers"]

Point = tuple[float, ...]


def covers(one: Point, other: Point) -> bool:
    """No worse in each objective. Of different points: dominates."""
    return all(map(ge, one, other))


@dataclass(slots=True)
class Front:
    """Scores none of which dominates another, and their epsilon net as far as it was asked for.

    Args:
        points: the different scores, and who has them.
        count: of trials.
        net: the first points in order, and ``radii``: how far each was from those before it. With neither, it begins anew.
        gaps: how far each other point is from the net; None: unknown.
        spots: the points, scaled to the range ``low`` to ``high``.
    """

    points: dict[Point, list[int]] = field(default_factory=dict)
    count: int = 0
    net: list[Point] = field(default_factory=list, repr=False)
    radii: list[float] = field(default_factory=list, repr=False)
    gaps: dict[Point, float] | None = field(default=None, repr=False)
    spots: dict[Point, Point] = field(default_factory=dict, repr=False)
    low: Point = field(default=(), repr=False)
    high: Point = field(default=(), repr=False)

    def dominates(self, point: Point) -> bool:
        """Whether one of its points dominates a point that it does not have."""
        return any(covers(own, point) for own in self.points)

    def join(self, point: Point, trials: list[int]) -> None:
        """A new point that no other dominates."""
        self.points[point] = trials
        self.count += len(trials)
        if not self.net:
            return
        inside = all(low <= clipped <= high for low, clipped, high in zip(self.low, _finite(point, self.low, self.high), self.high))
        if not inside or point > self.net[0]:
            self._forget(0)
            return
        spot = self.spots[point] = self._scaled(point)
        gap = math.inf
        for index, (other, radius) in enumerate(zip(self.net, self.radii)):
            if (gap, point) > (radius, other):  # its turn is here
                self._forget(index)
                return
            gap = min(gap, math.dist(spot, self.spots[other]))
        if self.gaps is not None:
            self.gaps[point] = gap

    def leave(self, point: Point) -> list[int]:
        """A point is gone; the trials that had it."""
        trials = self.points.pop(point)
        self.count -= len(trials)
        if self.net:
            if any(value in ends for value, *ends in zip(_finite(point, self.low, self.high), self.low, self.high)):
                self._forget(0)
            elif self.gaps is not None and point in self.gaps:
                del self.gaps[point]
            elif point in self.net:
                self._forget(self.net.index(point))
        return trials

    def trials(self, k: int) -> Iterator[int]:
        """Its first ``k`` trials, and maybe more, best first."""
        done = 0
        for point in self._order():
            if done >= k:
                return
            yield from self.points[point]
            done += len(self.points[point])

    def before(self, point: Point, k: int) -> int:
        """How many trials are before a point; from ``k`` on any larger number."""
        done = 0
        for other in self._order():
            if other == point or done >= k:
                break
            done += len(self.points[other])
        return done

    # -- the net ---------------------------------------------------------------------------------------------------------

    def _order(self) -> Iterator[Point]:
        index = 0
        while index < len(self.points):
            if index == len(self.net):
                self._extend()
            yield self.net[index]
            index += 1

    def _forget(self, index: int) -> None:
        """The net is known up to a place only."""
        del self.net[index:], self.radii[index:]
        self.gaps = None

    def _extend(self) -> None:
        """Find the next point."""
        if not self.net:
            self._rescale()
            self.gaps = None
            radius, point = math.inf, max(self.points)
        else:
            if self.gaps is None:
                known = set(self.net)
                self.gaps = {one: self._gap(one) for one in self.points if one not in known}
            radius, point = max((gap, one) for one, gap in self.gaps.items())
            del self.gaps[point]
        self.net.append(point)
        self.radii.append(radius)
        if self.gaps is not None:
            spot, spots, dist = self.spots[point], self.spots, math.dist
            for one, gap in self.gaps.items():
                if (distance := dist(spot, spots[one])) < gap:
                    self.gaps[one] = distance

    def _gap(self, point: Point) -> float:
        spot = self.spots[point]
        return min(math.dist(spot, self.spots[other]) for other in self.net)

    def _rescale(self) -> None:
        columns = [[value for value in column if math.isfinite(value)] or [0.0] for column in zip(*self.points)]
        self.low, self.high = tuple(map(min, columns)), tuple(map(max, columns))
        self.spots = {point: self._scaled(point) for point in self.points}

    def _scaled(self, point: Point) -> Point:
        finite = _finite(point, self.low, self.high)
        return tuple((value - low) / (high - low) if high > low else 0.0 for value, low, high in zip(finite, self.low, self.high))


def _finite(point: Point, low: Point, high: Point) -> Point:
    """With the ends of the range in the place of infinities."""
    return tuple(a if v == -math.inf else b if v == math.inf else v for v, a, b in zip(point, low, high))
