"""What a journal's file has lost: pages, commits, records. Looked for when it is opened and read, so that nothing goes missing in silence.

SQLite trusts its files. What a cut took away it reads as zeros; a rollback journal that was cut it plays back as far as that goes; a log
without its file it deletes. So here it is counted: pages against the sizes of the files; records against one another and, in network
mode, against the end of the last commit, which each commit leaves in the header. (A write-ahead log has checksums of its own: of what
is cut there, whole commits are left.)

Beside the file its logs are opened, never the file itself while that may be in use: closing it would take away all the locks that
SQLite has on it in this process.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.core.ports import Record
from tunesmith.errors import JournalCorrupt

if TYPE_CHECKING:
    from tunesmith.journal.reading import Page

__all__ = [
    "check_last", "check_logs", "check_records", "check_size", "cut_by_header", "emptied", "in_use", "last_number", "unbroken",
    "unbroken_pages",
]  # fmt: skip

_ROLLBACK_MAGIC = bytes.fromhex("d9d505f920a163d7")
_FRAME = 24
"""Bytes of a frame of the write-ahead log before its page."""


def check_logs(path: Path) -> None:
    """Refuse a file that is shorter than the logs of a crash beside it know it. To be called before SQLite makes up for what is missing.

    Raises:
        JournalCorrupt: it was cut short.
    """
    found = _shorter_than_logs(path)
    # A writer at work may have changed one of the files between our looks at them: it will not have done so twice.
    if found is not None and found == _shorter_than_logs(path):
        raise _cut_short(path, *found)


def check_size(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a file of which each page is neither in it nor in its log. ``connection`` is in a transaction.

    Raises:
        JournalCorrupt: it was cut short.
    """
    file = connection.execute("PRAGMA database_list").fetchone()[2]
    if not file:
        return  # in memory
    pages, page = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    size = os.stat(file).st_size
    if size < pages * page and not _in_log(file, size // page + 1):
        raise _cut_short(path, size, pages * page)


def cut_by_header(path: Path) -> JournalCorrupt | None:
    """The error for a file in which SQLite found a fault, if it is shorter than its own header says, and no log has the rest."""
    try:
        if any(os.path.exists(log) and os.path.getsize(log) for log in (f"{path}-wal", f"{path}-journal")):
            return None
        with path.open("rb") as file:
            head, size = file.read(100), os.fstat(file.fileno()).st_size
    except OSError:
        return None
    page = _number(head[16:18])
    whole = _number(head[28:32]) * (65536 if page == 1 else page)
    return _cut_short(path, size, whole) if head[:16] == b"SQLite format 3\0" and size < whole else None


def in_use(path: Path) -> bool:
    """Whether other files than the journal's own (and hidden ones) lie beside the one at ``path``. It was there before them."""
    try:
        return any(not name.startswith((".", path.name, path.stem)) for name in os.listdir(path.parent))
    except OSError:
        return False


def emptied(path: Path) -> JournalCorrupt:
    """The error for a journal without content that had some once."""
    return JournalCorrupt(
        f"'{path}' is empty, though an experiment's other files lie beside it: its content is lost, or it was copied without "
        f"'{path.name}-wal'. Restore both from a copy; or, to begin anew, delete the directory '{path.parent}'."
    )


def last_number(connection: sqlite3.Connection) -> int:
    """``seq`` of the last record; 0 if there is none."""
    return int(connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()[0])


def check_last(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal whose records do not end where the header says that the last commit did (if it says so: in network mode).

    Raises:
        JournalCorrupt: half a commit is there, which its rollback journal would have undone, or records are missing.
    """
    found = connection.execute("SELECT value FROM header WHERE key = 'last'").fetchone()
    last = last_number(connection)
    if found is None or found[0] == str(last):
        return
    advice = "Restore the file from a copy"
    if found[0].isdigit() and int(found[0]) < last:
        advice += f", or give the half commit up: sqlite3 {path.name} 'DELETE FROM records WHERE seq > {found[0]}'"
    raise JournalCorrupt(
        f"the journal '{path}' is damaged: its last commit ended with record {found[0]:.40}, its records end with {last}. Its writer was "
        f"killed, or it was copied, in the middle of a commit, and '{path.name}-journal', which would undo that, is cut short or missing. "
        f"{advice}."
    )


def check_records(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal that lacks records, before anything is written to it: one pass over its pages, 0.03 s per million records.

    Raises:
        JournalCorrupt: some are missing.
    """
    count, last = connection.execute("SELECT count(*) FROM records").fetchone()[0], last_number(connection)
    if count != last:
        raise _gap(path, f"it has {count}, and the last one is number {last}")


def unbroken(records: Iterator[Record], after: int, limit: int | None, last: Callable[[], int], path: Path) -> Iterator[Record]:
    """``records`` of all trials as they come, as long as each follows on the one before it, and the last is there.

    Args:
        records: those with ``seq > after``, at most ``limit`` of them.
        after: as said.
        limit: as said.
        last: the number of the last record.
        path: for messages.

    Raises:
        JournalCorrupt: one is missing.
    """
    seq = max(after, 0)
    end = last() if limit is None else min(last(), seq + limit)
    for record in records:
        if record.seq != seq + 1:
            raise _gap(path, f"{record.seq} follows on {seq}")
        seq = record.seq
        yield record
    if seq < end <= last():  # asked again: a reader may have had to change to an older copy meanwhile
        raise _gap(path, f"they break off after {seq} of {end}")


def unbroken_pages(pages: Iterator[Page], after: int, last: Callable[[], int], path: Path) -> Iterator[Page]:
    """The same for ``pages`` of stored rows.

    Raises:
        JournalCorrupt: a record is missing.
    """
    seq = max(after, 0)
    end = last()
    for rows, keysets in pages:
        if rows and (rows[0][0] != seq + 1 or rows[-1][0] != seq + len(rows)):
            before = [seq, *(row[0] for row in rows)]
            found = next((one, other) for one, other in pairwise(before) if other != one + 1)
            raise _gap(path, f"{found[1]} follows on {found[0]}")
        seq += len(rows)
        yield rows, keysets
    if seq < end <= last():
        raise _gap(path, f"they break off after {seq} of {end}")


def _gap(path: Path, what: str) -> JournalCorrupt:
    return JournalCorrupt(f"the journal '{path}' is damaged: records are missing, {what}. Restore the file from a copy.")


def _cut_short(path: Path, size: int, whole: int) -> JournalCorrupt:
    return JournalCorrupt(
        f"the journal '{path}' is cut short: {size} of {whole} bytes. The disk, or whatever copied it, has lost its end. Restore the file "
        f"from a whole copy (with '{path.name}-wal' or '{path.name}-journal', if the copy has one)."
    )


def _shorter_than_logs(path: Path) -> tuple[int, int] | None:
    """(bytes there are, bytes there must have been when the log was begun), if some are missing."""
    try:
        size = path.stat().st_size
    except OSError:
        return None
    rollback = _beginning(f"{path}-journal")
    whole = _number(rollback[16:20]) * _number(rollback[24:28]) if rollback[:8] == _ROLLBACK_MAGIC else 0
    if size == 0 and (log := _beginning(f"{path}-wal")):  # SQLite would delete it
        whole = max(whole, _number(log[8:12]), 512)
    return (size, whole) if size < whole else None


def _in_log(file: str, page: int) -> bool:
    """Whether the write-ahead log beside ``file`` has that page as a part of a finished commit."""
    found = False
    try:
        with open(f"{file}-wal", "rb", buffering=0) as log:
            head = log.read(32)
            size = os.fstat(log.fileno()).st_size
            step = _FRAME + _number(head[8:12])
            for at in range(32, size - step + 1, step):
                log.seek(at)
                frame = log.read(_FRAME)
                if frame[8:16] != head[16:24]:
                    return False  # left from before the log began anew
                found = found or _number(frame[:4]) == page
                if found and any(frame[4:8]):
                    return True
    except OSError:
        pass
    return False


def _beginning(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(32)
    except OSError:
        return b""


def _number(digits: bytes) -> int:
    return int.from_bytes(digits, "big")
