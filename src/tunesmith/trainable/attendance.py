"""Attend to the processes of one attempt: hear them, and see to it that they end."""

from __future__ import annotations

import selectors
import signal
import time
from typing import Protocol

from tunesmith.trainable.relay import Relay

__all__ = ["AFTER_TERM_S", "Attendance", "Attended"]

AFTER_TERM_S = 1.0
"""From SIGTERM to SIGKILL, for those that had time to unwind before."""


class Attended(Protocol):
    """A process.

    Attributes:
        end: a descriptor that is readable once it has ended. is_over: that has been seen.
    """

    end: int
    is_over: bool

    def over(self) -> None:
        """Its end has been told."""

    def signal(self, number: int) -> None:
        """Send a signal to it and its process group."""

    def kill(self) -> int:
        """End all of it, if it has not ended; returns its exit code (negative: the signal that ended it). Idempotent."""


class Attendance:
    """One thread that waits for whatever the processes do.

    Args:
        selector: with callables as data.
        relay: hears them.
        grace_s: seconds that they have to end.
    """

    def __init__(self, selector: selectors.BaseSelector, relay: Relay, grace_s: float) -> None:
        self.selector, self.relay = selector, relay
        self._grace_s = grace_s
        self.processes: list[Attended] = []

    def attend(self, process: Attended) -> None:
        """It has been started."""
        self.processes.append(process)
        self.selector.register(process.end, selectors.EVENT_READ, lambda: self.ended(process))

    def ended(self, process: Attended) -> None:
        """It has ended."""
        self.selector.unregister(process.end)
        process.over()

    @property
    def all_over(self) -> bool:
        """Whether every process has ended."""
        return all(process.is_over for process in self.processes)

    def step(self, timeout: float | None) -> bool:
        """Wait for something, and see to it; false: there was nothing."""
        ready = self.selector.select(timeout)
        for key, _ in ready:
            if key.fileobj in self.selector.get_map():  # what came before may have ended it
                key.data()
        return bool(ready)

    def wait(self, seconds: float) -> None:
        """Until all have ended, but no longer than so many seconds."""
        until = time.monotonic() + seconds
        while not self.all_over and (left := until - time.monotonic()) > 0:
            self.step(left)

    def wind_down(self) -> None:
        """The trial is told to end, and so are they. Those that know already are given time to unwind first."""
        if self.relay.told:
            self.wait(self._grace_s)
            self.signal(signal.SIGTERM)
            self.wait(AFTER_TERM_S)
        else:
            self.signal(signal.SIGTERM)
            self.wait(self._grace_s)

    def signal(self, number: int) -> None:
        """Send a signal to those that have not ended."""
        for process in self.processes:
            if not process.is_over:
                process.signal(number)
