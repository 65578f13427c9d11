"""The file in both modes and its twin in memory agree on everything, whatever is done to them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tunesmith.core.ports import Header, Journal, Record
from tunesmith.errors import JournalLocked
from tunesmith.journal import JournalReader, MemoryJournal, SqliteJournal, open_reader
from tunesmith.testing.journal_kit import same
from tunesmith.testing.strategies import headers, records


class Agreement(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.folder = Path(tempfile.mkdtemp(prefix="tunesmith-test-"))
        self.readers: list[JournalReader] = []

    @initialize(header=headers())
    def create(self, header: Header) -> None:
        self.memory = MemoryJournal(header)
        self.local = SqliteJournal.create(self.folder / "local" / "experiment.db", header, mode="local")
        self.network = SqliteJournal.create(self.folder / "network" / "experiment.db", header, mode="network", clock=self.clock)

    def clock(self) -> float:
        return self.now

    @property
    def journals(self) -> list[Journal]:
        return [self.memory, self.local, self.network]

    @rule(batch=st.lists(records(st.integers(0, 2)), max_size=3), durable=st.booleans())
    def append(self, batch: list[Record], durable: bool) -> None:
        found = []
        for journal in self.journals:
            copies = [Record(record.event, record.decisions, record.handled) for record in batch]
            found.append((journal.append(copies, durable=durable), [record.seq for record in copies]))
        assert found[0] == found[1] == found[2]

    @rule(seconds=st.sampled_from([0.05, 0.3, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def sync(self) -> None:
        for journal in self.journals:
            journal.sync()

    @rule(after=st.integers(-1, 12), limit=st.none() | st.integers(0, 4), trial=st.none() | st.integers(0, 3))
    def read(self, after: int, limit: int | None, trial: int | None) -> None:
        expected = list(self.memory.read(after, limit, trial))
        for journal in (self.local, self.network):
            assert same(list(journal.read(after, limit, trial)), expected)

    @rule(after=st.integers(0, 12))
    def read_columns(self, after: int) -> None:
        expected = list(self.memory.read_columns(after))
        for journal in (self.local, self.network):
            assert same(list(journal.read_columns(after)), expected)

    @rule()
    def close_and_reopen(self) -> None:
        self.memory = self.memory.reopened()
        self.local.close()
        self.local = SqliteJournal.open(self.local.path)
        self.network.close()
        self.network = SqliteJournal.open(self.network.path, clock=self.clock)
        assert (self.local.mode, self.network.mode) == ("local", "network")

    @rule()
    def a_second_writer_is_refused(self) -> None:
        for journal in (self.local, self.network):
            try:
                SqliteJournal.open(journal.path)
            except JournalLocked:
                continue
            raise AssertionError("two writers")

    @rule(keep=st.booleans())
    def open_readers(self, keep: bool) -> None:
        fresh = [open_reader(self.local.path), open_reader(self.network.path)]
        self.readers += fresh
        self.readers_agree()
        if not keep:
            for reader in fresh:
                self.readers.remove(reader)
                reader.close()

    @rule()
    def readers_agree(self) -> None:
        """Readers of the log see everything; of a locked file, a beginning: what its newest snapshot holds."""
        expected = list(self.memory.read())
        for reader in self.readers:
            found = list(reader.read())
            assert same(found, expected[: len(found)])
            assert same(reader.header, self.memory.header)
            if reader.path == self.local.path:
                assert len(found) == len(expected)

    @rule()
    def after_a_close_readers_see_everything(self) -> None:
        self.network.close()
        expected: list[Any] = list(self.memory.read())
        for reader in self.readers:
            assert same(list(reader.read()), expected)
        self.network = SqliteJournal.open(self.network.path, clock=self.clock)

    @invariant()
    def last_agrees(self) -> None:
        if hasattr(self, "network"):
            assert self.memory.last() == self.local.last() == self.network.last()

    def teardown(self) -> None:
        for opened in [*self.readers, *([self.local, self.network] if hasattr(self, "network") else [])]:
            opened.close()
        shutil.rmtree(self.folder)


TestAgreement = Agreement.TestCase
TestAgreement.settings = settings(max_examples=20, stateful_step_count=15, suppress_health_check=[HealthCheck.too_slow])
