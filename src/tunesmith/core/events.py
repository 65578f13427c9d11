"""What happened: the only input of the controller.

Events are slotted dataclasses that hold plain data (JSON-safe after :mod:`tunesmith.core.codec`). They are values: nothing
changes one after the shell has stamped ``at`` (seconds of the experiment's clock). Whatever concerns a running attempt carries
``(trial, attempt)``, so that a late message of an older attempt can be told from a fresh one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "AttemptEnded",
    "AttemptStarted",
    "CapacityChanged",
    "CheckpointSaved",
    "Event",
    "ExperimentStarted",
    "Explored",
    "Reported",
    "SearchExhausted",
    "SpecChanged",
    "StopRequested",
    "Suggested",
    "TimerFired",
    "UserAction",
]


@dataclass(slots=True)
class ExperimentStarted:
    """The first record, and the first of each later session of the same experiment.

    Args:
        spec: the part of the experiment's description that the core decides by, and what readers need (JSON).
        session: 0 for the first process that drives the experiment, one more after each resume.
        wall: seconds since the epoch at that moment, for showing; 0: as the journal's header says.
    """

    spec: dict[str, Any]
    session: int = 0
    at: float = 0.0
    wall: float = 0.0


@dataclass(slots=True)
class SpecChanged:
    """Settings that a resume or a live edit changed; keys as in :class:`ExperimentStarted`'s spec."""

    changes: dict[str, Any]
    at: float = 0.0


@dataclass(slots=True)
class Suggested:
    """A searcher proposed a configuration for trial number ``trial``.

    Args:
        trial: the next trial number.
        values: only what was drawn, flat path -> JSON scalar (an option that is no scalar is its index; see ``space``).
        source: who proposed it, for people ("random", "grid", "point 3", "tpe").
        resources: what one attempt takes, e.g. ``{"cpu": 2, "gpu": 0.5}``; None: the experiment's default.
        name, dirname: answers of the user's ``trial_name_creator`` and ``trial_dirname_creator``; None: the usual ones.
    """

    trial: int
    values: dict[str, Any]
    source: str = ""
    resources: dict[str, float] | None = None
    name: str | None = None
    dirname: str | None = None
    at: float = 0.0


@dataclass(slots=True)
class SearchExhausted:
    """The searcher has nothing more to propose, and why."""

    reason: str
    at: float = 0.0


@dataclass(slots=True)
class AttemptStarted:
    """An attempt's user code is about to run. ``info``: pid, hostname, node_ip."""

    trial: int
    attempt: int
    info: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0


@dataclass(slots=True)
class Reported:
    """A trial reported metrics, and waits for the decision.

    Args:
        iteration: our count of this trial's reports, from 1; continued from the checkpoint that the attempt loaded.
        metrics: flat ("/"-joined) scalars and strings: the user's, and ``training_iteration``, ``time_this_iter_s``,
            ``time_total_s`` (a user's own ``training_iteration`` wins).
        checkpoint: id of the checkpoint that came with the report; it is durable before this event is sent.
        verdict: why the user's stop criteria end the trial here; None: they do not.
        named: names of metrics that were neither scalar nor string: shown by loggers that can, not stored.
        extras: those values, in this process only (never journaled).
    """

    trial: int
    attempt: int
    iteration: int
    metrics: dict[str, Any]
    checkpoint: str | None = None
    verdict: str | None = None
    named: tuple[str, ...] = ()
    at: float = 0.0
    extras: dict[str, Any] | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class CheckpointSaved:
    """A save that the driver asked for (``Save``, or a cold pause) is durable. ``iteration``: of the state saved."""

    trial: int
    attempt: int
    iteration: int
    checkpoint: str
    at: float = 0.0


@dataclass(slots=True)
class Explored:
    """The answer to ``Explore``: the mutated values for ``trial`` (flat, like ``Suggested.values``)."""

    trial: int
    values: dict[str, Any]
    at: float = 0.0


@dataclass(slots=True)
class AttemptEnded:
    """An attempt is over and its process, thread or call is gone.

    Args:
        outcome: one of :data:`tunesmith.core.policy.OUTCOMES`.
        error: for failures: ``{"type", "message", "where" ("file:line"), "traceback"}``, all strings.
    """

    trial: int
    attempt: int
    outcome: str
    error: dict[str, str] | None = None
    at: float = 0.0


@dataclass(slots=True)
class TimerFired:
    """A timer that the controller set is due."""

    timer: str
    at: float = 0.0


@dataclass(slots=True)
class CapacityChanged:
    """What the executor can hold now.

    Args:
        totals: e.g. ``{"cpu": 8, "gpu": 2}``; all cards that are there, whether they may be leased or not.
        slots: attempts at once, None: no bound.
        out: indices of the cards that may not be leased for now; a later event that omits one gives it back.
    """

    totals: dict[str, float]
    slots: int | None = None
    at: float = 0.0
    out: tuple[int, ...] = field(default=(), metadata={"added": True})


@dataclass(slots=True)
class UserAction:
    """A person asked for something while the run goes on: ``stop`` | ``pause`` | ``resume`` a trial."""

    action: str
    trial: int
    at: float = 0.0


@dataclass(slots=True)
class StopRequested:
    """End the experiment: running trials are stopped and end TERMINATED. ``reason`` is shown.

    Args:
        drain: false (default): the trials are told to stop and are over for good.
            True (Ctrl-C, driver's own failure): they end as interrupted, and a resume continues them.
    """

    reason: str
    drain: bool = False
    at: float = 0.0


Event = (
    ExperimentStarted
    | SpecChanged
    | Suggested
    | SearchExhausted
    | AttemptStarted
    | Reported
    | CheckpointSaved
    | Explored
    | AttemptEnded
    | TimerFired
    | CapacityChanged
    | UserAction
    | StopRequested
)
