"""Journals of older formats are brought up once, in one transaction, with a copy of the old file beside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tunesmith.core.ports import Header
from tunesmith.errors import JournalCorrupt
from tunesmith.journal import SqliteJournal, migrations, open_reader
from tunesmith.journal.migrations import backup_path
from tunesmith.testing.journal_kit import report


def add_handled(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE records ADD COLUMN handled INTEGER NOT NULL DEFAULT 1")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A journal of an invented format 0, which did not know unhandled records."""
    path = tmp_path / "experiment.db"
    with SqliteJournal.create(path, Header("0" * 32, "old", 5.0), mode="local") as journal:
        journal.append([report(0), report(1)])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("ALTER TABLE records DROP COLUMN handled")
    connection.execute("UPDATE header SET value = '0' WHERE key = 'format'")
    connection.execute("PRAGMA user_version=0")
    connection.close()
    return path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MIGRATIONS", [(0, add_handled)])


EVENTS = [report(0).event, report(1).event]


@pytest.mark.usefixtures("steps")
def test_a_writer_brings_it_up_and_keeps_a_copy(old: Path) -> None:
    before = old.read_bytes()
    with SqliteJournal.open(old) as journal:
        assert journal.header == Header("0" * 32, "old", 5.0, format=1)
        assert [record.event for record in journal.read()] == EVENTS
        assert journal.append([report(0, 2)]) == 3
    kept = backup_path(old, 0)
    assert kept.name == "experiment.db.v0.bak"
    with SqliteJournal.open(old) as journal:
        assert journal.last() == 3
    old.write_bytes(before)
    with open_reader(kept) as reader:
        assert [record.event for record in reader.read()] == EVENTS


@pytest.mark.usefixtures("steps")
def test_a_reader_brings_up_a_copy_in_memory_and_leaves_the_file_alone(old: Path) -> None:
    before = old.read_bytes()
    with open_reader(old) as reader:
        assert reader.header.format == 1
        assert [record.event for record in reader.read()] == EVENTS
        assert [row[0] for row in reader.read_columns(after=1)] == [2]
        assert old.read_bytes() == before
        with SqliteJournal.open(old) as journal:
            journal.append([report(0, 2)])
            assert reader.last() == 3
    assert not backup_path(old, 0).with_name("experiment.db.v0.bak.tmp").exists()


def test_a_step_that_fails_changes_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        add_handled(connection)
        raise RuntimeError("half-way")

    monkeypatch.setattr(migrations, "MIGRATIONS", [(0, fail)])
    with pytest.raises(RuntimeError, match="half-way"):
        SqliteJournal.open(old)
    monkeypatch.setattr(migrations, "MIGRATIONS", [(0, add_handled)])
    with SqliteJournal.open(old) as journal:
        assert [record.event for record in journal.read()] == EVENTS


def test_a_format_that_is_no_longer_supported(old: Path) -> None:
    for opened in (SqliteJournal.open, open_reader):
        with pytest.raises(JournalCorrupt, match=r"format 0.*cannot bring it up from format 0.*older version"):
            opened(old)
