"""The settings that ``Tuner`` takes, in the groups that users know: how to tune, how to run, what to keep, what failures cost."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith.checks import flag, seconds, size
from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.legacy import settle
from tunesmith.spec import DRAIN_S, GRACE_S, SyncPolicy

if TYPE_CHECKING:
    from tunesmith.callback import Callback

__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig", "SyncConfig", "TuneConfig", "sync_policy"]

T = TypeVar("T")

RETRIABLE = ("user_error", "nan", "timeout", "silent", "oom_ram", "oom_gpu", "worker_lost")
"""Outcome classes that a trial may be given retries for."""


def _strict(cls: type[T]) -> type[T]:
    """Make the constructor of a dataclass judge keywords that are no fields as ``run`` does."""
    names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    generated = cls.__init__

    @functools.wraps(generated)
    def checked(self: T, *args: Any, **given: Any) -> None:
        settle(f"{cls.__name__}()", {name: value for name, value in given.items() if name not in names}, names)
        generated(self, *args, **{name: value for name, value in given.items() if name in names})

    cls.__init__ = checked  # type: ignore[assignment]
    return cls


@_strict
@dataclass(slots=True)
class TuneConfig:
    """How to search.

    Args:
        metric: what to optimise, a reported key ("a/b" for nested ones), or a list of them.
        mode: "min" or "max", or a list of equal length. What is missing here is taken from the scheduler or the searcher.
        search_alg: a searcher, its name ("random", "tpe" ...), or None: see :func:`tunesmith.run`.
        scheduler: a scheduler, its name ("fifo"), or None for first in, first out.
        num_samples: how many times the space is drawn (each time the whole grid); -1: until a limit.
        max_concurrent_trials: at most so many trials at once, >= 1; None: as many as fit.
        time_budget_s: seconds, or a ``timedelta``, after which everything is stopped; None: no limit.
        reuse_actors: whether a worker may serve several trials; None: where that is safe.
        trial_name_creator: ``trial -> name`` for people.
        trial_dirname_creator: ``trial -> name`` of the trial's directory.
        seed: of all random streams; None: one is drawn, shown and recorded.
        deterministic: make the order of events independent of timing; refuses limits in seconds.
        max_trial_s, max_silence_s: seconds that an attempt may run, or go without a report (executors that can kill).
        grace_s: seconds from the signal that ends an attempt to the one that no process can refuse.
        max_ram: what all processes of a trial may hold together: bytes, or a text such as "4GB"; None: no limit.
        chdir_to_trial_dir: run each trial in its own directory.

    Raises:
        SpecError: an unknown argument. Values are checked by ``Tuner.fit``.

    Example:
        >>> TuneConfig(metric="loss", mode="min", num_samples=20).num_samples
        20
    """

    metric: str | Sequence[str] | None = None
    mode: str | Sequence[str] | None = None
    search_alg: Any = None
    scheduler: Any = None
    num_samples: int = 1
    max_concurrent_trials: int | None = None
    time_budget_s: float | timedelta | None = None
    reuse_actors: bool | None = None
    trial_name_creator: Callable[[Any], str] | None = None
    trial_dirname_creator: Callable[[Any], str] | None = None
    seed: int | None = None
    deterministic: bool = False
    max_trial_s: float | None = None
    max_silence_s: float | None = None
    grace_s: float | timedelta = GRACE_S
    max_ram: int | str | None = None
    chdir_to_trial_dir: bool = False


@_strict
@dataclass(slots=True)
class FailureConfig:
    """What failures cost.

    Args:
        max_failures: retries per trial after errors of its own code; -1: without end. Or a dict of outcome class -> retries: the classes
            are "user_error", "nan", "timeout", "silent", "oom_ram", "oom_gpu" and "worker_lost" (5 unless said otherwise; others 0).
        fail_fast: True: the first trial that fails ends the experiment; "raise": and its own exception is raised.
        nan: what an objective that is nan means: "fail": the trial ends with outcome nan; "continue": it is a value like others.
        circuit_breaker: if the first so many trials that end all fail alike, and no other came further than these, the experiment ends;
            >= 1; None: it goes on.

    Raises:
        SpecError: ``max_failures`` and ``fail_fast`` are both set, or a value is not what it can be.

    Example:
        >>> FailureConfig(max_failures=3).retries
        {'user_error': 3}
        >>> FailureConfig(max_failures={"timeout": 1, "oom_gpu": 2}).retries
        {'timeout': 1, 'oom_gpu': 2}
    """

    max_failures: int | Mapping[str, int] = 0
    fail_fast: bool | str = False
    nan: str = "fail"
    circuit_breaker: int | None = 5

    @property
    def retries(self) -> dict[str, int]:
        """Outcome class -> retries per trial, as far as they were given."""
        given = self.max_failures
        if isinstance(given, Mapping):
            return dict(given)
        return {"user_error": given} if given else {}

    def __post_init__(self) -> None:
        _check_retries(self.max_failures)
        if self.nan not in ("fail", "continue"):
            raise SpecError(f"FailureConfig: nan must be 'fail' or 'continue', got {self.nan!r}.")
        breaker = self.circuit_breaker
        if breaker is not None and (isinstance(breaker, bool) or not isinstance(breaker, int) or breaker < 1):
            raise SpecError(f"FailureConfig: circuit_breaker must be a whole number >= 1, or None for none, got {breaker!r}.")
        if isinstance(self.fail_fast, str):
            self.fail_fast = self.fail_fast.lower()
        if self.fail_fast not in (True, False, "raise"):
            raise SpecError(f"fail_fast must be False, True or 'raise', got {self.fail_fast!r}.")
        if self.fail_fast and any(self.retries.values()):
            raise SpecError(
                f"fail_fast={self.fail_fast!r} ends the run at the first failure, so max_failures={self.max_failures} could never be "
                "used: give one of the two."
            )


def _check_retries(given: Any) -> None:
    if isinstance(given, Mapping):
        for outcome, count in given.items():
            if outcome not in RETRIABLE:
                hint = did_you_mean(str(outcome), RETRIABLE)
                raise SpecError(f"max_failures: there is no outcome {outcome!r}; there are {', '.join(RETRIABLE)}.{hint}")
            if not _is_retries(count):
                raise SpecError(f"max_failures[{outcome!r}] must be a whole number >= 0, or -1 for no limit, got {count!r}.")
    elif not _is_retries(given):
        forms = "a whole number >= 0, or -1 for no limit, or a dict of outcome -> such a number"
        raise SpecError(f"max_failures must be {forms}, got {given!r}.")


def _is_retries(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= -1


@_strict
@dataclass(slots=True)
class CheckpointConfig:
    """When checkpoints are taken and which are kept.

    Args:
        num_to_keep: per trial, >= 1; None: all.
        checkpoint_score_attribute: the reported key to rank them by; None: the newest are the best.
        checkpoint_score_order: "max" or "min".
        checkpoint_frequency: a class trainable is saved every so many iterations; 0: never.
        checkpoint_at_end: a class trainable is saved when its trial ends; None: yes for classes.
        keep_best: of the trials that have ended only so many keep a checkpoint, one each: the best by the attribute, or else by the
            metric of the run; >= 1; None: all. What another trial still needs stays as long as it does.
        max_checkpoint_bytes: what all checkpoints of the experiment may take together: bytes, or a text such as "20GB". The worst go
            first; never those that running trials go on from, nor the best one. None: no limit.
        min_free_bytes: with less than so much free on the disk (bytes, or a text) nothing is saved until there is more, and a warning
            says so; trials go on. None: 1 GiB or 2 % of the disk, whichever is less; 0: no limit.

    Raises:
        SpecError: a value out of its range.

    Example:
        >>> CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="accuracy").checkpoint_score_order
        'max'
    """

    num_to_keep: int | None = None
    checkpoint_score_attribute: str | None = None
    checkpoint_score_order: str = "max"
    checkpoint_frequency: int = 0
    checkpoint_at_end: bool | None = None
    keep_best: int | None = None
    max_checkpoint_bytes: int | str | None = None
    min_free_bytes: int | str | None = None

    def __post_init__(self) -> None:
        every = self.checkpoint_frequency
        for what in ("num_to_keep", "keep_best"):
            keep = getattr(self, what)
            if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
                raise SpecError(f"CheckpointConfig: {what} must be a whole number >= 1, or None to keep all, got {keep!r}.")
        self.max_checkpoint_bytes = size("CheckpointConfig: max_checkpoint_bytes", self.max_checkpoint_bytes, least=1)
        self.min_free_bytes = size("CheckpointConfig: min_free_bytes", self.min_free_bytes)
        if self.checkpoint_score_order not in ("max", "min"):
            raise SpecError(f"CheckpointConfig: checkpoint_score_order must be 'max' or 'min', got {self.checkpoint_score_order!r}.")
        if isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise SpecError(f"CheckpointConfig: checkpoint_frequency must be a whole number >= 0, got {every!r}.")
        if self.checkpoint_at_end not in (True, False, None):
            raise SpecError(f"CheckpointConfig: checkpoint_at_end must be True, False or None, got {self.checkpoint_at_end!r}.")


@_strict
@dataclass(slots=True)
class SyncConfig:
    """How an experiment is stored whose ``storage_path`` is a URL. Checkpoints and the ends of trials are stored as they happen.

    Args:
        sync_period: seconds, > 0, that reports and files wait at most until they are stored, too.
        sync_artifacts: store whatever trials write into their directories; False: results, logs and checkpoints.
        sync_timeout, sync_artifacts_on_checkpoint: only these defaults.

    Raises:
        SpecError: a value that is not what it can be, or is not supported; it names the argument.

    Example:
        >>> SyncConfig(sync_period=60).sync_artifacts
        False
    """

    sync_period: float = 300
    sync_timeout: int = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True

    def __post_init__(self) -> None:
        if seconds("SyncConfig: sync_period", self.sync_period) is None:
            raise SpecError("SyncConfig: sync_period must be a number of seconds > 0, got None.")
        flag("SyncConfig: sync_artifacts", self.sync_artifacts)
        for name, why in _NOT_SYNCED.items():
            given, default = getattr(self, name), self.__dataclass_fields__[name].default
            if given != default:
                raise SpecError(f"SyncConfig: {name}={given!r} is not supported: {why}. Remove it.")


def sync_policy(given: Any, *, needed: bool) -> SyncPolicy:
    """The settings in ``sync_config``, checked.

    Args:
        given: a :class:`SyncConfig` or None.
        needed: there is remote storage; else a word is said of settings that change nothing.

    Raises:
        SpecError: it is none.
    """
    config = _instance("sync_config", given, SyncConfig)
    if not needed and config != SyncConfig():
        logging.getLogger("tunesmith").warning(
            "sync_config is accepted, and needless: with a local storage_path everything is written where it stays, at once."
        )
    return SyncPolicy(seconds("sync_period", config.sync_period) or 0.0, bool(config.sync_artifacts))


_NOT_SYNCED = {
    "sync_timeout": "storing is tried again until it succeeds, and holds nothing up",
    "sync_artifacts_on_checkpoint": "with sync_artifacts=True files are stored as they change",
}


@_strict
@dataclass(slots=True)
class RunConfig:
    """How one experiment runs, and what it leaves.

    Args:
        name: of the experiment and its directory; None: the trainable's name and the date.
        storage_path: directory of all experiments (old name: ``local_dir``), or a URL such as "s3://bucket/results"; None:
            ``~/tunesmith_results``.
        storage_filesystem: a file system of fsspec's or pyarrow's, in which ``storage_path`` is a path; None: local, or by the URL.
        stop: when a trial ends: a dict of bounds (``>=``), a function ``(trial_id, result) -> bool``, a ``Stopper``, or a list.
        failure_config, checkpoint_config: see :class:`FailureConfig`, :class:`CheckpointConfig`.
        sync_config: see :class:`SyncConfig`; for a ``storage_path`` that is a URL.
        callbacks: instances of ``Callback``.
        log_to_file: True; a file name for both; (stdout file, stderr file), in the trial's directory; False: the console. None: True
            where trials have processes of their own.
        verbose: 0 is silent; 1: a table drawn in place on a terminal and in a notebook, elsewhere one line per change; 2: a line for
            every report, too; 3: for every decision and checkpoint, too.
        progress_reporter: what the table shows (``CLIReporter``, ``JupyterNotebookReporter``), or a ``ProgressReporter`` of your own.
        executor: None ("local"), a name ("inline", "local") or an executor.
        drain_s: seconds, or a ``timedelta``, that running trials have to report and save when the experiment ends before they do
            (Ctrl-C, SIGTERM, a time budget); then they are killed. None: as long as it takes. See :func:`tunesmith.run`.
        loggers: None: the usual files; ``()``: none.

    Raises:
        SpecError: an unknown argument. Values are checked by ``Tuner.fit``.

    Example:
        >>> RunConfig(name="digits", stop={"training_iteration": 10}).stop
        {'training_iteration': 10}
    """

    name: str | None = None
    storage_path: str | None = None
    stop: Any = None
    failure_config: FailureConfig = field(default_factory=FailureConfig)
    checkpoint_config: CheckpointConfig = field(default_factory=CheckpointConfig)
    sync_config: SyncConfig | None = None
    callbacks: Sequence[Callback] | None = None
    log_to_file: bool | str | tuple[str, str] | None = None
    verbose: int | None = 1
    executor: Any = None
    progress_reporter: Any = None
    drain_s: float | timedelta | None = DRAIN_S
    loggers: Sequence[Any] | None = None
    local_dir: str | None = None
    storage_filesystem: Any = None

    def __post_init__(self) -> None:
        self.failure_config = _instance("failure_config", self.failure_config, FailureConfig)
        self.checkpoint_config = _instance("checkpoint_config", self.checkpoint_config, CheckpointConfig)
        if self.sync_config is not None:
            _instance("sync_config", self.sync_config, SyncConfig)


def _instance(name: str, given: T | None, cls: type[T]) -> T:
    if given is None:
        return cls()
    if not isinstance(given, cls):
        raise SpecError(f"{name} must be a {cls.__name__}, got {type(given).__name__} {given!r}.")
    return given
