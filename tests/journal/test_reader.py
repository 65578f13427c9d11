"""Anyone can read the journal at any time: of live, finished and crashed runs, moved, read-only, or of an older format."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.events import Reported, StopRequested
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalError
from tunesmith.journal import SqliteJournal, open_reader
from tunesmith.journal import reader as reader_module
from tunesmith.journal.stores import LocalStore
from tunesmith.testing.journal_kit import report, same

HEADER = Header("0" * 32, "x", 0.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that a user without privileges can reach, as pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="tunesmith-test-"))
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nobody can write in the folder meanwhile, not even where the tests run as root."""
    for found in folder.iterdir():
        found.chmod(0o444)
    folder.chmod(0o555)
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)
        folder.chmod(0o755)


def crash(journal: SqliteJournal, target: Path) -> Path:
    """What a crash of the writer would leave, as a copy in ``target``."""
    for suffix in ("", "-wal"):
        shutil.copy(f"{journal.path}{suffix}", target / f"experiment.db{suffix}")
    return target / "experiment.db"


def events(path: Path) -> list[Any]:
    with open_reader(path) as reader:
        return [record.event for record in reader.read()]


def test_a_live_run_is_followed_by_cursor(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal, open_reader(journal.path) as reader:
        seen = 0
        for n in range(1, 4):
            journal.append([report(0, n), report(1, n)])
            assert reader.last() == 2 * n
            fresh = list(reader.read(after=seen))
            assert [record.seq for record in fresh] == [2 * n - 1, 2 * n]
            seen = fresh[-1].seq


def test_a_slow_reader_never_holds_up_the_writer_or_its_log(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal, open_reader(journal.path) as reader:
        journal.append([report(0, n) for n in range(2500)])
        reading = reader.read()
        next(reading)
        journal.append([report(0, 0)], durable=True)
        busy, _, _ = journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert len(list(reading)) == 2499


def test_pages_join_without_a_seam(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append([report(n % 2, n) for n in range(1, 3001)])
        for after, limit in ((0, None), (0, 1000), (0, 1001), (500, 2000), (999, None), (1000, None)):
            expected = list(range(after + 1, 3001))[:limit]
            assert [record.seq for record in journal.read(after, limit)] == expected
        assert [record.seq for record in journal.read(trial=1)] == list(range(1, 3001, 2))
        assert [row[0] for row in journal.read_columns()] == list(range(1, 3001))


def test_reports_read_as_columns(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append(
            [
                Record(Reported(0, 1, 2, {"loss": float("nan"), "n": 3}, "0/c", None, ("img",), 1.5)),
                Record(StopRequested("enough")),
                Record(Reported(1, 0, 1, {"loss": 0.1}, at=2.0)),
                Record(Reported(1, 0, 2, {"loss": 0.2}), handled=False),
                Record(Reported(1, 0, 3, {}, at=3.0)),
            ]
        )
    with open_reader(journal.path) as reader:
        assert same(
            list(reader.read_columns()),
            [
                (1, 1.5, 0, 1, 2, ("loss", "n"), [float("nan"), 3]),
                (3, 2.0, 1, 0, 1, ("loss",), [0.1]),
                (5, 3.0, 1, 0, 3, (), []),
            ],
        )
        assert [row[0] for row in reader.read_columns(after=3)] == [5]


def test_a_finished_run_is_one_file_that_may_be_moved_anywhere(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "run" / "experiment.db", HEADER) as journal:
        journal.append([report(0)])
    assert [found.name for found in (tmp_path / "run").iterdir()] == ["experiment.db"]
    moved = tmp_path / "a place with spaces & 100% #odd?"
    (tmp_path / "run").rename(moved)
    assert events(moved / "experiment.db") == [report(0).event]
    assert [found.name for found in moved.iterdir()] == ["experiment.db"]


def test_a_crashed_run_is_read_from_its_log(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append([report(0)])
        (tmp_path / "crashed").mkdir()
        crashed = crash(journal, tmp_path / "crashed")
    assert events(crashed) == [report(0).event]


def test_a_finished_run_in_a_read_only_folder(folder: Path) -> None:
    with SqliteJournal.create(folder / "experiment.db", HEADER, mode="local") as journal:
        journal.append([report(0)])
    with read_only(folder):
        assert events(journal.path) == [report(0).event]
        assert os.listdir(folder) == ["experiment.db"]


def test_a_crashed_run_in_a_read_only_folder(folder: Path, tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER, mode="local") as journal:
        journal.append([report(0)])
        crashed = crash(journal, folder)
    scratch = set(Path(tempfile.gettempdir()).glob("tunesmith-*"))
    with read_only(folder):
        assert events(crashed) == [report(0).event]
    assert set(Path(tempfile.gettempdir()).glob("tunesmith-*")) == scratch


def test_a_live_run_in_a_folder_that_we_may_not_write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "sync_every", 1000.0)  # the writer shares this process, and so its privileges
    with SqliteJournal.create(folder / "experiment.db", HEADER, mode="local") as journal:
        journal.append([report(0)])
        with read_only(folder), open_reader(journal.path) as reader:
            assert reader.last() == 1
            journal.append([report(0, 2)])
            assert [record.event for record in reader.read()] == [report(0).event, report(0, 2).event]


def test_where_nothing_can_be_put_beside_the_file_it_is_read_anew_once_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER, mode="local") as journal:
        journal.append([report(0)])
    connect = reader_module._connect

    def refuse(path: Path, options: str, timeout: float = 5.0) -> sqlite3.Connection:
        """As SQLite does in a folder where it may make no files, except for what needs none."""
        beside_itself = path == journal.path and "immutable" not in options
        return connect(tmp_path / "missing.db" if beside_itself else path, options, timeout)

    monkeypatch.setattr(reader_module, "_connect", refuse)
    with open_reader(journal.path) as reader:
        assert reader.last() == 1
        with SqliteJournal.open(journal.path) as again:
            again.append([report(0, 2)])
            assert reader.last() == 2
            again.append([report(0, 3)])
            assert [record.event for record in reader.read()] == [report(0, n).event for n in (1, 2, 3)]
        assert reader.last() == 3


def test_a_writer_on_a_network_disk_that_comes_and_goes(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER, mode="network") as journal:
        journal.append([report(0)])
    with open_reader(journal.path) as reader:
        assert reader.last() == 1
        with SqliteJournal.open(journal.path) as again:
            assert reader.last() == 1
            again.append([report(0, 2)], durable=True)
            assert reader.last() == 1
        assert reader.last() == 2


def test_a_snapshot_left_by_a_crash_does_not_hide_the_file(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER, mode="network") as journal:
        shutil.copy(tmp_path / "experiment.db.snapshot", tmp_path / "kept")
        journal.append([report(0)])
    shutil.copy(tmp_path / "kept", tmp_path / "experiment.db.snapshot")
    assert events(journal.path) == [report(0).event]


def test_any_thread_may_read(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append([report(0, n) for n in range(50)])
    found: list[int] = []
    with open_reader(journal.path) as reader:
        threads = [threading.Thread(target=lambda: found.append(len(list(reader.read())))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [50] * 4


def test_a_closed_reader_says_so(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        pass
    reader = open_reader(journal.path)
    reader.close()
    reader.close()
    with pytest.raises(JournalError, match=r"reader .* is closed"):
        reader.last()
    with pytest.raises(JournalError, match="closed: read it with open_reader"):
        list(journal.read())
