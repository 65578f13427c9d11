"""Reading the journal of a live, finished or crashed run from any process, without ever standing in its writer's way."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from tunesmith.core.codec import FORMAT
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalError
from tunesmith.journal.damage import check_logs, unbroken, unbroken_pages
from tunesmith.journal.migrations import migrate
from tunesmith.journal.reading import Columns, Page, Pages
from tunesmith.journal.schema import check_file, explained, read_header
from tunesmith.journal.stores import snapshot_path
from tunesmith.journal.sums import Stretch

__all__ = ["JournalReader", "open_reader"]

_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_IOERR_LOCK")
_UNWRITABLE = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_PERM")


def open_reader(path: str | Path) -> JournalReader:
    """Open the journal at ``path`` for reading, whatever its writer is doing.

    Args:
        path: of the journal's file (``<experiment>/experiment.db``); its directory may have been moved, or be read-only.

    Raises:
        JournalError: there is no such file, or another program has it locked.
        JournalCorrupt: it is no journal, damaged, or written by a newer version.

    Example:
        >>> import tempfile
        >>> from tunesmith.core.events import TimerFired
        >>> from tunesmith.journal import SqliteJournal
        >>> path = Path(tempfile.mkdtemp()) / "experiment.db"
        >>> writer = SqliteJournal.create(path, Header(uuid="0" * 32, name="digits", created=0.0))
        >>> with open_reader(path) as reader:  # in the same process or another, while the writer goes on
        ...     last = writer.append([Record(TimerFired("budget", at=1.5))])
        ...     reader.header.name, [record.event for record in reader.read()]
        ('digits', [TimerFired(timer='budget', at=1.5)])
        >>> writer.close()
    """
    return JournalReader(Path(path).absolute())


@dataclass(slots=True)
class _Source:
    """A connection to read through.

    ``live`` ones follow the writer by themselves, ``frozen`` ones show one moment of the file, ``snapshot`` the writer's own copy. Another
    is needed once one of the ``watched`` files has changed, appeared or gone.
    """

    connection: sqlite3.Connection
    kind: Literal["live", "frozen", "snapshot"]
    watched: Sequence[Path]
    scratch: Path | None = None
    stamp: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.stamp = _stamp(self.watched)

    def fresh(self) -> bool:
        return self.stamp == _stamp(self.watched)

    def close(self) -> None:
        self.connection.close()
        if self.scratch is not None:
            shutil.rmtree(self.scratch, ignore_errors=True)


class JournalReader:
    """Read side of a journal file; made by :func:`open_reader`. Any thread may call it, one call at a time goes through.

    Each call sees what is committed by then; where the writer works on a network disk, what its newest snapshot holds (some seconds old).
    Every page of 1000 records is a transaction of its own, so that a slow consumer holds up nobody.

    Attributes:
        path: the journal's file.
        header: what the journal says of itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._closed = False
        self._source: _Source | None = None
        self._pages = Pages(self._select)
        try:
            with self._lock:
                self.header: Header = read_header(self._current().connection, path)[0]
        except sqlite3.Error as error:
            self.close()
            raise _unreadable(error, path) from error
        except BaseException:
            self.close()
            raise

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records with ``seq > after`` that are committed when the iteration begins, in order; of one trial if ``trial`` is given.

        One trial's records are found by a scan: some 0.1 s per million records of the journal.

        Raises:
            JournalCorrupt: one cannot be read, or (if not of one trial) is missing.
        """
        found = self._pages.read(after, limit, trial)
        return found if trial is not None else unbroken(found, after, limit, self.last, self.path)

    def read_columns(self, after: int = 0) -> Iterator[Columns]:
        """The handled reports with ``seq > after`` as columns, without building events: the fast way to tables and curves.

        Yields:
            ``(seq, at, trial, attempt, iteration, keys, values)``; ``values`` is a list in the order of the tuple ``keys``.
        """
        return self._pages.read_columns(after)

    def read_pages(self, after: int = 0) -> Iterator[Page]:
        """Everything with ``seq > after`` as it is stored (:data:`~tunesmith.journal.reading.Page`): nothing is decoded.

        Raises:
            JournalCorrupt: a record is missing.
        """
        return unbroken_pages(self._pages.read_pages(after), after, self.last, self.path)

    def read_sums(self, after: int = 0) -> tuple[Iterator[Stretch] | None, Mapping[Any, tuple[str, ...]]]:
        """Everything with ``seq > after``, most reports of each trial added up; and the key sets.

        The first is None if there is too little for that to pay: see :meth:`read_pages`.

        Raises:
            JournalCorrupt: a record is missing.
        """
        stretches, keysets = self._pages.read_sums(after)
        return stretches and self._whole(stretches, after), keysets

    def _whole(self, stretches: Iterator[Stretch], seq: int) -> Iterator[Stretch]:
        for stretch in stretches:
            if stretch.missing:
                for _ in self.read_pages(seq):
                    pass  # it says which
            seq += stretch.records
            yield stretch

    def read_kinds(self, *kinds: int) -> Iterator[Record]:
        """The handled records of these kinds (see :data:`tunesmith.core.codec.KINDS`); as fast as :meth:`read` is for one trial."""
        return self._pages.read_kinds(*kinds)

    def last(self) -> int:
        """``seq`` of the last committed record; 0 if there is none."""
        return self._pages.last()

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        self._closed = True
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _select(self, query: str, arguments: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            if self._closed:
                raise JournalError(f"this reader of '{self.path}' is closed: open another one")
            try:
                try:
                    return self._current().connection.execute(query, arguments).fetchall()
                except sqlite3.OperationalError as error:
                    if not error.sqlite_errorname.startswith(_BUSY):
                        raise
                # A writer on a network disk has locked the file since: from now on there is a snapshot.
                self._drop()
                return self._current().connection.execute(query, arguments).fetchall()
            except sqlite3.Error as error:
                raise _unreadable(error, self.path) from error

    def _current(self) -> _Source:
        source = self._source
        if source is not None and source.kind != "snapshot" and source.fresh():
            return source
        if not self.path.is_file():
            raise JournalError(f"there is no journal at '{self.path}'. Give the path of an experiment's own experiment.db.")
        live = self._open_file()
        if live is None and source is not None and source.fresh():
            return source
        self._drop()
        self._source = live or self._open_snapshot()
        return self._source

    def _drop(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _open_file(self) -> _Source | None:
        """The journal itself; None if a writer has it locked and offers a snapshot instead."""
        snapshot = snapshot_path(self.path)
        offered = snapshot.exists()
        check_logs(self.path)
        for options in ("mode=rw", "mode=ro"):  # the first tidies up behind itself, the second needs no permission to write
            try:
                connection = _connect(self.path, options, timeout=0.0 if offered else 5.0)
                return self._checked(_Source(connection, "live", [snapshot]))
            except sqlite3.OperationalError as error:
                if offered and error.sqlite_errorname.startswith(_BUSY):
                    return None
                if not error.sqlite_errorname.startswith(_UNWRITABLE):
                    raise
        return self._open_frozen()

    def _open_frozen(self) -> _Source:
        """The journal in a place where SQLite cannot put the files that it needs beside it."""
        watched = self._files()
        if not any(log.exists() and log.stat().st_size for log in watched[1:]):
            return self._checked(_Source(_connect(self.path, "mode=ro&immutable=1"), "frozen", watched))
        scratch = Path(tempfile.mkdtemp(prefix="tunesmith-"))
        try:
            for _ in range(5):  # a writer may be at work: until nothing changed meanwhile
                before = _stamp(watched)
                for found in watched:
                    if found.exists():
                        shutil.copyfile(found, scratch / found.name)
                if _stamp(watched) == before:
                    break
            return self._checked(_Source(_connect(scratch / self.path.name, "mode=rw"), "frozen", watched, scratch))
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _files(self) -> list[Path]:
        return [self.path, *(self.path.with_name(self.path.name + suffix) for suffix in ("-wal", "-journal"))]

    def _open_snapshot(self) -> _Source:
        snapshot = snapshot_path(self.path)
        source = _Source(_connect(snapshot, "mode=ro&immutable=1"), "snapshot", [snapshot])
        return self._checked(source)

    def _checked(self, source: _Source) -> _Source:
        """``source`` if its format is this version's; an older one is copied into memory and brought up there."""
        try:
            source.connection.execute("PRAGMA query_only=ON")
            version = check_file(source.connection, self.path)
            if version == FORMAT:
                return source
            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            source.connection.backup(copy)
            migrate(copy, self.path, version, backup=False)
            brought_up = _Source(copy, "frozen", [*self._files(), snapshot_path(self.path)])
        except BaseException:
            source.close()
            raise
        source.close()
        return brought_up


def _connect(path: Path, options: str, timeout: float = 5.0) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False, timeout=timeout)


def _unreadable(error: sqlite3.Error, path: Path) -> JournalError:
    if error.sqlite_errorname.startswith(_UNWRITABLE):
        return JournalError(
            f"the journal '{path}' cannot be read ({error}). Check the permissions of the file and its folder, and the disk."
        )
    return explained(error, path)


def _stamp(paths: Sequence[Path]) -> tuple[Any, ...]:
    stamps: list[Any] = []
    for path in paths:
        found = None
        with suppress(OSError):
            stat = path.stat()
            found = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        stamps.append(found)
    return tuple(stamps)
