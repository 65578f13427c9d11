"""The row of a table that is nearest to a configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.simulation.columns import Column

__all__ = ["Nearest"]


class Nearest:
    """Looks configurations up; see :meth:`tunesmith.CurveTable.lookup` for what near means.

    Args:
        columns: of the table.
        cells: shape (rows, columns); NaN: the row does not have it.
    """

    def __init__(self, columns: Sequence[Column], cells: npt.NDArray[np.float64]) -> None:
        self.names = frozenset(column.name for column in columns)
        self._columns = columns
        self._cells = cells
        self._rows: dict[tuple[float | None, ...], int] | None = None
        self._scaled: npt.NDArray[np.float64] | None = None
        self._numeric = np.array([column.kind != "options" for column in columns])
        self._spans: list[tuple[float, float]] = []

    def find(self, flat: Mapping[str, Any]) -> tuple[int, float]:
        """Row and distance for a flat configuration."""
        point = [column.encode(flat[column.name]) if column.name in flat else None for column in self._columns]
        row = self._exact().get(tuple(point))
        if row is not None:
            return row, 0.0
        apart = self._apart(point)
        row = int(np.argmin(apart))
        return row, math.sqrt(float(apart[row]))

    def _exact(self) -> dict[tuple[float | None, ...], int]:
        if self._rows is None:
            self._rows = {}
            for row, cells in enumerate(self._cells.tolist()):
                self._rows.setdefault(tuple(None if math.isnan(cell) else cell for cell in cells), row)
        return self._rows

    def _apart(self, point: list[float | None]) -> npt.NDArray[np.float64]:
        """Squared distances. NaN in the point: there is a value, but none that any row has."""
        if self._scaled is None:
            self._scaled = self._scale()
        place = np.array([self._place(number, cell) for number, cell in enumerate(point)])
        here = np.array([cell is not None for cell in point])
        there = ~np.isnan(self._cells)
        squares = np.where(self._numeric, np.square(self._scaled - place), self._scaled != place)
        squares = np.where(here & there, np.nan_to_num(squares, nan=1.0, posinf=1.0), here != there)
        return np.asarray(squares.sum(axis=1), np.float64)

    def _scale(self) -> npt.NDArray[np.float64]:
        scaled = self._cells.copy()
        for number, column in enumerate(self._columns):
            cells = self._cells[:, number]
            there = cells[~np.isnan(cells)]
            if column.kind == "options" or not there.size:
                self._spans.append((0.0, 1.0))
                continue
            low, high = (float(end) for end in (there.min(), there.max()))
            if column.log:
                low, high = math.log(low), math.log(high)
                cells = np.log(cells)
            self._spans.append((low, high - low or 1.0))
            scaled[:, number] = (cells - low) / (high - low or 1.0)
        return scaled

    def _place(self, number: int, cell: float | None) -> float:
        if cell is None or math.isnan(cell):
            return math.nan
        column, (low, span) = self._columns[number], self._spans[number]
        if column.log:
            if cell <= 0:
                return math.nan
            cell = math.log(cell)
        return (cell - low) / span
