"""The MLflow runs of one experiment's trials: found or made, fed in batches, ended."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.integration.mlflow_store import (
    Names,
    changed,
    experiment_id,
    load,
    log_params,
    params_of,
    runs_with,
    schedule_of,
    tag_value,
)
from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.logger.params import drawn_paths

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["Options", "TrialRuns"]

_log = logging.getLogger("tunesmith")
_OWNER = "MLflowLoggerCallback"
_NO_METRICS = AUTO_KEYS - {"training_iteration", "time_this_iter_s", "time_total_s"}
_PER_BATCH = 1000
_NUMBERS = (int, float)  # and so bool


@dataclass(slots=True)
class Options:
    """What :class:`~tunesmith.integration.mlflow.MLflowLoggerCallback` was given; see there."""

    tracking_uri: str | None
    registry_uri: str | None
    experiment_name: str | None
    tags: Mapping[str, Any]
    save_artifact: bool
    params_at_end: bool
    parent_run_id: str | None
    parent_run: bool


@dataclass(slots=True)
class _Run:
    """The run of one trial that is not over.

    ``params``: those that MLflow has; ``now``: the values of today; ``seen``: (step, timestamp) of reports that it had when it was found.
    """

    run_id: str
    trial_id: str
    params: dict[str, str] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)
    seen: frozenset[tuple[int, int]] = frozenset()
    config: Any = None
    metrics: list[Any] = field(default_factory=list)
    dead: bool = False


class TrialRuns:
    """Writes the trials of one experiment; a run that it finds by its tags goes on, with nothing logged twice.

    Args:
        options: of the callback.
        trial: any of the experiment's.
        active: id of the run that was active where the experiment was started, or None.
    """

    def __init__(self, options: Options, trial: TrialInfo, active: str | None) -> None:
        mlflow = load(_OWNER)
        header = trial.experiment.header
        self._options, self.uuid = options, header.uuid
        self._client = mlflow.MlflowClient(options.tracking_uri, options.registry_uri)
        self._metric = mlflow.entities.Metric
        self._names = Names(_OWNER)
        self._held: dict[int, _Run] = {}
        self._dirty: dict[int, _Run] = {}
        self._over: list[tuple[_Run, TrialInfo, str, int | None, dict[str, str]]] = []
        self._experiment_name = header.name
        self._parent = options.parent_run_id or (active if options.parent_run else None)
        name = options.experiment_name or os.environ.get("MLFLOW_EXPERIMENT_NAME")
        number = None if name else os.environ.get("MLFLOW_EXPERIMENT_ID")
        if self._parent is not None and options.experiment_name is None:
            number = self._client.get_run(self._parent).info.experiment_id
        self._experiment = experiment_id(self._client, name or header.name, number)
        self._ids = {
            run.data.tags["trial_id"]: run.info.run_id
            for run in runs_with(self._client, self._experiment, **{"`tunesmith.experiment`": self.uuid})
            if "trial_id" in run.data.tags
        }
        self._own_parent = self._begin_parent(trial) if options.parent_run and self._parent is None else None

    # -- what the logger is told ---------------------------------------------------------------------------------------------

    def start(self, trial: TrialInfo) -> None:
        """An attempt starts, perhaps with another configuration than the one before."""
        run = self._held.get(trial.number)
        if run is None:
            self._take_up(trial)
        elif run.config is not trial.config:
            self._configure(run, trial)

    def result(self, trial: TrialInfo, result: Mapping[str, Any]) -> None:
        """The trial reported."""
        run = self._held.get(trial.number) or self._take_up(trial)
        own = result.get("training_iteration")
        step = own if type(own) is int else trial.iteration
        at = self._reported(trial)
        if run.dead or (step, at) in run.seen:
            return
        self._dirty[trial.number] = run
        metric, names, last = self._metric, self._names, None
        for key, value in result.items():
            if isinstance(value, _NUMBERS) and key not in _NO_METRICS:
                try:
                    made = metric(names(key), float(value), at, step)
                except OverflowError:
                    continue  # an integer beyond any float
                if key == "training_iteration":
                    last = made
                else:
                    run.metrics.append(made)
        if last is not None:
            run.metrics.append(last)  # that it is there says that the whole report is

    def end(self, trial: TrialInfo, failed: bool) -> None:
        """The trial is over. Its run ends with the next :meth:`flush`: the other loggers have completed its files by then."""
        run = self._held.get(trial.number) or self._take_up(trial)
        del self._held[trial.number]
        tags = {"tunesmith.outcome": trial.outcome, "tunesmith.reason": trial.reason}
        if failed and trial.error is not None:
            tags["tunesmith.error"] = f"{trial.error.get('type', 'error')}: {trial.error.get('message', '')}"
        status = "FAILED" if failed else "KILLED" if trial.outcome == "infeasible" else "FINISHED"
        ended = None if trial.ended_at is None else self._ms(trial, trial.ended_at)
        self._over.append((run, trial, status, ended, tags))

    def flush(self) -> None:
        """Send what waits, and end the runs of trials that are over."""
        dirty, self._dirty = self._dirty, {}
        for run in dirty.values():
            self._send(run)
        over, self._over = self._over, []
        for each in over:
            self._finish(*each)

    def close(self, trials: Any) -> None:
        """The experiment is over: runs of trials that are not are KILLED, until they go on."""
        left = list(self._held.items())
        self._held = {}
        self._over += [(run, trials[number], "KILLED", None, {}) for number, run in left]
        self.flush()
        if self._own_parent is not None:
            self._client.set_terminated(self._own_parent, "KILLED" if left else "FINISHED")

    # -- runs ----------------------------------------------------------------------------------------------------------------

    def _take_up(self, trial: TrialInfo) -> _Run:
        known = self._ids.get(trial.trial_id)
        if known is None:
            run = self._create(trial)
        else:
            found = self._client.get_run(known)
            self._client.update_run(known, "RUNNING")
            run = _Run(known, trial.trial_id, dict(found.data.params), seen=self._logged(known, "training_iteration"))
            changes = {key[7:]: value for key, value in found.data.tags.items() if key.startswith("config/")}
            run.now = {**run.params, **changes}
        self._held[trial.number] = run
        self._configure(run, trial)
        return run

    def _create(self, trial: TrialInfo) -> _Run:
        tags = {str(key): tag_value(value) for key, value in self._options.tags.items()}
        tags |= {"trial_id": trial.trial_id, "trial_name": trial.trial_name}
        tags |= {"tunesmith.experiment": self.uuid, "tunesmith.experiment_name": self._experiment_name}
        if (parent := self._parent or self._own_parent) is not None:
            tags["mlflow.parentRunId"] = parent
        start = None if trial.started_at is None else self._ms(trial, trial.started_at)
        run_id = self._client.create_run(self._experiment, start, tags, trial.trial_name).info.run_id
        self._ids[trial.trial_id] = run_id
        return _Run(run_id, trial.trial_id)

    def _configure(self, run: _Run, trial: TrialInfo) -> None:
        """Log the trial's configuration, or what has changed of it: MLflow never changes a parameter."""
        run.config = trial.config
        params = params_of(trial.config, self._names, drawn_paths(trial))
        if not self._options.params_at_end:
            fresh, _ = changed(run.params, params)
            log_params(self._client, run.run_id, fresh)
            run.params |= fresh
        changes = {key: value for key, value in params.items() if key in run.now and run.now[key] != value}
        if changes:
            begun = self._ms(trial, trial.started_at or 0.0)
            first = {key: run.now[key] for key in changes if run.now[key] == run.params.get(key, run.now[key])}
            beginning, _ = schedule_of(first, 0, begun)
            metrics, tags = schedule_of(changes, trial.iteration, self._reported(trial) or begun)
            self._client.log_batch(run.run_id, [*beginning, *metrics], tags=tags)
        run.now = params

    def _finish(self, run: _Run, trial: TrialInfo, status: str, ended: int | None, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        if run.dead:
            return
        if self._options.params_at_end:
            log_params(self._client, run.run_id, changed(run.params, run.now)[0])
        if self._options.save_artifact:
            try:
                self._client.log_artifacts(run.run_id, trial.path)
            except Exception as error:
                _log.warning("%s: the files of trial %s did not reach MLflow: %s: %s", _OWNER, trial.trial_id, type(error).__name__, error)
        self._client.log_batch(run.run_id, tags=[RunTag(key, tag_value(value)) for key, value in tags.items() if value])
        self._client.set_terminated(run.run_id, status, ended)

    def _send(self, run: _Run) -> None:
        """Log what waits. What MLflow refuses is left out, and said; that the server cannot be reached is an error."""
        metrics, run.metrics = run.metrics, []
        for start in range(0, 0 if run.dead else len(metrics), _PER_BATCH):
            some = metrics[start : start + _PER_BATCH]
            try:
                self._client.log_batch(run.run_id, some)
            except Exception as error:
                if not _refused(error):
                    raise
                self._send_singly(run, some)

    def _send_singly(self, run: _Run, metrics: list[Any]) -> None:
        refused: dict[str, Exception] = {}
        there = {key: self._logged(run.run_id, key) for key in {one.key for one in metrics}}  # a store of files may have taken a part
        for one in metrics:
            if one.key not in refused and (one.step, one.timestamp) not in there[one.key]:
                try:
                    self._client.log_batch(run.run_id, [one])
                except Exception as error:
                    if not _refused(error):
                        raise
                    refused[one.key] = error
        if refused:
            run.dead = refused.keys() >= {one.key for one in metrics}  # the run was deleted, for instance
            what = "nothing of it is logged any more" if run.dead else f"without {', '.join(map(repr, refused))} it goes on"
            _log.warning("%s: MLflow refuses metrics of trial %s; %s: %s", _OWNER, run.trial_id, what, next(iter(refused.values())))

    def _logged(self, run_id: str, key: str) -> frozenset[tuple[int, int]]:
        """(step, timestamp) of a metric's entries."""
        return frozenset((one.step, one.timestamp) for one in self._client.get_metric_history(run_id, key))

    def _begin_parent(self, trial: TrialInfo) -> str:
        """The run above those of the trials; an earlier session may have made it."""
        mine = {"`tunesmith.experiment`": self.uuid, "`tunesmith.role`": "parent"}
        for run in runs_with(self._client, self._experiment, **mine):
            self._client.update_run(run.info.run_id, "RUNNING")
            return str(run.info.run_id)
        tags = {str(key): tag_value(value) for key, value in self._options.tags.items()}
        tags |= {"tunesmith.experiment": self.uuid, "tunesmith.role": "parent", "tunesmith.experiment_name": self._experiment_name}
        began = self._ms(trial, 0.0)
        return str(self._client.create_run(self._experiment, began, tags, self._experiment_name).info.run_id)

    def _reported(self, trial: TrialInfo) -> int:
        """When the newest report came. A millisecond per attempt keeps equal steps of two attempts apart."""
        return 0 if trial.report is None else self._ms(trial, trial.report.at) + trial.report.attempt

    @staticmethod
    def _ms(trial: TrialInfo, at: float) -> int:
        """Milliseconds since the epoch; the same whenever a record is told."""
        return int(trial.experiment.wall(at) * 1000)


def _refused(error: Exception) -> bool:
    """Whether this is about what was sent, and not about the way there."""
    from mlflow.exceptions import MlflowException

    about_paths = (FileExistsError, NotADirectoryError, IsADirectoryError)  # "a" and "a/b" in a store of files
    if isinstance(error, MlflowException):
        return error.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") or isinstance(error.__context__, about_paths)
    return isinstance(error, about_paths)
