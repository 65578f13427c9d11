"""The journal as one SQLite file: append-only, one writer under a lease, any number of readers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

from tunesmith.core.codec import FORMAT, dumps, encode_decisions, encode_event
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalError, SpecError
from tunesmith.journal.damage import check_logs, check_records, in_use, last_number, unbroken
from tunesmith.journal.filesystem import is_network
from tunesmith.journal.lease import Lease
from tunesmith.journal.migrations import migrate
from tunesmith.journal.reading import Columns, Pages, load_keysets
from tunesmith.journal.schema import (
    check_file,
    create_tables,
    explained,
    is_empty,
    prepare_empty,
    read_header,
    storage_full,
    sync_directory,
    write_header,
)
from tunesmith.journal.stores import LocalStore, NetworkStore, Store

__all__ = ["Mode", "SqliteJournal"]

Mode = Literal["auto", "local", "network"]


class SqliteJournal:
    """The journal of one experiment, open for writing. Make one with :meth:`create` or :meth:`open`; it is a context manager.

    *Local* mode (a write-ahead log): every append is committed when it returns, safe against the death of the process; against power
    loss 0.1 s later at most, or at once with ``durable=True``. *Network* mode (no shared memory there): appends are committed
    together every 0.2 s, at ``durable=True``, ``sync`` and ``close``; what a killed process had appended since is lost as a whole.

    Attributes:
        header: what the journal says of itself.
        path: its file.
        mode: ``local`` or ``network``.

    Example:
        >>> import tempfile
        >>> from tunesmith.core.events import Reported
        >>> path = Path(tempfile.mkdtemp()) / "experiment.db"
        >>> with SqliteJournal.create(path, Header(uuid="0" * 32, name="demo", created=0.0)) as journal:
        ...     journal.append([Record(Reported(trial=0, attempt=0, iteration=1, metrics={"loss": 0.5}))])
        1
        >>> with SqliteJournal.open(path) as journal:
        ...     [record.event.metrics for record in journal.read()]
        [{'loss': 0.5}]
    """

    def __init__(self, path: Path, header: Header, lease: Lease, connection: sqlite3.Connection, store: Store) -> None:
        self.path = path
        self.header = header
        self.mode = "network" if isinstance(store, NetworkStore) else "local"
        self._lease = lease
        self._connection = connection
        self._store = store
        self._pages = Pages(self._select)
        self._closed = False
        self._last: int
        self._keysets: dict[tuple[str, ...], int]
        self._reload()

    @classmethod
    def create(
        cls,
        path: str | Path,
        header: Header,
        *,
        mode: Mode = "auto",
        clock: Callable[[], float] = time.monotonic,
        detect: Callable[[Path], bool] = is_network,
    ) -> SqliteJournal:
        """Make a new journal at ``path``, with its directory, and take the lease.

        Args:
            path: of the file to make; the lease is kept beside it.
            header: what to store; its ``format`` becomes the present one.
            mode: ``auto``: ``network`` if ``detect`` says so or the file system cannot hold a write-ahead log.
            clock: seconds, monotonic; network mode counts its 0.2 s by it.
            detect: whether a path is on a network file system.

        Raises:
            JournalError: there is a journal already.
            JournalLocked: another process is making one there.
            StorageFull: the place cannot be written.
        """
        path = Path(path).absolute()
        _check_mode(mode)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_full(path, error) from error

        def prepare(connection: sqlite3.Connection) -> tuple[Header, Mode]:
            if not is_empty(connection):
                raise JournalError(f"'{path}' exists already, and nothing is written over: open it to go on, or choose another name.")
            prepare_empty(connection)
            return replace(header, format=FORMAT), mode

        return cls._start(path, "mode=rwc", False, prepare, clock, detect)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        fresh: Header | None = None,
        take_over: bool = False,
        mode: Mode = "auto",
        clock: Callable[[], float] = time.monotonic,
        detect: Callable[[Path], bool] = is_network,
    ) -> SqliteJournal:
        """Open the journal at ``path`` for writing and take the lease; one of an older format is brought up first.

        Args:
            path: of the journal's file.
            fresh: what to store if the file's creation was interrupted; None: such a file is refused (as it is beside other files).
            take_over: take the lease from a process on another host, of which it cannot be told from here whether it lives; if it does,
                its next commit (in network mode) is refused, and it ends. A live process on this host keeps its lease all the same.
            mode: as in :meth:`create`; ``auto`` also keeps ``network`` where it was written so before.
            clock: as in :meth:`create`.
            detect: as in :meth:`create`.

        Raises:
            JournalError: there is no such file.
            JournalLocked: a live process, or one on another host, has the lease.
            JournalCorrupt: it is no journal, damaged, or written by a newer version.
            StorageFull: the place cannot be written.
        """
        path = Path(path).absolute()
        _check_mode(mode)
        if not path.is_file():
            raise JournalError(f"there is no journal at '{path}'. Give the path of an experiment's own experiment.db.")

        def prepare(connection: sqlite3.Connection) -> tuple[Header, Mode]:
            if fresh is not None and is_empty(connection) and not in_use(path):
                prepare_empty(connection)
                return replace(fresh, format=FORMAT), mode
            migrate(connection, path, check_file(connection, path))
            check_records(connection, path)
            header, before = read_header(connection, path)
            return header, "network" if mode == "auto" and before == "network" else mode

        return cls._start(path, "mode=rw", take_over, prepare, clock, detect)

    @classmethod
    def _start(
        cls,
        path: Path,
        options: str,
        take_over: bool,
        prepare: Callable[[sqlite3.Connection], tuple[Header, Mode]],
        clock: Callable[[], float],
        detect: Callable[[Path], bool],
    ) -> SqliteJournal:
        """Lease, connection, header, store: in this order, and all given back if one fails."""
        lease = Lease.acquire(path.with_suffix(".lock"), take_over=take_over)
        connection: sqlite3.Connection | None = None
        try:
            check_logs(path)
            connection = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False)
            header, mode = prepare(connection)
            local = mode == "local" or (mode == "auto" and not detect(path))
            if local and not LocalStore.prepare(connection):
                if mode == "local":
                    raise JournalError(f"the disk of '{path}' cannot hold a write-ahead log, which mode 'local' needs: use mode 'network'.")
                local = False
            if not local:
                NetworkStore.prepare(connection)
            if is_empty(connection):
                create_tables(connection, header, "local" if local else "network")
            else:
                connection.execute("BEGIN IMMEDIATE")
                write_header(connection, header, "local" if local else "network")
                connection.execute("COMMIT")
            sync_directory(path.parent)
            store = LocalStore(connection, path) if local else NetworkStore(connection, path, lease, clock)
            return cls(path, header, lease, connection, store)
        except BaseException as error:
            if connection is not None:
                connection.close()
            lease.release()
            if isinstance(error, sqlite3.Error):
                raise explained(error, path) from error
            raise

    def append(self, records: Sequence[Record], *, durable: bool = False) -> int:
        """Write ``records`` together and give each its ``seq``; returns the last number.

        Args:
            records: may be empty.
            durable: safe against power loss on return.

        Raises:
            StorageFull: nothing of this call was written; a later one works once there is space.
            SerializationError: a value cannot be recorded; nothing was written.
        """
        if self._closed:
            raise JournalError(f"the journal '{self.path}' is closed: open it again to write")
        rows: list[tuple[Any, ...]] = []
        fresh: dict[tuple[str, ...], int] = {}
        seq = self._last
        for record in records:
            kind, at, trial, attempt, iteration, keys, body = encode_event(record.event)
            seq += 1
            keyset = None
            if keys is not None:
                keyset = self._keysets.get(keys) or fresh.setdefault(keys, len(self._keysets) + len(fresh) + 1)
            decided = encode_decisions(record.decisions) if record.decisions else None
            rows.append((seq, at, kind, trial, attempt, iteration, keyset, body, decided, record.handled))
        if rows:
            self._write([(number, dumps(list(keys))) for keys, number in fresh.items()], rows, durable)
            self._last = seq
            self._keysets.update(fresh)
            for number, record in enumerate(records, seq - len(rows) + 1):
                record.seq = number
        elif durable:
            self.sync()
        return seq

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records with ``seq > after`` that are there when the iteration begins, in order; of one trial if ``trial`` is given (a scan).

        Raises:
            JournalCorrupt: one cannot be read, or (if not of one trial) is missing.
        """
        found = self._pages.read(after, limit, trial)
        return found if trial is not None else unbroken(found, after, limit, self.last, self.path)

    def read_columns(self, after: int = 0) -> Iterator[Columns]:
        """The handled reports with ``seq > after``: ``(seq, at, trial, attempt, iteration, keys, values)``, several times faster."""
        return self._pages.read_columns(after)

    def last(self) -> int:
        """``seq`` of the last record; 0 if there is none."""
        return self._last

    def waiting(self) -> float | None:
        """Seconds until what was appended should be synced because it waits in memory (network disks); None: nothing does."""
        return None if self._closed else self._store.waiting()

    def sync(self) -> None:
        """Make all that was appended safe against power loss.

        Raises:
            StorageFull: the disk refused.
        """
        if not self._closed:
            self._store.sync()

    def close(self) -> None:
        """Sync and release the lease, also if the disk refuses. Idempotent."""
        if self._closed:
            return
        self._closed = True
        try:
            self._store.close()
        except sqlite3.Error as error:
            raise explained(error, self.path) from error
        finally:
            self._lease.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _write(self, keysets: list[tuple[Any, ...]], rows: list[tuple[Any, ...]], durable: bool) -> None:
        try:
            self._store.write(keysets, rows, durable)
        except JournalError:
            raise
        except BaseException:
            # An interrupt may have come just before or just after the commit: the file knows.
            self._reload()
            raise

    def _reload(self) -> None:
        self._store.flush()
        self._last = last_number(self._connection)
        self._keysets = load_keysets(self._connection)

    def _select(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        if self._closed:
            raise JournalError(f"the journal '{self.path}' is closed: read it with open_reader")
        self._store.flush()
        try:
            return self._connection.execute(query, arguments).fetchall()
        except sqlite3.Error as error:
            raise explained(error, self.path) from error


def _check_mode(mode: str) -> None:
    if mode not in ("auto", "local", "network"):
        raise SpecError(f"mode of a journal is {mode!r}: expected 'auto', 'local' or 'network'")
