"""The conformance kit for journals: what every implementation of :class:`tunesmith.core.ports.Journal` must do.

Example:
    In a test module, for pytest::

        class TestMyJournal(JournalKit):
            def make(self, tmp_path, header):
                return MyJournal.create(tmp_path / "journal", header)

            def reopen(self, journal):
                journal.close()
                return MyJournal.open(journal.path)
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.commands import Decision
from tunesmith.core.events import AttemptEnded, AttemptStarted, Reported, StopRequested, Suggested
from tunesmith.core.ports import Header, Journal, Record
from tunesmith.errors import JournalError, SerializationError
from tunesmith.testing.strategies import records

__all__ = ["JournalKit", "same"]


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal in value and type, nan being equal to itself.

    Example:
        >>> same({"a": float("nan")}, {"a": float("nan")}), same(1, 1.0), same((1,), [1])
        (True, False, False)
    """
    return repr(one) == repr(other)


def report(trial: int, iteration: int = 1, **metrics: Any) -> Record:
    """A record of one report of ``trial``, for tests."""
    return Record(Reported(trial, 0, iteration, {"loss": 0.5, **metrics}))


class JournalKit:
    """Subclass it, define :meth:`make` and :meth:`reopen`, and let pytest collect it."""

    header = Header(uuid="0123456789abcdef" * 2, name="kit", created=1.5e9, rules={"rung": 2}, library="0.1.0")

    def make(self, tmp_path: Path, header: Header) -> Journal:
        """A new, empty journal with ``header``; files only under ``tmp_path``."""
        raise NotImplementedError

    def reopen(self, journal: Journal) -> Journal:
        """``journal`` closed and opened again, as the process that resumes an experiment would."""
        raise NotImplementedError

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Any:
        journal = self.make(tmp_path, self.header)
        yield journal
        journal.close()

    def test_a_new_journal_is_empty_and_has_its_header(self, journal: Journal) -> None:
        assert journal.last() == 0
        assert list(journal.read()) == []
        assert same(journal.header, self.header)

    def test_records_are_numbered_from_one_across_appends(self, journal: Journal) -> None:
        batch = [report(0), report(1)]
        assert journal.append(batch) == 2
        assert [record.seq for record in batch] == [1, 2]
        assert journal.append([report(0, 2)], durable=True) == 3
        assert journal.last() == 3
        assert [record.seq for record in journal.read()] == [1, 2, 3]

    def test_an_empty_append_changes_nothing(self, journal: Journal) -> None:
        assert journal.append([]) == 0
        journal.append([report(0)])
        assert journal.append([], durable=True) == 1
        assert len(list(journal.read())) == 1

    def test_what_is_read_equals_what_was_written(self, journal: Journal) -> None:
        written = [
            Record(
                Suggested(0, {"lr": 1e-3, "n": 2**70, "act": "relu"}, "random", {"cpu": 2.0}), [Decision("launch", 0, "a slot is free")]
            ),
            Record(AttemptStarted(0, 0, {"pid": 7, "shape": (3, [1, {"a": None}])})),
            Record(
                Reported(
                    0, 0, 1, {"loss": math.nan, "best": math.inf, "note": "ü\x00\ud800", "ok": True}, "0/c", "loss >= 1", ("image",), 2.5
                )
            ),
            Record(Reported(0, 0, 2, {})),
            Record(AttemptEnded(0, 0, "user_error", {"type": "KeyError", "message": "'lr'", "where": "a.py:3", "traceback": "..."})),
            Record(StopRequested("enough"), handled=False),
        ]
        journal.append(written)
        assert same(list(journal.read()), written)

    def test_what_is_read_is_a_copy(self, journal: Journal) -> None:
        record = report(0)
        journal.append([record])
        assert isinstance(record.event, Reported)
        record.event.metrics["loss"] = 99.0
        for found in journal.read():
            assert isinstance(found.event, Reported)
            assert found.event.metrics == {"loss": 0.5}
            found.event.metrics["loss"] = 99.0
        assert [found.event for found in journal.read()] == [report(0).event]

    def test_extras_stay_in_the_process(self, journal: Journal) -> None:
        journal.append([Record(Reported(0, 0, 1, {"loss": 1.0}, named=("image",), extras={"image": object()}))])
        found = next(iter(journal.read())).event
        assert isinstance(found, Reported)
        assert (found.named, found.extras) == (("image",), None)

    def test_reading_by_cursor_limit_and_trial(self, journal: Journal) -> None:
        journal.append([report(seq % 3, seq) for seq in range(12)])
        assert [record.seq for record in journal.read(after=9)] == [10, 11, 12]
        assert [record.seq for record in journal.read(after=2, limit=3)] == [3, 4, 5]
        assert [record.seq for record in journal.read(trial=1)] == [2, 5, 8, 11]
        assert [record.seq for record in journal.read(after=2, limit=2, trial=1)] == [5, 8]
        assert list(journal.read(limit=0)) == []
        assert list(journal.read(after=12)) == []
        assert list(journal.read(trial=99)) == []

    def test_events_of_no_trial_are_left_out_when_one_is_asked_for(self, journal: Journal) -> None:
        journal.append([report(0), Record(StopRequested("enough"))])
        assert [record.seq for record in journal.read(trial=0)] == [1]

    def test_a_reading_ends_with_what_was_there_when_it_began(self, journal: Journal) -> None:
        journal.append([report(0, n) for n in range(3)])
        seen = []
        for record in journal.read():
            seen.append(record.seq)
            journal.append([report(1)])
        assert seen == [1, 2, 3]
        assert journal.last() == 6

    def test_a_value_that_cannot_be_recorded_refuses_the_whole_append(self, journal: Journal) -> None:
        journal.append([report(0)])
        with pytest.raises(SerializationError, match=r"trial 1.*object.*Convert"):
            journal.append([report(0, 2), report(1, 1, bad=object())])
        assert journal.last() == 1
        assert journal.append([report(0, 2)]) == 2
        assert [record.seq for record in journal.read()] == [1, 2]

    def test_a_reopened_journal_goes_on_where_it_ended(self, journal: Journal) -> None:
        journal.append([report(0), report(0, 2, accuracy=0.5)])
        again = self.reopen(journal)
        try:
            assert same(again.header, self.header)
            assert again.last() == 2
            assert again.append([report(0, 3, accuracy=0.6), report(0, 4)]) == 4
            assert [record.event for record in again.read()] == [
                report(0).event,
                report(0, 2, accuracy=0.5).event,
                report(0, 3, accuracy=0.6).event,
                report(0, 4).event,
            ]
        finally:
            again.close()

    def test_a_closed_journal_refuses_to_write(self, journal: Journal) -> None:
        journal.append([report(0)])
        journal.close()
        journal.close()
        with pytest.raises(JournalError, match="closed"):
            journal.append([report(0, 2)])

    def test_sync_may_be_called_at_any_time(self, journal: Journal) -> None:
        journal.sync()
        journal.append([report(0)])
        journal.sync()
        assert journal.last() == 1

    def test_any_records_round_trip(self, journal: Journal) -> None:
        @settings(max_examples=25, deadline=None, database=None)
        @given(batch=st.lists(records(), max_size=4))
        def check(batch: list[Record]) -> None:
            before = journal.last()
            assert journal.append(batch) == before + len(batch)
            assert same(list(journal.read(after=before)), batch)

        check()
