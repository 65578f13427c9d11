"""What is told of a worker that ended without saying so."""

from __future__ import annotations

import os
import pickle
import re
import signal
from typing import Any

from tunesmith.blame import is_library, is_ours
from tunesmith.core.events import AttemptEnded
from tunesmith.executors.base import Assignment
from tunesmith.executors.oom import OomWatch

__all__ = ["Autopsy"]

_TAIL = 1 << 16
"""Bytes of a log that are looked at: the list of extension modules at the end of a dump can be long."""
_SHOWN = 4096
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in ', re.MULTILINE)


class Autopsy:
    """Finds out why a worker died, from its wait status and from what it has left in its log.

    Args:
        log_to_file: (stdout file, stderr file) in the trial's directory, if there are any.
    """

    def __init__(self, log_to_file: tuple[str, str] | None) -> None:
        self._oom = OomWatch()
        self._log = log_to_file[1] if log_to_file is not None else None

    def verdict(self, assignment: Assignment, pid: int, how: str, detail: Any) -> AttemptEnded:
        """The end of an attempt whose process is no more.

        Args:
            how: "exited", with the wait status as ``detail``; "unborn": it could not be forked, and why; "orphaned": its template has died.
        """
        if how == "exited":
            return self._died(assignment, pid, detail)
        if how == "unborn":
            error = {"type": "ForkFailed", "message": f"no process could be made for it: {detail}", "where": "", "traceback": ""}
            return AttemptEnded(assignment.trial, assignment.attempt, "worker_lost", error)
        what = "the process that workers are forked from was killed, and its own with it"
        return self._verdict(assignment, "worker_lost", "TemplateLost", what)

    def _died(self, assignment: Assignment, pid: int, status: int) -> AttemptEnded:
        """An exit that the trial's own code asked for is that code's failure; a signal is the loss of a worker."""
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            what = f"its process {pid} ended with exit code {code} in the middle of the trial (os._exit?)"
            return self._verdict(assignment, "user_error", "ProcessExit", what)
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if number == signal.SIGKILL and self._oom.struck():
            what = f"its process {pid} was killed by the kernel, because memory ran out"
            return self._verdict(assignment, "oom_ram", "OutOfMemory", what)
        what = f"its process {pid} was killed by {name} ({signal.strsignal(number)})"
        return self._verdict(assignment, "worker_lost", name, what, dumped=number in _FAULTS)

    def exception(self, blob: bytes | None) -> BaseException | None:
        """The exception that a trial ended with, if it can be rebuilt here."""
        if blob is None:
            return None
        try:
            error = pickle.loads(blob)
        except Exception:
            return None
        return error if isinstance(error, BaseException) else None

    def _verdict(self, assignment: Assignment, outcome: str, kind: str, what: str, dumped: bool = False) -> AttemptEnded:
        tail = self._last_words(assignment)
        where = ""
        if dumped:
            tail = tail[max(0, tail.rfind("Fatal Python error")) :].partition("\nExtension modules: ")[0]
            where = _users_frame(tail)
        error = {"type": kind, "message": what, "where": where, "traceback": tail[:_SHOWN] if dumped else tail[-_SHOWN:]}
        return AttemptEnded(assignment.trial, assignment.attempt, outcome, error)

    def _last_words(self, assignment: Assignment) -> str:
        if self._log is None:
            return ""
        try:
            with open(os.path.join(assignment.trial_dir, self._log), "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


def _users_frame(dump: str) -> str:
    """As :func:`tunesmith.blame.user_frame`, from what ``faulthandler`` has written: the innermost frame comes first there."""
    _, _, thread = dump.rpartition("Current thread ")
    frames = [(found["file"], f"{found['file']}:{found['line']}") for found in _FRAME.finditer(thread.partition("\n\n")[0])]
    foreign = [(file, place) for file, place in frames if not is_ours(file)]
    return next((place for file, place in foreign if not is_library(file)), foreign[0][1] if foreign else "")
