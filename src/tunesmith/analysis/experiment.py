"""ExperimentAnalysis: an experiment read back from its journal, during the run, after it, or after a crash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.alike import AlikeReadings, identical
from tunesmith.analysis.drawing import Drawn
from tunesmith.analysis.notices import Notices
from tunesmith.analysis.objective import Objectives, best
from tunesmith.analysis.population import PopulationReadings
from tunesmith.analysis.shown import Shown
from tunesmith.analysis.source import Source, decided
from tunesmith.analysis.steps import Step, best_step, checkpoints, failure, step_of
from tunesmith.analysis.tables import TableReadings
from tunesmith.core.flat import ResultDict
from tunesmith.core.trial import ERROR, TERMINATED
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.journal.projections import Best, Curves, Decisions, Reader, TrialTable
from tunesmith.journal.rows import date_of
from tunesmith.journal.scores import check_scope
from tunesmith.journal.trials import TrialBook, TrialInfo

if TYPE_CHECKING:
    from tunesmith.analysis.frames import Frames
    from tunesmith.analysis.pasts import Pasts
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["ExperimentAnalysis", "open_experiment"]


def open_experiment(path: str | os.PathLike[str], storage_filesystem: Any = None) -> ExperimentAnalysis:
    """Open an experiment for reading: one that runs, has ended, crashed, or was moved here. Nothing is started or unpickled.

    A folder that Ray Tune wrote (``~/ray_results/<name>``) opens as well: its states, results, configurations and checkpoints. So does
    an experiment that is stored remotely: its journal is copied at once, its checkpoints and files when they are asked for.

    Args:
        path: the experiment's directory, or the ``experiment.db`` in it; Ray's directory, or an ``experiment_state-....json`` in it; or
            its URL.
        storage_filesystem: of fsspec's or pyarrow's, in which ``path`` is a path.

    Raises:
        JournalError: there is no experiment; :class:`JournalCorrupt`: what is there cannot be read.

    Example:
        >>> open_experiment("no/such/directory")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        tunesmith.errors.JournalError: there is no experiment at ...
    """
    return ExperimentAnalysis(path, storage_filesystem=storage_filesystem)


class ExperimentAnalysis(Shown, Drawn, TableReadings, AlikeReadings, PopulationReadings):
    """Trials, results and checkpoints of one experiment, read from its journal when first asked for.

    What was read stays as it is until :meth:`refresh`. Picklable: a copy carries what was read, and reads the rest from the same path.

    Args:
        path_or_reader: the experiment's directory or journal file, or a journal that is open (anything with ``header`` and ``read``); a
            folder of Ray Tune's, of which the metric is known, but not the mode.
        default_metric, default_mode: for calls that name none: a name, or lists of names and modes. None: those of the run.
        trials: views to show instead of those read from the journal.
        resolve: drawn values and the description of their space -> config; None: from that description alone, where options that JSON
            cannot hold are shown by their labels.
        experiment_path: the directory, where ``path_or_reader`` is an open journal without a ``path``.
        experiment_checkpoint_path: Ray's name of the first argument.
        storage_filesystem: of fsspec's or pyarrow's, in which the path is one.

    Raises:
        JournalError: there is no experiment at that path.
        SpecError: a mode that is neither "min" nor "max", lists of different lengths, no path or two, or no such
            storage.

    Example:
        >>> from tunesmith.core.events import Reported, Suggested
        >>> from tunesmith.core.ports import Header, Record
        >>> from tunesmith.journal import MemoryJournal
        >>> journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
        >>> for number, lr in enumerate([0.1, 0.01]):
        ...     _ = journal.append([Record(Suggested(number, {"lr": lr})), Record(Reported(number, 0, 1, {"loss": lr**2}))])
        >>> analysis = ExperimentAnalysis(journal, default_metric="loss", default_mode="min")
        >>> analysis.best_config, [trial.trial_id for trial in analysis]
        ({'lr': 0.01}, ['3f2a9_00000', '3f2a9_00001'])
    """

    def __init__(
        self,
        path_or_reader: str | os.PathLike[str] | Reader | None = None,
        *,
        default_metric: str | Sequence[str] | None = None,
        default_mode: str | Sequence[str] | None = None,
        trials: Sequence[TrialInfo] | None = None,
        resolve: Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]] | None = None,
        experiment_path: str | None = None,
        experiment_checkpoint_path: str | os.PathLike[str] | None = None,
        storage_filesystem: Any = None,
    ) -> None:
        given = path_or_reader if path_or_reader is not None else experiment_checkpoint_path
        if given is None or (path_or_reader is not None and experiment_checkpoint_path is not None):
            raise SpecError("ExperimentAnalysis needs one path: the experiment's directory, as in ExperimentAnalysis('results/digits').")
        if not isinstance(given, (str, os.PathLike)) and not hasattr(given, "read"):
            raise SpecError(f"ExperimentAnalysis needs a path or an open journal, got a {type(given).__name__}.")
        self._source = Source(given, experiment_path, storage_filesystem)
        self._given = (default_metric, default_mode)
        Objectives.of(default_metric, default_mode, {})
        self._trials = trials
        self._resolve = resolve
        self._table: TrialTable | None = None
        self._curves: dict[str, Curves] = {}
        self._pasts: Pasts | None = None
        self._frames: Frames | None = None
        self._notices = Notices()

    # -- reading ---------------------------------------------------------------------------------------------------------

    @property
    def experiment_path(self) -> str:
        """The experiment's directory, as it is now."""
        return self._source.path

    @property
    def _book(self) -> TrialBook:
        if self._table is None:
            with self._source.reader() as reader:
                self._table = TrialTable(reader.header, book=self._source.book(reader, self._resolve)).update(reader)
        return self._table.book

    def refresh(self) -> ExperimentAnalysis:
        """Read what a live run has added since; returns this same object."""
        if self._source.forget():
            self._table = self._pasts = None
            self._curves.clear()
        elif self._table is not None:
            with self._source.reader() as reader:
                if self._pasts is not None and self._pasts.book is self._table.book:  # they were read in one pass, and go on so
                    self._table.cursor = self._pasts.update(reader).cursor
                else:
                    self._table.update(reader)
            with self._reader() as reader:
                if self._pasts is not None and self._pasts.book is not self._table.book:
                    self._pasts.update(reader)
                for curves in self._curves.values():
                    curves.update(reader)
        self._frames = None
        return self

    def _reader(self) -> AbstractContextManager[Reader]:
        """The journal; once the trials were read, no further than these: more may have come since."""
        return self._source.reader(None if self._table is None else self._table.cursor)

    def _curves_of(self, metric: str) -> Curves:
        curves = self._curves.get(metric)
        if curves is None:
            with self._reader() as reader:
                curves = self._curves[metric] = Curves(metric).update(reader)
        return curves

    @property
    def _objectives(self) -> Objectives:
        return Objectives.of(*self._given, self._book.experiment.spec)

    @property
    def default_metric(self) -> str | None:
        """The metric that calls without one mean: the given one, or that of the run; None if there is none, or several."""
        return self._objectives.default[0]

    @property
    def default_mode(self) -> str | None:
        """The mode of :attr:`default_metric`."""
        return self._objectives.default[1]

    # -- trials ----------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> list[TrialInfo]:
        """All trials in order of their numbers."""
        return list(self._views)

    @property
    def _views(self) -> Sequence[TrialInfo]:
        return self._trials if self._trials is not None else self._book.trials

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: int) -> TrialInfo:
        return self._views[index]

    def __iter__(self) -> Iterator[TrialInfo]:
        return iter(self._views)

    def __repr__(self) -> str:
        return f"<ExperimentAnalysis of {self._book.experiment.header.name!r}: {len(self)} trials in {self.experiment_path or 'memory'}>"

    @property
    def results(self) -> dict[str, ResultDict]:
        """``trial_id`` -> newest result (empty if there is none), in order of trials."""
        return {trial.trial_id: trial.last_result for trial in self}

    @property
    def errors(self) -> list[UserCodeError]:
        """One exception, rebuilt from the record, for each trial that ended in ERROR."""
        return [error for trial in self if (error := failure(trial)) is not None]

    @property
    def num_errors(self) -> int:
        """Trials that ended in ERROR."""
        return sum(trial.status == ERROR for trial in self)

    @property
    def num_terminated(self) -> int:
        """Trials that ended well."""
        return sum(trial.status == TERMINATED for trial in self)

    def stats(self) -> dict[str, Any]:
        """``start_time`` and ``timestamp`` (wall time of the first and the newest record, seconds since the epoch), ``total_time_s``,
        ``num_trials``, and the number of trials per status."""
        book = self._book
        wall = book.experiment.wall
        return {"start_time": wall(0.0), "timestamp": wall(book.at), "total_time_s": book.at, "num_trials": book.count, **book.counts}

    def runner_data(self) -> dict[str, Any]:
        """What is known of the run as a whole, under Ray's names: ``_start_time`` and ``_total_time`` (seconds), ``_session_str`` (local
        time of the start), ``_metric`` and ``_mode``. Of a folder of Ray's all that is written there, without what was pickled."""
        book = self._book
        recorded = book.experiment.spec.get("runner_data")
        if recorded is not None:
            return dict(recorded)
        start = book.experiment.wall(0.0)
        metric, mode = self._objectives.default
        times = {"_start_time": start, "_total_time": book.at, "_session_str": date_of(int(start))}
        return {**times, "_metric": metric, "_mode": mode}

    def set_filetype(self, file_type: str | None = None) -> None:
        """Taken for the sake of old scripts, with one line in the log: results are read from the journal, neither "csv" nor "json".

        Raises:
            SpecError: anything but "csv", "json" or None.
        """
        if file_type not in (None, "csv", "json"):
            raise SpecError(f"set_filetype: file_type must be 'csv', 'json' or None, got {file_type!r}.")
        if file_type is not None:
            self._notices.same_for_all_files(file_type)

    def decisions(self) -> list[dict[str, Any]]:
        """Every recorded decision: dicts of ``at`` (seconds), ``trial`` (number), ``do``, ``reason`` and ``seq``, in order."""
        with self._reader() as reader:
            return Decisions().fold(decided(reader)).entries

    # -- the best --------------------------------------------------------------------------------------------------------

    def _pick(self, call: str, metric: str | None, mode: str | None, scope: str, finite: bool) -> Best:
        """The best trial and step."""
        check_scope(scope)
        metric, mode = self._objectives.complete(call, metric, mode)
        found = best(self._curves_of(metric), self._views, mode, scope, finite)
        self._notices.alike(metric, lambda: identical(self._curves_of(metric), self._views))
        return found

    def _best_step(self, call: str, metric: str | None, mode: str | None, scope: str, finite: bool) -> Step:
        found = self._pick(call, metric, mode, scope, finite)
        return step_of(self[found.trial], found.iteration)

    def get_best_step(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> Step:
        """The best trial together with the report that makes it the best one: result, configuration and checkpoint of one step.

        Trials that ended infeasible do not take part. Where that report came without a checkpoint, it is the nearest earlier one
        (``saved_at`` is its step, and a line in the log says so once), as in :attr:`Result.checkpoint`.

        Args:
            metric, mode: None: the run's own.
            scope: which of a trial's reports count: ``last``, ``all`` (or ``best``), ``avg``, ``last-<k>-avg``.
            filter_nan_and_inf: see :func:`tunesmith.journal.scores.score`.

        Raises:
            MetricError: no trial reported it, or never a number that counts.
            SpecError: metric or mode is missing; unknown mode or scope.
        """
        step = self._best_step("get_best_step", metric, mode, scope, filter_nan_and_inf)
        self._notices.handed_out(step)
        return step

    def get_best_trial(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> TrialInfo:
        """The best trial, of equally good ones the first. Arguments and errors as in :meth:`get_best_step`."""
        return self[self._pick("get_best_trial", metric, mode, scope, filter_nan_and_inf).trial]

    def get_best_config(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> dict[str, Any]:
        """The configuration that the best report was made with. Arguments and errors as in :meth:`get_best_step`."""
        return self._best_step("get_best_config", metric, mode, scope, filter_nan_and_inf).config

    def get_best_logdir(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> str:
        """The best trial's directory. Arguments and errors as in :meth:`get_best_step`."""
        return self.get_best_trial(metric, mode, scope, filter_nan_and_inf).path

    def get_best_checkpoint(
        self, trial: TrialInfo | str | None = None, metric: str | None = None, mode: str | None = None
    ) -> Checkpoint | None:
        """The checkpoint of a trial, among those still there, whose own report was best.

        Args:
            trial: a trial, its ``trial_id`` or its directory; None: the best one.
            metric, mode: None: the run's own.

        Returns:
            None if no checkpoint with a finite value of the metric is left.
        """
        metric, mode = self._objectives.complete("get_best_checkpoint", metric, mode)
        chosen = self.get_best_trial(metric, mode) if trial is None else self.get_trial(trial)
        steps = checkpoints(chosen)
        self._notices.looked(chosen, steps)
        step = best_step(steps, metric, mode)
        return step.checkpoint if step is not None else None

    def get_last_checkpoint(
        self, trial: TrialInfo | str | None = None, metric: str | None = None, mode: str | None = None
    ) -> Checkpoint | None:
        """A trial's newest checkpoint, or None; without ``trial`` that of the best one by ``metric`` and ``mode``, for which a run without
        a metric means the trial that got furthest."""
        if trial is None and metric is None and not self._objectives.metrics:
            metric, mode = "training_iteration", mode or "max"
        chosen = self.get_best_trial(metric, mode) if trial is None else self.get_trial(trial)
        found = checkpoints(chosen)
        self._notices.looked(chosen, found)
        return found[-1].checkpoint if found else None

    def get_trial_checkpoints_paths(self, trial: TrialInfo | str, metric: str | None = None) -> list[tuple[str, Any]]:
        """(path, value of ``metric`` at the checkpoint's own step) of a trial's checkpoints that are still there, oldest first.

        The value is None if the checkpoint came with no report, or the report without the metric.
        """
        name = metric or self.default_metric or "training_iteration"
        return [(step.checkpoint.path, step.metrics.get(name)) for step in checkpoints(self.get_trial(trial)) if step.checkpoint]

    def get_trial(self, trial: TrialInfo | str) -> TrialInfo:
        """The trial with that ``trial_id``, name or directory.

        Raises:
            SpecError: there is none.
        """
        if isinstance(trial, TrialInfo):
            return trial
        path = os.path.abspath(os.path.expanduser(trial)) if os.sep in trial else trial
        for found in self:
            if trial in (found.trial_id, found.trial_name) or path == found.path:
                return found
        raise SpecError(
            f"experiment {self._book.experiment.header.name!r} has no trial {trial!r}: give a trial, its trial_id or its directory."
        )

    @property
    def best_trial(self) -> TrialInfo:
        """The best trial by the run's metric and mode (its newest report counts)."""
        return self.get_best_trial()

    @property
    def best_config(self) -> dict[str, Any]:
        """The configuration of :attr:`best_trial`."""
        return self.get_best_config()

    @property
    def best_result(self) -> ResultDict:
        """The newest result of :attr:`best_trial` that has the metric."""
        return self._best_step("get_best_step", None, None, "last", True).metrics

    @property
    def best_logdir(self) -> str:
        """The directory of :attr:`best_trial`."""
        return self.get_best_logdir()

    @property
    def best_checkpoint(self) -> Checkpoint | None:
        """The best checkpoint of :attr:`best_trial`."""
        return self.get_best_checkpoint()

    def __getstate__(self) -> dict[str, Any]:
        trials = None if self._trials is None else list(self._trials)
        _ = self._book
        return {**self.__dict__, "_trials": trials, "_resolve": None, "_frames": None, "_pasts": None}
