"""ExperimentSpec: one validated description of an experiment, built by both fronts (``run`` and ``Tuner``), driven by ``drive``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tunesmith.callback import Callback
    from tunesmith.executors.base import Executor
    from tunesmith.logger.base import LoggerCallback
    from tunesmith.schedulers.base import Scheduler
    from tunesmith.search.base import Searcher
    from tunesmith.space import Space
    from tunesmith.stopper import Stopper
    from tunesmith.storage.remote import Remote
    from tunesmith.trainable.base import TrainableSpec

__all__ = ["DRAIN_S", "GRACE_S", "CheckpointPolicy", "ExperimentSpec", "FailurePolicy", "ResumePlan", "SyncPolicy"]

DRAIN_S = 30.0
"""Seconds that trials have to report and save when the experiment ends before they do, unless it is said otherwise."""

GRACE_S = 5.0
"""Seconds from the signal that ends an attempt to the one that no process can refuse, unless it is said otherwise."""


@dataclass(slots=True)
class FailurePolicy:
    """What failures cost.

    Args:
        retries: outcome class -> retries per trial (-1: without end), over the defaults of :mod:`tunesmith.core.policy`.
        fail_fast: False; True: the first failed trial ends the experiment; "raise": and its own exception is raised.
        raise_on_failed_trial: raise ``TrialsFailed`` at the end if trials ended in ERROR (nan ones excepted).
        identical: circuit breaker: if the first so many ended trials all failed alike, stop; None: never.
        nan_policy: "fail" or "continue".
    """

    retries: Mapping[str, int] = field(default_factory=dict)
    fail_fast: bool | str = False
    raise_on_failed_trial: bool = True
    identical: int | None = 5
    nan_policy: str = "fail"


@dataclass(slots=True)
class CheckpointPolicy:
    """When checkpoints are taken and which are kept: :class:`tunesmith.CheckpointConfig`, checked; sizes in bytes."""

    num_to_keep: int | None = None
    score_attribute: str | None = None
    score_order: str = "max"
    frequency: int = 0
    at_end: bool | None = None
    keep_best: int | None = None
    max_bytes: int | None = None
    min_free: int | None = None


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """What a session takes up of the experiment that is there.

    Args:
        must_exist: refuse to begin one.
        unfinished: go on with its unfinished trials, and with the search. False: the session is about failed trials only.
        errored: what becomes of trials that ended in ERROR: "skip": they stay so; "resume": they go on from their newest
            checkpoint; "restart": they begin anew, under the same number.
        remote: what is in remote storage counts, whatever the local working folder holds.
    """

    must_exist: bool = True
    unfinished: bool = True
    errored: Literal["skip", "resume", "restart"] = "skip"
    remote: bool = False


@dataclass(frozen=True, slots=True)
class SyncPolicy:
    """What is stored remotely, and when: :class:`tunesmith.SyncConfig`, checked."""

    period_s: float = 300.0
    artifacts: bool = False


@dataclass(slots=True)
class ExperimentSpec:
    """All that ``drive.execute`` needs. Every field is validated and resolved by the front.

    ``metrics`` and ``modes`` have equal length (0, 1 or more). ``num_samples`` None: until a limit.
    ``stop`` is one combined Stopper or None. ``path`` is the experiment's directory: absolute, there, and ours.
    ``remote`` is the experiment's place in remote storage; None: it is at ``path`` only.
    ``resume``: the experiment is there already, and ``plan`` says what is taken up of it.
    ``executor_why``: why it is that one, where nobody has named it.
    ``kept`` False: its files are gone when the run is over, so nothing is said of how to go on with them.
    ``loggers`` None: the default files; else the ``LoggerCallback`` instances to run instead (``()``: no files at all).
    """

    trainable: TrainableSpec
    name: str
    path: str
    space: Space
    searcher: Searcher
    scheduler: Scheduler
    metrics: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    num_samples: int | None = 1
    stop: Stopper | None = None
    resources: Mapping[str, float] | Callable[[dict[str, Any]], Mapping[str, float]] | None = None
    max_concurrent: int | None = None
    time_budget_s: float | None = None
    max_trial_s: float | None = None
    max_silence_s: float | None = None
    drain_s: float | None = DRAIN_S
    grace_s: float = GRACE_S
    max_ram: int | None = None
    seed: int | None = None
    deterministic: bool = False
    executor: Executor | None = None
    executor_why: str = ""
    failure: FailurePolicy = field(default_factory=FailurePolicy)
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    callbacks: Sequence[Callback] = ()
    loggers: Sequence[LoggerCallback] | None = None
    trial_name_creator: Callable[[Any], str] | None = None
    trial_dirname_creator: Callable[[Any], str] | None = None
    log_to_file: tuple[str, str] | tuple[()] | None = None
    chdir_to_trial_dir: bool = False
    reuse_actors: bool | None = None
    verbose: int = 1
    progress_reporter: Any = None
    resume: bool = False
    plan: ResumePlan = field(default_factory=ResumePlan)
    take_over: bool = False
    journal_mode: Literal["auto", "local", "network"] = "auto"
    remote: Remote | None = None
    sync: SyncPolicy = field(default_factory=SyncPolicy)
    kept: bool = True
