"""Reading records out of an open journal, a page at a time, so that no read transaction outlives a page."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunesmith.core.codec import REPORTED, decode_decisions, decode_event, loads
from tunesmith.core.ports import Record
from tunesmith.errors import JournalCorrupt
from tunesmith.journal.sums import Stretch, read_sums

__all__ = ["Columns", "Page", "Pages", "record_of"]

Columns = tuple[int, float, int, int, int, tuple[str, ...], list[Any]]
"""One report as columns: seq, at, trial, attempt, iteration, keys, values (in the order of the keys)."""

Page = tuple[list[tuple[Any, ...]], Mapping[Any, tuple[str, ...]]]
"""Rows as they are stored: ``(seq, handled, decided, kind, at, trial, attempt, iteration, keyset, body)``; and key sets by their ids."""

_PAGE = 1000
_EVENT = "SELECT seq, handled, decided, kind, at, trial, attempt, iteration, keyset, body FROM records WHERE seq > ? AND seq <= ?"
_REPORT = "SELECT seq, at, trial, attempt, iteration, keyset, body FROM records WHERE seq > ? AND seq <= ? AND kind = ? AND handled"

Select = Callable[[str, tuple[Any, ...]], list[Any]]


class Pages:
    """The read side of a journal.

    Args:
        select: runs a query and returns all its rows; a new transaction each time.
    """

    def __init__(self, select: Select) -> None:
        self._select = select
        self._keysets: dict[int, tuple[str, ...]] = {}

    def last(self) -> int:
        """Number of the last committed record; 0 if there is none."""
        return int(self._select("SELECT coalesce(max(seq), 0) FROM records", ())[0][0])

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records with ``seq > after`` that are committed when the iteration begins."""
        query, fixed = (_EVENT, ()) if trial is None else (_EVENT + " AND trial = ?", (trial,))
        return self._records(query, after, fixed, limit)

    def read_kinds(self, *kinds: int) -> Iterator[Record]:
        """The handled records of these kinds: found by a scan, but only they are decoded."""
        return self._records(f"{_EVENT} AND handled AND kind IN ({', '.join('?' * len(kinds))})", 0, kinds, None)

    def _records(self, query: str, after: int, fixed: tuple[int, ...], limit: int | None) -> Iterator[Record]:
        for page in self._pages(query, after, fixed, limit):
            for row in page:
                if row[8] is not None:
                    self._keys(row[8], row[0])
                yield record_of(row, self._keysets)

    def read_pages(self, after: int = 0) -> Iterator[Page]:
        """Everything with ``seq > after`` as it is stored, a page at a time, for those who need not decode all of it."""
        for page in self._pages(_EVENT, after, (), None):
            for keyset, seq in {row[8]: row[0] for row in page}.items():
                if keyset is not None:
                    self._keys(keyset, seq)
            yield page, self._keysets

    def read_sums(self, after: int = 0) -> tuple[Iterator[Stretch] | None, Mapping[Any, tuple[str, ...]]]:
        """See :func:`~tunesmith.journal.sums.read_sums`; and the key sets."""
        end = self.last()
        self._more_keysets()
        return read_sums(self._select, self._keysets, after, end), self._keysets

    def read_columns(self, after: int = 0) -> Iterator[Columns]:
        """The handled reports with ``seq > after`` as columns; several times faster than :meth:`read`."""
        for page in self._pages(_REPORT, after, (REPORTED,), None):
            for (seq, at, trial, attempt, iteration, keyset, _), values in zip(page, _values_of(page), strict=True):
                keys = self._keys(keyset, seq)
                del values[len(keys) :]  # what follows are checkpoint, verdict and named metrics
                yield seq, at, trial, attempt, iteration, keys, values

    def _pages(self, query: str, after: int, fixed: tuple[Any, ...], limit: int | None) -> Iterator[list[Any]]:
        end = self.last()
        query += " ORDER BY seq LIMIT ?"
        while limit is None or limit > 0:
            size = _PAGE if limit is None else min(_PAGE, limit)
            page = self._select(query, (after, end, *fixed, size))
            yield page
            if len(page) < size:
                return
            after = page[-1][0]
            limit = None if limit is None else limit - size

    def _keys(self, keyset: int, seq: int) -> tuple[str, ...]:
        try:
            return self._keysets[keyset]
        except KeyError:
            pass
        self._more_keysets()
        if keyset not in self._keysets:
            raise JournalCorrupt(f"record {seq} names the key set {keyset}, which the journal does not have: the file is damaged.")
        return self._keysets[keyset]

    def _more_keysets(self) -> None:
        newer = self._select("SELECT id, keys FROM keysets WHERE id > ?", (len(self._keysets),))
        self._keysets.update((number, tuple(loads(keys))) for number, keys in newer)


def record_of(row: tuple[Any, ...], keysets: Mapping[Any, tuple[str, ...]]) -> Record:
    """The record in a row of a :data:`Page`.

    Raises:
        JournalCorrupt: it is damaged.
    """
    seq, handled, decided, kind, at, number, attempt, iteration, keyset, body = row
    try:
        event = decode_event(kind, at, number, attempt, iteration, None if keyset is None else keysets[keyset], body)
        decisions = decode_decisions(decided)
    except JournalCorrupt as error:
        raise JournalCorrupt(f"record {seq} cannot be read: {error}") from None
    return Record(event, decisions, bool(handled), seq)


def _values_of(page: list[Any]) -> list[list[Any]]:
    """The values of each report of a page: parsed in one go, one by one only to find the damaged one."""
    try:
        values: list[list[Any]] = loads(f"[{','.join([row[-1] for row in page])}]")
        if len(values) == len(page):
            return values
    except (ValueError, TypeError):
        pass
    for row in page:
        try:
            loads(row[-1])
        except (ValueError, TypeError) as error:
            raise JournalCorrupt(f"record {row[0]} cannot be read: its values are damaged: {error}; they are {row[-1]!r:.200}") from None
    raise JournalCorrupt(f"the values of the reports {page[0][0]} to {page[-1][0]} are damaged.")


def load_keysets(connection: sqlite3.Connection) -> dict[tuple[str, ...], int]:
    """Key set -> id, for a writer."""
    return {tuple(loads(keys)): number for number, keys in connection.execute("SELECT id, keys FROM keysets")}
