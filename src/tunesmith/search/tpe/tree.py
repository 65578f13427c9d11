"""What was observed, by level of the space: parameters that exist together share their observations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.search.tpe.columns import Columns, Floats, Ints, Points, columns_of
from tunesmith.search.tpe.ranking import Ranking
from tunesmith.space.nodes import Choice
from tunesmith.space.parse import Group

__all__ = ["Level", "Rows", "Split"]

Rows = dict[int, tuple[list[float], list[int]]]
"""What one configuration has in the levels in which it has something, by :attr:`Level.place`."""


class Level:
    """The parameters that do not hang on one another's options, with all observations that have them, and the levels below.

    Args:
        group: of the space.
        levels: all that were made so far; this one and those below are added.

    Attributes:
        place: its own among all levels.
        columns: of the parameters; may be none.
        below: of each choice that has options with parameters: it, and the levels of its options.
        ranking: of the observations; for whoever fills it.
    """

    def __init__(self, group: Group, levels: list[Level]) -> None:
        self.place = len(levels)
        levels.append(self)
        choices = {leaf.name: leaf for leaf in (*group.choices, *group.grids) if isinstance(leaf, Choice)}
        self.columns: Columns = columns_of([*group.leaves, *group.choices, *group.grids])
        for column in self.columns:
            column.branches = any(next(option.every(), None) is not None for option in group.below.get(column.name, ()))
        self.below = [(choices[name], [Level(option, levels) for option in options]) for name, options in sorted(group.below.items())]
        self.ranking = Ranking()
        self._rows: dict[int, int] = {}  # by number of the observation
        self._units: Floats = np.empty((64, len(self.columns)))
        self._index: Ints = np.empty((64, len(self.columns)), dtype=np.int64)
        self._failed: npt.NDArray[np.bool_] = np.zeros(64, dtype=bool)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def encode(self, values: Mapping[str, Any]) -> Rows:
        """The rows of a configuration, here and below; without those of levels where something is missing or not of this space."""
        row = self.columns.encode(values) if len(self.columns) else None
        rows = {} if row is None else {self.place: row}
        for level in self.taken(values):
            rows |= level.encode(values)
        return rows

    def taken(self, values: Mapping[str, Any]) -> list[Level]:
        """The levels of the options that these values have taken."""
        found = []
        for choice, levels in self.below:
            index = choice.index(values[choice.name]) if choice.name in values else None
            if index is not None:
                found.append(levels[index])
        return found

    def add(self, number: int, row: tuple[list[float], list[int]], failed: bool) -> None:
        """One more observation; ``failed``: it was not feasible."""
        count = len(self._rows)
        if count == len(self._units):
            self._units, self._index = _twice(self._units), _twice(self._index)
            self._failed = _twice(self._failed)
        self._units[count], self._index[count] = row
        self._failed[count] = failed
        self._rows[number] = count

    def split(self, good: Sequence[int], most: int) -> Split:
        """The observations of these numbers, as far as they are here; and of all others the latest ``most``, in order."""
        count = len(self._rows)
        best = np.array([self._rows[number] for number in good if number in self._rows], dtype=np.int64)
        first = max(0, count - most - len(best))
        rest = np.ones(count - first, dtype=bool)
        rest[best[best >= first] - first] = False
        others = np.flatnonzero(rest)[-most:] + first
        return Split(self._points(best), self._points(others), self._failed[best], self._failed[others])

    def _points(self, rows: Ints) -> Points:
        return Points(self._units[rows], self._index[rows])


@dataclass(slots=True)
class Split:
    """Observations, and rows of what is pending.

    Args:
        best, others: good ones and bad ones.
        best_failed, others_failed: which of them were not feasible.
        liars: rows of what is pending; they count as bad, and as nothing else.
    """

    best: Points
    others: Points
    best_failed: npt.NDArray[np.bool_]
    others_failed: npt.NDArray[np.bool_]
    liars: list[tuple[list[float], list[int]]] = field(default_factory=list)

    @property
    def bad(self) -> Points:
        """The bad side."""
        return self.others.and_also(self.liars) if self.liars else self.others

    @property
    def any_failed(self) -> bool:
        """Whether something is known of where trials fail, and of where not."""
        return bool(self.others_failed.any()) and not self.best_failed.all()

    @property
    def feasible(self) -> tuple[Points, Points]:
        """Those that were feasible, and those that were not."""
        failed = np.concatenate([self.best_failed, self.others_failed])
        units = np.concatenate([self.best.units, self.others.units])
        index = np.concatenate([self.best.index, self.others.index])
        return Points(units[~failed], index[~failed]), Points(units[failed], index[failed])


def _twice(array: Any) -> Any:
    return np.concatenate([array, np.empty_like(array)])
