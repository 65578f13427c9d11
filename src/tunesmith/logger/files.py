"""Files that grow by rows: appended in large pieces, few of them open, rewritten beside and renamed when what is there must change."""

from __future__ import annotations

import csv
import io
import os
from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from functools import lru_cache
from typing import Any

from tunesmith.core.flat import unflatten
from tunesmith.logger.encode import one_line, scalars
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

    def __init__(self, path: str, pool: FilePool) -> None:
        self.path = path
        self._pool = pool
        self._rows: list[Any] = []
        self._begun = False

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
        self._rows = [self._entry(row) for row in rows]
        self._begun = False
        self._foresee(told)
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

    def __init__(self, path: str, pool: FilePool, drawn: Container[str] = ()) -> None:
        super().__init__(path, pool)
        self._drawn = drawn
        self._config: Any = None
        self._tail = "}\n"

    def use(self, config: Any, redacted: Any) -> None:
        """Rows to come have this very object as their config (all rows of a trial do, until an exploit): encode it once."""
        self._config = config
        self._tail = f', "config": {one_line(redacted)}}}\n'

    def _entry(self, row: Mapping[str, Any]) -> str:
        config = row.get("config")
        if config is not self._config:
            self.use(config, redact(config, self._drawn))
        flat = scalars(row)
        for key in flat:
            if "/" in key:
                flat = unflatten(flat)
                break
        return one_line(flat)[:-1] + self._tail if flat else "{" + self._tail.removeprefix(", ")

    def _encode(self, rows: list[str]) -> str:
        return "".join(rows)

    def _first(self, count: int, text: str) -> str | None:
        lines = io.StringIO(text).readlines()
        return "".join(lines[:count]) if len(lines) >= count else None


class CsvFile(RowFile):
    """A table with flat ("/"-joined) columns in the order in which they first came up; a late column widens the whole table."""

    def __init__(self, path: str, pool: FilePool) -> None:
        super().__init__(path, pool)
        self.columns: dict[str, None] = {}

    def _foresee(self, told: Iterable[Mapping[str, Any]]) -> None:
        self.columns = {}
        for row in told:
            self.columns.update(dict.fromkeys(scalars(row)))

    def _first(self, count: int, text: str) -> str | None:
        rows = list(csv.reader(io.StringIO(text, newline="")))[: count + 1]
        return _csv_text(rows) if len(rows) > count else None

    def _continue(self, text: str) -> None:
        self.columns = dict.fromkeys(next(csv.reader(io.StringIO(text, newline=""))))

    def _entry(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return scalars(row)

    def _encode(self, rows: list[dict[str, Any]]) -> str:
        columns = self.columns
        known = len(columns)
        for row in rows:
            if row.keys() != columns.keys():
                columns.update(dict.fromkeys(row))
        if self._begun and len(columns) > known:
            self._widen(known)
        names = tuple(columns)
        text = _csv_text([[row.get(name) for name in names] for row in rows])
        return text if self._begun else _header(names) + text

    def _widen(self, known: int) -> None:
        """Give the table on disk the columns that are new since it had ``known``."""
        self._pool.close(self.path)
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        blanks = [""] * (len(self.columns) - known)
        text = _header(tuple(self.columns)) + _csv_text([[*row, *blanks] for row in rows])
        replace(self.path, text.encode("utf-8", "backslashreplace"))


@lru_cache(maxsize=64)
def _header(names: tuple[str, ...]) -> str:
    return _csv_text([list(names)])


class _Echo:
    """A file for ``csv.writer`` that gives back what is written to it."""

    @staticmethod
    def write(text: str) -> str:
        return text


_row_text: Callable[[list[Any]], str] = csv.writer(_Echo).writerow  # it returns what ``write`` does
"""With the writer's own line ends: with others it would not quote a carriage return."""


def _csv_text(rows: list[list[Any]]) -> str:
    return "".join(map(_row_text, rows))


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
