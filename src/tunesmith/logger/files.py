"""Files that grow by rows: appended in large pieces, few of them open, rewritten beside and renamed when what is there must change."""

from __future__ import annotations

import csv
import io
import os
from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

from tunesmith.logger.columns import Rows, csv_line, csv_lines, json_lines, layout_of
from tunesmith.logger.encode import one_line, scalars
from tunesmith.secrets import redact

__all__ = ["CsvFile", "FilePool", "JsonLinesFile", "RowFile", "replace", "write_new"]

_ROWS_IN_MEMORY = 256
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_ON = os.O_WRONLY | os.O_CREAT | os.O_APPEND


class FilePool:
    """Files open for appending; of more than ``limit`` the one that was idle longest is closed (and opened again when needed)."""

    def __init__(self, limit: int = 32) -> None:
        self.limit = limit
        self._open: OrderedDict[str, int] = OrderedDict()

    def append(self, path: str, data: bytes) -> None:
        """Add ``data`` at the end of the file, which stays open."""
        handle = self._open.get(path)
        if handle is None:
            handle = self._open[path] = _open(path, _ON)
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

    def __init__(self, path: str, pool: FilePool) -> None:
        self.path = path
        self._pool = pool
        self._begun = False
        self._config: Any = None
        self._tail = ""
        self._waiting: list[Rows] = []
        self._rows = _NONE  # the last of those that wait
        self._count = 0

    def add(self, row: Mapping[str, Any]) -> None:
        """Take one row. Of its values those that are scalars or strings are written: arrays and objects are other loggers' business."""
        if self._hold(row) >= _ROWS_IN_MEMORY:
            self.flush()

    def _hold(self, row: Mapping[str, Any]) -> int:
        """Let a row wait; returns how many do."""
        rows = self._rows
        keys = tuple(row)
        layout = rows.layout if keys == rows.layout.keys else layout_of(keys)
        values = list(row.values())
        config = None if layout.config is None else values.pop(layout.config)
        if config is not self._config:
            self._configure(config)
        if layout is not rows.layout or rows.tail is not self._tail:
            rows = self._rows = Rows(layout, self._tail)
            self._waiting.append(rows)
        rows.values.append(values)
        self._count += 1
        return self._count

    def flush(self) -> None:
        """Write what waits."""
        if self._count:
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
        self._waiting, self._rows, self._count = [], _NONE, 0
        self._begun = False
        self._foresee(told)
        for row in rows:
            self._hold(row)
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
        waiting = self._waiting
        self._waiting, self._rows, self._count = [], _NONE, 0
        try:
            text = self._encode(waiting)
        except KeyError:  # arrays and objects are other loggers' business
            text = self._encode([part for rows in waiting for part in rows.plain()])
        return text.encode("utf-8", "backslashreplace")

    def _replace(self, data: bytes) -> None:
        self._pool.close(self.path)
        replace(self.path, data)
        self._begun = True

    def _configure(self, config: Any) -> None:
        """Rows have another config from now on."""
        self._config = config

    def _continue(self, text: str) -> None:
        """Learn from what the file holds."""

    def _foresee(self, told: Iterable[Mapping[str, Any]]) -> None:
        """Learn from rows of which some are not written any more."""

    def _first(self, count: int, text: str) -> str | None:
        """``text`` up to its row number ``count``; None if there are not so many."""
        raise NotImplementedError

    def _encode(self, waiting: list[Rows]) -> str:
        """What waits, as text; KeyError, and nothing is done, if there are arrays or objects in it."""
        raise NotImplementedError


class JsonLinesFile(RowFile):
    """One JSON object per row, nested as it was reported, with the row's ``config`` at its end (without secrets).

    Args:
        drawn: paths of the configuration that were drawn: what lies there is no secret.
    """

    def __init__(self, path: str, pool: FilePool, drawn: Container[str] = ()) -> None:
        super().__init__(path, pool)
        self._drawn = drawn
        self._tail = "}\n"

    def use(self, config: Any, text: str) -> None:
        """Rows to come have this very object as their config (all rows of a trial do, until an exploit): ``text`` is its JSON."""
        self._config = config
        self._tail = f', "config": {text}}}\n'

    def _configure(self, config: Any) -> None:
        self.use(config, one_line(redact(config, self._drawn)))

    def _encode(self, waiting: list[Rows]) -> str:
        return "".join(map(json_lines, waiting))

    def _first(self, count: int, text: str) -> str | None:
        lines = io.StringIO(text).readlines()
        return "".join(lines[:count]) if len(lines) >= count else None


class CsvFile(RowFile):
    """A table with flat ("/"-joined) columns in the order in which they first came up; a late column widens the whole table."""

    def __init__(self, path: str, pool: FilePool) -> None:
        super().__init__(path, pool)
        self.columns: tuple[str, ...] = ()

    def _foresee(self, told: Iterable[Mapping[str, Any]]) -> None:
        self.columns = tuple(dict.fromkeys(chain.from_iterable(map(scalars, told))))

    def _first(self, count: int, text: str) -> str | None:
        rows = list(csv.reader(io.StringIO(text, newline="")))[: count + 1]
        return "".join(map(csv_line, rows)) if len(rows) > count else None

    def _continue(self, text: str) -> None:
        self.columns = tuple(next(csv.reader(io.StringIO(text, newline=""))))

    def _encode(self, waiting: list[Rows]) -> str:
        columns = self.columns
        for rows in waiting:
            if rows.layout.names != columns:
                columns = tuple(dict.fromkeys((*columns, *rows.layout.names)))
        text = "".join([csv_lines(rows, columns) for rows in waiting])
        if self._begun and len(columns) > len(self.columns):
            self._widen(columns)
        self.columns = columns
        return text if self._begun else _header(columns) + text

    def _widen(self, columns: tuple[str, ...]) -> None:
        """Give the table on disk these columns, of which it lacks the last."""
        self._pool.close(self.path)
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        blanks = [""] * (len(columns) - len(self.columns))
        text = _header(columns) + "".join([csv_line([*row, *blanks]) for row in rows])
        replace(self.path, text.encode("utf-8", "backslashreplace"))


_header = lru_cache(maxsize=64)(csv_line)
_NONE = Rows(layout_of(()), "no file has this tail")


def write_new(path: str, data: bytes) -> None:
    """Write a whole file in place of the one that may be there; makes the directory if needed."""
    handle = _open(path, _ANEW)
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
    written = os.write(handle, data)
    while written < len(data):
        data = data[written:]
        written = os.write(handle, data)
