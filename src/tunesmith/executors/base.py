"""The executor protocol: everything that runs attempts implements this one page, and passes ``tunesmith.testing.ExecutorKit``.

An executor does what it is told and reports what happened. It decides nothing: retries, stops and limits come from the core.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.core.events import Event

__all__ = ["CONTINUE", "PAUSE", "STOP", "Assignment", "Executor", "ExecutorCapabilities", "ExecutorSetup", "Need"]

CONTINUE = "continue"
PAUSE = "pause"
STOP = "stop"


@dataclass(frozen=True, slots=True)
class ExecutorCapabilities:
    """What an executor can do, as data.

    Args:
        name: as users type it in ``executor=``.
        slots: attempts at once; None: bounded by resources only.
        warm_pause: a paused attempt can stay blocked in ``report``.
        kill: an attempt can be ended by force (deadlines need it).
        growing: capacity may grow later, so a request that does not fit now may wait.
        isolated: trials run in processes of their own, so that their output can be kept apart from the driver's.
        max_ram: an attempt whose processes hold more than ``Assignment.max_ram`` is ended.
        places: what an attempt holds may lie on several machines: ``Assignment.bundles`` is looked at, and ``ExecutorSetup.demand`` asked.
    """

    name: str
    slots: int | None = None
    warm_pause: bool = False
    kill: bool = False
    growing: bool = False
    isolated: bool = False
    max_ram: bool = False
    places: bool = False


@dataclass(slots=True)
class Assignment:
    """One attempt to run, with all that the worker needs.

    Args:
        trial, attempt: identity; echo both in every event.
        trial_id, trial_name, experiment_name: for ``get_context()``.
        config: the resolved configuration; the trial's own copy.
        trial_dir: absolute path of the trial's directory (the worker makes it when it first writes).
        checkpoint: absolute path of the checkpoint directory to start from, or None.
        checkpoint_id: its id.
        iteration, time_total: where the counters start.
        resources: what the attempt holds, e.g. ``{"cpu": 1.0}``.
        gpus: (card index, fraction) pairs.
        seed: the trial's own seed (32 bits), the same for every attempt.
        max_ram: bytes that all its processes may hold together, memory that they share with others counted by their share; one that
            holds more ends with outcome oom_ram, error type MemoryLimit. None: no limit.
        watch: note what is read of the configuration; see :mod:`tunesmith.trainable.watched`.
        bundles: the parts of ``resources`` that must each lie on one machine, the first for the trial's own process; empty: it is one part.
        strategy: how they lie to one another: PACK, SPREAD, STRICT_PACK or STRICT_SPREAD.
        drawn: where in ``config`` values lie that are named like secrets, but were drawn: trackers in the trial may show them.
    """

    trial: int
    attempt: int
    trial_id: str
    trial_name: str
    experiment_name: str
    config: dict[str, Any]
    trial_dir: str
    checkpoint: str | None = None
    checkpoint_id: str | None = None
    iteration: int = 0
    time_total: float = 0.0
    resources: dict[str, float] = field(default_factory=dict)
    gpus: tuple[tuple[int, float], ...] = ()
    seed: int = 0
    max_ram: int | None = None
    watch: bool = False
    bundles: tuple[dict[str, float], ...] = ()
    strategy: str = "PACK"
    drawn: tuple[str, ...] = ()


@dataclass(slots=True)
class Need:
    """What further attempts would be launched if there were room for them: of executors whose capacity may grow.

    Args:
        resources, bundles, strategy: of each; as in :class:`Assignment`.
        count: how many.
    """

    resources: dict[str, float]
    bundles: tuple[dict[str, float], ...] = ()
    strategy: str = "PACK"
    count: int = 1


@dataclass(slots=True)
class ExecutorSetup:
    """What an executor is given once, before the first launch.

    Args:
        trainable: an instance of :class:`tunesmith.trainable.base.TrainableSpec`.
        deliver: for executors that run user code on the loop's own thread: runs one full turn of the loop on the given
            events; on return the attempt's answer has been given through ``answer``. Others return events from ``poll``.
        log_to_file: (stdout file, stderr file), relative to the trial's directory; None: not captured.
        chdir: run the trial in its own directory.
        reuse: ``reuse_actors``: None, True or False.
        grace_s: how long an attempt may take to unwind after a stop.
        cpus: CPUs of a usual trial; libraries are told to use so many threads.
        min_free: with less than so many bytes free on the disk no checkpoint is saved; None: a bound that suits the disk; 0: none.
        keep_errors: ``error_of`` will be asked for; if not, no exception is kept (it holds on to all that was in use).
        warm: trials will be paused: say how many have room in memory (``CapacityChanged.warm``) as soon as it is known.
        demand: says what would be launched now if there were room; None: nobody knows.
    """

    trainable: Any
    deliver: Callable[[Sequence[Event]], None]
    log_to_file: tuple[str, str] | None = None
    chdir: bool = False
    reuse: bool | None = None
    grace_s: float = 5.0
    cpus: float = 1.0
    min_free: int | None = None
    keep_errors: bool = False
    warm: bool = False
    demand: Callable[[], Sequence[Need]] | None = None


class Executor(Protocol):
    """Runs attempts. All methods but ``wake`` are called on the loop's thread."""

    capabilities: ExecutorCapabilities

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        """Get ready; returns the totals, e.g. ``{"cpu": 8.0, "gpu": 1.0}``.

        Raises:
            ExecutorError: it cannot run here, and what to use instead.
        """

    def launch(self, assignment: Assignment) -> None:
        """Start an attempt soon; ``AttemptStarted`` follows (or ``AttemptEnded`` at once, if it cannot start)."""

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        """Decision for an attempt: ``continue``, ``stop``, or ``pause`` with ``mode`` warm, cold or rerun.

        Stop and pause may come at any moment; they take effect at the attempt's present or next report. A stopped
        or paused (cold, rerun) attempt ends with ``AttemptEnded(outcome="stopped")``; cold: ``CheckpointSaved`` first.
        Unknown or older attempts are ignored.
        """

    def save(self, trial: int, attempt: int) -> None:
        """Ask for a checkpoint; ``CheckpointSaved`` follows if the trainable can write one on request."""

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        """End by force; ``AttemptEnded(outcome=outcome)`` follows."""

    def poll(self, timeout: float | None) -> list[Event]:
        """Wait for events, at most ``timeout`` seconds (None: until there is one, or ``wake``)."""

    def wake(self) -> None:
        """Make a waiting ``poll`` return. May be called from any thread and from a signal handler."""

    def error_of(self, trial: int) -> BaseException | None:
        """The exception itself that the trial's newest failed attempt ended with, also after :meth:`close`.

        Asked only if ``ExecutorSetup.keep_errors`` has announced it. None: no attempt has failed, the failure was no exception (a
        process that was killed), or it cannot be rebuilt in the driver's process. What other attempts do changes nothing about it.
        """

    def close(self) -> None:
        """End whatever still runs, release everything. Idempotent."""
