"""W&B from the driver: loggers that turn each trial into a run of W&B. Trainables need not know of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith import checks
from tunesmith.core.events import Reported
from tunesmith.integration.wandb_rows import config_shown, metrics_shown, pictures
from tunesmith.integration.wandb_settings import WandbSettings, client, settings_in
from tunesmith.journal.trials import TrialBook
from tunesmith.logger.base import Logger, LoggerCallback
from tunesmith.logger.params import drawn_paths

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["WandbLogger", "WandbLoggerCallback"]

_log = logging.getLogger("tunesmith")

_FINISHED, _FAILED, _KILLED = 0, 1, 255
"""Exit codes that W&B shows as these states."""

_AT_ONCE = 8
"""So many runs are finished at once: each waits for the network."""

_SETTINGS = {"console": "off", "silent": True, "x_save_requirements": False}
"""The console is the experiment's. To list the installed packages takes the client half a second for each run, in which nothing else in
the driver's process gets on."""


class WandbLoggerCallback(LoggerCallback):
    """Makes a W&B run of every trial: ``tune.run(..., callbacks=[WandbLoggerCallback(project="digits")])``.

    The run has the trial's id as id, its name as name, its configuration (without secrets) as config. Numbers and strings of each result
    are logged, nested ones as "val/acc"; arrays and lists of numbers as histograms (three dimensions: as images), and objects such as
    ``wandb.Histogram``. A failed trial is a failed run. A trial that is retried, paused, resumed or copies another one goes on in its run.

    The step is the trial's iteration. W&B can only add: where a trial goes back (to a checkpoint, its own or another's), what it repeats
    stands behind what there is, at the next steps; choose ``training_iteration`` as the x axis to see them side by side. When an experiment
    is resumed, the server is sent what it has not; offline, each session writes complete runs anew, and the newest of a trial counts.

    Args:
        project: in which the runs are; None: from ``WANDB_PROJECT``.
        group: that the runs form; None: from ``WANDB_RUN_GROUP``, else the experiment's name.
        api_key_file: path of a file that holds the API key, "~" is understood.
        api_key: the key itself. It is kept in memory only: an experiment that is restored takes it from ``WANDB_API_KEY``, the file, or
            what `wandb login` has left; so does one that is given neither.
        excludes: metrics that are not logged, by name or by what stands before a "/"; and top-level entries of the configuration.
        log_config: log the configuration with each result, as "config/lr", so that changes (population-based training) show as curves.
        upload_checkpoints: each checkpoint becomes a version of the artifact "checkpoint_<trial id>", of type "model".
        init: further arguments of ``wandb.init``: entity, mode, tags, notes, job_type, dir, settings, id, name, ... They come before ours.

    Raises:
        SpecError: wandb is not installed (``pip install tunesmith[wandb]``); an argument is unknown or wrong; the project is missing; there
            is no key (unless the mode is offline or disabled), or the file cannot be read, or both are given.

    Example::

        callback = WandbLoggerCallback(project="digits", mode="offline", log_config=True)
        tune.run(train, config=space, callbacks=[callback])
    """

    reads_only: ClassVar[bool] = True

    def __init__(
        self,
        project: str | None = None,
        group: str | None = None,
        api_key_file: str | None = None,
        api_key: str | None = None,
        excludes: Sequence[str] | None = None,
        log_config: bool = False,
        upload_checkpoints: bool = False,
        **init: Any,
    ) -> None:
        given: dict[str, Any] = {"api_key_file": api_key_file, "api_key": api_key, "excludes": excludes, "log_config": log_config}
        given |= {"project": project, "group": group, **init}
        self._settings = WandbSettings.of("WandbLoggerCallback", given, ["upload_checkpoints"]).check()
        self._uploads = checks.flag("WandbLoggerCallback: upload_checkpoints", upload_checkpoints)
        self._runs: dict[int, _Run] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._ending: list[Future[None]] = []

    def __check_config__(self, config: Mapping[str, Any]) -> None:
        """What the constructor checked, in the process that is about to run trials. Raises SpecError."""
        self._settings.check()

    def setup(self, stop: Any = None, num_samples: int | None = None, total_num_samples: int | None = None, **info: Any) -> None:
        self._settings.check()

    def log_trial_start(self, trial: TrialInfo) -> None:
        self._run(trial)

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        self._run(trial).log(result)

    def log_trial_save(self, trial: TrialInfo) -> None:
        if self._uploads:
            self._run(trial).upload()

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        run = self._runs.pop(trial.number, None)
        if run is not None:
            self._end(run, _FAILED if failed else _FINISHED)

    def flush(self) -> None:
        """Wait for the runs that have ended: the further behind the loggers are, the more of them end at once."""
        ending, self._ending = self._ending, []
        for one in ending:
            one.result()

    def on_experiment_end(self, trials: Sequence[TrialInfo], **info: Any) -> None:
        while self._runs:
            self._end(self._runs.popitem()[1], _KILLED)
        try:
            self.flush()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _end(self, run: _Run, exit_code: int) -> None:
        run.complete()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "tunesmith-wandb")
        self._ending.append(self._pool.submit(run.finish, exit_code))

    def _run(self, trial: TrialInfo) -> _Run:
        """The trial's run, which shows the trial's present configuration."""
        run = self._runs.get(trial.number)
        if run is None:
            run = self._runs[trial.number] = _Run(self._settings, trial.config, trial, trial.experiment.header.name)
        else:
            run.show(trial.config)
        return run

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_settings": self._settings.without_key(), "_runs": {}, "_pool": None, "_ending": []}


class WandbLogger(Logger):
    """The same for ``loggers=DEFAULT_LOGGERS + (WandbLogger,)``. Its settings are in the configuration, as ``config["wandb"]``.

    The block is a dict with ``project`` and, if wanted, ``api_key_file`` or ``api_key``, ``excludes``, ``log_config``, and arguments of
    ``wandb.init``; all as for :class:`WandbLoggerCallback`. ``group`` is the trainable's name if it is not given. The block is no part of
    what is recorded and shown of the configuration.

    Args:
        config, logdir, trial: as for :class:`~tunesmith.logger.Logger`.

    Raises:
        SpecError: there is no block; else as for :class:`WandbLoggerCallback`.

    Example::

        space = {"lr": tune.uniform(0, 1), "wandb": {"project": "digits", "api_key_file": "~/.wandb_key", "log_config": True}}
        tune.run(train, config=space, loggers=DEFAULT_LOGGERS + (WandbLogger,))
    """

    def _init(self) -> None:
        group = self.trial.trainable_name if self.trial is not None else None
        self._run = _Run(settings_in(self.config, "WandbLogger"), self.config, self.trial, group, self.logdir)

    def on_result(self, result: dict[str, Any]) -> None:
        self._run.log(result)

    def update_config(self, config: dict[str, Any]) -> None:
        self.config = config
        self._run.show(config)

    def close(self) -> None:
        trial = self.trial
        self._run.complete()
        if trial is None or trial.is_finished():
            self._run.finish(_FINISHED if trial is None or trial.error is None else _FAILED)
        else:
            self._run.finish(_KILLED)

    @classmethod
    def __check_config__(cls, config: Mapping[str, Any]) -> None:
        """Whether a config will do for its trials; values may still be undrawn. Raises SpecError."""
        settings_in(config, cls.__name__)


class _Run:
    """The W&B run of one trial.

    Args:
        settings: of W&B.
        config: the trial's, as it is now.
        trial: None: there is none, and W&B chooses id and name.
        group: if no other is given.
        directory: the trial's.
    """

    def __init__(
        self, settings: WandbSettings, config: Mapping[str, Any], trial: TrialInfo | None, group: str | None, directory: str | None = None
    ) -> None:
        self._wandb = client(settings.where)
        self._settings = settings
        self._trial = trial
        self._config, self._shown = config, _shown(config, trial)
        named: dict[str, Any] = {"group": group, "dir": directory}
        if trial is not None:
            named = {"group": group, "dir": trial.path, "id": trial.trial_id, "name": trial.trial_name}
        if named["dir"]:
            os.makedirs(named["dir"], exist_ok=True)
        arguments = settings.arguments(self._shown, {**named, "resume": "allow", "allow_val_change": True}, _SETTINGS)
        self._run = self._wandb.init(**{**arguments, "reinit": "create_new"})  # others are open in this process
        self._first = self._run.starting_step if self._run.resumed else 0
        self._step = 0
        self._complete = trial is None or trial.report is None  # nothing of an earlier session is missing

    def show(self, config: Mapping[str, Any]) -> None:
        """Bring the run's config up to date."""
        if config is self._config:
            return
        self._config, before, self._shown = config, self._shown, _shown(config, self._trial)
        changed = {name: value for name, value in self._shown.items() if name not in before or before[name] != value}
        changed = {name: value for name, value in changed.items() if name not in self._settings.excludes}
        if changed:
            self._run.config.update(changed, allow_val_change=True)

    def log(self, result: Mapping[str, Any]) -> None:
        """Log a result, the trial's newest."""
        self.complete(but_newest=True)
        trial = self._trial
        iteration = int(result.get("training_iteration") or 0) if trial is None or trial.report is None else trial.report.iteration
        self._log(result, self._shown, iteration)

    def _log(self, result: Mapping[str, Any], config: Mapping[str, Any], iteration: int) -> None:
        self._step = max(self._step + 1, iteration)
        if self._step < self._first:
            return  # the server has it from an earlier session
        excludes = self._settings.excludes
        shown = pictures(self._wandb, result, excludes)
        try:
            if shown:
                self._run.log(shown, step=self._step, commit=False)
        except (OSError, TypeError, ValueError) as error:  # the file of an image may have gone with the trial's process
            _log.warning("W&B cannot show %s: %s: %s", ", ".join(shown), type(error).__name__, error)
        row = metrics_shown(result, config if self._settings.log_config else None, excludes)
        self._run.log(row, step=self._step, commit=True)

    def complete(self, but_newest: bool = False) -> None:
        """Log what the trial has reported before this session, from the journal: steps are the same however often it is told, and what a
        killed client had not written yet comes after all. A server is sent what it has not; offline, each session's file has everything."""
        trial = self._trial
        if self._complete or trial is None or trial.report is None:
            return
        self._complete = True
        newest = (trial.report.attempt, trial.report.iteration)
        book = TrialBook.of(trial.experiment)
        for record in trial.records():
            then, event = book.apply(record), record.event
            if then is None or not isinstance(event, Reported) or event.trial != trial.number:
                continue
            last = (event.attempt, event.iteration) == newest
            if not (last and but_newest):
                self._log(then.last_result, _shown(then.config, then), event.iteration)
            if last:
                break

    def upload(self) -> None:
        """Upload the trial's newest checkpoint. It may have been deleted meanwhile: then there is nothing to do."""
        trial = self._trial
        checkpoint = trial.checkpoint if trial is not None else None
        if trial is None or checkpoint is None:
            return
        artifact = self._wandb.Artifact(f"checkpoint_{trial.trial_id}", type="model", metadata={"training_iteration": trial.iteration})
        try:
            artifact.add_dir(checkpoint.path)
        except FileNotFoundError:
            return
        self._run.log_artifact(artifact)

    def finish(self, exit_code: int) -> None:
        """The run is over and complete; waits until W&B has everything."""
        self._run.finish(exit_code=exit_code)


def _shown(config: Mapping[str, Any], trial: TrialInfo | None) -> dict[str, Any]:
    return config_shown(config, drawn_paths(trial) if trial is not None else ())
