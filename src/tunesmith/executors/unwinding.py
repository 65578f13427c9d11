"""How a trial's code is told to end: by a signal of the executor's own, at which it unwinds.

SIGTERM is not that signal, as it comes from others, too: batch systems and service managers send it to every process of a job. Then the
driver is who acts: it gives trials time to report and to save. So a worker hears neither SIGTERM nor SIGINT of its own accord.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import faulthandler
import os
import signal
import threading
import traceback
import types

from tunesmith.blame import is_library, is_ours
from tunesmith.errors import TrialStopped

__all__ = ["DUMP", "TO_ALL", "UNWIND", "Unwinding", "unheard"]

UNWIND: int = getattr(signal, "SIGRTMIN", 34) + 1  # macOS has none, and no local executor
"""The signal by which the executor ends a trial's code, and the template."""

DUMP: int = UNWIND + 1
"""The signal by which the executor ends a worker that has not unwound: it writes where its threads are to its standard error, and dies of
the signal. Both are done in C, whatever the trial's code is at. A process that is stopped, or has blocked the signal, does neither."""

TO_ALL = (signal.SIGINT, signal.SIGTERM)
"""What may be sent to every process of a job, and is meant for the driver."""


def unheard(_number: int, _frame: types.FrameType | None) -> None:
    """The handler of a signal that is not for us. Unlike "ignored", it does not pass to programs that are started."""


class Unwinding:
    """The signal handlers of a worker.

    At ``UNWIND`` the worker sends itself SIGTERM. So a trial that has set a handler for that is told as it would be anywhere, and what
    happens is its business. Else (or if its handler calls the one before) ``TrialStopped`` is raised in its code.

    Attributes:
        found: where ``UNWIND`` has found the trial's code, as an error; None: it has not come.
    """

    def __init__(self) -> None:
        self.found: dict[str, str] | None = None
        self._idle = True
        self._guarded = True
        self._asked = False
        self._late = False
        self._masks: dict[int, set[int | signal.Signals]] = {}  # thread -> the signals it had blocked before it forked
        self._handlers = {UNWIND: self._on_unwind, signal.SIGTERM: self._on_term, signal.SIGINT: unheard}

    def install(self) -> None:
        """From here on ``UNWIND``, which was blocked until now, has its effect."""
        self._handle()
        os.register_at_fork(before=self._hold, after_in_parent=self._release, after_in_child=self._let_go)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [UNWIND])

    def begin(self) -> None:
        """An attempt begins."""
        self.found, self._asked, self._idle = None, False, False

    def enter(self) -> None:
        """The trial's code begins.

        Raises:
            TrialStopped: it was told to end before.
        """
        self._handle()  # the one before may have set others
        self.allow()

    def end(self) -> None:
        """The attempt is over."""
        self._idle = True

    def guard(self) -> None:
        """Our own code runs: not to be interrupted."""
        self._guarded = True

    def allow(self) -> None:
        """The trial's code goes on.

        Raises:
            TrialStopped: it was told to end meanwhile.
        """
        self._guarded = False
        if self.found is not None:
            raise TrialStopped("the trial was terminated")

    def _handle(self) -> None:
        for number, handler in self._handlers.items():
            _signal.signal(number, handler)  # the one of ``signal`` looks for names of the numbers: ten times slower
        faulthandler.unregister(DUMP)  # else registering it again would leave a handler of the trial's own in its place
        faulthandler.register(DUMP, file=2, all_threads=True, chain=True)  # what it was before, is next: the end of the process

    # -- signals ---------------------------------------------------------------------------------------------------------

    def _on_unwind(self, _number: int, _frame: types.FrameType | None) -> None:
        if self._masks:  # the trial forks: what is raised in between would be lost
            self._late = True
        elif self._idle:
            os._exit(128 + signal.SIGTERM)
        else:
            self._asked = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _on_term(self, _number: int, frame: types.FrameType | None) -> None:
        if self._asked and self.found is None:
            self.found = _interrupted(frame)
            if not self._guarded:
                raise TrialStopped("the trial was terminated")

    # -- forks of the trial's own ----------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """The trial forks. What its child is sent before it has let go would be lost: Python forgets signals that came so early."""
        self._masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, TO_ALL)

    def _release(self) -> None:
        self._unmask()
        if self._late and not self._masks:
            self._late = False
            _thread.start_new_thread(os.kill, (os.getpid(), UNWIND))  # it runs when this one waits or has run for some milliseconds

    def _let_go(self) -> None:
        """In a process that the trial has forked: it ends as any other."""
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == handler:
                signal.signal(number, signal.SIG_DFL)
        faulthandler.unregister(DUMP)
        self._unmask()

    def _unmask(self) -> None:
        forked_by = threading.get_ident()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks[forked_by])  # runs handlers
        del self._masks[forked_by]


def _interrupted(frame: types.FrameType | None) -> dict[str, str]:
    """The error of a trial whose code was found in ``frame``."""
    stack = [one for one in reversed(traceback.extract_stack(frame)) if not is_ours(one.filename)]
    found = next((one for one in stack if not is_library(one.filename)), None)
    return {
        "type": "Terminated",
        "message": "the trial's process was sent SIGTERM",
        "where": f"{found.filename}:{found.lineno}" if found is not None else "",
        "traceback": "Traceback (most recent call last):\n" + "".join(traceback.format_list(stack[::-1])),
    }
