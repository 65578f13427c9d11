"""Fault injection: points in the loop at which a test can kill the driver, fill the disk or break a handler.

After a crash nothing more is committed or told, whatever still runs while the stack unwinds: as after ``kill -9``.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tunesmith.core.ports import Record
from tunesmith.errors import StorageFull

__all__ = ["POINTS", "Crash", "FaultPlan", "crash_at", "full_disk_at"]

POINTS = ("before_commit", "after_commit", "after_dispatch")
"""Where in a turn: nothing of it is on record; it is on record, nothing was carried out; all was carried out, nobody was told."""


class Crash(BaseException):
    """The driver is gone."""


class FaultPlan:
    """Counts turns, and fails at the chosen one and ever after.

    Args:
        turn: number of the committing turn at which to fail, from 0.
        fail: raises what there is to raise.

    Attributes:
        turns: committing turns seen so far.
    """

    def __init__(self, turn: int, fail: Callable[[], None]) -> None:
        self.turn = turn
        self.turns = 0
        self._fail = fail

    def reached(self) -> None:
        """One more turn has come to the point."""
        self.turns += 1
        self.check()

    def check(self) -> None:
        """Fail, if it is past the point."""
        if self.turns > self.turn:
            self._fail()


@contextmanager
def crash_at(point: str, turn: int) -> Iterator[FaultPlan]:
    """Within the block, the driver dies at ``point`` of its committing turn number ``turn``, with :class:`Crash`.

    Args:
        point: one of :data:`POINTS`.
        turn: from 0; more than there are turns: nothing happens.

    Example:
        >>> with crash_at("after_commit", 10 ** 9) as plan:
        ...     pass                     # run an experiment here
        >>> plan.turns
        0
    """
    if point not in POINTS:
        raise ValueError(f"point must be one of {', '.join(POINTS)}, got {point!r}")

    def die() -> None:
        raise Crash(f"{point} of turn {turn}")

    plan = FaultPlan(turn, die)
    with _patched(plan, point):
        yield plan


@contextmanager
def full_disk_at(turn: int) -> Iterator[FaultPlan]:
    """Within the block, the journal's disk is full from the committing turn number ``turn`` on."""

    def full() -> None:
        raise StorageFull("the disk is full (injected)") from OSError(errno.ENOSPC, "No space left on device")

    plan = FaultPlan(turn, full)
    with _patched(plan, "before_commit"):
        yield plan


@contextmanager
def _patched(plan: FaultPlan, point: str) -> Iterator[None]:
    """Put the plan into the journal's append and the loop's last step."""
    from tunesmith.drive import Drive
    from tunesmith.journal.sqlite import SqliteJournal

    append, tell = SqliteJournal.append, Drive._tell

    def patched_append(self: Any, records: Sequence[Record], *, durable: bool = False) -> int:
        plan.reached() if point == "before_commit" else plan.check()
        last = append(self, records, durable=durable)
        if point == "after_commit":
            plan.reached()
        return last

    def patched_tell(self: Any, records: Sequence[Record]) -> None:
        plan.reached() if point == "after_dispatch" else plan.check()
        tell(self, records)

    SqliteJournal.append, Drive._tell = patched_append, patched_tell  # type: ignore[method-assign]
    try:
        yield
    finally:
        SqliteJournal.append, Drive._tell = append, tell  # type: ignore[method-assign]
