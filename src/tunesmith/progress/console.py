"""Which of the displays a run gets: a picture drawn in place, plain lines, or the user's own reporter."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.blame import describe_exception
from tunesmith.core.ports import Clock, Header, Observer, Record
from tunesmith.journal.trials import TrialBook, TrialList
from tunesmith.progress.board import Board
from tunesmith.progress.live import LiveReporter, Screen
from tunesmith.progress.notebook import NotebookScreen, in_notebook
from tunesmith.progress.plain import PlainReporter
from tunesmith.progress.reporters import CLIReporter, JupyterNotebookReporter
from tunesmith.progress.screen import TerminalScreen, terminal
from tunesmith.progress.text import plain

if TYPE_CHECKING:
    from tunesmith.spec import ExperimentSpec

__all__ = ["OwnReporter", "console"]

_ASK_S = 0.1
"""A reporter is asked so often at most, and never for more than a tenth of the time."""

_log = logging.getLogger("tunesmith")


def console(
    spec: ExperimentSpec, header: Header, total: int | None, book: TrialBook, past: Sequence[Record], clock: Clock
) -> Observer:
    """The observer that tells people of a run that is not to be silent.

    Args:
        total: trials in all, None: not known.
        book: trials for the user's own reporter; nobody else's.
        past: records of earlier sessions: known, but not told again.
    """
    reporter = spec.progress_reporter
    options = getattr(reporter, "options", None)
    screen = _screen(spec, reporter)
    pictured = screen is not None or reporter is not None
    lines = PlainReporter(header, spec.path, show=spec.space.labels, verbose=spec.verbose, clock=clock.now, pictured=pictured)
    board = Board(header, clock.now, options, spec.space.labels)
    if screen is not None:
        live = LiveReporter(board, lines, screen, final=reporter is not None and not screen.stays)
        live.replay(past)
        return live
    if reporter is None:
        lines.replay(past)
        return lines
    own = OwnReporter(reporter, book, lines, board if options is not None else None, spec, clock)
    own.replay(past)
    own.setup(start_time=clock.wall(), total_samples=total, metric=next(iter(spec.metrics), None), mode=next(iter(spec.modes), None))
    return own


def _screen(spec: ExperimentSpec, reporter: Any) -> Screen | None:
    """Where a picture can be drawn in place of what is printed; None: nowhere, or the user's reporter does without."""
    if reporter is not None and not (_as_made(reporter) and getattr(reporter, "overwrite", True)):
        return None
    if in_notebook():
        return NotebookScreen()
    if not _shared(spec) and terminal(sys.stdout):
        return TerminalScreen(sys.stdout, [sys.stderr])
    return None


def _as_made(reporter: Any) -> bool:
    """Whether reporting itself is as in one of the two classes of ours, so that only the options are the user's."""
    report, should_report = (getattr(type(reporter), method, None) for method in ("report", "should_report"))
    return any(report is cls.report and should_report is cls.should_report for cls in (CLIReporter, JupyterNotebookReporter))


def _shared(spec: ExperimentSpec) -> bool:
    """Whether processes of the trials print on the terminal, too: a picture would be torn."""
    return spec.log_to_file is None and spec.executor is not None and spec.executor.capabilities.kill


class _Watched(TrialList):
    """All trials, and the board that knows their picture without going through them."""

    def __init__(self, book: TrialBook, board: Board) -> None:
        super().__init__(book)
        self.board = board


class OwnReporter:
    """An :class:`~tunesmith.core.ports.Observer` that asks the user's reporter; when that raises, plain lines take over.

    Args:
        reporter: has ``should_report`` and ``report``, may have ``setup``.
        book: folds the records into the trials that it is given.
        lines: prints the summary, and everything else should the reporter fail.
        board: for reporters that have options of a table.
    """

    def __init__(
        self, reporter: Any, book: TrialBook, lines: PlainReporter, board: Board | None, spec: ExperimentSpec, clock: Clock
    ) -> None:
        self._reporter, self._book, self._lines, self._clock = reporter, book, lines, clock
        self._board = board or Board(book.experiment.header, clock.now)
        self._trials = book.trials if board is None else _Watched(book, board)
        self._scheduler = type(spec.scheduler).__name__
        self._next = 0.0
        self._failed = False

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
        self._ask(done=True)
        self._lines.close()

    def _ask(self, *, done: bool) -> None:
        reporter, trials = self._reporter, self._trials
        if self._guarded("should_report", lambda: reporter.should_report(trials, done=done)):
            self._guarded("report", lambda: reporter.report(trials, done, *self._system()))

    def _system(self) -> list[str]:
        used = [f"{plain(name)} {amount:g}/{total:g}" for name, (amount, total) in self._board.resources().items()]
        return [f"resources in use: {', '.join(used) or 'none'}", f"scheduler: {self._scheduler}"]

    def _guarded(self, method: str, call: Any) -> Any:
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
