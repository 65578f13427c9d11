"""Which of the displays a run gets: a picture drawn in place, plain lines, or the user's own reporter."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.core.ports import Clock, Header, Observer, Record
from tunesmith.progress.detect import in_notebook, terminal
from tunesmith.progress.plain import PlainReporter

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialBook
    from tunesmith.progress.board import Show
    from tunesmith.progress.live import Screen
    from tunesmith.spec import ExperimentSpec

__all__ = ["console"]


def console(
    spec: ExperimentSpec, header: Header, total: int | None, book: TrialBook, past: Sequence[Record], clock: Clock, show: Show
) -> Observer:
    """The observer that tells people of a run that is not to be silent.

    Args:
        total: trials in all, None: not known.
        book: trials for the user's own reporter; nobody else's.
        past: records of earlier sessions: known, but not told again.
        show: drawn values and the version of the space that they belong to -> what to show of them.
    """
    reporter = spec.progress_reporter
    screen = _screen(spec, reporter)
    pictured = screen is not None or reporter is not None
    lines = PlainReporter(header, spec.path if spec.kept else "", show=show, verbose=spec.verbose, clock=clock.now, pictured=pictured)
    if not pictured:
        lines.replay(past)
        return lines
    from tunesmith.progress.board import Board
    from tunesmith.progress.options import TableOptions

    options = getattr(reporter, "options", None)  # of a class of the user's they may be anything
    board = Board(header, clock.now, options if isinstance(options, TableOptions) else None, show)
    if screen is not None:
        from tunesmith.progress.live import LiveReporter

        live = LiveReporter(board, lines, screen, final=reporter is not None and not screen.stays)
        live.replay(past)
        return live
    from tunesmith.progress.own import OwnReporter

    own = OwnReporter(reporter, book, lines, board, clock, type(spec.scheduler).__name__)
    own.replay(past)
    metric, mode = (spec.metrics[0], spec.modes[0]) if len(spec.metrics) == 1 else (None, None)  # with several no trial is the best
    own.setup(start_time=clock.wall(), total_samples=total, metric=metric, mode=mode)
    return own


def _screen(spec: ExperimentSpec, reporter: Any) -> Screen | None:
    """Where a picture can be drawn in place of what is printed; None: nowhere, or the user's reporter does without."""
    if reporter is not None and not (_as_made(reporter) and getattr(reporter, "overwrite", True)):
        return None
    if in_notebook():
        from tunesmith.progress.notebook import NotebookScreen

        return NotebookScreen()
    if not _shared(spec) and terminal(sys.stdout):
        from tunesmith.progress.screen import TerminalScreen

        return TerminalScreen(sys.stdout, [sys.stderr])
    return None


def _as_made(reporter: Any) -> bool:
    """Whether reporting itself is as in one of the two classes of ours, so that only the options are the user's."""
    from tunesmith.progress.reporters import CLIReporter, JupyterNotebookReporter

    report, should_report = (getattr(type(reporter), method, None) for method in ("report", "should_report"))
    return any(report is cls.report and should_report is cls.should_report for cls in (CLIReporter, JupyterNotebookReporter))


def _shared(spec: ExperimentSpec) -> bool:
    """Whether processes of the trials print on the terminal, too: a picture would be torn."""
    return spec.log_to_file == () and spec.executor is not None and spec.executor.capabilities.isolated
