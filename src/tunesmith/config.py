"""The settings that ``Tuner`` takes, in the groups that users know: how to tune, how to run, what to keep, what failures cost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith.errors import SpecError
from tunesmith.legacy import settle
from tunesmith.spec import DRAIN_S

if TYPE_CHECKING:
    from tunesmith.callback import Callback

__all__ = ["CheckpointConfig", "FailureConfig", "RunConfig", "SyncConfig", "TuneConfig"]

T = TypeVar("T")


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
        search_alg: a searcher, its name ("random"), or None for grid x random.
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
    chdir_to_trial_dir: bool = False


@_strict
@dataclass(slots=True)
class FailureConfig:
    """What failures cost.

    Args:
        max_failures: retries per trial after errors of its own code; -1: without end.
        fail_fast: True: the first trial that fails ends the experiment; "raise": and its own exception is raised.

    Raises:
        SpecError: both are set, or one is not what it can be.

    Example:
        >>> FailureConfig(max_failures=3).fail_fast
        False
    """

    max_failures: int = 0
    fail_fast: bool | str = False

    def __post_init__(self) -> None:
        if isinstance(self.max_failures, bool) or not isinstance(self.max_failures, int) or self.max_failures < -1:
            raise SpecError(f"max_failures must be a whole number >= 0, or -1 for no limit, got {self.max_failures!r}.")
        if isinstance(self.fail_fast, str):
            self.fail_fast = self.fail_fast.lower()
        if self.fail_fast not in (True, False, "raise"):
            raise SpecError(f"fail_fast must be False, True or 'raise', got {self.fail_fast!r}.")
        if self.fail_fast and self.max_failures:
            raise SpecError(
                f"fail_fast={self.fail_fast!r} ends the run at the first failure, so max_failures={self.max_failures} could never be "
                "used: give one of the two."
            )


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

    def __post_init__(self) -> None:
        keep, every = self.num_to_keep, self.checkpoint_frequency
        if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 1):
            raise SpecError(f"CheckpointConfig: num_to_keep must be a whole number >= 1, or None to keep all, got {keep!r}.")
        if self.checkpoint_score_order not in ("max", "min"):
            raise SpecError(f"CheckpointConfig: checkpoint_score_order must be 'max' or 'min', got {self.checkpoint_score_order!r}.")
        if isinstance(every, bool) or not isinstance(every, int) or every < 0:
            raise SpecError(f"CheckpointConfig: checkpoint_frequency must be a whole number >= 0, got {every!r}.")
        if self.checkpoint_at_end not in (True, False, None):
            raise SpecError(f"CheckpointConfig: checkpoint_at_end must be True, False or None, got {self.checkpoint_at_end!r}.")


@_strict
@dataclass(slots=True)
class SyncConfig:
    """Accepted for scripts that pass one: results go straight to ``storage_path``, so there is nothing to set.

    Args:
        sync_period, sync_timeout: seconds; sync_artifacts, sync_artifacts_on_checkpoint: only these defaults.

    Raises:
        SpecError: any value but the default; it names the argument.

    Example:
        >>> SyncConfig().sync_period
        300
    """

    sync_period: int = 300
    sync_timeout: int = 1800
    sync_artifacts: bool = False
    sync_artifacts_on_checkpoint: bool = True

    def __post_init__(self) -> None:
        for item in fields(self):
            given = getattr(self, item.name)
            if given != item.default:
                raise SpecError(f"SyncConfig: {item.name}={given!r} is not supported yet (only {item.default!r}); remove it.")


@_strict
@dataclass(slots=True)
class RunConfig:
    """How one experiment runs, and what it leaves.

    Args:
        name: of the experiment and its directory; None: the trainable's name and the date.
        storage_path: directory of all experiments (old name: ``local_dir``); None: ``~/tunesmith_results``.
        stop: when a trial ends: a dict of bounds (``>=``), a function ``(trial_id, result) -> bool``, a ``Stopper``, or a list.
        failure_config, checkpoint_config: see :class:`FailureConfig`, :class:`CheckpointConfig`.
        sync_config: see :class:`SyncConfig`; only the default one.
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
