"""Files that grow by rows: appended in large pieces, few of them open, rewritten beside and renamed when what is there must change."""

from __future__ import annotations

import csv
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache
from typing import Any, ClassVar

from tunesmith.logger.encode import SCALARS, one_line, scalars
from tunesmith.logger.layout import Layout, csv_layout, csv_line, json_layout
from tunesmith.secrets import redact

__all__ = ["CsvFile", "FilePool", "JsonLinesFile", "RowFile", "replace", "write_new"]

_ROWS_IN_MEMORY = 256


class FilePool:
    """Files open for appending; of more than ``limit`` the one that was idle longest is closed (and opened again when needed)."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self._open: OrderedDict[str, int] = OrderedDict()

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` at the end of the file, which stays open."""
        handle = self._open.get(path)
        if handle is None:
            handle = self._open[path] = _open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            if len(self._open) > self.limit:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(path)
        _write(handle, data)

    def close(self, path: str) -> None:
        """Close the file if it is open."""
        handle = self._open.pop(path, None)
        if handle is not None:
            os.close(handle)

    def close_all(self) -> None:
        """Close everything."""
        for path in list(self._open):
            self.close(path)

    def __len__(self) -> int:
        return len(self._open)


class RowFile:
    """One file of one trial. Rows wait in memory until :meth:`flush`, :meth:`close`, or until there are many.

    The first write of a new ``RowFile`` replaces what was there (unless :meth:`go_on` came before): the file is a projection, its rows
    are all given or rewritten.
    """

    _layout_of: ClassVar[Callable[[tuple[str, ...]], Layout]]

    def __init__(self, path: str, pool: FilePool) -> None:
        self.path = path
        self._pool = pool
        self._rows: list[Any] = []
        self._begun = False
        self._forget()

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row."""
        self._rows.append(self._entry(row))
        if len(self._rows) >= _ROWS_IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._rows:
            data = self._take()
            if self._begun:
                self._pool.append(self.path, data)
            else:
                write_new(self.path, data)
                self._begun = True

    def go_on(self) -> None:
        """Add to the file that an earlier session left, if there is one. What is left of a line that was cut off goes."""
        try:
            with open(self.path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return
        whole = data.rfind(b"\n") + 1
        if whole:
            if whole < len(data):
                os.truncate(self.path, whole)
            self._begun = True
            self._continue(data[:whole].decode("utf-8", "replace"))

    def close(self) -> None:
        """Write what waits and close the file; later rows open it again."""
        self.flush()
        self._pool.close(self.path)

    def rewrite(self, rows: Iterable[Mapping[str, Any]], told: Iterable[Mapping[str, Any]] = ()) -> None:
        """Make the file hold exactly ``rows``, as if all of ``told`` had been added and some taken back; rows that waited are forgotten."""
        self._begun = False
        self._forget()
        self._foresee(told)
        self._rows = [self._entry(row) for row in rows]
        self._replace(self._take())

    def keep(self, count: int) -> bool:
        """Take back all rows but the first ``count``; false, and nothing is done, if the file on disk does not have so many."""
        self.flush()
        try:
            with open(self.path, "rb") as file:
                kept = self._first(count, file.read().decode("utf-8", "replace"))
        except FileNotFoundError:
            return False
        if kept is not None:
            self._replace(kept.encode())
        return kept is not None

    def _take(self) -> bytes:
        """What waits, as bytes; nothing waits afterwards."""
        rows, self._rows = self._rows, []
        return self._encode(rows).encode("utf-8", "backslashreplace")

    def _replace(self, data: bytes) -> None:
        self._pool.close(self.path)
        replace(self.path, data)
        self._begun = True

    def _pieces(self, row: Mapping[str, Any]) -> list[str]:
        """The scalars of a row as its layout has them. (Arrays and objects are other loggers' business.)"""
        layout, before = self._layout, self._before
        keys = tuple(row)
        if keys != layout.keys:
            layout = self._layout_of(keys)
            before = layout.newest
        values = list(row.values())
        if layout.config is not None:
            del values[layout.config]
        try:
            self._before = before = layout.fill(values, before)
        except KeyError:
            return self._pieces({key: value for key, value in row.items() if key == "config" or type(value) in SCALARS})
        if layout is not self._layout:
            self._layout = layout
            self._arrange()
        return before[1]

    def _forget(self) -> None:
        """As if there had been no row."""
        self._layout = self._layout_of(())
        self._before = self._layout.newest

    def _arrange(self) -> None:
        """Rows have another layout from now on."""

    def _continue(self, text: str) -> None:
        """Learn from what the file holds."""

    def _foresee(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Learn from rows of which some are not written any more."""

    def _first(self, count: int, text: str) -> str | None:
        """``text`` up to its row number ``count``; None if there are not so many."""
        raise NotImplementedError

    def _entry(self, row: Mapping[str, Any]) -> Any:
        """What is kept of a row until it is written."""
        raise NotImplementedError

    def _encode(self, rows: list[Any]) -> str:
        raise NotImplementedError


class JsonLinesFile(RowFile):
    """One JSON object per row, nested as it was reported, with the row's ``config`` at its end (without secrets).

    Args:
        drawn: paths of the configuration that were drawn: what lies there is no secret.
    """

    _layout_of = staticmethod(json_layout)

    def __init__(self, path: str, pool: FilePool, drawn: Container[str] = ()) -> None:
        super().__init__(path, pool)
        self._drawn = drawn
        self._config: Any = None
        self._tail = "}\n"

    def use(self, config: Any, text: str) -> None:
        """Rows to come have this very object as their config (all rows of a trial do, until an exploit): ``text`` is its JSON."""
        self._config = config
        self._tail = f', "config": {text}}}\n'

    def _entry(self, row: Mapping[str, Any]) -> str:
        pieces = self._pieces(row)
        layout = self._layout
        config = None if layout.config is None else row["config"]
        if config is not self._config:
            self.use(config, one_line(redact(config, self._drawn)))
        if layout.order is not None:
            pieces = [pieces[place] for place in layout.order]
        return f"{''.join(pieces)}{layout.end}{self._tail}" if pieces else "{" + self._tail.removeprefix(", ")

    def _encode(self, rows: list[str]) -> str:
        return "".join(rows)

    def _first(self, count: int, text: str) -> str | None:
        lines = io.StringIO(text).readlines()
        return "".join(lines[:count]) if len(lines) >= count else None


class CsvFile(RowFile):
    """A table with flat ("/"-joined) columns in the order in which they first came up; a late column widens the whole table."""

    _layout_of = staticmethod(csv_layout)

    def __init__(self, path: str, pool: FilePool) -> None:
        super().__init__(path, pool)
        self._width = 0  # columns on disk

    def _forget(self) -> None:
        super()._forget()
        self.columns: dict[str, None] = {}
        self._order: list[int] | None = None

    def _foresee(self, told: Iterable[Mapping[str, Any]]) -> None:
        for row in told:
            self.columns.update(dict.fromkeys(scalars(row)))

    def _first(self, count: int, text: str) -> str | None:
        rows = list(csv.reader(io.StringIO(text, newline="")))[: count + 1]
        return "".join(map(csv_line, rows)) if len(rows) > count else None

    def _continue(self, text: str) -> None:
        self.columns = dict.fromkeys(next(csv.reader(io.StringIO(text, newline=""))))
        self._width = len(self.columns)

    def _entry(self, row: Mapping[str, Any]) -> list[str]:
        cells = self._pieces(row)
        if self._order is None:
            return cells
        cells = [*cells, ""]
        return [cells[place] for place in self._order]

    def _arrange(self) -> None:
        names = self._layout.names
        self.columns.update(dict.fromkeys(names))
        if tuple(self.columns) == names:
            self._order = None
        else:
            places = {name: place for place, name in enumerate(names)}
            self._order = [places.get(name, -1) for name in self.columns]  # -1: it is blank

    def _encode(self, rows: list[list[str]]) -> str:
        width = len(self.columns)
        if self._begun and width > self._width:
            self._widen()
        self._width = width
        text = "".join([_joined(cells if len(cells) == width else [*cells, *[""] * (width - len(cells))]) for cells in rows])
        return text if self._begun else _header(tuple(self.columns)) + text

    def _widen(self) -> None:
        """Give the table on disk the columns that it lacks."""
        self._pool.close(self.path)
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        blanks = [""] * (len(self.columns) - self._width)
        text = _header(tuple(self.columns)) + "".join([csv_line([*row, *blanks]) for row in rows])
        replace(self.path, text.encode("utf-8", "backslashreplace"))


def _joined(cells: list[str]) -> str:
    text = ",".join(cells)
    return f"{text}\r\n" if text else csv_line(cells)  # which writes a blank that is alone as ""


_header = lru_cache(maxsize=64)(csv_line)


def write_new(path: str, data: bytes) -> None:
    """Write a whole file in place of the one that may be there; makes the directory if needed."""
    handle = _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        _write(handle, data)
    finally:
        os.close(handle)


def replace(path: str, data: bytes) -> None:
    """Like :func:`write_new`, but readers see the old file until the new one is whole."""
    beside = f"{path}.new"
    write_new(beside, data)
    os.replace(beside, path)


def _open(path: str, flags: int) -> int:
    flags |= getattr(os, "O_CLOEXEC", 0)
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        _make(os.path.dirname(path))
        return os.open(path, flags, 0o666)


def _make(directory: str) -> None:
    try:
        os.mkdir(directory)  # nearly always enough; ``makedirs`` looks for the parent first
    except OSError:
        os.makedirs(directory, exist_ok=True)


def _write(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]
