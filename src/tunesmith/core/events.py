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
    "Reopened",
    "Reported",
    "SaveSkipped",
    "SearchExhausted",
    "SpecChanged",
    "StopRequested",
    "Suggested",
    "TimerFired",
    "UserAction",
]

DEFAULT_METRIC = "_metric"
"""What a number is reported as that has no name: ``report(0.3)``, ``return 0.3``. What a mode is for if no metric is given."""


@dataclass(slots=True)
class ExperimentStarted:
    """The first record, and the first of each later session of the same experiment.

    Args:
        spec: the part of the experiment's description that the core decides by, and what readers need (JSON). Whole in session 0; later
            sessions begin with what holds already, and record what differs as :class:`SpecChanged`.
        session: 0 for the first process that drives the experiment, one more after each resume.
        wall: seconds since the epoch at that moment, for showing; 0: as the journal's header says.
        only: the trials that this session is about: unfinished ones that are not among them stay as they are, and nothing new is drawn.
            None: it is about all.
    """

    spec: dict[str, Any]
    session: int = 0
    at: float = 0.0
    wall: float = 0.0
    only: tuple[int, ...] | None = field(default=None, metadata={"added": True})


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
        bytes: size of the files in the checkpoint; 0: unknown, or none came.
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
    bytes: int = field(default=0, metadata={"added": True})
    extras: dict[str, Any] | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class CheckpointSaved:
    """A save of its own, apart from any report, is durable: asked for (``Save``, a cold pause), or a ``checkpoint_dir`` after the report.

    Args:
        iteration: of the state saved.
        bytes: size of the files in it; 0: unknown.
    """

    trial: int
    attempt: int
    iteration: int
    checkpoint: str
    at: float = 0.0
    bytes: int = field(default=0, metadata={"added": True})


@dataclass(slots=True)
class SaveSkipped:
    """There was no room to save: what was to be a checkpoint is none, and the trial goes on.

    Args:
        iteration: of the state that is not saved. Where the checkpoint was to come with a report, this event comes before it.
        reason: for people, e.g. "1.2 GB are free under /data, min_free_bytes=5 GB".
    """

    trial: int
    attempt: int
    iteration: int
    reason: str
    at: float = 0.0


@dataclass(slots=True)
class Explored:
    """The answer to ``Explore``: the mutated values for ``trial`` (flat, like ``Suggested.values``).

    Args:
        exploit: which of the trial's exploits it answers, from 1.
        changes: for people: path in the configuration -> [before, now, what was done, as in "x1.2"].
    """

    trial: int
    values: dict[str, Any]
    at: float = 0.0
    exploit: int = field(default=0, metadata={"added": True})
    changes: dict[str, list[Any]] = field(default_factory=dict, metadata={"added": True})


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
class Reopened:
    """A trial that was over goes on. All that there is to know of it is here: the core keeps one byte of an ended trial.

    Args:
        attempt: number of its next attempt.
        why: "errored"; "criterion", "bound", "budget": what had ended it was raised.
        values: what was drawn for it, flat; resources: as in :class:`Suggested`.
        iteration, time_total, metrics: of its newest report; frontier: the highest iteration that the scheduler has been shown.
        saved: its checkpoints that are still there, oldest first, each as the fields of :class:`~tunesmith.core.retention.Saved`.
        base: where it begins, in the same form; None: from scratch.
        space: the version of the search space that ``values`` belong to.
        exploits: how many have been decided for it.
    """

    trial: int
    attempt: int
    why: str
    values: dict[str, Any]
    resources: dict[str, float] | None
    iteration: int
    time_total: float
    metrics: dict[str, Any]
    frontier: int
    saved: list[list[Any]] = field(default_factory=list)
    base: list[Any] | None = None
    at: float = 0.0
    space: int = field(default=0, metadata={"added": True})
    exploits: int = field(default=0, metadata={"added": True})


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
        warm: paused attempts that may stay in memory at once; None: nothing new is known.
        nodes: what an attempt can get at most, where that is less than the totals: one dict for each kind of machine that no other
            exceeds. What they do not name is not bounded by them.
    """

    totals: dict[str, float]
    slots: int | None = None
    at: float = 0.0
    out: tuple[int, ...] = field(default=(), metadata={"added": True})
    warm: int | None = field(default=None, metadata={"added": True})
    nodes: tuple[dict[str, float], ...] = field(default=(), metadata={"added": True})


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
    | SaveSkipped
    | Explored
    | AttemptEnded
    | Reopened
    | TimerFired
    | CapacityChanged
    | UserAction
    | StopRequested
)
