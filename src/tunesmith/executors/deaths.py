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
from tunesmith.executors.unwinding import DUMP

__all__ = ["Autopsy"]

_TAIL = 1 << 16
"""Bytes of a log that are looked at: the list of extension modules at the end of a dump can be long."""
_SHOWN = 4096
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+) in .*\n?', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current thread|Thread) 0x.*\n(?:  .*(?:\n|\Z))*", re.MULTILINE)


class Autopsy:
    """Finds out why a worker died, from its wait status and from what it has left in its log.

    Args:
        log_to_file: (stdout file, stderr file) in the trial's directory, if there are any.
    """

    def __init__(self, log_to_file: tuple[str, str] | None) -> None:
        self._oom = OomWatch()
        self._log = log_to_file[1] if log_to_file is not None else None

    @property
    def reads_dumps(self) -> bool:
        """Whether there is a log for a process to write into where it is."""
        return self._log is not None

    def log_size(self, assignment: Assignment) -> int:
        """Bytes of the attempt's log so far."""
        try:
            return os.stat(os.path.join(assignment.trial_dir, self._log or "")).st_size
        except OSError:
            return 0

    def verdict(self, assignment: Assignment, pid: int, how: str, detail: Any, dump_at: int | None = None) -> AttemptEnded:
        """The end of an attempt whose process is no more.

        Args:
            dump_at: the size that the log had when the process was told by ``DUMP`` to say where it is; None: it was not.
            how: "exited", with the wait status as ``detail``; "unborn": it could not be forked, and why; "orphaned": its template has died.
        """
        if how == "exited":
            return self._died(assignment, pid, detail, dump_at)
        if how == "unborn":
            error = {"type": "ForkFailed", "message": f"no process could be made for it: {detail}", "where": "", "traceback": ""}
            return AttemptEnded(assignment.trial, assignment.attempt, "worker_lost", error)
        what = "the process that workers are forked from was killed, and its own with it"
        return self._verdict(assignment, "worker_lost", "TemplateLost", what)

    def _died(self, assignment: Assignment, pid: int, status: int, dump_at: int | None) -> AttemptEnded:
        """An exit that the trial's own code asked for is that code's failure; a signal is the loss of a worker."""
        if os.WIFEXITED(status):
            code = os.WEXITSTATUS(status)
            what = f"its process {pid} ended with exit code {code} in the middle of the trial (os._exit?)"
            return self._verdict(assignment, "user_error", "ProcessExit", what)
        number = os.WTERMSIG(status)
        if dump_at is not None and number in (DUMP, signal.SIGKILL):
            what = f"its process {pid} was killed"
            return self._verdict(assignment, "worker_lost", "SIGKILL", what, _last_dump(self._last_words(assignment, dump_at)))
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if number == signal.SIGKILL and self._oom.struck():
            what = f"its process {pid} was killed by the kernel, because memory ran out"
            return self._verdict(assignment, "oom_ram", "OutOfMemory", what)
        what = f"its process {pid} was killed by {name} ({signal.strsignal(number)})"
        return self._verdict(assignment, "worker_lost", name, what, self._fault(assignment) if number in _FAULTS else "")

    def exception(self, blob: bytes | None) -> BaseException | None:
        """The exception that a trial ended with, if it can be rebuilt here."""
        if blob is None:
            return None
        try:
            error = pickle.loads(blob)
        except Exception:
            return None
        return error if isinstance(error, BaseException) else None

    def _verdict(self, assignment: Assignment, outcome: str, kind: str, what: str, dump: str = "") -> AttemptEnded:
        text = _FRAME.sub(lambda found: "" if is_ours(found["file"]) else found[0], dump)[:_SHOWN] or self._last_words(assignment)[-_SHOWN:]
        error = {"type": kind, "message": what, "where": _users_frame(dump), "traceback": text}
        return AttemptEnded(assignment.trial, assignment.attempt, outcome, error)

    def _fault(self, assignment: Assignment) -> str:
        """What ``faulthandler`` wrote when the process crashed."""
        tail = self._last_words(assignment)
        return tail[max(0, tail.rfind("Fatal Python error")) :].partition("\nExtension modules: ")[0]

    def _last_words(self, assignment: Assignment, since: int = 0) -> str:
        """The end of the attempt's log, from the byte ``since`` on."""
        if self._log is None:
            return ""
        try:
            with open(os.path.join(assignment.trial_dir, self._log), "rb") as file:
                file.seek(max(since, file.seek(0, os.SEEK_END) - _TAIL))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""


def _last_dump(text: str) -> str:
    """What ``faulthandler`` wrote at a signal, among other things that were printed: the thread that had it, and then the others.

    Without that one (it does not run Python) the trial's own comes first, which is the last to be written.
    """
    threads = [found[0].rstrip("\n") + "\n" for found in _THREAD.finditer(text)]
    first = next((one for one in threads if one.startswith("Current")), threads[-1] if threads else "")
    return "\n".join([first, *(one for one in threads if one is not first)]) if threads else ""


def _users_frame(dump: str) -> str:
    """As :func:`tunesmith.blame.user_frame`, from what ``faulthandler`` has written: the innermost frame comes first there."""
    _, _, thread = dump.rpartition("Current thread ")
    frames = [(found["file"], f"{found['file']}:{found['line']}") for found in _FRAME.finditer(thread.partition("\n\n")[0])]
    foreign = [(file, place) for file, place in frames if not is_ours(file)]
    return next((place for file, place in foreign if not is_library(file)), foreign[0][1] if foreign else "")
