"""ResultGrid and Result: what ``Tuner.fit`` returns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, overload

from tunesmith.analysis.drawing import Drawn
from tunesmith.analysis.experiment import ExperimentAnalysis, open_experiment
from tunesmith.analysis.frames import frame
from tunesmith.analysis.notices import Notices
from tunesmith.analysis.shown import Shown
from tunesmith.analysis.source import is_ray_experiment
from tunesmith.analysis.steps import Step, best_step, checkpoints, failure, history, step_of
from tunesmith.core.flat import ResultDict
from tunesmith.errors import JournalError, MetricError, UserCodeError
from tunesmith.hints import did_you_mean
from tunesmith.journal.scores import check_mode
from tunesmith.journal.trials import TrialInfo
from tunesmith.places import JOURNAL, is_url

if TYPE_CHECKING:
    import pandas as pd

    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["Result", "ResultGrid"]


class Result(Shown):
    """One trial's result: metrics, configuration and checkpoint of *one* step.

    Results of ``grid[i]`` stand for the trial's newest report, those of ``get_best_result`` for the report that made it the best.
    The checkpoint is the one that came with that report or, if none did, the nearest earlier one: then :attr:`checkpoint_iteration` and
    :attr:`checkpoint_metrics` tell which step it is of, and a line in the log says so once.
    Picklable; what it has to read, it reads from the experiment's directory.

    Args:
        trial: the trial.
        iteration: which of its reports; None: the newest.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     for step in range(1, 7):
        ...         tune.report({"loss": 1 / step}, checkpoint={"step": step} if step % 2 == 0 else None)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(train, metric="loss", mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     result = Result(analysis.best_trial, iteration=4)
        ...     print(result.metrics["loss"], result.checkpoint.to_dict(), result.checkpoint_iteration)
        0.25 {'step': 4} 4
    """

    def __init__(self, trial: TrialInfo, iteration: int | None = None) -> None:
        self.trial = trial
        self._iteration = iteration
        self._loaded: Step | None = None
        self._notices = Notices()

    @classmethod
    def _of(cls, trial: TrialInfo, notices: Notices, step: Step | None = None) -> Result:
        """One that shares its notices with others."""
        result = cls(trial, step.iteration if step is not None else None)
        result._loaded, result._notices = step, notices
        return result

    @classmethod
    def from_path(cls, path: str | os.PathLike[str], storage_filesystem: Any = None) -> Result:
        """The result of the trial in directory ``path``, read from the journal (or Ray's files) of the experiment above it.

        Args:
            path: of the trial's directory, or its URL.
            storage_filesystem: of fsspec's or pyarrow's, in which ``path`` is a path.

        Raises:
            JournalError: that directory belongs to no experiment.
            SpecError: there is no such storage, or no such trial.
        """
        if storage_filesystem is not None or is_url(path):
            from tunesmith.storage.copies import open_copy

            copy, trial = open_copy(path, storage_filesystem, above=True)
            return cls(open_experiment(copy).get_trial(os.path.join(copy, trial)))
        directory = os.path.abspath(os.path.expanduser(os.fspath(path)))
        if os.path.isfile(os.path.join(directory, JOURNAL)):
            raise JournalError(f"{directory} is an experiment, not the directory of a trial: open it with tune.open_experiment(path).")
        parent = os.path.dirname(directory)
        if os.path.isfile(os.path.join(directory, "params.json")) and is_ray_experiment(parent):
            return cls(open_experiment(parent).get_trial(directory))
        while not os.path.isfile(os.path.join(parent, JOURNAL)):
            if parent == os.path.dirname(parent):
                raise JournalError(f"{directory} is no trial's directory: there is no {JOURNAL} in any directory above it.")
            parent = os.path.dirname(parent)
        return cls(open_experiment(parent).get_trial(directory))

    @property
    def _step(self) -> Step:
        if self._loaded is None:
            self._loaded = step_of(self.trial, self._iteration)
        return self._loaded

    @property
    def metrics(self) -> ResultDict:
        """The result of the step; empty if the trial never reported."""
        return self._step.metrics

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the step was made with."""
        return self._step.config

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint of the step or, if that has none, the nearest earlier one of the same past (before an exploit: of the trial
        itself, after it: of its source). Never a later one, and always one that exists: checkpoints that retention has deleted are passed
        over; None, with a line in the log, if it was deleted by somebody else; None if there was never any."""
        self._notices.handed_out(self._step)
        return self._step.checkpoint

    @property
    def checkpoint_iteration(self) -> int | None:
        """The step that :attr:`checkpoint` is of, counted as ``training_iteration`` is; None without a checkpoint."""
        return self._step.saved_at

    @property
    def checkpoint_metrics(self) -> ResultDict:
        """The result reported at the very step that :attr:`checkpoint` is of: the same as :attr:`metrics` if that is the step of this
        result. Empty without a checkpoint, and if the checkpoint came with no report."""
        return self._step.saved_metrics

    @property
    def path(self) -> str:
        """The trial's directory. Of an experiment that is stored remotely, what is there of it is fetched when this is asked for."""
        from tunesmith.storage.copies import bring_trial

        bring_trial(self.trial.experiment.path, self.trial.relative_logdir)
        return self.trial.path

    @property
    def error(self) -> UserCodeError | None:
        """What ended the trial in ERROR, with its traceback as text; None if it ended well or is not over."""
        return failure(self.trial)

    @property
    def metrics_dataframe(self) -> pd.DataFrame | None:
        """All results of the trial, one line per report; None if it never reported."""
        rows = history(self.trial)
        return frame(rows.values()) if rows else None

    @property
    def best_checkpoints(self) -> list[tuple[Checkpoint, ResultDict]]:
        """The checkpoints that retention has kept, oldest first, each with the result of its own step."""
        return [(step.checkpoint, step.metrics) for step in checkpoints(self.trial) if step.checkpoint is not None]

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """Of the checkpoints still there the one whose own report has the best value of ``metric``; None if there is none at all.

        Raises:
            MetricError: no report with a checkpoint has a finite value of the metric.
        """
        check_mode(mode)
        steps = checkpoints(self.trial)
        best = best_step(steps, metric, mode)
        if best is None and steps:
            names = sorted({name for step in steps for name in step.metrics})
            raise MetricError(
                f"no checkpoint of trial {self.trial.trial_name} came with a finite value of {metric!r}.{did_you_mean(metric, names)} "
                f"Reported with checkpoints were: {', '.join(names)}."
            )
        return best.checkpoint if best is not None else None

    def __repr__(self) -> str:
        shown = {key: value for key, value in self.metrics.items() if key in self.trial.metrics}
        error = f", error={self.trial.outcome}" if self.error is not None else ""
        return f"Result(trial={self.trial.trial_id}, metrics={shown}, path={self.path!r}{error})"


class ResultGrid(Shown, Drawn):
    """The results of all trials, in order of their numbers: a sequence of :class:`Result`.

    Args:
        analysis: of the experiment.

    Example:
        >>> from tunesmith.core.events import Reported, Suggested
        >>> from tunesmith.core.ports import Header, Record
        >>> from tunesmith.journal import MemoryJournal
        >>> journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
        >>> for number, lr in enumerate([0.1, 0.01]):
        ...     _ = journal.append([Record(Suggested(number, {"lr": lr})), Record(Reported(number, 0, 1, {"loss": lr**2}))])
        >>> results = ResultGrid(ExperimentAnalysis(journal))
        >>> best = results.get_best_result("loss", "min")
        >>> len(results), best.config, best.checkpoint
        (2, {'lr': 0.01}, None)
    """

    def __init__(self, analysis: ExperimentAnalysis) -> None:
        self._analysis = analysis

    def __len__(self) -> int:
        return len(self._analysis)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> list[Result]: ...
    def __getitem__(self, index: int | slice) -> Result | list[Result]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return Result._of(self._analysis[index], self._analysis._notices)

    def __iter__(self) -> Iterator[Result]:
        return (Result._of(trial, self._analysis._notices) for trial in self._analysis)

    def get_best_result(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> Result:
        """The best trial's result, at the step that makes it the best: with ``scope="all"`` its best report, else its newest that has
        the metric. Of equally good trials the first.

        Args:
            metric, mode: None: the run's own.
            scope: ``last``, ``all`` (or ``best``), ``avg``, ``last-<k>-avg``.
            filter_nan_and_inf: values that are nan or infinite do not count.

        Raises:
            MetricError: no trial reported the metric; says what was reported.
            SpecError: metric or mode is missing; unknown mode or scope.
        """
        step = self._analysis._best_step("get_best_result", metric, mode, scope, filter_nan_and_inf)
        return Result._of(step.trial, self._analysis._notices, step)

    def get_dataframe(self, filter_metric: str | None = None, filter_mode: str | None = None) -> pd.DataFrame:
        """One line per trial that reported: see :meth:`ExperimentAnalysis.dataframe`."""
        return self._analysis.dataframe(filter_metric, filter_mode)

    def best_schedule(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> list[tuple[int, dict[str, Any]]]:
        """The configurations that the best trial went through, with the iterations: see :meth:`ExperimentAnalysis.best_schedule`."""
        return self._analysis.best_schedule(metric, mode, scope, filter_nan_and_inf)

    @property
    def errors(self) -> list[UserCodeError]:
        """One exception for each trial that ended in ERROR."""
        return self._analysis.errors

    @property
    def num_errors(self) -> int:
        """Trials that ended in ERROR."""
        return self._analysis.num_errors

    @property
    def num_terminated(self) -> int:
        """Trials that ended well."""
        return self._analysis.num_terminated

    @property
    def experiment_path(self) -> str:
        """The experiment's directory."""
        return self._analysis.experiment_path

    def __repr__(self) -> str:
        return f"<ResultGrid of {len(self)} results in {self.experiment_path or 'memory'}>"
