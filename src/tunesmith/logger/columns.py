"""Many rows as text at once, column by column: what rows with the same keys have in common is worked out once for all of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

from tunesmith.core.flat import unflatten
from tunesmith.logger.encode import JSON_TEXTS, digits, digits_of, one_line, scalars

__all__ = ["Layout", "Rows", "csv_line", "csv_lines", "json_lines", "layout_of"]

_FEW = 4

Texts = Mapping[type, Callable[[Any], str]]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What rows with certain keys have in common.

    Args:
        keys: of such a row, in their order.
        names: the same without ``config``.
        config: place of ``config`` among the keys; None: there is none.
        order: place among the names of each value in JSON, which is nested where names have a "/"; None: the values keep their order.
        leads: what JSON has before each value, in that order.
        end: what it has behind the last one, but for the closing brace.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    config: int | None
    order: tuple[int, ...] | None
    leads: tuple[str, ...]
    end: str


@lru_cache(maxsize=64)
def layout_of(keys: tuple[str, ...]) -> Layout:
    """The layout for rows with these keys."""
    names = tuple([key for key in keys if key != "config"])
    order: list[int] = []
    leads: list[str] = []
    end = _walk(unflatten({name: place for place, name in enumerate(names)}), "", order, leads)
    return Layout(
        keys, names, keys.index("config") if "config" in keys else None,
        None if order == sorted(order) else tuple(order), tuple(leads), end.removesuffix("}"),
    )  # fmt: skip


def _walk(nested: Mapping[str, Any], text: str, order: list[int], leads: list[str]) -> str:
    """Note what stands before each place in ``nested``; ``text`` is what there is since the last place, and so is what is returned."""
    text += "{"
    for index, (key, inner) in enumerate(nested.items()):
        text += f"{', ' if index else ''}{one_line(key)}: "
        if isinstance(inner, dict):
            text = _walk(inner, text, order, leads)
        else:
            order.append(inner)
            leads.append(text)
            text = ""
    return text + "}"


class Rows:
    """Rows with the same layout and the same config.

    Args:
        tail: what JSON has behind the values: the config, if there is one, and the closing brace.
    """

    __slots__ = ("layout", "tail", "values")

    def __init__(self, layout: Layout, tail: str) -> None:
        self.layout = layout
        self.tail = tail
        self.values: list[list[Any]] = []

    def plain(self) -> list[Rows]:
        """The same without arrays and objects."""
        parts: list[Rows] = []
        for values in self.values:
            row = scalars(dict(zip(self.layout.names, values, strict=True)))
            layout = layout_of(tuple(row))
            if not parts or parts[-1].layout is not layout:
                parts.append(Rows(layout, self.tail))
            parts[-1].values.append(list(row.values()))
        return parts


def json_lines(rows: Rows) -> str:
    """A JSON object per row.

    Raises:
        KeyError: there is an array or an object among the values.
    """
    layout, order, tail = rows.layout, rows.layout.order, rows.tail
    if not layout.names:
        return ("{" + tail.removeprefix(", ")) * len(rows.values)
    if len(rows.values) < _FEW:
        cells = [[JSON_TEXTS[type(value)](value) for value in row] for row in rows.values]
        if order is not None:
            cells = [[row[place] for place in order] for row in cells]
        lines = ["".join(chain.from_iterable(zip(layout.leads, row, strict=True))) for row in cells]
    else:
        columns = _columns(rows, JSON_TEXTS)
        if order is not None:
            columns = [columns[place] for place in order]
        parts = chain.from_iterable(zip(map(repeat, layout.leads), columns, strict=True))
        lines = list(map("".join, zip(*parts, strict=False)))
    return f"{layout.end}{tail}".join([*lines, ""])


def csv_lines(rows: Rows, names: tuple[str, ...]) -> str:
    """A line per row of a table whose columns have these names.

    Raises:
        KeyError: there is an array or an object among the values.
    """
    own = rows.layout.names
    if len(rows.values) < _FEW or not own:
        cells = [[_CSV_TEXTS[type(value)](value) for value in row] for row in rows.values]
        if own != names:
            cells = [list(map(dict(zip(own, row, strict=True)).get, names, repeat(""))) for row in cells]
        lines = list(map(",".join, cells))
    else:
        columns = _columns(rows, _CSV_TEXTS)
        if own != names:
            known = dict(zip(own, columns, strict=True))
            blank = [""] * len(rows.values)
            columns = [known.get(name, blank) for name in names]
        lines = list(map(",".join, zip(*columns, strict=True)))
    if len(names) == 1:
        lines = [line or '""' for line in lines]  # as the writer has a blank that is alone
    return "\r\n".join([*lines, ""])


def _columns(rows: Rows, texts: Texts) -> list[Sequence[str]]:
    return [_column(values, texts) for values in zip(*rows.values, strict=True)]


def _column(values: tuple[Any, ...], texts: Texts) -> Sequence[str]:
    kinds = set(map(type, values))
    if len(kinds) > 1:
        return [texts[type(value)](value) for value in values]
    (kind,) = kinds
    text, first = texts[kind], values[0]
    if first == values[-1] and (first or kind is not float) and values.count(first) == len(values):  # 0.0 and -0.0 are equal
        return [text(first)] * len(values)
    if kind is float and all(map(math.isfinite, values)):
        return digits_of(values)
    return list(map(text, values))


_ODD = frozenset(',"\r\n\0')


class _Echo:
    """A file for ``csv.writer`` that gives back what is written to it."""

    @staticmethod
    def write(text: str) -> str:
        return text


csv_line: Callable[[Iterable[Any]], str] = csv.writer(_Echo).writerow  # it returns what ``write`` does
"""With the writer's own line ends: with others it would not quote a carriage return."""


def _csv_string(value: str) -> str:
    if len(value) < 64 and _ODD.isdisjoint(value):
        return value  # most are like this, and asking the writer takes longer
    return csv_line(("", value))[1:-2]  # a blank alone in its row would be quoted


_CSV_TEXTS: Texts = {
    float: digits,
    int: repr,
    str: _csv_string,
    bool: repr,
    type(None): {None: ""}.__getitem__,
}
"""What ``csv.writer`` makes of scalars and strings in a row of several."""
