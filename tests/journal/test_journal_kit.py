"""All journals pass the public kit."""

from __future__ import annotations

from pathlib import Path

from tunesmith.core.ports import Header, Journal
from tunesmith.journal import MemoryJournal, SqliteJournal
from tunesmith.testing.journal_kit import JournalKit


class _Sqlite(JournalKit):
    mode = "local"

    def make(self, tmp_path: Path, header: Header) -> SqliteJournal:
        return SqliteJournal.create(tmp_path / "run" / "experiment.db", header, mode=self.mode)

    def reopen(self, journal: Journal) -> SqliteJournal:
        assert isinstance(journal, SqliteJournal)
        journal.close()
        return SqliteJournal.open(journal.path)


class TestLocal(_Sqlite):
    pass


class TestNetwork(_Sqlite):
    mode = "network"


class TestMemory(JournalKit):
    def make(self, tmp_path: Path, header: Header) -> MemoryJournal:
        return MemoryJournal(header)

    def reopen(self, journal: Journal) -> MemoryJournal:
        assert isinstance(journal, MemoryJournal)
        return journal.reopened()
