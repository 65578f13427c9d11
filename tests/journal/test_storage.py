"""Disks that are full, slow or not there; what is durable when; what a file that is no journal says."""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunesmith.core.ports import Header
from tunesmith.errors import JournalCorrupt, JournalError, SpecError, StorageFull
from tunesmith.journal import SqliteJournal, open_reader, sqlite
from tunesmith.journal.sqlite import Mode
from tunesmith.journal.stores import LocalStore, NetworkStore, snapshot_path
from tunesmith.testing.journal_kit import report

HEADER = Header("0" * 32, "x", 0.0, library="0.1.0")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiment.db"


@pytest.fixture
def journal(path: Path) -> Iterator[SqliteJournal]:
    with SqliteJournal.create(path, HEADER, mode="local") as journal:
        yield journal


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def grouped(path: Path, clock: Clock) -> Iterator[SqliteJournal]:
    with SqliteJournal.create(path, HEADER, mode="network", clock=clock) as journal:
        yield journal


def fill(journal: SqliteJournal) -> None:
    """Let the file grow no further than it is."""
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count={pages}")


def free(journal: SqliteJournal) -> None:
    journal._connection.execute("PRAGMA max_page_count=1000000")


LONG = "x" * 5000


def test_a_full_disk_refuses_the_whole_append_and_the_journal_goes_on_later(journal: SqliteJournal, path: Path) -> None:
    journal.append([report(0)])
    fill(journal)
    batch = [report(0, 2, new=1), report(0, 3, note=LONG)]
    with pytest.raises(StorageFull, match=rf"'{path}' cannot be written \(database or disk is full\).*is kept.*Free some space.*resume"):
        journal.append(batch)
    assert [record.seq for record in batch] == [0, 0]
    assert journal.last() == 1
    assert [record.event for record in journal.read()] == [report(0).event]
    free(journal)
    assert journal.append(batch) == 3
    assert [record.event for record in journal.read()] == [report(0).event, *(record.event for record in batch)]


def test_in_a_group_a_full_disk_refuses_only_what_came_last(grouped: SqliteJournal) -> None:
    grouped.append([report(0)], durable=True)
    grouped.append([report(0, 2)])
    fill(grouped)
    with pytest.raises(StorageFull):
        grouped.append([report(0, 3, note=LONG)], durable=True)
    assert grouped.last() == 2
    free(grouped)
    assert grouped.append([report(0, 3)], durable=True) == 3
    assert [record.event for record in grouped.read()] == [report(0, n).event for n in (1, 2, 3)]


def test_a_close_on_a_full_disk_says_so_and_gives_the_lease_back(path: Path, clock: Clock) -> None:
    journal = SqliteJournal.create(path, HEADER, mode="network", clock=clock)
    fill(journal)
    journal.append([report(0, 1, note=LONG)])
    with pytest.raises(StorageFull):
        journal.close()
    journal.close()
    with SqliteJournal.open(path) as again:
        assert again.last() == 0


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match=r"cannot be written.*make the folder"):
        SqliteJournal.create(tmp_path / "file" / "run" / "experiment.db", HEADER)


def test_a_database_that_may_not_be_written(journal: SqliteJournal) -> None:
    journal.append([report(0)])
    journal._connection.execute("PRAGMA query_only=ON")
    with pytest.raises(StorageFull, match="attempt to write a readonly database"):
        journal.append([report(0, 2), report(0, 3)])
    journal._connection.execute("PRAGMA query_only=OFF")
    assert journal.append([report(0, 2)]) == 2


def test_an_interrupt_in_the_middle_leaves_no_half_of_an_append(journal: SqliteJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    written = LocalStore.write

    def interrupted(store: LocalStore, keysets: list[object], rows: list[object], durable: bool) -> None:
        written(store, keysets, rows, durable)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalStore, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        journal.append([report(0, 1, new=1)])
    monkeypatch.undo()
    assert journal.last() == 1
    assert journal.append([report(0, 2, new=2)]) == 2
    assert [record.event for record in journal.read()] == [report(0, 1, new=1).event, report(0, 2, new=2).event]


def test_a_durable_append_flushes_the_log_within_its_commit(journal: SqliteJournal) -> None:
    seen: list[str] = []
    journal._connection.set_trace_callback(seen.append)
    journal.append([report(0), report(1)])
    assert not [statement for statement in seen if "synchronous" in statement]
    seen.clear()
    journal.append([report(0, 2), report(1, 2)], durable=True)
    journal._connection.set_trace_callback(None)
    assert seen[0] == "PRAGMA synchronous=FULL"
    assert seen[-1] == "PRAGMA synchronous=NORMAL"
    assert [statement for statement in seen[1:-1] if "INSERT INTO records" in statement]  # a transaction of its own


def test_commits_reach_the_disk_soon_without_being_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = threading.Event()
    threads: list[str] = []

    def fsync(fd: int) -> None:
        threads.append(threading.current_thread().name)
        flushed.set()

    monkeypatch.setattr(LocalStore, "fsync", staticmethod(fsync))
    monkeypatch.setattr(LocalStore, "sync_every", 0.001)
    with SqliteJournal.create(path, HEADER, mode="local") as journal:
        for n in (1, 2):
            flushed.clear()
            journal.append([report(0, n)])
            assert flushed.wait(10)
        assert threads == ["tunesmith-journal"] * 2
        journal.sync()
        assert threads[2:] == [threading.current_thread().name]


def test_a_disk_that_fails_to_flush_is_told_at_sync_and_at_the_next_append(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def fsync(fd: int) -> None:
        tried.set()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LocalStore, "sync_every", 0.001)
    journal = SqliteJournal.create(path, HEADER, mode="local")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStore, "fsync", staticmethod(fsync))
        journal.append([report(0)])
        assert tried.wait(10)
        with pytest.raises(StorageFull, match="No space left"):
            journal.sync()
    store = journal._store
    assert isinstance(store, LocalStore)
    store._failed = store._failed or OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(StorageFull, match="No space left"):
        journal.append([report(0, 2)])
    assert journal.append([report(0, 2)]) == 2
    journal.close()


def test_network_mode_commits_in_groups(grouped: SqliteJournal, clock: Clock) -> None:
    def written() -> int:
        return int(grouped._connection.execute("SELECT count(*) FROM records").fetchone()[0])

    for n in range(1, 5):
        assert grouped.append([report(0, n)]) == n
    assert written() == 0
    clock.now += 0.2
    grouped.append([report(0, 5)])
    assert written() == 5
    grouped.append([report(0, 6)])
    assert written() == 5
    grouped.sync()
    assert written() == 6
    grouped.append([report(0, 7)], durable=True)
    assert written() == 7
    grouped.append([report(0, 8)])
    assert len(list(grouped.read())) == 8


def test_network_mode_locks_the_file_and_renews_the_snapshot_now_and_then(grouped: SqliteJournal, path: Path, clock: Clock) -> None:
    other = sqlite3.connect(path, timeout=0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("SELECT 1 FROM records")
    other.close()
    with open_reader(path) as reader:
        assert reader.last() == 0
        grouped.append([report(0)], durable=True)
        assert reader.last() == 0
        clock.now += NetworkStore.snapshot_s
        grouped.append([report(0, 2)], durable=True)
        assert reader.last() == 2
        assert [record.event for record in reader.read()] == [report(0).event, report(0, 2).event]
        grouped.append([report(0, 3)])
        grouped.close()
        assert not snapshot_path(path).exists()
        assert reader.last() == 3


def test_a_snapshot_that_cannot_be_written_costs_nothing_else(grouped: SqliteJournal, path: Path, clock: Clock) -> None:
    snapshot_path(path).with_name("experiment.db.snapshot.tmp").mkdir()
    clock.now += 10
    assert grouped.append([report(0)], durable=True) == 1


def test_tables_and_header_are_on_the_disk_before_anything_is_built_on_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def level(connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA synchronous").fetchone()[0])

    def noted(connection: sqlite3.Connection, header: Header, mode: str) -> None:
        levels.append(level(connection))
        create_tables(connection, header, mode)

    levels: list[int] = []
    create_tables = sqlite.create_tables
    monkeypatch.setattr(sqlite, "create_tables", noted)
    with SqliteJournal.create(path, HEADER, mode="local") as journal:
        assert levels == [2], "FULL: flushed with the commit"
        assert level(journal._connection) == 1, "NORMAL: a thread flushes"


def test_the_mode_may_change_from_session_to_session(path: Path) -> None:
    SqliteJournal.create(path, HEADER, mode="network").close()
    last = 0
    modes: list[Mode] = ["local", "network", "local", "local", "network", "network"]
    for mode in modes:
        with SqliteJournal.open(path, mode=mode) as journal:
            last = journal.append([report(0, last + 1), report(0, last + 2)])
    with open_reader(path) as reader:
        assert [record.seq for record in reader.read()] == list(range(1, 13))


def test_create_writes_over_nothing(path: Path) -> None:
    SqliteJournal.create(path, HEADER).close()
    with pytest.raises(JournalError, match=r"exists already.*open it"):
        SqliteJournal.create(path, HEADER)
    with open_reader(path) as reader:
        assert reader.header == HEADER


def test_an_interrupted_creation_can_be_repeated(path: Path) -> None:
    path.write_bytes(b"")
    with pytest.raises(JournalCorrupt, match="creation of the journal was interrupted"):
        open_reader(path)
    with pytest.raises(JournalCorrupt, match="creation of the journal was interrupted"):
        SqliteJournal.open(path)
    with SqliteJournal.create(path, HEADER) as journal:
        assert journal.append([report(0)]) == 1


def test_no_journal_there(path: Path) -> None:
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalError, match="there is no journal at"):
            opened(path)


def test_another_kind_of_file(path: Path) -> None:
    path.write_text("seq,at\n" * 1000)
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalCorrupt, match="is no journal, or is damaged"):
            opened(path)
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes(text)")
    other.close()
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalCorrupt, match="an SQLite database, but no journal"):
            opened(path)
    with pytest.raises(JournalError, match="exists already"):
        SqliteJournal.create(path, HEADER)


def test_a_newer_version_is_named(path: Path) -> None:
    SqliteJournal.create(path, HEADER).close()
    change(path, "PRAGMA user_version=7", "UPDATE header SET value = '\"9.1.0\"' WHERE key = 'library'")
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalCorrupt, match=r"format 7.*tunesmith 9\.1\.0.*up to 1.*Upgrade"):
            opened(path)


def test_an_unknown_kind_of_record_names_its_number(path: Path) -> None:
    with SqliteJournal.create(path, HEADER) as journal:
        journal.append([report(0), report(1)])
    change(path, "UPDATE records SET kind = 99 WHERE seq = 2")
    with open_reader(path) as reader, pytest.raises(JournalCorrupt, match=r"record 2 .*kind 99.*newer version"):
        list(reader.read())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE records SET keyset = 5", "record 1 names the key set 5"),
        ("UPDATE records SET body = '[1'", "record 1 cannot be read"),
    ],
)
def test_damaged_records_are_named(path: Path, damage: str, message: str) -> None:
    with SqliteJournal.create(path, HEADER) as journal:
        journal.append([report(0)])
    change(path, damage)
    with open_reader(path) as reader:
        with pytest.raises(JournalCorrupt, match=message):
            list(reader.read())
        with pytest.raises(JournalCorrupt, match=message):
            list(reader.read_columns())


def test_a_damaged_header_is_named(path: Path) -> None:
    SqliteJournal.create(path, HEADER).close()
    change(path, "DELETE FROM header WHERE key = 'uuid'")
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalCorrupt, match=r"header of the journal .* is damaged"):
            opened(path)


def test_an_unknown_mode(path: Path) -> None:
    with pytest.raises(SpecError, match="'fast': expected 'auto', 'local' or 'network'"):
        SqliteJournal.create(path, HEADER, mode="fast")  # type: ignore[arg-type]


def change(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_closing_just_as_the_flushing_thread_takes_note_of_news_does_not_hang(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlucky(threading.Event):
        """Cleared in the very moment in which ``close`` has set it."""

        def clear(self) -> None:
            store._closing.set()
            self.set()
            super().clear()

    monkeypatch.setattr(LocalStore, "sync_every", 0.001)
    journal = SqliteJournal.create(path, HEADER, mode="local")
    store = journal._store
    assert isinstance(store, LocalStore)
    store._dirty = Unlucky()
    journal.append([report(0)])
    thread = store._thread
    assert thread is not None
    thread.join(timeout=10)
    assert not thread.is_alive()
    journal.close()
