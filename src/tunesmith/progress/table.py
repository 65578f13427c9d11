"""The table of trials as lines of styled text: which columns fit, and how wide each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.progress.board import Picture, Row
from tunesmith.progress.options import TableOptions
from tunesmith.progress.text import cut, number

__all__ = ["STYLES", "Line", "columns_of", "fit", "left_out", "table", "width_of"]

Line = list[tuple[str, str]]
"""Pieces of text, each with a style that ``rich`` knows ("" for none)."""

STYLES = {RUNNING: "green", PAUSED: "yellow", PENDING: "dim", TERMINATED: "cyan", ERROR: "bold red"}

_GAP = "  "


@dataclass(slots=True)
class _Column:
    header: str
    cells: list[str]
    left: bool = False
    styles: list[str] = field(default_factory=list)
    width: int = 0

    def __post_init__(self) -> None:
        self.width = max(map(width_of, [self.header, *self.cells]))


def width_of(text: str) -> int:
    """Cells that the text takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def fit(text: str, width: int) -> str:
    """The text, cut to ``width`` cells."""
    if width_of(text) <= width:
        return text
    if text.isascii():
        return cut(text, width)
    from rich.cells import set_cell_size

    return f"{set_cell_size(text, max(0, width - 3)).rstrip()}..."[: max(0, width)]


def table(picture: Picture, options: TableOptions, width: int | None = None, most: int | None = None) -> list[Line]:
    """Header, rows, and a last line for what is not shown.

    Args:
        width: cells; columns that do not fit are left out, the later ones first. None: all fit.
        most: lines, those two included; None: no limit. Too few for one row: none at all.
    """
    rows = picture.rows if most is None else picture.rows[: max(0, most - 2)]
    if not rows:
        return []
    columns = columns_of(picture, rows, options)
    kept = _fitting(columns, width)
    lines: list[Line] = [[(_joined([(column.header, column) for column in kept]), "bold")]]
    lines += [_line(kept, index) for index in range(len(rows))]
    hidden = left_out(picture, rows, [column.header for column in columns if column not in kept])
    if hidden:
        lines.append([(hidden if width is None else fit(hidden, width), "dim")])
    return lines


def _line(columns: Sequence[_Column], index: int) -> Line:
    line: Line = []
    for position, column in enumerate(columns):
        text = _padded(column.cells[index], column, last=position == len(columns) - 1)
        line.append(((_GAP if position else "") + text, column.styles[index] if column.styles else ""))
    while line and not line[-1][0].strip():  # blanks at the end would wrap when the window is made narrower
        line.pop()
    return [*line[:-1], (line[-1][0].rstrip(), line[-1][1])] if line else line


def _joined(cells: Sequence[tuple[str, _Column]]) -> str:
    return _GAP.join(_padded(text, column, last=position == len(cells) - 1) for position, (text, column) in enumerate(cells))


def _padded(text: str, column: _Column, *, last: bool) -> str:
    space = " " * (column.width - width_of(text))
    if column.left:
        return text if last else text + space
    return space + text


def _fitting(columns: Sequence[_Column], width: int | None) -> list[_Column]:
    if width is None:
        return list(columns)
    kept: list[_Column] = []
    left = width
    for column in columns:
        needs = column.width + (len(_GAP) if kept else 0)
        if needs <= left or not kept:
            kept.append(column)
            left -= needs
    if kept[0].width > width:
        kept[0].header, kept[0].cells = fit(kept[0].header, width), [fit(cell, width) for cell in kept[0].cells]
        kept[0].width = width
    return kept


def left_out(picture: Picture, rows: Iterable[Row], columns: Sequence[str]) -> str:
    shown: dict[str, int] = {}
    for row in rows:
        shown[row.status] = shown.get(row.status, 0) + 1
    left = {status: count - shown.get(status, 0) for status, count in picture.counts.items()}
    parts = [f"{count} {status}" for status, count in left.items() if count > 0]
    if columns:
        parts.append(f"column{'s' if len(columns) > 1 else ''} {', '.join(columns)}")
    return f"... and {', '.join(parts)}" if parts else ""


# -- columns -------------------------------------------------------------------------------------------------------------


def columns_of(picture: Picture, rows: Sequence[Row], options: TableOptions) -> list[_Column]:
    """Most telling first: what does not fit is left out from the end."""
    columns = [
        _Column("trial", [row.trial_id for row in rows], left=True),
        _Column("status", [row.status for row in rows], left=True, styles=[STYLES[row.status] for row in rows]),
    ]
    longest = options.max_column_length

    def add(header: str, cell: Callable[[Row], object]) -> None:
        values = [cell(row) for row in rows]
        texts = ["" if value is None else number(value, longest) for value in values]
        columns.append(_Column(number(header, longest), texts, left=any(isinstance(value, str) for value in values)))

    for name, header in _metric_columns(picture, rows, options).items():
        add(header, _metric(name))
    chosen = options.parameter_columns
    for name, header in (chosen if chosen is not None else {name: name for row in rows for name in row.values}).items():
        add(header, _parameter(name))
    return columns


def _metric_columns(picture: Picture, rows: Sequence[Row], options: TableOptions) -> Mapping[str, str]:
    if options.metric_columns is not None:
        return options.metric_columns
    found = {**{name: name for name in picture.metrics}, "training_iteration": "iter", "time_total_s": "time (s)"}
    own = {name: name for row in rows for name, value in row.metrics.items() if type(value) in (int, float) and name not in AUTO_KEYS}
    more = [name for name in own if name not in found][: options.infer_limit]
    return {**found, **{name: name for name in more}}


def _metric(name: str) -> Callable[[Row], object]:
    def cell(row: Row) -> object:
        value = row.metrics.get(name)
        if name == "training_iteration" and value is None:
            return row.iteration or None
        return round(value, 2) if name == "time_total_s" and isinstance(value, float) else value

    return cell


def _parameter(name: str) -> Callable[[Row], object]:
    def cell(row: Row) -> object:
        return row.values.get(name)

    return cell
