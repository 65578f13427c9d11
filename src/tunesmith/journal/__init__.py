"""The journal of an experiment: every event and every decision, in order, in one file.

:class:`SqliteJournal` writes it, :func:`open_reader` reads it from any process at any time, :class:`MemoryJournal` is its twin
without a disk. What people look at (trials, rows, curves) is projected from its records in the modules beside.

Example:
    >>> from tunesmith.core.ports import Header
    >>> MemoryJournal(Header(uuid="0" * 32, name="demo", created=0.0)).last()
    0
"""

from __future__ import annotations

from tunesmith.journal.memory import MemoryJournal
from tunesmith.journal.reader import JournalReader, open_reader
from tunesmith.journal.schema import JOURNAL_FILE
from tunesmith.journal.sqlite import SqliteJournal

__all__ = ["JOURNAL_FILE", "JournalReader", "MemoryJournal", "SqliteJournal", "open_reader"]
