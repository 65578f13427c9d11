"""The parameters that exist together, as columns of numbers: places in [0, 1], and cells or options by index."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.errors import SpaceError
from tunesmith.space.domains import Categorical, Float, Function, Integer, Normal
from tunesmith.space.nodes import Choice, Leaf
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["Column", "Columns", "Floats", "Ints", "Points", "columns_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NARROW = 1 / 200
"""Cells of integers and steps that are narrower than this part of the range count as points: kernels are wider."""
TABLE = 64
"""Columns with at most so many cells have the densities of all kernels in all cells in a table."""
KEPT = 4
"""So many tables, for the widths of kernels that are in use."""


@dataclass(frozen=True, slots=True)
class Points:
    """Configurations as rows.

    Args:
        units: shape (rows, columns): where numbers lie in [0, 1], see :mod:`tunesmith.space.encode`; 0 for categories.
        index: same shape: the option of categories, the wide cell that a number lies in; -1: none.
    """

    units: Floats
    index: Ints

    def __len__(self) -> int:
        return len(self.units)

    def of(self, columns: slice) -> Points:
        """Some of the columns."""
        return Points(self.units[:, columns], self.index[:, columns])

    def and_also(self, rows: Sequence[tuple[list[float], list[int]]]) -> Points:
        """These and more."""
        units, index = zip(*rows)
        return Points(np.concatenate([self.units, units]), np.concatenate([self.index, index]))


class Column:
    """One parameter.

    Args:
        leaf: of the space.

    Attributes:
        name: of the parameter.
        options: how many there are of a category; 0: it is a number.
        branches: whether options have parameters inside.
        edges: of the cells of a number that are wide, ascending, in [0, 1]; fewer than two: there are none.
    """

    def __init__(self, leaf: Leaf) -> None:
        self.name = leaf.name
        self.leaf = leaf
        self.domain = leaf.domain
        self.options = 0
        self.branches = False
        self.edges = np.empty(0)
        if isinstance(leaf.domain, Categorical):
            self.options = len(leaf.domain.categories)
        else:
            self.edges = np.array(list(_edges(leaf.domain)))
        self._tables: dict[float, Floats] = {}

    @property
    def single(self) -> bool:
        """Whether there is nothing to choose."""
        return self.options == 1 or (len(self.edges) == 2 and self.covered)

    @property
    def covered(self) -> bool:
        """Whether its wide cells are all that there is."""
        return len(self.edges) > 1 and bool(self.edges[0] <= 0.0 and self.edges[-1] >= 1.0)

    @property
    def table_sized(self) -> bool:
        """Whether it is few cells and nothing else."""
        return self.covered and len(self.edges) <= TABLE + 1

    def table(self, width: float, make: Callable[[Floats, float], Floats]) -> Floats:
        """What ``make`` makes of the edges and of this width of kernels; the latest are kept."""
        found = self._tables.get(width)
        if found is None:
            while len(self._tables) >= KEPT:
                del self._tables[next(iter(self._tables))]
            found = self._tables[width] = make(self.edges, width)
        return found

    def encode(self, value: Any) -> tuple[float, int]:
        """Place and index.

        Raises:
            SpaceError: the value does not belong to the parameter.
        """
        if isinstance(self.leaf, Choice):
            index = self.leaf.index(value)
            if index is None:
                raise SpaceError(f"{self.name}: {value!r} stands for none of its {self.options} options.")
            return 0.0, index
        if self.options:
            return 0.0, min(int(to_unit(self.domain, value) * self.options), self.options - 1)
        if not self.domain.is_valid(value):
            raise SpaceError(f"{self.name}: {value!r} does not lie in {self.domain!r}.")
        unit = to_unit(self.domain, value)
        if len(self.edges) < 2:
            return unit, -1
        cell = int(self.cells(np.array([unit]))[0])
        return (unit if cell < 0 else float(self.edges[cell] + self.edges[cell + 1]) / 2), cell

    def decode(self, unit: float, index: int) -> Any:
        """The value there."""
        if isinstance(self.leaf, Choice):
            return self.leaf.codes[index]
        if self.options:
            return self.domain.categories[index]  # type: ignore[attr-defined]
        return from_unit(self.domain, unit)

    def cells(self, units: Floats) -> Ints:
        """The wide cell of each; -1: none."""
        if len(self.edges) < 2:
            return np.full(len(units), -1, dtype=np.int64)
        last = len(self.edges) - 2
        cells = np.searchsorted(self.edges, units, side="right").astype(np.int64) - 1
        if self.covered:
            return np.clip(cells, 0, last)
        cells[cells > last] = -1
        return cells


class Columns:
    """All parameters of one level of a space.

    Args:
        columns: one for each; may be none.

    Attributes:
        numbers, smooth: which are no categories, and which of these have no wide cells.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self.numbers = np.array([i for i, column in enumerate(columns) if not column.options], dtype=np.int64)
        self.smooth = np.array([i for i in self.numbers if len(self.columns[i].edges) < 2], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.columns)

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def of(self, columns: slice) -> Columns:
        """Some of them."""
        return self if len(range(*columns.indices(len(self)))) == len(self) else Columns(self.columns[columns])

    def encode(self, values: Mapping[str, Any]) -> tuple[list[float], list[int]] | None:
        """A row of :class:`Points`; None: one of the values is missing, or not of this space."""
        units, index = [], []
        for column in self.columns:
            if column.name not in values:
                return None
            try:
                unit, cell = column.encode(values[column.name])
            except (SpaceError, TypeError, ValueError):
                return None
            units.append(unit)
            index.append(cell)
        return units, index

    def decode(self, points: Points, row: int) -> dict[str, Any]:
        """The values of one row."""
        units, index = points.units[row].tolist(), points.index[row].tolist()
        return {column.name: column.decode(unit, cell) for column, unit, cell in zip(self.columns, units, index)}


def columns_of(leaves: Sequence[Leaf]) -> Columns:
    """The columns of those parameters that can be modelled, in the order of names; computed ones, and such with one value, have none."""
    found = (Column(leaf) for leaf in sorted(leaves, key=lambda leaf: leaf.name) if not isinstance(leaf.domain, Function))
    return Columns([column for column in found if not column.single])


def _edges(domain: Any) -> Iterator[float]:
    """Edges of the run of cells that are wide, ascending."""
    if isinstance(domain, Normal):
        if domain.q is not None:
            yield from _normal_edges(domain, domain.q)
        return
    assert isinstance(domain, Float | Integer)
    step = domain.q if domain.q is not None else 1 if isinstance(domain, Integer) else None
    if step is None:
        return
    whole = isinstance(domain, Integer) and domain.q is None
    low, high = (domain.lower, domain.upper) if whole else (domain.lower - step / 2, domain.upper + step / 2)
    count = round((high - low) / step)
    if not domain.log:
        if count * NARROW <= 1:
            yield from (number / count for number in range(count + 1))
        return
    start, span = math.log(low), math.log(high) - math.log(low)
    before, number = 0.0, 0
    while number < count:
        edge = 1.0 if number + 1 == count else (math.log(low + (number + 1) * step) - start) / span
        if edge - before < NARROW:
            return
        if not number:
            yield 0.0
        yield edge
        before, number = edge, number + 1


def _normal_edges(domain: Normal, step: float) -> Iterator[float]:
    """Cells around the mean; towards both ends they are narrow."""
    unit = NormalDist(domain.mean, domain.sd)
    first = round(domain.mean / step)

    def wide(number: int) -> bool:
        return unit.cdf((number + 0.5) * step) - unit.cdf((number - 0.5) * step) >= NARROW

    if not wide(first):
        return
    low = high = first
    while wide(low - 1):
        low -= 1
    while wide(high + 1):
        high += 1
    yield from (unit.cdf((number - 0.5) * step) for number in range(low, high + 2))
