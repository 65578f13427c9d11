"""Reporters that users give as ``progress_reporter=``: what the table shows, or a class of their own that shows something else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.core.trial import ERROR, TERMINATED
from tunesmith.errors import SpecError
from tunesmith.progress.board import Board, Picture, best_of, row_of
from tunesmith.progress.detect import in_notebook
from tunesmith.progress.layout import block
from tunesmith.progress.options import TableOptions
from tunesmith.progress.table import Line

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["CLIReporter", "JupyterNotebookReporter", "ProgressReporter", "TuneReporterBase"]

_BLOCK_S = 5.0
"""Seconds between two printed tables, where nothing else is said."""


class ProgressReporter:
    """Subclass it to show the progress of a run your own way; give an instance as ``progress_reporter=``.

    It takes the place of the table and of the lines for starts and ends; the first lines, failures and the closing summary stay. It
    is asked after records were committed, at most ten times a second and never for more than about a tenth of the time, and once
    more at the end. One that raises is told once, and lines as usual take over. With ``verbose=0`` it is not called.

    ``trials`` is a lazy, read-only sequence of all trials (see :class:`~tunesmith.Callback`); those that are over are read from the
    journal when they are looked at, so going through all of them takes time.

    Example:
        >>> class Last(ProgressReporter):
        ...     def should_report(self, trials, done=False):
        ...         return done
        ...     def report(self, trials, done, *sys_info):
        ...         print(f"{len(trials)} trials, the last with", trials[-1].config)
        >>> import tempfile
        >>> from tunesmith import grid_search, run
        >>> def train(config):
        ...     return {"score": config["x"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = run(
        ...         train, "last", config={"x": grid_search([1, 2])}, storage_path=folder, progress_reporter=Last(), executor="inline",
        ...         seed=1,
        ...     )  # doctest: +ELLIPSIS
        last begins: 2 trials, BasicVariantGenerator, FIFOScheduler, executor inline, seed 1
        files: ...
        2 trials, the last with {'x': 2}
        last: 2 trials in ... (2 TERMINATED)
        files: ...
    """

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **info: Any,
    ) -> None:
        """Called once, before the first report.

        Args:
            start_time: of this session, seconds since the epoch.
            total_samples: trials in all; None: not known.
            metric, mode: the run's first ones, or None.
            info: for what later releases may add.
        """

    def should_report(self, trials: Sequence[TrialInfo], done: bool = False) -> bool:
        """Whether :meth:`report` is to be called now. ``done``: the run is over."""
        raise NotImplementedError

    def report(self, trials: Sequence[TrialInfo], done: bool, *sys_info: str) -> None:
        """Show the progress.

        Args:
            trials: all of them.
            done: the run is over.
            sys_info: lines on what is in use.
        """
        raise NotImplementedError


class TuneReporterBase(ProgressReporter):
    """What the two reporters with a table share: their options. See :class:`CLIReporter`."""

    def __init__(
        self,
        metric_columns: Sequence[str] | Mapping[str, str] | None = None,
        parameter_columns: Sequence[str] | Mapping[str, str] | None = None,
        *,
        total_samples: int | None = None,
        max_progress_rows: int = 20,
        max_error_rows: int = 20,
        max_column_length: int = 20,
        max_report_frequency: float | None = None,
        infer_limit: int = 3,
        print_intermediate_tables: bool | None = None,
        metric: str | None = None,
        mode: str | None = None,
        sort_by_metric: bool = False,
    ) -> None:
        owner = type(self).__name__
        if metric is not None and not isinstance(metric, str):
            raise SpecError(f"{owner}: metric must be a reported key, got {metric!r}.")
        if mode is not None and mode not in ("min", "max"):
            raise SpecError(f"{owner}: mode must be 'min' or 'max', got {mode!r}.")
        if (metric is None) != (mode is None):
            given = f"metric={metric!r}" if mode is None else f"mode={mode!r}"
            raise SpecError(f"{owner}: {given} is given alone; give metric and mode, or neither to take the run's.")
        for name, value in (("print_intermediate_tables", print_intermediate_tables), ("sort_by_metric", sort_by_metric)):
            if value not in (True, False, None):
                raise SpecError(f"{owner}: {name} must be True or False, got {value!r}.")
        self.options = TableOptions(
            metric_columns=_columns(owner, "metric_columns", metric_columns),
            parameter_columns=_columns(owner, "parameter_columns", parameter_columns),
            total_samples=None if total_samples is None else _whole(owner, "total_samples", total_samples, 1),
            max_progress_rows=_whole(owner, "max_progress_rows", max_progress_rows, 0),
            max_error_rows=_whole(owner, "max_error_rows", max_error_rows, 0),
            max_column_length=_whole(owner, "max_column_length", max_column_length, 4),
            max_report_frequency=_seconds(owner, max_report_frequency),
            infer_limit=_whole(owner, "infer_limit", infer_limit, 0),
            tables=print_intermediate_tables is not False,
            metric=metric,
            mode=mode,
            sort_by_metric=bool(sort_by_metric),
        )
        self._metric, self._mode, self._total = metric, mode, self.options.total_samples
        self._last = -math.inf

    def add_metric_column(self, metric: str, representation: str | None = None) -> None:
        """Add a column; with it, only the columns asked for by name are shown, as with ``metric_columns``.

        Args:
            metric: reported key.
            representation: its header; None: the key.

        Raises:
            SpecError: the column is there already.
        """
        self.options.metric_columns = self._added("metric", self.options.metric_columns, metric, representation)

    def add_parameter_column(self, parameter: str, representation: str | None = None) -> None:
        """Add a column for a parameter, as with ``parameter_columns``.

        Args:
            parameter: its path in the configuration, joined by "/".
            representation: its header; None: the path.

        Raises:
            SpecError: the column is there already.
        """
        self.options.parameter_columns = self._added("parameter", self.options.parameter_columns, parameter, representation)

    def _added(self, kind: str, columns: Mapping[str, str] | None, name: str, representation: str | None) -> dict[str, str]:
        if columns is not None and name in columns:
            raise SpecError(f"{type(self).__name__}: there is a column for the {kind} {name!r} already.")
        return {**(columns or {}), name: representation or name}

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **info: Any,
    ) -> None:
        """The run's metric, mode and number of trials stand in for those that were not given."""
        self._metric, self._mode = (self.options.metric, self.options.mode) if self.options.metric else (metric, mode)
        self._total = self.options.total_samples or total_samples
        self._last = -math.inf

    def should_report(self, trials: Sequence[TrialInfo], done: bool = False) -> bool:
        """At the end, and whenever ``max_report_frequency`` seconds have passed."""
        now, period = time.monotonic(), self.options.max_report_frequency
        if not done and now - self._last < (_BLOCK_S if period is None else period):
            return False
        self._last = now
        return True

    def lines(self, trials: Sequence[TrialInfo], done: bool, *sys_info: str) -> list[Line]:
        """What is to be shown, as lines of (text, style) pieces."""
        return block(self._pictured(trials), self.options, sys_info, tables=done or self.options.tables)

    def _pictured(self, trials: Iterable[TrialInfo]) -> Picture:
        """The picture of the run, or of those trials that a subclass has chosen."""
        board: Board | None = getattr(trials, "board", None)
        if board is not None:
            return board.picture()
        known = list(trials)
        rows = [row_of(trial) for trial in known]
        counts: dict[str, int] = {}
        for row in rows:
            counts[row.status] = counts.get(row.status, 0) + 1
        over = counts.get(TERMINATED, 0) + counts.get(ERROR, 0)
        name = known[0].experiment.header.name if known else ""
        picture = Picture(name, counts, self._total, over, metrics=(self._metric,) if self._metric else ())
        if self._metric:
            feasible = [row_of(trial) for trial in known if trial.outcome != "infeasible"]
            picture.best = best_of(feasible, self._metric, self._mode or "max")
        picture.rows = rows[: self.options.max_progress_rows]
        picture.failed = [(trial.trial_id, trial.reason) for trial in known if trial.status == ERROR][: self.options.max_error_rows]
        return picture


class CLIReporter(TuneReporterBase):
    """Chooses what the console shows of the trials.

    On a terminal the table is drawn in place; elsewhere (and in subclasses with a ``should_report`` or ``report`` of their own) it is
    printed every few seconds. At the end it is printed once more.

    Args:
        metric_columns: reported keys, or a dict of key -> header; None: iterations, seconds, the run's metric and what is inferred.
        parameter_columns: paths of parameters ("optimizer/lr"), or a dict of path -> header; None: all that were drawn.
        total_samples: trials in all, for the progress bar; None: as the run says.
        max_progress_rows: rows of the table. Running trials come first, then paused ones, ended ones, waiting ones.
        max_error_rows: newest failed trials that are listed beneath it.
        max_column_length: longer headers and values are cut to so many characters, >= 4.
        max_report_frequency: seconds between two tables, >= 0. None: 5 where they are printed; in place four a second, which is the most.
        infer_limit: so many numbers that are reported become columns without being asked for, if ``metric_columns`` is None.
        print_intermediate_tables: False: until the run ends only counts and the best trial are shown, not the table.
        metric, mode: what the best trial is measured by ("min" or "max"); None: as the run says.
        sort_by_metric: of the ended trials the best are shown, best first, instead of the newest.

    Raises:
        SpecError: an option is not what it can be.

    Example:
        >>> reporter = CLIReporter(metric_columns={"mean_accuracy": "acc"}, parameter_columns=["lr"], max_progress_rows=10)
        >>> reporter.add_metric_column("training_iteration", "iter")
        >>> list(reporter.options.metric_columns.values())
        ['acc', 'iter']
    """

    def report(self, trials: Sequence[TrialInfo], done: bool, *sys_info: str) -> None:
        """Print the table."""
        for line in self.lines(trials, done, *sys_info):
            print("".join(text for text, _ in line))
        print(flush=True)


class JupyterNotebookReporter(TuneReporterBase):
    """:class:`CLIReporter` for notebooks; outside of one it does the same as that.

    Args:
        overwrite: the table is drawn in place; False: one below the other, every ``max_report_frequency`` seconds.
        options: those of :class:`CLIReporter`.

    Raises:
        SpecError: an option is not what it can be.

    Example:
        >>> JupyterNotebookReporter(overwrite=True, max_progress_rows=5).options.max_progress_rows
        5
    """

    def __init__(self, overwrite: bool = True, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if overwrite not in (True, False):
            raise SpecError(f"{type(self).__name__}: overwrite must be True or False, got {overwrite!r}.")
        self.overwrite = bool(overwrite)

    def setup(
        self,
        start_time: float | None = None,
        total_samples: int | None = None,
        metric: str | None = None,
        mode: str | None = None,
        **info: Any,
    ) -> None:
        """As for the console; a new run gets a new table."""
        from tunesmith.progress.notebook import NotebookScreen

        super().setup(start_time, total_samples, metric, mode, **info)
        self._screen = NotebookScreen()

    def report(self, trials: Sequence[TrialInfo], done: bool, *sys_info: str) -> None:
        """Show the table in the cell's output; outside of a notebook print it."""
        from tunesmith.progress.notebook import NotebookScreen, html
        from tunesmith.progress.notebook_page import page

        if not in_notebook():
            for line in self.lines(trials, done, *sys_info):
                print("".join(text for text, _ in line))
            return
        if type(self).lines is TuneReporterBase.lines:
            shown = page(self._pictured(trials), self.options, sys_info, tables=done or self.options.tables)
        else:  # a subclass says what is shown
            shown = html(self.lines(trials, done, *sys_info))
        (self._screen if self.overwrite else NotebookScreen()).show(shown)


# -- checks --------------------------------------------------------------------------------------------------------------


def _columns(owner: str, what: str, given: Any) -> dict[str, str] | None:
    if given is None:
        return None
    pairs = given.items() if isinstance(given, Mapping) else [(name, name) for name in given] if isinstance(given, list | tuple) else None
    if pairs is None or not all(isinstance(name, str) and isinstance(header, str) for name, header in pairs):
        raise SpecError(f"{owner}: {what} must be a list of names, or a dict of name -> header, got {given!r}.")
    return dict(pairs)


def _whole(owner: str, what: str, given: Any, least: int) -> int:
    if isinstance(given, bool) or not hasattr(given, "__index__") or given < least:
        raise SpecError(f"{owner}: {what} must be a whole number >= {least}, got {given!r}.")
    return int(given)


def _seconds(owner: str, given: Any) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool | str) or not hasattr(given, "__float__") or not 0 <= float(given) < math.inf:
        raise SpecError(f"{owner}: max_report_frequency must be a number of seconds >= 0, got {given!r}.")
    return float(given)
