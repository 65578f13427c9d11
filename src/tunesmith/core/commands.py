"""What to do: the output of the controller, carried out by the edges.

A command is never assumed done until an event says so; :meth:`Controller.wanted` gives the ones still owed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Command",
    "Continue",
    "Decision",
    "DeleteCheckpoint",
    "Explore",
    "Finish",
    "Kill",
    "Launch",
    "Pause",
    "Save",
    "SetTimer",
    "Stop",
    "Suggest",
]


@dataclass(slots=True)
class Decision:
    """One decision with its reason, as recorded beside the event that caused it.

    Args:
        do: ``launch`` ``continue`` ``pause`` ``stop`` ``exploit`` ``resize`` ``save`` (what schedulers may ask for, launch by ``choose``);
            ``resume`` ``kill``; when an attempt is over ``retry`` ``paused`` ``exploited`` (the exploit's new attempt can begin) ``end``;
            ``skip`` (an exploit that cannot be); of the experiment ``halt`` (nothing new is begun) ``finish`` ``drop`` (checkpoints that
            make room). ``retry`` and ``paused`` have ``resources`` in their data if the next attempt takes others; so has ``resize``,
            and where it has ``save`` too an attempt ends first.
        trial: the trial concerned; None: the experiment.
        reason: for people, e.g. "stopped: 0.61 below the rung-9 cut of 0.83 (7th of 12)".
        data: what is needed to apply it again (JSON).
    """

    do: str
    trial: int | None = None
    reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Suggest:
    """Ask the searcher for ``n`` more configurations, the first of them for trial number ``first``."""

    n: int
    first: int


@dataclass(slots=True)
class Explore:
    """Ask user-written or model-based exploration for new values of ``trial``, copied from ``source``.

    ``values``: the source's, of version ``space`` of the search space; ``data``: what the scheduler hands to its own ``explore`` method;
    ``number``: which exploit of the trial this is.
    """

    trial: int
    source: int
    values: dict[str, Any]
    data: dict[str, Any]
    space: int = 0
    number: int = 0


@dataclass(slots=True)
class Launch:
    """Start an attempt.

    Args:
        values: what was drawn, from version ``space`` of the search space.
        iteration, time_total: where its counters begin (from the checkpoint, else 0).
    """

    trial: int
    attempt: int
    values: dict[str, Any]
    checkpoint: str | None
    iteration: int
    time_total: float
    resources: dict[str, float]
    gpus: tuple[tuple[int, float], ...] = ()
    space: int = 0


@dataclass(slots=True)
class Continue:
    """Answer to a report: go on."""

    trial: int
    attempt: int


@dataclass(slots=True)
class Pause:
    """Answer to a report: hold. ``mode``: ``warm`` (stay blocked), ``cold`` (save, end), ``rerun`` (end without a save)."""

    trial: int
    attempt: int
    mode: str


@dataclass(slots=True)
class Stop:
    """End the attempt in an orderly way: unwind at the report, run ``finally``; then the ladder. ``save``: with a checkpoint, if it can."""

    trial: int
    attempt: int
    save: bool = False


@dataclass(slots=True)
class Kill:
    """End the attempt by force; the edge reports it with ``outcome``."""

    trial: int
    attempt: int
    outcome: str


@dataclass(slots=True)
class Save:
    """Ask the attempt for a checkpoint of its present state (class trainables can; functions answer at their next own one)."""

    trial: int
    attempt: int


@dataclass(slots=True)
class DeleteCheckpoint:
    """Nothing needs this checkpoint any more."""

    checkpoint: str


@dataclass(slots=True)
class SetTimer:
    """Send ``TimerFired(timer)`` at ``at`` (seconds of the experiment's clock); ``at`` None cancels it."""

    timer: str
    at: float | None


@dataclass(slots=True)
class Finish:
    """Nothing is left to do."""

    reason: str


Command = Suggest | Explore | Launch | Continue | Pause | Stop | Kill | Save | DeleteCheckpoint | SetTimer | Finish
