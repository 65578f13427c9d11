"""The Python process that becomes a template. To start one takes a tenth of a second, in which the driver has other things to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.executors.guardian import TEMPLATE, kill_marked
from tunesmith.executors.surroundings import hold_standard_descriptors, imported_by_multiprocessing
from tunesmith.executors.unwinding import UNWIND
from tunesmith.executors.usual import usual_executor

__all__ = ["RUN", "Interpreter", "ahead"]

RUN = "TUNESMITH_RUN"
"""The environment variable of a template and of every process that comes from it: which run's it is."""

_CODE = (
    "import sys; sys.path[:] = sys.argv[3:]; from tunesmith.executors.guardian import post_guardian; "
    "guardian = post_guardian(int(sys.argv[1])); from tunesmith.executors.template import main; main(guardian)"
)


class Interpreter:
    """A process of its own session that runs :mod:`tunesmith.executors.template` and has been told nothing yet.

    Args:
        run: marks all processes of a run, in their environment; "": a new mark.

    Attributes:
        run: that mark.
        control: our end of the socket to it.
        pid, pidfd: of the process.

    Raises:
        ExecutorError: it can't be started.
    """

    def __init__(self, run: str = "") -> None:
        self.run = run or os.urandom(8).hex()
        self._token = os.urandom(8).hex()
        self.control, theirs = socket.socketpair()
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        arguments = [sys.executable, *flags, "-c", _CODE, str(theirs.fileno()), str(os.getpid()), *sys.path]
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=_console(sys.__stdout__), stderr=_console(sys.__stderr__),
                env={**os.environ, RUN: self.run, TEMPLATE: self._token}, pass_fds=[theirs.fileno()], start_new_session=True,
            )  # fmt: skip
        except (OSError, TypeError) as error:  # TypeError: an embedded interpreter may not know its executable
            self.control.close()
            raise ExecutorError(
                f"the process that trials are forked from can't be started: {error}. It runs sys.executable ({sys.executable!r}): "
                f"set it to a Python that has tunesmith installed, or use executor='inline'."
            ) from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self.pidfd = os.pidfd_open(self.pid)

    def kill(self) -> None:
        """End it by force."""
        self._process.kill()

    def kill_marked(self) -> None:
        """End whatever it has left behind."""
        kill_marked(self._token)

    def end(self, patience_s: float) -> bool:
        """Have it end itself and all that comes from it.

        Returns:
            Whether it has ended within ``patience_s`` seconds.
        """
        self._process.send_signal(UNWIND)
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def bury(self) -> int:
        """Wait until it is gone, and close its files.

        Returns:
            Its exit code, or the negative number of the signal that ended it.
        """
        self._process.wait()
        self.control.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        return self._process.returncode

    @classmethod
    def take(cls) -> Interpreter:
        """The one that :func:`ahead` has started and nobody has taken; or a new one."""
        spare = _spare.get()
        _spare.set(None)
        return cls() if spare is None else spare


_spare: ContextVar[Interpreter | None] = ContextVar("spare", default=None)


@contextmanager
def ahead(executor: Any) -> Iterator[None]:
    """Within it :meth:`Interpreter.take` has one that was started at the beginning; it ends here if nobody has taken it.

    Args:
        executor: as given to ``run()``. Nothing is started for one that is not "local" by its name or by default.
    """
    name = usual_executor()[0] if executor is None else executor
    interpreter = None
    if name == "local" and sys.platform.startswith("linux") and not imported_by_multiprocessing():
        hold_standard_descriptors()
        with suppress(ExecutorError):  # told by whoever needs one
            interpreter = Interpreter()
    token = _spare.set(interpreter)
    try:
        yield
    finally:
        spare = _spare.get()
        _spare.reset(token)
        if spare is not None:
            spare.kill()
            spare.bury()


def _console(stream: Any) -> int | None:
    """What a child gets as this stream. Where Python found none at its start, the descriptor may be any other file by now."""
    return subprocess.DEVNULL if stream is None else None
