"""The user's own reporter at work: when it is asked, what it is given, and what happens when it raises."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tunesmith.blame import describe_exception
from tunesmith.core.ports import Clock, Record
from tunesmith.journal.trials import TrialBook, TrialList
from tunesmith.progress.board import Board
from tunesmith.progress.plain import PlainReporter
from tunesmith.progress.text import plain

__all__ = ["OwnReporter"]

_ASK_S = 0.1
"""A reporter is asked so often at most, and never for more than a tenth of the time."""

_log = logging.getLogger("tunesmith")


class OwnReporter:
    """An :class:`~tunesmith.core.ports.Observer` that asks the user's reporter; when that raises, plain lines take over.

    Args:
        reporter: has ``should_report`` and ``report``, may have ``setup``.
        book: folds the records into the trials that it is given.
        lines: prints the summary, and everything else should the reporter fail.
        board: the picture for reporters that show a table; what is in use.
        scheduler: its name.
    """

    def __init__(self, reporter: Any, book: TrialBook, lines: PlainReporter, board: Board, clock: Clock, scheduler: str) -> None:
        self._reporter, self._book, self._lines, self._board, self._clock = reporter, book, lines, board, clock
        self._trials = _Pictured(book, board)
        self._scheduler = scheduler
        self._next = 0.0
        self._begun = self._failed = False

    def setup(self, **info: Any) -> None:
        """Tell the reporter of the run."""
        if hasattr(self._reporter, "setup"):
            self._guarded("setup", lambda: self._reporter.setup(**info))

    def replay(self, records: Iterable[Record]) -> None:
        """Take in records of earlier sessions without showing them."""
        known = list(records)
        for record in known:
            self._book.apply(record)
        self._board.replay(known)
        self._lines.replay(known)

    def committed(self, records: Sequence[Record]) -> None:
        """Take in what was committed, and ask the reporter if its time has come."""
        self._begun = True
        for record in records:
            self._book.apply(record)
        self._board.committed(records)
        self._lines.committed(records)
        began = self._clock.now()
        if began >= self._next:
            self._ask(done=False)
            now = self._clock.now()
            self._next = now + max(_ASK_S, 10 * (now - began))

    def close(self) -> None:
        """The last report, and the summary."""
        if self._begun:
            self._ask(done=True)
        self._lines.close()

    def _ask(self, *, done: bool) -> None:
        reporter, trials = self._reporter, self._trials
        if self._guarded("should_report", lambda: reporter.should_report(trials, done=done)):
            self._guarded("report", lambda: reporter.report(trials, done, *self._system()))

    def _system(self) -> list[str]:
        used = [f"{plain(name)} {amount:g}/{total:g}" for name, (amount, total) in self._board.resources().items()]
        return [f"resources in use: {', '.join(used) or 'none'}", f"scheduler: {self._scheduler}"]

    def _guarded(self, method: str, call: Callable[[], Any]) -> Any:
        if self._failed:
            return None
        try:
            return call()
        except Exception as error:
            self._failed = True
            self._lines.alone()
            name = type(self._reporter).__name__
            _log.warning("progress_reporter: %s.%s raised: %s. Plain lines take over.", name, method, describe_exception(error))
            return None


class _Pictured(TrialList):
    """All trials, and the board that knows their picture without going through them."""

    def __init__(self, book: TrialBook, board: Board) -> None:
        super().__init__(book)
        self.board = board
