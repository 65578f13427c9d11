"""Columns of parameters: names, kinds and units, and how their values become numbers and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunesmith.core.flat import flatten
from tunesmith.errors import SpecError

__all__ = ["Column", "as_columns"]

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Column:
    """One parameter.

    Args:
        name: flat, joined by "/".
        kind: "number", "integer" or "options".
        options: JSON scalars, for "options"; else empty.
        log: numbers are compared on a logarithmic scale.
        unit: for people.
    """

    name: str
    kind: str = "number"
    options: tuple[Any, ...] = ()
    log: bool = False
    unit: str = ""

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Column:
        """From :meth:`describe`."""
        return cls(described["name"], described["kind"], tuple(described.get("options", ())), described["log"], described["unit"])

    def describe(self) -> dict[str, Any]:
        """As JSON."""
        about: dict[str, Any] = {"name": self.name, "kind": self.kind, "log": self.log, "unit": self.unit}
        return {**about, "options": list(self.options)} if self.kind == "options" else about

    def encode(self, value: Any) -> float:
        """Its cell; NaN: it is no value of this column."""
        if self.kind == "options":
            key = _key(value)
            return next((float(place) for place, option in enumerate(self.options) if _key(option) == key), math.nan)
        return float(value) if _is_number(value) else math.nan

    def decode(self, cell: float) -> Any:
        """The value of a cell that is not NaN."""
        if self.kind == "options":
            return self.options[int(cell)]
        return int(cell) if self.kind == "integer" else cell

    def options_in(self, cells: npt.NDArray[np.float64]) -> list[Any]:
        """The distinct values of the cells, ascending."""
        return [self.decode(cell) for cell in np.unique(cells).tolist()]


def as_columns(
    configs: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]], log: Sequence[str], units: Mapping[str, str]
) -> tuple[tuple[Column, ...], npt.NDArray[np.float64]]:
    """Columns and cells (rows x columns) of configurations.

    Raises:
        SpecError: columns of different lengths, a value that is no scalar, ``log`` of what is no positive number.
    """
    if isinstance(configs, Mapping):
        raw = {name: [_plain(name, value) for value in values] for name, values in configs.items()}
        if len({len(values) for values in raw.values()}) > 1:
            raise SpecError(f"CurveTable: all parameters must have as many values: { {name: len(some) for name, some in raw.items()} }.")
    else:
        rows = [flatten(config) for config in configs]
        names = list(dict.fromkeys(name for row in rows for name in row))
        raw = {name: [_plain(name, row[name]) if name in row else _ABSENT for row in rows] for name in names}
    if not raw:
        raise SpecError("CurveTable: configs must have at least one parameter.")
    if unknown := [name for name in log if name not in raw]:
        raise SpecError(f"CurveTable: log={unknown[0]!r} is no parameter; there are {', '.join(raw)}.")
    columns = tuple(_column(name, values, name in log, units.get(name, "")) for name, values in raw.items())
    return columns, np.array([_cells(column, raw[column.name]) for column in columns], np.float64).T


def _column(name: str, values: list[Any], log: bool, unit: str) -> Column:
    there = [value for value in values if value is not _ABSENT]
    if all(_is_number(value) and math.isfinite(value) for value in there):
        if log and not all(value > 0 for value in there):
            raise SpecError(f"CurveTable: log={name!r} needs positive values.")
        exact = all(isinstance(value, int) and abs(value) <= 2**53 for value in there)
        return Column(name, "integer" if exact else "number", log=log, unit=unit)
    if log:
        raise SpecError(f"CurveTable: log={name!r} needs numbers.")
    return Column(name, "options", tuple({_key(value): value for value in there}.values()), unit=unit)


def _cells(column: Column, values: list[Any]) -> list[float]:
    places = {_key(option): float(place) for place, option in enumerate(column.options)}
    encode = float if column.kind != "options" else lambda value: places[_key(value)]
    return [math.nan if value is _ABSENT else encode(value) for value in values]


def _plain(name: str, value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, (str, int, float, bool, type(None))):
        raise SpecError(f"CurveTable: the parameter {name!r} has the value {value!r}; values are numbers, strings, bools or None.")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _key(value: Any) -> str:
    """Tells values apart as JSON does: True is not 1."""
    return json.dumps(value, default=repr)
