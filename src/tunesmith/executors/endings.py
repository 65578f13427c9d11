"""How attempts end that do not end by themselves: in time, by force where there is no other way, and with which outcome."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from tunesmith.core.events import AttemptEnded
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import ExecutorSetup
from tunesmith.executors.deaths import Autopsy
from tunesmith.executors.memory import Memory, RamWatch, excess
from tunesmith.executors.process import Process
from tunesmith.executors.process_table import ProcessTable
from tunesmith.executors.unwinding import DUMP

__all__ = ["Endings"]

_log = logging.getLogger("tunesmith")
_BORN_S = 120.0
"""A template that imports one package for so long, while a worker is due, has got stuck in it."""
_AFTER_TERM_S = 1.0
"""From SIGTERM to the end by force: for a trial that does not end after a stop, and for one that holds too much memory."""
_DUMPED_S = 0.2
"""A process that has not said where it is by then will not: it is stopped, or has blocked the signal."""
_FAR = 1.2
"""A trial that holds so many times what it may is not left the time to unwind."""


class Keeper(Protocol):
    """Who has the processes."""

    @property
    def processes(self) -> Mapping[int, Process]:
        """By number."""

    def hurry(self, process: Process, /) -> None:
        """Nothing was heard of its end for very long."""


class Endings:
    """Sees to it that processes end: those that were told to, and those that hold too much memory.

    Args:
        nursery: has the processes.
        alarms: rung by the loop.
        setup: with the grace, and whether trials have logs.
        autopsy: knows where these are.
        wake: makes the loop call :meth:`look`; called from another thread.
    """

    def __init__(self, nursery: Keeper, alarms: Alarms, setup: ExecutorSetup, autopsy: Autopsy, wake: Callable[[], None]) -> None:
        self._nursery, self._alarms, self._autopsy = nursery, alarms, autopsy
        self._grace_s = setup.grace_s
        self._ram = RamWatch(Memory().read, time.monotonic, wake)

    # -- attempts --------------------------------------------------------------------------------------------------------

    def begin(self, process: Process) -> None:
        """Its attempt begins."""
        assert process.assignment is not None
        if process.assignment.max_ram is not None:
            self._ram.watch(process.number, process.pid, process.assignment.max_ram)

    def over(self, process: Process) -> None:
        """Its attempt is over, and the process gone or free for another."""
        self._ram.forget(process.number)

    def kill(self, process: Process, outcome: str) -> None:
        """A signal now, at which Python code unwinds; force after the grace."""
        if not process.doom:
            process.doom = outcome
            process.signal(signal.SIGTERM)
            self.expect(process)

    def unwinding(self, process: Process) -> None:
        """It has been told to end, and was at a report: it has the grace for its ``finally`` blocks."""
        process.leaving = True
        self._alarms.set(process, self._grace_s, lambda one: one.signal(signal.SIGTERM))
        self._alarms.set(process, self._grace_s + _AFTER_TERM_S, self._end)

    def expect(self, process: Process) -> None:
        """It has been told to end: it has the grace to do so."""
        self._alarms.set(process, self._grace_s, self._end)

    def judge(self, process: Process, event: AttemptEnded) -> None:
        """An end that was decided from here has the outcome that it was decided for."""
        if process.doom:
            event.outcome = process.doom
            if process.excess:
                found = event.error or {"where": "", "traceback": ""}
                event.error = {**found, "type": "MemoryLimit", "message": process.excess}
            elif event.error is not None and event.error["type"] == "SIGKILL":
                event.error["message"] = f"its process {process.pid} did not end when told to, and was killed (it blocked in C code?)"
            if event.error is not None and event.error["type"] in ("MemoryLimit", "SIGKILL", "Terminated"):
                _conclude(event.error)
        elif process.leaving and event.outcome == "worker_lost":
            event.outcome, event.error = "stopped", None

    def look(self) -> None:
        """End those that were found to hold more memory than they may. On the loop's thread."""
        for number, held, processes in self._ram.exceeded():
            process = self._nursery.processes[number]
            assert process.assignment is not None and process.assignment.max_ram is not None
            limit = process.assignment.max_ram
            if not process.doom and not process.leaving and process.ended is None:
                process.doom, process.excess = "oom_ram", excess(held, processes, limit)
            if process.ended is not None:
                process.signal(signal.SIGKILL)  # its outcome is known; what runs on has nothing to add
            elif held > _FAR * limit:
                self._end(process)
            elif not process.signalled:
                process.signal(signal.SIGTERM)
                self._alarms.set(process, _AFTER_TERM_S, self._end)

    def close(self) -> None:
        """Nothing is watched any more. Idempotent."""
        self._ram.close()

    # -- time ------------------------------------------------------------------------------------------------------------

    def expect_birth(self, process: Process) -> None:
        """It is to be forked: a template that has got stuck is replaced."""
        self._alarms.set(process, _BORN_S, self._overdue)

    def _overdue(self, process: Process) -> None:
        if not process.pid:
            self._alarms.set(process, _BORN_S, self._overdue)
            self._nursery.hurry(process)

    def _end(self, process: Process) -> None:
        """By force. A trial that has a log says there where it is, and dies of that; if it can't, it is killed a little later."""
        if process.ended is not None:
            if ProcessTable().get(process.pid) is None:  # it has ended, and its template has other things to do than to look
                self._alarms.set(process, _BORN_S, self._nursery.hurry)
                return
            assert process.assignment is not None
            name = process.assignment.trial_id
            _log.warning("Trial %s is over, but its process did not end (a thread of its own ran on?), and was killed.", name)
        elif process.assignment is not None and process.dump_at is None and self._autopsy.reads_dumps:
            process.dump_at = self._autopsy.log_size(process.assignment)
            process.signal(DUMP)
            self._alarms.set(process, _DUMPED_S, self._end)
            return
        process.signal(signal.SIGKILL)
        self._alarms.set(process, _BORN_S, self._nursery.hurry)  # who has to take note of its end may have got stuck


def _conclude(error: dict[str, str]) -> None:
    """A traceback says at its end what it is about, as any other does. (An end may be judged twice.)"""
    last = f"{error['type']}: {error['message']}\n"
    text = error["traceback"]
    if text and not text.endswith(last):
        error["traceback"] = text + ("" if text.endswith("\n") else "\n") + last
