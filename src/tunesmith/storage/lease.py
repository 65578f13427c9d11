"""Who writes to a remote place: an object that names the process, and that it renews.

There is no lock behind it, so it is a precaution, not a proof: two runs that take it in the same second may both believe that they have
it. What they write then cannot be mistaken for one history (see ``segments``), and the one that lost finds out when it renews.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tunesmith.errors import JournalLocked
from tunesmith.journal.lease import Owner
from tunesmith.storage.objects import Objects

__all__ = ["NAME", "RemoteLease"]

NAME = ".lease.json"
RENEW_S = 30.0
STALE_S = 300.0
"""An owner on another machine that has not renewed it for so long is taken to be gone."""


_live: set[tuple[str, float]] = set()
"""The leases that this process holds: place and beginning. One that names this process and is not among them was left by a failed run."""


class RemoteLease:
    """The lease on the place of ``objects``.

    Args:
        objects: of the place.
        wall: seconds since the epoch. Clocks of machines are taken to agree to within some minutes.
        me: this process.
    """

    def __init__(self, objects: Objects, wall: Callable[[], float] = time.time, me: Owner | None = None) -> None:
        self._objects = objects
        self._wall = wall
        self._me = me or Owner.here()
        self._key = (str(objects.remote), self._me.since)
        self._renewed = 0.0
        self._lost_to: Owner | None = None
        self.held = False

    def acquire(self, *, take_over: bool = False) -> None:
        """Take it.

        Args:
            take_over: also from a process on another machine that has renewed it of late.

        Raises:
            JournalLocked: another process has it.
            RemoteStorageError: it could not be read or written.
        """
        there = self._read()
        if there is not None:
            self._refuse(*there, take_over)
        self._write()
        self.held = True
        _live.add(self._key)
        self.check()

    def check(self, missing: Callable[[], object] = lambda: None) -> None:
        """Make sure that it is still ours, and renew it when it is time. Once lost it stays lost, whatever its new owner did with it.

        Args:
            missing: is called before it is written anew because nobody has it; raises if somebody had it meanwhile.

        Raises:
            JournalLocked: another process has taken it.
            RemoteStorageError: it could not be read or written.
        """
        there = None if self._lost_to is not None else self._read()
        if there is not None and there[0] != self._me:
            self.held = False
            self._lost_to = there[0]
        if self._lost_to is not None:
            raise JournalLocked(f"{self._objects.remote} was taken over by {self._lost_to}: nothing more is stored there from here.")
        if there is None:
            missing()
        if there is None or self._wall() - self._renewed >= RENEW_S:
            self._write()

    def due(self) -> float:
        """Seconds until it should be renewed."""
        return max(0.0, self._renewed + RENEW_S - self._wall())

    def abandon(self) -> None:
        """It is not used any more, whatever its object says."""
        _live.discard(self._key)

    def release(self) -> None:
        """Give it back, if it is ours.

        Raises:
            RemoteStorageError: that was not possible.
        """
        self.abandon()
        if self.held:
            self.held = False
            there = self._read()
            if there is not None and there[0] == self._me:
                self._objects.delete(NAME)

    def _refuse(self, owner: Owner, renewed: float, take_over: bool) -> None:
        silent = self._wall() - renewed
        mine = (owner.pid, owner.started, owner.boot, owner.space) == (self._me.pid, self._me.started, self._me.boot, self._me.space)
        if (mine and (str(self._objects.remote), owner.since) not in _live) or owner.gone(self._me):
            return
        if take_over and owner.elsewhere(self._me):
            return
        if not owner.elsewhere(self._me):
            raise JournalLocked(
                f"{self._objects.remote} is being written by {owner}. Only one run can write there (any number can read): wait until that "
                "one ends or stop it, or start this run under another name."
            )
        if silent > STALE_S:
            return
        raise JournalLocked(
            f"{self._objects.remote} belongs to {owner}, another machine, which has renewed its claim {max(0.0, silent):.0f} s ago. Stop "
            f"it there; if it is gone, wait until the claim is {STALE_S / 60:.0f} minutes old, or say take_over=True."
        )

    def _read(self) -> tuple[Owner, float] | None:
        try:
            found: dict[str, Any] = json.loads(self._objects.read(NAME))
            return Owner(**found["owner"]), float(found["renewed"])
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            return None  # half of one, on storage that can have that

    def _write(self) -> None:
        now = self._wall()
        self._objects.write(NAME, json.dumps({"owner": asdict(self._me), "renewed": now}).encode())
        self._renewed = now
