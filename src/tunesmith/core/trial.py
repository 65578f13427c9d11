"""A live trial as the core knows it. Ended ones leave nothing but their status behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.placement import Request
from tunesmith.core.retention import Saved

__all__ = ["ERROR", "LIVE", "PAUSED", "PENDING", "RUNNING", "TERMINATED", "Exploit", "Trial"]

PENDING = "PENDING"
RUNNING = "RUNNING"
PAUSED = "PAUSED"
TERMINATED = "TERMINATED"
ERROR = "ERROR"
LIVE = (PENDING, RUNNING, PAUSED)


@dataclass(slots=True)
class Exploit:
    """An exploit under way: ``trial`` will go on with ``values`` from the source's checkpoint, once both are there.

    The source may be the trial itself, which then goes on from a checkpoint of this very moment.

    Args:
        data: of the decision; where the values are asked for, ``source_values`` too: those that they are made of.
        checkpoint: the source's, pinned from the moment it is known until the new attempt has reported (or ended). None: it is waited for,
            and the source is what it was when that was decided.
        space: the version of the search space that the values belong to, which is the source's.
        number: which exploit of the trial this is, from 1.
        changes: what was done to the values, see :class:`~tunesmith.core.events.Explored`.
    """

    source: int
    values: dict[str, Any] | None
    data: dict[str, Any]
    checkpoint: Saved | None = None
    space: int = 0
    number: int = 0
    changes: dict[str, list[Any]] = field(default_factory=dict)


@dataclass(slots=True)
class Trial:
    """State of one live trial; schedulers see it as a read-only :class:`~tunesmith.core.ports.TrialView`.

    Args:
        space: the version of the search space that ``values`` belong to.
        attempt: number of the running (or next) attempt, from 0.
        started: the attempt's user code runs.
        owed: the last command sent for the attempt that no event has confirmed: "", launch, continue, warm, cold, rerun,
            stop, kill:<outcome>. A later one replaces an earlier one.
        then: what follows when the attempt ends: "" (decide by its outcome), end, pause, exploit, interrupt, resize.
        outcome, reason: of a stop, pause, exploit or resize under way; by: what ends it, where a resume may raise that (``criterion``,
            ``bound`` with the option and its value, ``halt:budget``), as it goes into the decision "end".
        iteration, time_total, metrics, named: of the newest report.
        frontier: the highest iteration that the scheduler has been shown; repeats after a rewind are not shown again.
        mode: how it is paused: warm, cold or rerun.
        left: while paused with its work (warm, cold): what is left of ``max_trial_s``, seconds.
        saved: the trial's own durable checkpoints that retention has not let go, oldest first.
        size: what the next attempt is to take, while a resize is under way; first: what the trial took before the first one, None: there
            was none.
        replaced: ids of the base's iteration that retention did let go: should one be told of again, it is no news.
        base: where a next attempt would start: the newest own checkpoint, or (``borrowed``, pinned) the one of an exploit.
        restore: where the present attempt started; ``loaded``: its id, pinned until the attempt has reported.
        failures: outcome class -> how often.
        alike: how many failures in a row were the same one, without a new report in between; and which (``policy.signature``).
        waiters: trials whose exploit waits for this one's next checkpoint.
        exploits: how many have been decided for this one.
    """

    number: int
    values: dict[str, Any]
    resources: dict[str, float]
    request: Request
    status: str = PENDING
    space: int = 0
    attempt: int = 0
    started: bool = False
    owed: str = ""
    then: str = ""
    outcome: str = ""
    reason: str = ""
    by: dict[str, Any] = field(default_factory=dict)
    iteration: int = 0
    time_total: float = 0.0
    metrics: dict[str, Any] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    frontier: int = 0
    mode: str = ""
    left: float | None = None
    size: dict[str, float] | None = None
    first: dict[str, float] | None = None
    gpus: tuple[tuple[int, float], ...] = ()
    holds: bool = False
    saved: list[Saved] = field(default_factory=list)
    replaced: tuple[str, ...] = ()
    base: Saved | None = None
    borrowed: bool = False
    restore: Saved | None = None
    loaded: str | None = None
    saving: bool = False
    exploit: Exploit | None = None
    waiters: list[int] = field(default_factory=list)
    exploits: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    alike: tuple[int, str] = (0, "")

    @property
    def checkpoint(self) -> str | None:
        """Id of the checkpoint that the trial would go on from."""
        return self.base.id if self.base is not None else None

    @property
    def leaving(self) -> bool:
        """Whether the present attempt has been told to end."""
        return bool(self.then) or self.owed.startswith("kill:")

    @property
    def alive(self) -> bool:
        """Whether an attempt of this trial exists somewhere: running, or blocked in ``report``."""
        return self.status == RUNNING or (self.status == PAUSED and (self.mode == "warm" or self.then != ""))
