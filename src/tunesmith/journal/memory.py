"""A journal in memory: the same promises as the file, for tests and simulations, without the disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tunesmith.core.codec import REPORTED, decode_decisions, decode_event, encode_decisions, encode_event, loads
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalError
from tunesmith.journal.reading import Columns, Page

__all__ = ["MemoryJournal"]


class MemoryJournal:
    """An append-only record that lives as long as the object.

    Records are kept encoded, so what is read is a fresh copy, equal to what a file would give.

    Args:
        header: what the journal says of itself.

    Example:
        >>> from tunesmith.core.events import Reported
        >>> journal = MemoryJournal(Header(uuid="0" * 32, name="demo", created=0.0))
        >>> journal.append([Record(Reported(trial=0, attempt=0, iteration=1, metrics={"loss": 0.5}))])
        1
        >>> [record.event.metrics for record in journal.read()]
        [{'loss': 0.5}]
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._rows: list[tuple[Any, ...]] = []
        self._closed = False

    def append(self, records: Sequence[Record], *, durable: bool = False) -> int:
        """Add ``records`` together and number them; returns the last number. There is nothing that ``durable`` could add here.

        Raises:
            JournalError: the journal is closed.
        """
        if self._closed:
            raise JournalError("this journal in memory is closed: open it again with reopened()")
        rows = [(encode_event(record.event), encode_decisions(record.decisions), record.handled) for record in records]
        for seq, record in enumerate(records, len(self._rows) + 1):
            record.seq = seq
        self._rows += rows
        return len(self._rows)

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records with ``seq > after`` that were there when the iteration began, in order; of one trial if ``trial`` is given."""
        left = limit
        for seq in range(max(after, 0) + 1, len(self._rows) + 1):
            if left is not None and left <= 0:
                return
            row, decided, handled = self._rows[seq - 1]
            if trial is None or row[2] == trial:
                left = None if left is None else left - 1
                yield Record(decode_event(*row), decode_decisions(decided), handled, seq)

    def read_columns(self, after: int = 0) -> Iterator[Columns]:
        """The handled reports with ``seq > after``: seq, at, trial, attempt, iteration, keys, values."""
        for seq in range(max(after, 0) + 1, len(self._rows) + 1):
            (kind, at, trial, attempt, iteration, keys, body), _, handled = self._rows[seq - 1]
            if kind == REPORTED and handled:
                yield seq, at, trial, attempt, iteration, keys, loads(body)[: len(keys)]

    def read_pages(self, after: int = 0) -> Iterator[Page]:
        """Everything with ``seq > after`` as it is stored, in one page."""
        rows = [(seq, handled, decided, *row) for seq, (row, decided, handled) in enumerate(self._rows[max(after, 0) :], max(after, 0) + 1)]
        yield rows, {row[8]: row[8] for row in rows if row[8] is not None}

    def last(self) -> int:
        """Number of the last record; 0 if there is none."""
        return len(self._rows)

    def waiting(self) -> float | None:
        """Nothing ever waits."""
        return None

    def sync(self) -> None:
        """Nothing to do: memory is as safe as it gets."""

    def close(self) -> None:
        """Refuse further records. Idempotent; reading goes on."""
        self._closed = True

    def reopened(self) -> MemoryJournal:
        """The journal opened again, as a resumed experiment would: the same records, open for more."""
        self.close()
        again = MemoryJournal(self.header)
        again._rows = self._rows
        return again
