"""Ranks of a trial as processes of this machine.

If the trial's own process has one thread only, as a worker of the local executor, they are forked from it, with all that it has imported;
else each is a fresh interpreter.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from tunesmith.trainable.attendance import Attended
from tunesmith.trainable.program import Program, inherited, tie
from tunesmith.trainable.rank import finish, run_rank

if TYPE_CHECKING:
    from tunesmith.trainable.ranks import Plan

__all__ = ["start_here"]

_CODE = "import sys; sys.path[:] = sys.argv[3:]; from tunesmith.trainable.rank import main; main(sys.argv[1], int(sys.argv[2]))"


def start_here(plan: Plan, rank: int) -> Attended:
    """A rank on this machine."""
    return _Fork(plan, rank) if _has_one_thread() else _fresh(plan, rank)


def _has_one_thread() -> bool:
    """Whether it can be forked safely: other threads may hold locks that nobody would release in the fork."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return False


def _fresh(plan: Plan, rank: int) -> Attended:
    words = [sys.executable, "-c", _CODE, plan.file(), str(rank), *sys.path]
    program = Program(words, os.environ.get("PATH", os.defpath), None, f"rank {rank} of {plan.group.__name__}")
    program.start({**os.environ, **plan.job(rank).variables}, inherited(sys.stdout), inherited(sys.stderr))
    return program


class _Fork:
    """A rank that was forked from the trial's process."""

    def __init__(self, plan: Plan, rank: int) -> None:
        self.is_over = False
        self._code: int | None = None
        parent = os.getpid()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # what is in its buffer would be written twice
                stream.flush()
        self._pid = os.fork()
        if self._pid == 0:
            code = 70
            try:
                os.setpgid(0, 0)
                tie()
                if os.getppid() == parent:
                    plan.let_go()
                    code = run_rank(plan.job(rank))
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                finish(code)
        with contextlib.suppress(OSError):
            os.setpgid(self._pid, self._pid)  # here, too: whoever comes first
        self.end = os.pidfd_open(self._pid)

    def over(self) -> None:
        self.is_over = True

    def signal(self, number: int) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

    def kill(self) -> int:
        if self._code is None:
            self.signal(signal.SIGKILL)
            self._code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
            os.close(self.end)
        return self._code
