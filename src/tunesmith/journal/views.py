"""A trial as callbacks, stoppers, name creators and analyses see it: read-only, with the attribute names of Ray's ``Trial``."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith.core.events import Reported, Suggested
from tunesmith.core.flat import ResultDict, unflatten
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, PENDING, TERMINATED
from tunesmith.journal.rows import result_row

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["Experiment", "TrialInfo", "trial_id_of"]

Resolve = Callable[[dict[str, Any]], dict[str, Any]]
Read = Callable[..., Iterable[Record]]


def trial_id_of(header: Header, number: int) -> str:
    """``trial_id`` of trial ``number``: five hex digits of the experiment's uuid, and the number.

    Example:
        >>> trial_id_of(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0), 12)
        '3f2a9_00012'
    """
    return f"{header.uuid[:5]}_{number:05d}"


class Experiment:
    """What all trials of an experiment share; one object per :class:`TrialBook`.

    Args:
        header: of the journal.
        path: the experiment's directory as it is now (it may have been moved since the run).
        trainable_name: None: as recorded.
        resolve: drawn values -> a fresh config; None: from the space's description in the journal, without unpickling anything.
        read: the journal's ``read``; None: the journal is opened at ``path`` when it is needed.
    """

    __slots__ = ("_detached", "_read", "_resolve", "_trainable_name", "header", "path", "spec")

    def __init__(
        self, header: Header, path: str = "", trainable_name: str | None = None, resolve: Resolve | None = None, read: Read | None = None
    ) -> None:
        self.header = header
        self.path = path
        self.spec: dict[str, Any] = {}
        self._trainable_name = trainable_name
        self._resolve = resolve
        self._read = read
        self._detached: Experiment | None = None

    @property
    def trainable_name(self) -> str:
        return self._trainable_name or self.spec.get("trainable_name") or "trainable"

    def config(self, values: dict[str, Any]) -> dict[str, Any]:
        """The configuration that ``values`` stand for."""
        if self._resolve is not None:
            return self._resolve(values)
        description = self.spec.get("space")
        if description is None:
            return unflatten(values)
        from tunesmith.space import config_from_description

        return config_from_description(description, values)

    def records(self, trial: int, after: int = 0, limit: int | None = None, also: tuple[int, ...] = ()) -> list[Record]:
        """Records of the trial's own events, at most ``limit`` with ``seq > after``, and those numbered ``also``, in order."""
        with self._reader() as read:
            found = {record.seq: record for record in read(after, limit, trial)}
            for seq in also:
                found.update((record.seq, record) for record in read(seq - 1, 1, None))
        return [found[seq] for seq in sorted(found)] if also else list(found.values())

    @contextmanager
    def _reader(self) -> Iterator[Read]:
        if self._read is not None:
            yield self._read
            return
        from tunesmith.journal.sqlite import open_reader

        with closing(open_reader(self.path)) as reader:
            yield reader.read

    def dirname(self, number: int) -> str:
        """Directory of trial ``number``, relative to the experiment's."""
        for record in self.records(number, limit=1):
            if isinstance(record.event, Suggested) and record.event.dirname:
                return record.event.dirname
        return trial_id_of(self.header, number)

    def checkpoint(self, identity: str, owner: int, dirname: str) -> Checkpoint | None:
        """The checkpoint of that id, if it is still there; ``owner`` is the trial that asks, in directory ``dirname``."""
        from tunesmith.checkpoints.checkpoint import Checkpoint

        number, _, name = identity.rpartition("/")
        home = self.dirname(int(number)) if number.isdigit() and int(number) != owner else dirname
        path = os.path.join(self.path, home, name)
        return Checkpoint(path) if os.path.isdir(path) else None

    def detached(self) -> Experiment:
        """The same without what cannot be pickled; one object however often it is asked for."""
        if self._detached is None:
            self._detached = Experiment(self.header, self.path, self.trainable_name)
        self._detached.spec = self.spec
        return self._detached

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"spec": self.spec, "_detached": None}
        return Experiment, (self.header, self.path, self.trainable_name), (None, state)


class TrialInfo:
    """One trial, read-only. Made and kept up to date by :class:`~tunesmith.journal.trials.TrialBook`; picklable.

    Attributes:
        number: 0, 1, 2 ... in order of suggestion.
        status: PENDING, RUNNING, PAUSED, TERMINATED or ERROR.
        attempt: number of the newest attempt, from 0.
        source: who proposed the configuration ("random", "grid", ...).
        values: what was drawn, flat; the complete configuration is :attr:`config`.
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
        "_name",
        "_resources",
        "_row",
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
        "started_at",
        "status",
        "stopped",
        "time_since_restore",
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
        self.values = values
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
        self._row: ResultDict | None = None

    # -- identity and places ---------------------------------------------------------------------------------------------

    @property
    def trial_id(self) -> str:
        """Five hex digits of the experiment's uuid, "_", the number in five digits."""
        return trial_id_of(self.experiment.header, self.number)

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
        return os.path.join(self.experiment.path, self.relative_logdir)

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
            self._config = self.experiment.config(self.values)
        return self._config

    @property
    def evaluated_params(self) -> dict[str, Any]:
        """What was drawn: path joined by "/" -> value as it is in the configuration."""
        config = ResultDict(self.config)
        return {path: config.get(path, value) for path, value in self.values.items()}

    @property
    def experiment_tag(self) -> str:
        """Number and drawn values, as in ``3_lr=0.001,act=relu``; floats with four significant digits."""
        return f"{self.number}_{_tag(self.values)}" if self.values else str(self.number)

    @property
    def resources(self) -> dict[str, float]:
        """What one attempt takes, e.g. ``{"cpu": 1.0}``."""
        return dict(self._resources or self.experiment.spec.get("resources") or {"cpu": 1.0})

    # -- results ---------------------------------------------------------------------------------------------------------

    @property
    def last_result(self) -> ResultDict:
        """The newest result with all automatic keys (see :mod:`tunesmith.journal.rows`); empty before the first report."""
        if self._row is None:
            if self.report is None:
                return ResultDict()
            self._row = result_row(self.report, self, self.experiment.header, self.info, self.config, self.report.extras)
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
        return None if self.started_at is None else self.experiment.header.created + self.started_at

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

    def stop(self) -> None:
        """The newest result becomes the trial's last."""
        self.stopped = True
        if self._row is not None and not self._row["done"]:
            self._row = self._row.copy()  # the one that was handed out stays as it was
            self._row["done"] = True

    def forget_row(self) -> None:
        """A newer report is there."""
        self._row = None

    def change_values(self, values: dict[str, Any]) -> None:
        """From now on the trial has another configuration."""
        self.values = values
        self._config = None

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
        state.update(experiment=self.experiment.detached(), _config=config, _row=ResultDict(row) if row else None)
        if self.report is not None and self.report.extras:
            report = self.report
            state["report"] = Reported(
                report.trial, report.attempt, report.iteration, report.metrics, report.checkpoint, report.verdict, report.named, report.at
            )
        return None, state


def _tag(values: Mapping[str, Any]) -> str:
    """``lr=0.001,act=relu``; of a path only the last part, unless two end alike."""
    short = [path.rpartition("/")[2] for path in values]
    keys = short if len(set(short)) == len(short) else list(values)
    return ",".join(f"{key}={_tidy(value)}" for key, value in zip(keys, values.values(), strict=True))


def _tidy(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
