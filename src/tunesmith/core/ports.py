"""The seams: what the core and the shell ask of journals, clocks, schedulers' views and observers.

Protocols only. The edges implement them; :mod:`tunesmith.testing` has a kit for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tunesmith.core.commands import Decision
from tunesmith.core.events import Event

__all__ = ["CheckpointStore", "Clock", "Header", "Journal", "Observer", "Record", "TrialView"]


class Clock(Protocol):
    """Time for the shell; the core sees it only as the ``at`` of events."""

    def now(self) -> float:
        """Seconds of the experiment's clock: monotonic, continued from the last record after a restart."""

    def wall(self) -> float:
        """Seconds since the epoch, for showing only."""


@dataclass(slots=True)
class Record:
    """One line of the journal: an event, and what was decided because of it.

    ``decisions`` holds those that are not a plain "continue". ``handled`` is false for a poisoned batch: folds skip it.
    ``seq`` is 1 for the first record of the journal and is given by the journal.
    """

    event: Event
    decisions: list[Decision] = field(default_factory=list)
    handled: bool = True
    seq: int = 0


@dataclass(slots=True)
class Header:
    """What a journal says of itself.

    Args:
        uuid: 32 hex digits, the experiment's identity; trial ids begin with its first five.
        name: of the experiment.
        created: wall time of creation, seconds since the epoch (event time 0 of session 0).
        format: version of the journal's format.
        rules: flags of decision rules that have changed since, so that old journals replay as they were decided.
        library: version of tunesmith that created it.
    """

    uuid: str
    name: str
    created: float
    format: int = 1
    rules: dict[str, int] = field(default_factory=dict)
    library: str = ""


class Journal(Protocol):
    """Append-only record of one experiment, with one writer."""

    header: Header

    def append(self, records: Sequence[Record], *, durable: bool = False) -> int:
        """Commit ``records`` together, give each its ``seq``; returns the last. ``durable``: safe against power loss on return.

        Raises:
            StorageFull: nothing of this call was written.
        """

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records with ``seq > after`` in order, unhandled ones included; of one trial if ``trial`` is given."""

    def last(self) -> int:
        """``seq`` of the last committed record; 0 if there is none."""

    def waiting(self) -> float | None:
        """Seconds until the loop should call ``sync`` because appended records wait in memory; None: none do."""

    def sync(self) -> None:
        """Make all that was appended safe against power loss."""

    def close(self) -> None:
        """Sync and release the lease. Idempotent."""


class CheckpointStore(Protocol):
    """What the shell asks of the place where checkpoints are kept."""

    def path(self, checkpoint: str) -> str:
        """Where the checkpoint with this id is, whether or not it is there."""

    def delete(self, checkpoint: str) -> None:
        """Remove it, for nothing needs it any more."""

    def close(self) -> None:
        """Finish what was begun. Idempotent."""


class TrialView(Protocol):
    """What schedulers see of a trial; read-only.

    ``values`` are the drawn values (flat), ``metrics`` the newest report's (flat), ``iteration`` our count of reports.
    """

    @property
    def number(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def values(self) -> Mapping[str, Any]: ...
    @property
    def iteration(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, Any]: ...
    @property
    def attempt(self) -> int: ...
    @property
    def checkpoint(self) -> str | None: ...
    @property
    def resources(self) -> Mapping[str, float]: ...


class Observer(Protocol):
    """Reads what was committed. A failing observer is reported once and dropped; it never kills a trial."""

    def committed(self, records: Sequence[Record]) -> None:
        """Called after each commit, in order, on the loop's thread."""

    def close(self) -> None:
        """The run is over: finish what is queued."""
