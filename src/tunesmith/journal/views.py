"""A trial as callbacks, stoppers, name creators and analyses see it: read-only, with the attribute names of Ray's ``Trial``."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tunesmith.core.events import Reopened, Reported
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Record
from tunesmith.core.trial import ERROR, PENDING, TERMINATED
from tunesmith.journal.experiment import Experiment, trial_id_of
from tunesmith.journal.rows import result_row
from tunesmith.journal.tags import expanded, is_scalar, located, tag_of

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["TrialInfo"]


class TrialInfo:
    """One trial, read-only. Made and kept up to date by :class:`~tunesmith.journal.trials.TrialBook`; picklable.

    Attributes:
        number: 0, 1, 2 ... in order of suggestion.
        trial_id: five hex digits of the experiment's uuid, "_", the number in five digits.
        status: PENDING, RUNNING, PAUSED, TERMINATED or ERROR.
        attempt: number of the newest attempt, from 0.
        source: who proposed the configuration ("random", "grid", ...).
        values: what was drawn, flat, from version ``space`` of the search space; the complete configuration is :attr:`config`.
        num_failures: attempts that failed, retried ones included.
        error: ``{"type", "message", "where", "traceback"}`` if the newest attempt failed, else None.
        outcome: how it ended (``finished``, ``stopped``, ``infeasible``, ``user_error``, ...); "" while it is live.
        reason: why it ended or was stopped, for people.
        report: the newest report as it was recorded, or None.
        checkpoint_id: id of the newest checkpoint, or None.
        stopped: it is over (TERMINATED), or was told to stop at its newest report.
        first_seq, record_count: where the trial's own records begin in the journal, and how many there are.
        decided_at: ``seq`` of records of other trials' events at which something lasting was decided about this one.
        time_since_restore, iterations_since_restore: seconds and reports of the newest report's attempt.
    """

    __slots__ = (
        "_config",
        "_dirname",
        "_drawn",
        "_name",
        "_path",
        "_resources",
        "_row",
        "_tag",
        "attempt",
        "checkpoint_id",
        "decided_at",
        "ended_at",
        "error",
        "experiment",
        "first_seq",
        "info",
        "iterations_since_restore",
        "num_failures",
        "number",
        "outcome",
        "reason",
        "record_count",
        "report",
        "source",
        "space",
        "started_at",
        "status",
        "stopped",
        "time_since_restore",
        "trial_id",
        "values",
    )

    def __init__(
        self,
        experiment: Experiment,
        number: int,
        values: dict[str, Any],
        source: str = "",
        resources: Mapping[str, float] | None = None,
        name: str | None = None,
        dirname: str | None = None,
    ) -> None:
        self.experiment = experiment
        self.number = number
        self.trial_id = trial_id_of(experiment.header, number)
        self.values = values
        self.space = 0
        self.source = source
        self._resources = resources
        self._name = name
        self._dirname = dirname
        self.status = PENDING
        self.attempt = 0
        self.num_failures = 0
        self.error: dict[str, str] | None = None
        self.outcome = ""
        self.reason = ""
        self.report: Reported | None = None
        self.checkpoint_id: str | None = None
        self.stopped = False
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.first_seq = 0
        self.record_count = 0
        self.info: dict[str, Any] = {}
        self.decided_at: tuple[int, ...] = ()
        self.time_since_restore = 0.0
        self.iterations_since_restore = 0
        self._config: dict[str, Any] | None = None
        self._drawn: dict[str, Any] | None = None
        self._path: str | None = None
        self._row: ResultDict | None = None
        self._tag: str | None = None

    # -- identity and places ---------------------------------------------------------------------------------------------

    @property
    def trainable_name(self) -> str:
        return self.experiment.trainable_name

    @property
    def trial_name(self) -> str:
        """The name given by ``trial_name_creator``, else ``<trainable>_<trial id>``; also ``str(trial)``."""
        return self._name or f"{self.trainable_name}_{self.trial_id}"

    @property
    def relative_logdir(self) -> str:
        """The trial's directory, relative to the experiment's."""
        return self._dirname or self.trial_id

    @property
    def path(self) -> str:
        """The trial's directory, absolute. It is there once something was written into it."""
        if self._path is None:
            self._path = os.path.join(self.experiment.path, self.relative_logdir)
        return self._path

    @property
    def logdir(self) -> str:
        """Old name of :attr:`path`."""
        return self.path

    @property
    def local_path(self) -> str:
        """Another name of :attr:`path`."""
        return self.path

    # -- configuration ---------------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The complete configuration, this view's own copy; after an exploit the one that the trial goes on with."""
        if self._config is None:
            self._config = self.experiment.config(self.values, self.space)
        return self._config

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What was drawn: path in the configuration, joined by "/" -> value there; this view's own copy."""
        if self._drawn is None:
            config = self.config
            self._drawn = dict([located(config, name, value) for name, value in self.values.items()])
        return self._drawn

    @property
    def experiment_tag(self) -> str:
        """Number and drawn values, as in ``3_lr=0.001,act=relu``; floats with four significant digits."""
        if self._tag is None:
            drawn = self.evaluated_params
            if not all(map(is_scalar, drawn.values())):  # show objects by their labels, the same for every reader
                drawn = expanded(self.values, self.experiment.shown(self.values, self.space))
            self._tag = f"{self.number}_{tag_of(drawn)}" if drawn else str(self.number)
        return self._tag

    @property
    def resources(self) -> dict[str, float]:
        """What the newest attempt takes, or the next one if none runs, e.g. ``{"cpu": 1.0}``."""
        return dict(self._resources or self.experiment.spec.get("resources") or {"cpu": 1.0})

    # -- results ---------------------------------------------------------------------------------------------------------

    @property
    def last_result(self) -> ResultDict:
        """The newest result with all automatic keys (see :mod:`tunesmith.journal.rows`); empty before the first report."""
        if self._row is None:
            if self.report is None:
                return ResultDict()
            self._row = result_row(self.report, self, self.info, self.config, self.report.extras)
        return self._row

    @property
    def metrics(self) -> Mapping[str, Any]:
        """The newest report's metrics, flat, without the automatic keys that readers get in :attr:`last_result`."""
        return self.report.metrics if self.report is not None else {}

    @property
    def iteration(self) -> int:
        """Count of reports up to the newest (continued over restarts); 0 before the first."""
        return self.report.iteration if self.report is not None else 0

    def records(self) -> list[Record]:
        """Everything in the journal that concerns this trial."""
        return self.experiment.records(self.number, max(0, self.first_seq - 1), self.record_count, self.decided_at)

    @property
    def metric_analysis(self) -> dict[str, dict[str, float]]:
        """Per numeric metric: max, min, avg, last, last-5-avg, last-10-avg over its reports. Read from the journal at each call."""
        from tunesmith.journal.scores import analyse

        return analyse(self.records())

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint that the trial would go on from: its newest, after an exploit its source's. None: there is none (any more)."""
        if self.checkpoint_id is None:
            return None
        return self.experiment.checkpoint(self.checkpoint_id, self.number, self.relative_logdir)

    @property
    def _checkpoint(self) -> Checkpoint | None:
        """Scripts written for older releases reach for this."""
        return self.checkpoint

    # -- end -------------------------------------------------------------------------------------------------------------

    def is_finished(self) -> bool:
        """The trial is over, well (TERMINATED) or not (ERROR)."""
        return self.status in (TERMINATED, ERROR)

    @property
    def error_msg(self) -> str | None:
        """The newest failure as text, with the traceback where there is one; None if the trial is well."""
        if self.error is None:
            return None
        return self.error.get("traceback") or f"{self.error.get('type', 'error')}: {self.error.get('message', '')}"

    @property
    def error_file(self) -> str | None:
        """Path of the trial's ``error.txt``, or None if the trial is well."""
        return os.path.join(self.path, "error.txt") if self.error is not None else None

    @property
    def start_time(self) -> float | None:
        """Wall time at which the first attempt started (seconds since the epoch), or None."""
        return None if self.started_at is None else self.experiment.wall(self.started_at)

    # -- for the book that folds --------------------------------------------------------------------------------------------

    def fail(self, outcome: str, reason: str) -> None:
        """An attempt failed; the process may have left no error of its own (nan, a deadline, a lost worker)."""
        self.num_failures += 1
        if self.error is None:
            self.error = {"type": outcome, "message": reason}

    def settle(self) -> None:
        """Work the newest result out before what it says of its attempt (process, configuration) changes."""
        if self.report is not None:
            _ = self.last_result

    def go_on(self, event: Reopened) -> None:
        """It is not over after all. What it has reported stays; its newest result is not its last one any more."""
        self.outcome = self.reason = ""
        self.error = self.ended_at = None
        self._resources = event.resources
        self.checkpoint_id = event.base[0] if event.base is not None else None
        self.stopped = False
        if self._row is not None and self._row["done"]:
            self._row = self._row.copy()  # the one that was handed out stays as it was
            self._row["done"] = bool(event.metrics.get("done", False))

    def stop(self) -> None:
        """The newest result becomes the trial's last."""
        self.stopped = True
        if self._row is not None and not self._row["done"]:
            self._row = self._row.copy()  # the one that was handed out stays as it was
            self._row["done"] = True

    def forget_row(self) -> None:
        """A newer report is there."""
        self._row = None

    def change_values(self, values: dict[str, Any], space: int) -> None:
        """From now on the trial has another configuration: ``values`` of that version of the space."""
        self.values, self.space = values, space
        self._config = self._drawn = None
        self._tag = None

    def change_resources(self, resources: Mapping[str, float] | None) -> None:
        """From its next attempt on the trial takes this; None: what it took."""
        if resources is not None:
            self._resources = resources

    # -- python ----------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return self.trial_name

    def __repr__(self) -> str:
        return f"<Trial {self.trial_id} {self.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrialInfo) and (other.number, other.experiment.header.uuid) == (self.number, self.experiment.header.uuid)

    def __hash__(self) -> int:
        return hash((self.experiment.header.uuid, self.number))

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Configuration and last result are worked out first: the resolver stays behind, as it may hold functions of the user's."""
        row = dict(self.last_result)
        state = {name: getattr(self, name) for name in self.__slots__}
        config = _portable(self.config)
        if row:
            row = {**_portable({key: value for key, value in row.items() if key != "config"}), "config": config}
        state.update(experiment=self.experiment.detached(), _config=config, _drawn=None, _row=ResultDict(row) if row else None)
        if self.report is not None and self.report.extras:
            report = self.report
            state["report"] = Reported(
                report.trial, report.attempt, report.iteration, report.metrics, report.checkpoint, report.verdict, report.named, report.at
            )
        return None, state


def _portable(value: Any) -> Any:
    """``value``, with whatever cannot be pickled replaced by its ``repr``."""
    try:
        pickle.dumps(value)
    except Exception:
        if isinstance(value, dict):
            return {key: _portable(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)([_portable(inner) for inner in value])
        return repr(value)
    return value
