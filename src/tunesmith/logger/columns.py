"""Many rows as text at once, column by column: what rows with the same keys have in common is worked out once for all of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tunesmith.core.flat import unflatten
from tunesmith.logger.encode import JSON_TEXTS, digits, digits_of, one_line

__all__ = ["Layout", "Rows", "csv_line", "csv_lines", "json_lines", "layout_of"]

_FEW = 4


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What rows with certain keys have in common.

    Args:
        keys: of such a row, in their order.
        names: the same without ``config``.
        config: place of ``config`` among the keys; None: there is none.
        template: JSON of such a row, nested where names have a "/", with a ``%s`` for each value and without the closing brace.
        order: place among the names of each ``%s``.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    config: int | None
    template: str
    order: tuple[int, ...]


@lru_cache(maxsize=64)
def layout_of(keys: tuple[str, ...]) -> Layout:
    """The layout for rows with these keys."""
    names = tuple([key for key in keys if key != "config"])
    order: list[int] = []
    template = _template(unflatten({name: place for place, name in enumerate(names)}), order)
    return Layout(keys, names, keys.index("config") if "config" in keys else None, template.removesuffix("}"), tuple(order))


def _template(nested: Mapping[str, Any], order: list[int]) -> str:
    parts = []
    for key, inner in nested.items():
        if isinstance(inner, dict):
            text = _template(inner, order)
        else:
            text = "%s"
            order.append(inner)
        parts.append(f"{one_line(key).replace('%', '%%')}: {text}")
    return f"{{{', '.join(parts)}}}"


class Rows:
    """Rows with the same layout and the same config, as the values that are written of them: scalars and strings.

    Args:
        tail: what JSON has behind the values: the config, if there is one, and the closing brace.
    """

    __slots__ = ("layout", "tail", "values")

    def __init__(self, layout: Layout, tail: str) -> None:
        self.layout = layout
        self.tail = tail
        self.values: list[list[Any]] = []


def json_lines(rows: Rows) -> str:
    """A JSON object per row."""
    layout, tail = rows.layout, rows.tail
    if not layout.names:
        return ("{" + tail.removeprefix(", ")) * len(rows.values)
    columns = _columns(rows.values, JSON_TEXTS)
    if layout.order != tuple(range(len(columns))):
        columns = [columns[place] for place in layout.order]
    return tail.join([*map(layout.template.__mod__, zip(*columns, strict=True)), ""])


def csv_lines(rows: Rows, names: tuple[str, ...]) -> str:
    """A line per row of a table whose columns have these names."""
    cells = _columns(rows.values, _CSV_TEXTS)
    if rows.layout.names != names:
        known = dict(zip(rows.layout.names, cells, strict=True))
        blank = [""] * len(rows.values)
        cells = [known.get(name, blank) for name in names]
    if len(cells) > 1:
        lines = list(map(",".join, zip(*cells, strict=True)))
    elif cells:
        lines = [cell or '""' for cell in cells[0]]  # as the writer has a blank that is alone
    else:
        lines = [""] * len(rows.values)
    return "\r\n".join([*lines, ""])


def _columns(rows: Sequence[Sequence[Any]], texts: Mapping[type, Callable[[Any], str]]) -> list[Sequence[str]]:
    """The columns of a table as text; ``texts``: how values of each type are written."""
    if len(rows) < _FEW:
        return list(zip(*[[texts[type(value)](value) for value in row] for row in rows], strict=True))
    return [_column(values, texts) for values in zip(*rows, strict=True)]


def _column(values: tuple[Any, ...], texts: Mapping[type, Callable[[Any], str]]) -> Sequence[str]:
    kinds = set(map(type, values))
    if len(kinds) == 1:
        (kind,) = kinds
        if kind is float:
            if all(map(math.isfinite, values)):
                return digits_of(values)
        elif values[0] is values[-1] and values.count(values[0]) == len(values):
            return [texts[kind](values[0])] * len(values)
        else:
            return list(map(texts[kind], values))
    return [texts[type(value)](value) for value in values]


class _Echo:
    """A file for ``csv.writer`` that gives back what is written to it."""

    @staticmethod
    def write(text: str) -> str:
        return text


csv_line: Callable[[Iterable[Any]], str] = csv.writer(_Echo).writerow  # it returns what ``write`` does
"""With the writer's own line ends: with others it would not quote a carriage return."""


def _csv_string(value: str) -> str:
    return csv_line(("", value))[1:-2]  # a blank alone in its row would be quoted


_CSV_TEXTS: dict[type, Callable[[Any], str]] = {
    float: digits,
    int: repr,
    str: _csv_string,
    bool: repr,
    type(None): {None: ""}.__getitem__,
}
"""What ``csv.writer`` makes of scalars and strings in a row of several."""
