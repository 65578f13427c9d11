"""The tables of a journal file, and the checks that a file is one.

::

    header(key, value)        what the journal says of itself, one row per field, JSON text; in network mode also the last commit's end
    keysets(id, keys)         each distinct tuple of metric names once; a report names it by id
    records(seq, at, kind, trial, attempt, iteration, keyset, body, decided, handled)

``records`` only ever grows. It has no index but its own order: a second B-tree would cost every append 5 to 10 microseconds, while
reading one trial by a scan costs some 0.1 seconds per million records. Small pages keep what a commit writes small.

The pragmas ``application_id`` and ``user_version`` tell the kind of file and the version of the format without any reading of tables.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import fields
from pathlib import Path

from tunesmith.core.codec import FORMAT, dumps, loads
from tunesmith.core.ports import Header
from tunesmith.errors import JournalCorrupt, JournalError, StorageFull
from tunesmith.journal.damage import check_last, check_size, cut_by_header, emptied, in_use, last_number

__all__ = [
    "APPLICATION_ID",
    "JOURNAL_FILE",
    "check_file",
    "create_tables",
    "explained",
    "is_empty",
    "prepare_empty",
    "read_header",
    "storage_full",
    "sync_directory",
    "write_header",
]

JOURNAL_FILE = "experiment.db"
"""Name of the journal in an experiment's directory."""

APPLICATION_ID = 0x54756E65
_PAGE_SIZE = 2048
_TABLES = (
    "CREATE TABLE header(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE keysets(id INTEGER PRIMARY KEY, keys TEXT NOT NULL)",
    "CREATE TABLE records(seq INTEGER PRIMARY KEY, at REAL NOT NULL, kind INTEGER NOT NULL, trial INTEGER, attempt INTEGER, "
    "iteration INTEGER, keyset INTEGER, body TEXT NOT NULL, decided TEXT, handled INTEGER NOT NULL)",
)


def prepare_empty(connection: sqlite3.Connection) -> None:
    """Settings that only a file without tables takes."""
    connection.execute(f"PRAGMA page_size={_PAGE_SIZE}")


def create_tables(connection: sqlite3.Connection, header: Header, mode: str) -> None:
    """Make an empty database a journal, in one transaction: a crash leaves an empty database or a journal."""
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version={FORMAT}")
    write_header(connection, header, mode)
    connection.execute("COMMIT")


def write_header(connection: sqlite3.Connection, header: Header, mode: str) -> None:
    """Store the header's fields, and the mode (``local`` or ``network``) that the journal is written in."""
    rows = [(field.name, dumps(getattr(header, field.name))) for field in fields(Header)]
    connection.executemany("INSERT OR REPLACE INTO header VALUES (?, ?)", [*rows, ("mode", dumps(mode))])
    if mode == "network":  # each commit renews it there
        connection.execute("INSERT OR REPLACE INTO header VALUES ('last', ?)", (str(last_number(connection)),))
    else:
        connection.execute("DELETE FROM header WHERE key = 'last'")


def read_header(connection: sqlite3.Connection, path: Path) -> tuple[Header, str]:
    """The header, and the mode that the journal was last written in.

    Raises:
        JournalCorrupt: a field is missing or unreadable.
    """
    try:
        found = {key: loads(value) for key, value in connection.execute("SELECT key, value FROM header")}
        known = {field.name for field in fields(Header)}
        return Header(**{key: value for key, value in found.items() if key in known}), found.get("mode", "local")
    except (ValueError, TypeError) as error:
        raise JournalCorrupt(f"the header of the journal '{path}' is damaged: {error}. Restore the file from a copy.") from None


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether the database has no tables at all, as an interrupted creation leaves it."""
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None


def check_file(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the format of the journal at ``path``.

    Raises:
        JournalCorrupt: it is no journal, its creation was interrupted, it was cut short, or a newer version wrote it.
    """
    connection.execute("BEGIN")  # one moment for all that follows; nobody takes a log away meanwhile
    try:
        application, version = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if application != APPLICATION_ID:
            if not is_empty(connection):
                raise JournalCorrupt(
                    f"'{path}' is an SQLite database, but no journal of tunesmith: an experiment's own is its {JOURNAL_FILE}."
                )
            if in_use(path):
                raise emptied(path)
            raise JournalCorrupt(f"'{path}' is empty: the creation of the journal was interrupted. Nothing is lost: delete it.")
        check_size(connection, path)
        if version > FORMAT:
            library = read_header(connection, path)[0].library or "a newer version"
            raise JournalCorrupt(
                f"the journal '{path}' has format {version} and was written by tunesmith {library}; this version reads formats up to "
                f"{FORMAT}. Upgrade tunesmith to open it; nothing was changed."
            )
        check_last(connection, path)
    finally:
        if connection.in_transaction:  # some errors end it by themselves
            connection.execute("COMMIT")
    return int(version)


def explained(error: sqlite3.Error, path: Path) -> JournalError:
    """What an error of SQLite means for the journal at ``path``, and what to do next."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return storage_full(path, error)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        if (cut := cut_by_header(path)) is not None:
            return cut
        return JournalCorrupt(
            f"'{path}' is no journal, or is damaged ({error}). If it should be one, restore the file from a copy; "
            f"`sqlite3 {path.name} .recover` may save what is left of it."
        )
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return JournalError(f"the journal '{path}' is locked by another program ({error}). Close what has it open, then try again.")
    return JournalError(f"the journal '{path}' cannot be used: {type(error).__name__}: {error}")


def storage_full(path: Path, error: Exception) -> StorageFull:
    """The error for a disk that is full, read-only or not writable."""
    return StorageFull(
        f"the journal '{path}' cannot be written ({error}). Everything that was committed before is kept, of this step nothing was "
        f"written. Free some space on the disk, or make the folder '{path.parent}' writable, then resume the experiment."
    )


def sync_directory(folder: Path) -> None:
    """Make the names of new files in ``folder`` safe against power loss, where the system can."""
    try:
        found = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(found)
    except OSError:
        pass  # some file systems cannot; nothing else can be done there
    finally:
        os.close(found)
