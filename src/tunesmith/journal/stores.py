"""How rows reach the file: at once through a write-ahead log (local disks), or in groups through a rollback journal (network disks).

Both take batches of ready rows and promise: a batch is in the file as a whole or not at all, and after a failed write the same
journal goes on as soon as the disk does.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tunesmith.errors import JournalLocked
from tunesmith.journal.lease import Lease
from tunesmith.journal.schema import explained, storage_full

__all__ = ["LocalStore", "NetworkStore", "snapshot_path"]

Rows = list[tuple[Any, ...]]

_RECORD = "INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?)"
_KEYSET = "INSERT INTO keysets VALUES (?,?)"
_MARK = "UPDATE header SET value = ? WHERE key = 'last'"
_FEW = 4
_RECORDS = ["", *(f"INSERT INTO records VALUES {','.join(['(?,?,?,?,?,?,?,?,?,?)'] * count)}" for count in range(1, _FEW + 1))]
"""One statement for a few rows is a transaction of its own: two statements fewer than with BEGIN and COMMIT."""


def snapshot_path(path: Path) -> Path:
    """Where the journal at ``path`` keeps the copy that readers use while a writer on a network disk has it locked."""
    return path.with_name(path.name + ".snapshot")


def _commit(connection: sqlite3.Connection, path: Path, keysets: Rows, rows: Rows, *, marked: bool = False) -> None:
    """One transaction; whatever goes wrong, none of it is left. ``marked``: the header tells the last record's number."""
    try:
        if len(rows) <= _FEW and not keysets and not marked:
            connection.execute(_RECORDS[len(rows)], rows[0] if len(rows) == 1 else [cell for row in rows for cell in row])
            return
        connection.execute("BEGIN IMMEDIATE")
        if keysets:
            connection.executemany(_KEYSET, keysets)
        connection.executemany(_RECORD, rows)
        if marked:
            connection.execute(_MARK, (str(rows[-1][0]),))
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise explained(error, path) from error
        raise


class LocalStore:
    """Write-ahead log, one commit per batch.

    A commit is safe against the death of this process at once. A thread flushes the log to the disk at most ``sync_every`` seconds after
    a commit, which makes it safe against power loss without the loop waiting for the disk.
    """

    sync_every = 0.1
    fsync: Callable[[int], None] = staticmethod(getattr(os, "fdatasync", os.fsync))

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._failed: OSError | None = None
        connection.execute("PRAGMA synchronous=NORMAL")  # only now: tables and header are on the disk before anything is built on them

    @staticmethod
    def prepare(connection: sqlite3.Connection) -> bool:
        """Set the connection up; False if the file system cannot hold a write-ahead log."""
        try:
            found = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_IOERR_SHM", "SQLITE_PROTOCOL")):
                raise
            return False
        return bool(found == "wal")

    def write(self, keysets: Rows, rows: Rows, durable: bool) -> None:
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise storage_full(self._path, error)
        if durable:
            # The log is flushed as part of the commit, which fails as a whole if that does.
            self._connection.execute("PRAGMA synchronous=FULL")
            try:
                _commit(self._connection, self._path, keysets, rows)
            finally:
                self._connection.execute("PRAGMA synchronous=NORMAL")
            return
        _commit(self._connection, self._path, keysets, rows)
        if not self._dirty.is_set():
            self._dirty.set()
            if self._thread is None:
                thread = threading.Thread(target=self._flush_behind, name="tunesmith-journal", daemon=True)
                thread.start()
                self._thread = thread  # only now: a thread that Ctrl-C kept from starting cannot be waited for

    def waiting(self) -> float | None:
        """Seconds until something that waits in memory should be flushed: here nothing waits."""
        return None

    def flush(self) -> None:
        """Make what was written visible to a read through the connection: here it always is."""

    def sync(self) -> None:
        try:
            self._flush_log()
        except OSError as error:
            raise storage_full(self._path, error) from error

    def close(self) -> None:
        self._closing.set()
        self._dirty.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self.sync()
        finally:
            self._connection.close()  # SQLite moves the log into the file, and removes it

    def _flush_behind(self) -> None:
        while self._dirty.wait() and not self._closing.wait(self.sync_every):
            self._dirty.clear()
            if self._closing.is_set():
                return  # close() has set both events, and this has just taken the second one back
            try:
                self._flush_log()
            except OSError as error:
                self._failed = error

    def _flush_log(self) -> None:
        # Nothing else ever locks the log's file, so opening and closing it here takes no lock of SQLite's away.
        try:
            log = os.open(self._path.with_name(self._path.name + "-wal"), os.O_RDWR)
        except FileNotFoundError:
            return
        try:
            self.fsync(log)
        finally:
            os.close(log)


class NetworkStore:
    """Rollback journal on an exclusively locked file; batches are committed together, and readers get a snapshot.

    Batches wait in memory until the next write at least ``group_s`` after the first of them, a durable one, or ``sync``. There is no
    thread: whoever appends pays.
    """

    group_s = 0.2
    snapshot_s = 3.0

    def __init__(self, connection: sqlite3.Connection, path: Path, lease: Lease, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._path = path
        self._lease = lease
        self._clock = clock
        self._rows: Rows = []
        self._keysets: Rows = []
        self._since = 0.0
        self._next_snapshot = 0.0
        self._renew_snapshot()

    @staticmethod
    def prepare(connection: sqlite3.Connection) -> None:
        """Set the connection up and lock the file for as long as the connection lives."""
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("PRAGMA journal_mode=TRUNCATE")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("COMMIT")

    def write(self, keysets: Rows, rows: Rows, durable: bool) -> None:
        if not self._rows:
            self._since = self._clock()
        before = len(self._keysets), len(self._rows)
        try:
            self._keysets += keysets
            self._rows += rows
            if durable or self._clock() - self._since >= self.group_s:
                self.flush()
        except BaseException:
            del self._keysets[before[0] :], self._rows[before[1] :]
            raise
        if not self._rows and self._clock() >= self._next_snapshot:
            self._renew_snapshot()

    def waiting(self) -> float | None:
        """Seconds until what waits in memory should be flushed; None: nothing does."""
        return max(0.0, self._since + self.group_s - self._clock()) if self._rows else None

    def flush(self) -> None:
        """Commit what waits in memory."""
        if not self._rows:
            return
        if not self._lease.held():
            raise JournalLocked(
                f"the experiment in '{self._path.parent}' was taken over by another process while this one was running: nothing more "
                f"is written here. End this process; the other one has all that was committed."
            )
        _commit(self._connection, self._path, self._keysets, self._rows, marked=True)
        self._keysets.clear()
        self._rows.clear()

    def sync(self) -> None:
        self.flush()

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._connection.close()
        with suppress(OSError):  # the file itself can be read from now on
            snapshot_path(self._path).unlink()

    def _renew_snapshot(self) -> None:
        """Copy the file for readers, seldom enough to cost at most a twentieth of the time. A failure costs readers freshness only."""
        began = self._clock()
        target = snapshot_path(self._path)
        fresh = target.with_name(target.name + ".tmp")
        with suppress(OSError, sqlite3.Error):
            fresh.unlink(missing_ok=True)
            copy = sqlite3.connect(fresh, isolation_level=None)
            try:
                copy.execute("PRAGMA synchronous=OFF")
                self._connection.backup(copy)
            finally:
                copy.close()
            os.replace(fresh, target)
        now = self._clock()
        self._next_snapshot = now + max(self.snapshot_s, 20 * (now - began))


Store = LocalStore | NetworkStore
