"""The journal as remote objects: immutable segments of records a..b, named so that a listing tells what is there and what it holds.

A segment is gzipped lines of JSON: the journal's header; then what its digest is of: numbers and key sets, and a line per record as it
is stored. The digest stands in its name, so whoever has the records can tell whether they are the same without reading it. Segments may
overlap (a driver that died while it sent one; small ones that were put together): where they do they must be equal.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunesmith.core.codec import dumps
from tunesmith.core.ports import Header
from tunesmith.errors import JournalCorrupt, RemoteStorageError
from tunesmith.journal.reader import JournalReader, open_reader
from tunesmith.journal.schema import create_tables, prepare_empty

__all__ = ["FOLDER", "Segment", "TwoHistories", "build", "chain", "check_redundant", "cut", "differs", "last_of", "parse", "two_histories"]

FOLDER = "journal"
_NAME = re.compile(rf"{FOLDER}/(\d{{10,}})-(\d{{10,}})-([0-9a-f]{{8}})-([0-9a-f]{{16}})\.jsonl\.gz")
_FORMAT = 1


class TwoHistories(RemoteStorageError):
    """Two runs have written to one place. Trying again does not help."""


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """What the name of a segment says.

    Args:
        first, last: numbers of its first and last record.
        uuid: the first eight digits of the experiment's.
        digest: of its content.
    """

    first: int
    last: int
    uuid: str
    digest: str

    @property
    def name(self) -> str:
        """Of the object."""
        return f"{FOLDER}/{self.first:010d}-{self.last:010d}-{self.uuid}-{self.digest}.jsonl.gz"

    def __len__(self) -> int:
        return self.last - self.first + 1


def parse(names: Iterable[str]) -> list[Segment]:
    """The segments among these names, sorted.

    Example:
        >>> parse(["journal/0000000001-0000000009-3f2a9c01-0123456789abcdef.jsonl.gz", "spec.pkl"])[0].last
        9
    """
    found = [match for name in names if (match := _NAME.fullmatch(name))]
    return sorted(Segment(int(match[1]), int(match[2]), match[3], match[4]) for match in found)


def chain(segments: Sequence[Segment], where: str) -> tuple[list[Segment], list[Segment]]:
    """Few segments that together hold all records there are, in order; and the others.

    Raises:
        RemoteStorageError: they are of several experiments, or records are missing between them.
    """
    if len(uuids := {segment.uuid for segment in segments}) > 1:
        raise RemoteStorageError(
            f"{where} holds records of {len(uuids)} experiments ({', '.join(sorted(uuids))}): two runs were begun there at the same time. "
            f"Take the objects of one of them out of {where}/{FOLDER}."
        )
    path: list[Segment] = []
    reached = 0
    while later := [segment for segment in segments if segment.first <= reached + 1 and segment.last > reached]:
        path.append(max(later, key=lambda segment: (segment.last, -segment.first)))
        reached = path[-1].last
    if beyond := [segment for segment in segments if segment.last > reached]:
        raise RemoteStorageError(
            f"{where}/{FOLDER} lacks the records {reached + 1} to {beyond[0].first - 1}: an object was deleted. Put it back, or take "
            f"away those that follow: {', '.join(os.path.basename(segment.name) for segment in beyond[:5])}."
        )
    return path, [segment for segment in segments if segment not in path]


def cut(reader: JournalReader, first: int, last: int) -> tuple[Segment, bytes]:
    """The segment of the records ``first`` to ``last`` of a local journal, and its content.

    Raises:
        JournalCorrupt: one of them is missing.
    """
    rows: list[tuple[Any, ...]] = []
    known: Mapping[Any, tuple[str, ...]] = {}
    for page, keys in reader.read_pages(first - 1):
        known = keys
        rows += page if not page or page[-1][0] <= last else [row for row in page if row[0] <= last]
        if page and page[-1][0] >= last:
            break
    if len(rows) != last - first + 1:
        raise JournalCorrupt(f"the journal '{reader.path}' has {len(rows)} of the records {first} to {last}.")
    keysets = {str(number): known[number] for number in sorted({row[8] for row in rows if row[8] is not None})}
    lines = [json.dumps({"first": first, "last": last, "keysets": keysets}), *(json.dumps(row) for row in rows)]
    body = "\n".join(lines).encode()
    header = json.dumps({"segment": _FORMAT, "header": asdict(reader.header)}).encode()
    segment = Segment(first, last, reader.header.uuid[:8], hashlib.blake2b(body, digest_size=8).hexdigest())
    return segment, gzip.compress(header + b"\n" + body, 5, mtime=0)


def differs(reader: JournalReader, segments: Iterable[Segment]) -> Segment | None:
    """The first of these segments that holds other records than the journal, which has all that they are of."""
    return next((one for one in segments if cut(reader, one.first, one.last)[0] != one), None)


def build(path: str, segments: Sequence[Segment], read: Callable[[str], bytes], where: str) -> Header:
    """Write a new journal with all records of ``segments``, which follow on one another.

    Args:
        path: of the file, which is not there.
        read: the content of the object with a name.
        where: they lie; for messages.

    Raises:
        RemoteStorageError: one is damaged, or they contradict each other.
    """
    found: Header | None = None
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare_empty(connection)
        connection.execute("PRAGMA synchronous=OFF")
        for segment in segments:
            header, keysets, rows = _content(segment, read(segment.name), where)
            if found is None:
                found = header
                create_tables(connection, header, "local")
            connection.execute("BEGIN")
            connection.executemany("INSERT OR IGNORE INTO keysets VALUES (?, ?)", [(int(k), dumps(keys)) for k, keys in keysets.items()])
            _insert(connection, segment, rows, where)
            connection.execute("COMMIT")
    assert found is not None, "there is at least one segment"
    with open(path, "rb") as file:
        os.fsync(file.fileno())
    return found


def check_redundant(path: str, segments: Sequence[Segment], where: str) -> None:
    """Compare segments that were not needed with the journal that the others gave.

    Raises:
        RemoteStorageError: they hold other records.
    """
    if not segments:
        return
    with closing(open_reader(path)) as reader:
        if (other := differs(reader, segments)) is not None:
            raise two_histories(where, other)


def two_histories(where: str, segment: Segment) -> TwoHistories:
    """The error for a segment that contradicts others."""
    return TwoHistories(
        f"{where} holds two histories: the records {segment.first} to {segment.last} of {os.path.basename(segment.name)} are others than "
        "in the segments beside it, so two runs have written there at the same time. Decide for one: take the objects of the other one "
        f"out of {where}/{FOLDER}."
    )


def _content(segment: Segment, data: bytes, where: str) -> tuple[Header, dict[str, list[str]], list[list[Any]]]:
    try:
        head, _, body = gzip.decompress(data).partition(b"\n")
        if hashlib.blake2b(body, digest_size=8).hexdigest() != segment.digest:
            raise ValueError("its content does not match its name")
        about, first, *rows = [json.loads(line) for line in (head, *body.split(b"\n"))]
        if about["segment"] > _FORMAT:
            raise ValueError(f"a newer version of tunesmith wrote it (format {about['segment']})")
        return Header(**about["header"]), first["keysets"], rows
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise RemoteStorageError(f"{where}/{segment.name} cannot be read: {error}. Restore that object from a copy.") from error


def _insert(connection: sqlite3.Connection, segment: Segment, rows: list[list[Any]], where: str) -> None:
    """Add the rows that are new; those that are there must be equal."""
    there = connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0]
    ready = [
        (seq, at, kind, trial, attempt, iteration, keyset, body, decided, handled)
        for seq, handled, decided, kind, at, trial, attempt, iteration, keyset, body in rows
    ]
    for row in ready:
        if row[0] > there:
            break
        if connection.execute("SELECT * FROM records WHERE seq = ?", (row[0],)).fetchone() != row:
            raise two_histories(where, segment)
    connection.executemany("INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?)", [row for row in ready if row[0] > there])


def last_of(path: str) -> int:
    """Number of the last record of a local journal; 0: there is none, or no journal."""
    if not os.path.isfile(path):
        return 0
    with closing(open_reader(Path(path))) as reader:
        return reader.last()
