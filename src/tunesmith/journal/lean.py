"""Trials folded from stored rows: of the reports that nothing else depends on, only the newest of each trial is decoded."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, Protocol

from tunesmith.core.codec import REPORTED, loads
from tunesmith.core.events import Reported
from tunesmith.core.ports import Record
from tunesmith.journal.reading import Page, record_of
from tunesmith.journal.sums import SECONDS, Stretch, Sum
from tunesmith.journal.trials import TrialBook, TrialInfo

__all__ = ["Keysets", "Listener", "Stored", "fold_pages", "fold_sums"]

Stored = tuple[Any, ...]
"""One row of a :data:`~tunesmith.journal.reading.Page`."""
Keysets = Mapping[Any, tuple[str, ...]]


class Listener(Protocol):
    """Who wants the reports as they are stored."""

    def reports(self, trial: TrialInfo, rows: Sequence[Stored], keysets: Keysets) -> None:
        """Handled reports of one trial, in order; ``trial`` is as it was when they came."""

    def decided(self, record: Record) -> None:
        """Any other handled record, or one of a report that more was decided at; the book has it already."""


def fold_pages(book: TrialBook, pages: Iterable[Page], cursor: int, listener: Listener | None = None, *, sums: bool = True) -> int:
    """Bring ``book`` up to date, as if each record had been given to :meth:`~TrialBook.apply`; several times faster.

    Args:
        book: that keeps finished trials.
        pages: see :meth:`~tunesmith.journal.reader.JournalReader.read_pages`.
        cursor: number of the record that the book was folded to.
        listener: is told of all reports, those of one trial together.
        sums: false: nobody will ask the book for what is summed up over an attempt's reports, nor for the number of a trial's records.

    Returns:
        The number of the last record.
    """
    folding = _Folding(book, listener, sums)
    with _all_kept():
        for rows, keysets in pages:
            folding.page(rows, keysets)
            if rows:
                cursor = rows[-1][0]
        folding.finish(cursor)
    return cursor


def fold_sums(book: TrialBook, stretches: Iterable[Stretch], keysets: Keysets, cursor: int) -> int:
    """The same for a long journal that nobody else listens to: most reports stay where they are.

    What an attempt's reports took may differ from the sum of one after the other in its last digit.

    Args:
        stretches, keysets: see :meth:`~tunesmith.journal.reader.JournalReader.read_sums`.
    """
    folding = _Folding(book, None, True)
    with _all_kept():
        for stretch in stretches:
            folding.stretch(stretch, keysets)
            cursor += stretch.records
        folding.finish(cursor)
    return cursor


@contextmanager
def _all_kept() -> Iterator[None]:
    """Without the collector of cycles: it would go through a million rows again and again, and none of them is garbage."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class _Folding:
    def __init__(self, book: TrialBook, listener: Listener | None, sums: bool) -> None:
        self._book, self._listener, self._sums = book, listener, sums
        self._waiting: dict[int, list[Stored]] = {}
        self._keysets: Keysets = {}
        self._at = book.at

    def page(self, rows: list[Stored], keysets: Keysets) -> None:
        self._keysets = keysets
        waiting = self._waiting
        for row in rows:
            if row[3] == REPORTED and row[2] is None and row[1]:
                reports = waiting.get(row[5])
                if reports is None:
                    waiting[row[5]] = [row]
                else:
                    reports.append(row)
            else:
                self._other(row)
        if rows:
            self._at = next((row[4] for row in reversed(rows) if row[1]), self._at)

    def stretch(self, stretch: Stretch, keysets: Keysets) -> None:
        rows: list[Stored] = []
        for part in stretch.parts:
            if isinstance(part, Sum):
                self.page(rows, keysets)
                rows = []
                self._absorb(part)
            else:
                rows.append(part)
        self.page(rows, keysets)

    def _absorb(self, reports: Sum) -> None:
        """The newest of these reports through the book; of all, what adds up."""
        row = reports.newest
        if row[5] in self._waiting:
            self._take(self._waiting.pop(row[5]))
        trial = self._book.held(row[5])
        goes_on = trial is not None and trial.report is not None and trial.report.attempt == row[6]
        before = (trial.time_since_restore, trial.iterations_since_restore) if trial is not None and goes_on else (0.0, 0)
        self._book.apply(record_of(row, self._keysets))
        self._at = row[4]
        if trial is not None:
            trial.time_since_restore, trial.iterations_since_restore = before[0] + reports.seconds, before[1] + reports.reports
            trial.record_count += reports.reports - 1

    def _other(self, row: Stored) -> None:
        record = record_of(row, self._keysets)
        for number in {row[5], *(decision.trial for decision in record.decisions)}:
            if number in self._waiting:
                self._take(self._waiting.pop(number))
        if row[1] and row[3] == REPORTED:
            self._tell([row])
        self._book.apply(record)
        if row[1] and self._listener is not None:
            self._listener.decided(record)

    def finish(self, cursor: int) -> None:
        for reports in self._waiting.values():
            self._take(reports)
        self._book.at, self._book.cursor = self._at, max(self._book.cursor, cursor)

    def _tell(self, rows: list[Stored]) -> None:
        trial = self._book.held(rows[0][5])
        if self._listener is not None and trial is not None:
            self._listener.reports(trial, rows, self._keysets)

    def _take(self, rows: list[Stored]) -> None:
        """Reports of one trial, with nothing about it in between: the last through the book, of those before it what adds up."""
        self._tell(rows)
        trial = self._book.held(rows[0][5])
        if not self._sums:
            rows = rows[-1:]
        elif trial is not None and len(rows) > 2 and _add_up(trial, rows[:-1], self._keysets):
            before = record_of(rows[-2], self._keysets).event
            assert isinstance(before, Reported)
            trial.report = before
            rows = rows[-1:]
        for row in rows:
            self._book.apply(record_of(row, self._keysets))


def _add_up(trial: TrialInfo, rows: list[Stored], keysets: Keysets) -> bool:
    """Count and time of these reports; False: they have to be looked at one by one."""
    keyset, attempt = rows[0][8], rows[0][6]
    if len({row[8] for row in rows}) > 1 or len({row[6] for row in rows}) > 1:
        return False
    keys = keysets[keyset]
    try:
        bodies = loads(f"[{','.join([row[9] for row in rows])}]")
    except ValueError:
        return False
    if len(bodies) != len(rows) or set(map(len, bodies)) != {len(keys)}:
        return False  # damaged, or with checkpoints and verdicts behind the values
    goes_on = trial.report is not None and trial.report.attempt == attempt
    since = trial.time_since_restore if goes_on else 0.0
    place = keys.index(SECONDS) if SECONDS in keys else -1
    if place >= 0:
        seconds = [body[place] for body in bodies]
        if not {float, int, bool}.issuperset(map(type, seconds)):
            seconds = [each for each in seconds if isinstance(each, (int, float))]
        since = reduce(add, seconds, since)  # in order: the sum is that of one report after the other
    trial.time_since_restore = since
    trial.iterations_since_restore = len(rows) + (trial.iterations_since_restore if goes_on else 0)
    trial.record_count += len(rows)
    return True
