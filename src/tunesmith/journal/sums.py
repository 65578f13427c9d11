"""Long stretches of a journal with the plain reports in them added up by SQLite: for tables that show of each trial its newest result."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.core.codec import REPORTED, decode_decisions

__all__ = ["FEW", "SECONDS", "Stretch", "Sum", "read_sums"]

SECONDS = "time_this_iter_s"
_STRETCH = 100_000
"""Records; a read transaction lasts for that many, some 0.3 s."""
FEW = 10_000
"""With fewer records it is not worth while."""
_KEYSETS = 100
"""A journal with more sets of metric names is read row by row."""
_PLAIN = f"kind = {REPORTED} AND decided IS NULL AND handled"
_ROW = "SELECT seq, handled, decided, kind, at, trial, attempt, iteration, keyset, body FROM records"


class Sum(NamedTuple):
    """Neighbouring reports of one attempt at which nothing was decided.

    Args:
        newest: the last of them, as it is stored.
        reports: how many.
        seconds: what they took, in all.
    """

    newest: tuple[Any, ...]
    reports: int
    seconds: float


class Stretch(NamedTuple):
    """Neighbouring records.

    Args:
        records: how many.
        missing: how many should be there and are not.
        parts: rows as they are stored, and sums of others, in order of their (last) numbers.
    """

    records: int
    missing: int
    parts: list[tuple[Any, ...] | Sum]


def read_sums(
    select: Callable[[str, tuple[Any, ...]], list[Any]], keysets: Mapping[Any, tuple[str, ...]], after: int, end: int
) -> Iterator[Stretch] | None:
    """The records with ``after < seq <= end``.

    Args:
        select: runs a query and returns all its rows; a new transaction each time.
        keysets: all key sets, by their ids.

    Returns:
        None if it does not pay (few records, many key sets), or if SQLite is too old to have JSON for certain.
    """
    if end - after < FEW or len(keysets) > _KEYSETS or sqlite3.sqlite_version_info < (3, 38):
        return None
    return _stretches(select, _query(keysets), after, end)


def _stretches(select: Callable[[str, tuple[Any, ...]], list[Any]], query: str, after: int, end: int) -> Iterator[Stretch]:
    while after < end:
        upto = min(after + _STRETCH, end)
        rows = select(f"{_ROW} WHERE seq > ? AND seq <= ? AND NOT ({_PLAIN})", (after, upto))
        groups = select(query, (after, upto))
        mixed = _mixed(rows, groups)
        sums = [group for group in groups if group[0] not in mixed]
        for some in _in_parts(sorted(mixed)):
            rows += select(f"{_ROW} WHERE seq > ? AND seq <= ? AND {_PLAIN} AND trial IN ({_marks(some)})", (after, upto, *some))
        newest = {}
        for some in _in_parts([last for _, _, last, *_ in sums]):
            newest.update({row[0]: row for row in select(f"{_ROW} WHERE seq IN ({_marks(some)})", tuple(some))})
        parts: list[tuple[int, Any]] = [(row[0], row) for row in rows]
        parts += [(last, Sum(newest[last], count, seconds)) for _, _, last, count, seconds, _ in sums]
        parts.sort(key=lambda part: part[0])
        there = len(rows) + sum(group[3] for group in sums)
        yield Stretch(there, upto - after - there, [part for _, part in parts])
        after = upto


def _query(keysets: Mapping[Any, tuple[str, ...]]) -> str:
    """(trial, first, last, count, seconds, odd) of the plain reports of each attempt with the same keys.

    ``odd``: one of them is damaged, has a checkpoint or others behind its values, or a text for seconds.
    """
    seconds, odd = "", ""
    for number, keys in keysets.items():
        strange = f"json_array_length(body) <> {len(keys)}"
        if SECONDS in keys:
            place = f"'$[{keys.index(SECONDS)}]'"
            seconds += f" WHEN {number:d} THEN json_extract(body, {place})"
            strange += f" OR json_type(body, {place}) IN ('text', 'object', 'array')"
        odd += f" WHEN {number:d} THEN {strange}"
    total = f"total(CASE WHEN json_valid(body) THEN CASE keyset{seconds} END END)" if seconds else "0.0"
    strange = f"CASE keyset{odd} ELSE 1 END" if odd else "1"
    return (
        f"SELECT trial, min(seq), max(seq), count(*), {total}, max(CASE WHEN json_valid(body) THEN {strange} ELSE 1 END) FROM records "
        f"WHERE seq > ? AND seq <= ? AND {_PLAIN} GROUP BY trial, attempt, keyset"
    )


def _mixed(rows: list[tuple[Any, ...]], groups: list[tuple[Any, ...]]) -> set[int]:
    """The trials whose reports have to be looked at one by one: odd ones, or something else happened to the trial in between."""
    mixed = {group[0] for group in groups if group[5]}
    spans: dict[int, list[tuple[int, int]]] = {}
    for trial, first, last, *_ in groups:
        if any(first < other_last and other_first < last for other_first, other_last in spans.setdefault(trial, [])):
            mixed.add(trial)
        spans[trial].append((first, last))
    for row in rows:
        for trial in _about(row):
            if any(first < row[0] < last for first, last in spans.get(trial, ())):
                mixed.add(trial)
    return mixed


def _about(row: tuple[Any, ...]) -> set[int]:
    """The trials that a record is about: its own, and those of its decisions."""
    about = {decision.trial for decision in decode_decisions(row[2])} if row[2] is not None else set()
    return {trial for trial in (row[5], *about) if trial is not None}


def _in_parts(values: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(values), 500):  # older SQLite takes 999 arguments
        yield values[start : start + 500]


def _marks(values: list[int]) -> str:
    return ", ".join("?" * len(values))
