"""What is told of an actor that is no more."""

from __future__ import annotations

import re
import signal

from tunesmith.core.events import AttemptEnded
from tunesmith.executors.base import Assignment
from tunesmith.executors.deaths import Autopsy

__all__ = ["RayAutopsy"]

_DETAIL = re.compile(r"Worker exit detail: (?P<what>.+?\.)(?: Some common causes|$|\n)", re.DOTALL)
_OOM = re.compile(r"out of memory|memory usage threshold|OutOfMemory", re.IGNORECASE)
_SHOWN = 600


class RayAutopsy(Autopsy):
    """Finds out why an actor died, from what Ray says of it, and from what the trial has left in its log."""

    def killed(self, assignment: Assignment, pid: int, dump_at: int | None) -> AttemptEnded:
        """It was ended by force, from here."""
        since = self.log_size(assignment) if dump_at is None else dump_at
        return self.verdict(assignment, pid, "exited", int(signal.SIGKILL), since)

    def lost(self, assignment: Assignment, pid: int, error: BaseException, node: str) -> AttemptEnded:
        """It died.

        Args:
            error: that the call of the actor ended with.
            node: the address of the machine that it was on, if that is gone; "" if not.
        """
        text = _worded(error)
        if node:
            return self._verdict(assignment, "node_lost", "NodeLost", f"the node {node}, on which its process {pid} ran, is gone")
        who = f"its process {pid}" if pid else "the process that was to run it"
        if _OOM.search(text):
            return self._verdict(assignment, "oom_ram", "OutOfMemory", f"{who} was ended by Ray, because memory ran out: {text}")
        dump = self._fault(assignment) if "Fatal Python error" in self._last_words(assignment) else ""
        return self._verdict(assignment, "worker_lost", type(error).__name__, f"{who} is gone: {text}", dump)


def _worded(error: BaseException) -> str:
    text = str(error)
    detail = _DETAIL.search(text)
    if detail is not None:
        return detail["what"]
    return text.strip()[-_SHOWN:]
