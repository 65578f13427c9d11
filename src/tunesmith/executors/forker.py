"""The driver's handle of a template process: starts it, has it fork workers, hears of their ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable
from dataclasses import astuple
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.executors.child import Orders
from tunesmith.executors.preload import loaded
from tunesmith.executors.surroundings import thread_variables
from tunesmith.executors.wire import Frames, Kind, encode
from tunesmith.trainable.parcel import Parcel

__all__ = ["MARKER", "Forker"]

MARKER = "TUNESMITH_RUN"
"""Environment variable of the template and of every process that comes from it; a value of its own for each template."""

_CODE = "import sys; sys.path[:] = sys.argv[3:]; from tunesmith.executors.template import main; main()"


class Forker:
    """One template process, and the sockets and pids of the workers that it forks.

    Args:
        parcel: the trainable.
        orders: the same for all workers.
        excluded: packages that the template must not import.

    Attributes:
        control: to be read (:meth:`receive`) when it is readable.
        pidfd: becomes readable when the template is gone.
        pids: worker number -> pid, as long as it has not been told that the worker is gone.
        replaced: another template has taken over; this one ends with its last worker.
        forked_any: it has forked at least one worker.
    """

    def __init__(self, parcel: Parcel, orders: Orders, excluded: Collection[str] = ()) -> None:
        self.pids: dict[int, int] = {}
        self.replaced = self.forked_any = False
        self._token = secrets.token_hex(8)
        self._frames = Frames()
        self.control, theirs = socket.socketpair()
        environment = {**os.environ, MARKER: self._token}
        environment |= thread_variables(orders.threads, os.environ)
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        arguments = [sys.executable, *flags, "-c", _CODE, str(theirs.fileno()), str(os.getpid()), *sys.path]
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, env=environment, pass_fds=[theirs.fileno()], start_new_session=True
            )
        except OSError as error:
            self.control.close()
            raise ExecutorError(f"the process that trials are forked from can't be started ({sys.executable}): {error}") from error
        finally:
            theirs.close()
        self.pidfd = os.pidfd_open(self._process.pid)
        self._send_trainable(parcel, orders, excluded)
        self.preload(loaded(dict(sys.modules), excluded))

    def fork(self, number: int, connection: socket.socket) -> None:
        """Ask for a worker at the other end of ``connection`` (which is closed here); FORKED or UNFORKED is the answer."""
        with connection, contextlib.suppress(OSError):  # a template that is gone is noticed by its pidfd
            socket.send_fds(self.control, [encode(Kind.FORK, number)], [connection.fileno()])

    def preload(self, names: Iterable[str]) -> None:
        """Have the template import these when it has nothing else to do."""
        names = list(names)
        if names:
            with contextlib.suppress(OSError):
                self.control.sendall(encode(Kind.PRELOAD, names))

    def receive(self) -> list[tuple[Kind, tuple[Any, ...]]]:
        """What the template has told; keeps :attr:`pids`."""
        try:
            data = self.control.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:
            return []
        messages = self._frames.feed(data)
        for kind, fields in messages:
            if kind is Kind.FORKED:
                self.pids[fields[0]] = fields[1]
                self.forked_any = True
            elif kind is Kind.EXITED:
                self.pids.pop(fields[0], None)
        return messages

    def signal(self, number: int, what: int) -> None:
        """Send a signal to a worker; SIGKILL goes to its whole process group. The template reaps it after it has told, so the pid is its."""
        pid = self.pids.get(number)
        if pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                (os.killpg if what == signal.SIGKILL else os.kill)(pid, what)

    def buried(self) -> list[int]:
        """The template is gone: end whatever it has left, and return the numbers of its workers."""
        left = list(self.pids)
        for number in left:
            self.signal(number, signal.SIGKILL)
        self.pids.clear()
        self._kill_marked()
        self.close()
        return left

    def close(self, patience_s: float = 2.0) -> None:
        """End the template and all its workers, at once. Idempotent."""
        if self.pidfd < 0:
            return
        with contextlib.suppress(OSError):
            self.control.sendall(encode(Kind.QUIT))
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            for number in list(self.pids):
                self.signal(number, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._kill_marked()
        self.control.close()
        os.close(self.pidfd)
        self.pidfd = -1

    def _send_trainable(self, parcel: Parcel, orders: Orders, excluded: Collection[str]) -> None:
        """Through a file in memory, which can be large and is not copied again at the other end."""
        parts = [memoryview(parcel.data), *parcel.buffers]
        main = getattr(sys.modules.get("__main__"), "__file__", None)
        where = (os.path.abspath(main) if main else "", list(sys.argv))
        with open(os.memfd_create("trainable"), "wb", buffering=0) as file:
            for part in parts:
                while part:
                    part = part[file.write(part) :]
            sizes = [part.nbytes for part in (memoryview(parcel.data), *parcel.buffers)]
            message = encode(Kind.TRAINABLE, sizes, astuple(orders), where, sorted(excluded))
            socket.send_fds(self.control, [message], [file.fileno()])

    def _kill_marked(self) -> None:
        """By our marker in their environment: what has left its process group, and has no parent any more that would tell of it."""
        wanted = f"{MARKER}={self._token}".encode()
        for entry in os.listdir("/proc"):
            if entry.isdecimal():
                try:
                    with open(f"/proc/{entry}/environ", "rb") as file:
                        marked = wanted in file.read().split(b"\0")
                except OSError:
                    continue
                if marked:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(int(entry), signal.SIGKILL)
