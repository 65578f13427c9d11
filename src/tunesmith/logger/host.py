"""Loggers behind the loop: one thread that follows the journal and writes the files of all trials."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import islice
from typing import Any, Protocol

from tunesmith.callback import CallbackObserver
from tunesmith.core.ports import Record
from tunesmith.journal.trials import TrialBook, TrialInfo
from tunesmith.logger.files import replace

__all__ = ["LoggerHost", "ReadsJournal"]

_log = logging.getLogger("tunesmith")
_BATCH = 512
_IN_MEMORY = 8192
CURSOR = ".files.json"


class ReadsJournal(Protocol):
    """The part of a journal's reader that is needed here."""

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterable[Record]:
        """Records with ``seq > after``, in order."""

    def last(self) -> int:
        """``seq`` of the newest record that can be read."""


class LoggerHost:
    """An :class:`~tunesmith.core.ports.Observer` whose loggers run in one background thread.

    The journal is the queue. The newest records are kept in memory too (a bounded number, unless the journal shows them late), so that
    a host that keeps up reads nothing twice; one that fell behind, or was started on an old journal, reads on from its cursor. What
    the files hold is noted beside them (``.files.json``): a resumed run goes on from there, and after a crash or a power cut it tells
    again what may have been lost.

    Args:
        loggers: :class:`~tunesmith.logger.base.LoggerCallback` objects (or anything with the hooks).
        book: folds the records; this host's own, with ``keep_finished=False`` and a ``reader`` that any thread may use (None will do).
        open_reader: gives a context manager around a reader of the journal, as in ``lambda: open_reader(path)`` or
            ``lambda: nullcontext(journal)``; called in the thread.
        directory: the experiment's; None: where the host stands is not noted.
        linger_s: how long records may wait for more to come before they are written, seconds.

    Example:
        >>> from contextlib import nullcontext
        >>> from tunesmith.core.ports import Header
        >>> from tunesmith.journal import MemoryJournal
        >>> from tunesmith.logger import NoopLogger, LegacyLoggerCallback
        >>> journal = MemoryJournal(Header(uuid="0" * 32, name="demo", created=0.0))
        >>> host = LoggerHost([LegacyLoggerCallback([NoopLogger])], TrialBook(journal.header), lambda: nullcontext(journal))
        >>> host.setup(num_samples=10)
        >>> host.close()
    """

    def __init__(
        self,
        loggers: Iterable[Any],
        book: TrialBook,
        open_reader: Callable[[], AbstractContextManager[ReadsJournal]],
        directory: str | None = None,
        linger_s: float = 0.1,
    ) -> None:
        advice = "The journal still has every result"
        advice += f': tunesmith.logger.rebuild_files("{directory}") writes the files anew.' if directory else "."
        self.failures: list[tuple[Any, Exception]] = []
        self._hooks = CallbackObserver(loggers, book, "logger", advice, lambda logger, error: self.failures.append((logger, error)))
        self._book = book
        self._open_reader = open_reader
        self._note = os.path.join(directory, CURSOR) if directory else None
        self._linger = linger_s
        self._news = threading.Condition()
        self._tail: deque[Record] = deque(maxlen=_IN_MEMORY)
        self._first = self._seen = 0
        self._wake_at = 1
        self._closing = False
        self._thread: threading.Thread | None = None

    def setup(self, **info: Any) -> None:
        """Call the loggers' ``setup(**info)``, on the caller's thread, before anything else."""
        self._hooks.setup(**info)

    def committed(self, records: Sequence[Record]) -> None:
        """Take note of new records; returns at once."""
        if not records:
            return
        with self._news:
            self._tail.extend(records)
            self._first = self._first or records[0].seq
            self._seen = records[-1].seq
            if self._seen >= self._wake_at:
                self._news.notify()
        if self._thread is None:
            self._start()

    def follow(self, seq: int) -> None:
        """Tell the loggers everything up to record ``seq`` of a journal that is there already."""
        with self._news:
            self._first, self._seen = 1, seq
        self._start()

    def close(self) -> None:
        """Wait until everything is written, then ``on_experiment_end``. Idempotent."""
        if self._thread is None:
            if self._closing:
                return
            self._start()
        with self._news:
            self._closing = True
            self._news.notify()
        assert self._thread is not None
        self._thread.join()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="tunesmith-loggers", daemon=True)
        self._thread.start()

    # -- in the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with self._open_reader() as reader:
                self._follow(reader)
        except Exception as error:
            self.failures.append((self, error))
            _log.exception("the loggers cannot follow the journal any more; the run goes on, without files from here on.")

    def _follow(self, reader: ReadsJournal) -> None:
        self._catch_up(reader)
        while self._wait():
            self._allow_for_lag(reader)
            for records in iter(lambda: self._next(reader), []):
                self._hooks.committed(records)
            self._flush()
        self._hooks.close()
        self._flush()

    def _catch_up(self, reader: ReadsJournal) -> None:
        """Fold what earlier sessions have told the loggers already."""
        told, certain = self._told()
        if self._first:
            told = min(told, self._first - 1)
        for record in reader.read(0, told) if told else ():
            ended = [decision.trial for decision in record.decisions if decision.do == "end"]
            trials = [] if certain else [self._book.held(number) for number in ended if number is not None]
            self._book.apply(record)
            for trial in filter(None, trials):
                self._rebuild(trial)

    def _rebuild(self, trial: TrialInfo) -> None:
        """The files of this ended trial may have been lost with the machine's memory."""
        hooks = self._hooks.hooks
        for logger in list(hooks.callbacks):
            if hasattr(logger, "rebuild"):
                hooks.one(logger, logger.rebuild, "rebuild", trial, trial)
                hooks.one(logger, logger.log_trial_end, "log_trial_end", trial, trial)

    def _wait(self) -> bool:
        """Wait for records, then a little for more; false when all is done."""
        cursor = self._book.cursor
        with self._news:
            self._wake_at = cursor + 1
            self._news.wait_for(lambda: self._seen > cursor or self._closing)
            self._wake_at = cursor + _BATCH
            self._news.wait_for(lambda: self._seen >= self._wake_at or self._closing, self._linger)
            return self._seen > cursor

    def _allow_for_lag(self, reader: ReadsJournal) -> None:
        """On a network disk readers see a copy, some seconds old: what is newer can be had from memory only, so all of it stays there."""
        seen = self._seen
        if self._tail.maxlen is not None and reader.last() < seen:
            with self._news:
                self._tail = deque(self._tail)

    def _next(self, reader: ReadsJournal) -> list[Record]:
        """The next records in order, from memory if they are there; none: there are no more for now."""
        cursor = self._book.cursor
        with self._news:
            if self._seen <= cursor:
                return []
            oldest = self._tail[0].seq if self._tail else self._seen + 1
            if oldest <= cursor + 1:
                records = [record for record in self._tail if record.seq > cursor]
                self._tail.clear()
                return records
        return list(islice(reader.read(cursor, min(_BATCH, oldest - cursor - 1)), _BATCH))

    def _flush(self) -> None:
        hooks = self._hooks.hooks
        for logger in list(hooks.callbacks):
            if hasattr(logger, "flush"):
                hooks.one(logger, logger.flush, "flush", None)
        if self._note is None or self.failures:
            return  # a resumed run tells again what a logger has missed
        try:
            replace(self._note, json.dumps({"seq": self._book.cursor, "boot": _boot_id()}).encode())
        except OSError:
            self._note = None  # the journal or a logger will say that the disk is full

    def _told(self) -> tuple[int, bool]:
        """Up to which record the loggers were told everything, and whether their files have it for certain (same boot of the machine)."""
        if self._note is None:
            return 0, True
        try:
            with open(self._note, encoding="utf-8") as file:
                note = json.load(file)
            return int(note["seq"]), bool(note["boot"]) and note["boot"] == _boot_id()
        except (OSError, ValueError, KeyError, TypeError):
            return 0, True


@lru_cache(maxsize=1)
def _boot_id() -> str:
    """Changes when the machine is restarted: what was written but not synced may be lost then."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
