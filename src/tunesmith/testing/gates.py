"""Tests and trials in other processes wait for each other, without looking again and again whether it is so far."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Iterable

__all__ = ["Gate", "until_gone"]


class Gate:
    """Where trials wait until the test lets them go on. Made in the test; travels in a config to any process on this machine.

    Args:
        opens_after: it opens by itself when so many have arrived; None: only by :meth:`open`.

    Attributes:
        port: for a program that is given no objects, see :meth:`at`.

    Example::

        gate = Gate()
        threading.Thread(target=lambda: (gate.arrived(2), do_something(), gate.open())).start()
        tune.run(train, config={"gate": gate}, num_samples=2)   # train: ... config["gate"].wait() ...
    """

    def __init__(self, opens_after: int | None = None) -> None:
        self._listener: socket.socket | None = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._here: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        if opens_after is not None:
            threading.Thread(target=self._open_after, args=(opens_after,), daemon=True).start()

    @classmethod
    def at(cls, port: int) -> Gate:
        """The gate of another process, to :meth:`wait` or :meth:`arrive` at."""
        gate = cls.__new__(cls)
        gate.__setstate__(port)
        return gate

    def __getstate__(self) -> int:
        return self.port

    def __setstate__(self, port: int) -> None:
        self.port, self._listener, self._here = port, None, []

    # -- in the trial ----------------------------------------------------------------------------------------------------

    def wait(self, seconds: float = 60.0) -> None:
        """Arrive, and go on when it is open; at once if it is already.

        Raises:
            TimeoutError: it does not open in ``seconds``.
        """
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as line:
            line.recv(1)  # nothing is ever sent: it ends when the gate opens

    def arrive(self) -> None:
        """Be counted, and go on at once."""
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", self.port)).close()

    # -- in the test -----------------------------------------------------------------------------------------------------

    def arrived(self, number: int, seconds: float = 60.0, *, unless_gone: int | None = None) -> None:
        """Wait until ``number`` more have arrived.

        Args:
            unless_gone: do not wait when the process with this pid has ended.

        Raises:
            TimeoutError: they have not in ``seconds``.
            ProcessLookupError: that process has ended before.
        """
        assert self._listener is not None, "it is open"
        deadline = time.monotonic() + seconds
        handle = None if unless_gone is None else os.pidfd_open(unless_gone)
        try:
            for _ in range(number):
                doors: list[socket.socket | int] = [self._listener, *([] if handle is None else [handle])]
                ready, _, _ = select.select(doors, [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError(f"{len(self._here)} have arrived in {seconds:g} s")
                if self._listener not in ready:
                    raise ProcessLookupError(f"process {unless_gone} has ended; {len(self._here)} had arrived")
                self._here.append(self._listener.accept()[0])
        finally:
            if handle is not None:
                os.close(handle)

    def open(self) -> None:
        """Let all go on that wait, and all that come. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()  # what is in its queue is refused
        for line in self._here:
            line.close()

    def _open_after(self, number: int) -> None:
        with contextlib.suppress(TimeoutError, OSError):  # then those that wait say so
            self.arrived(number)
        self.open()


def until_gone(pids: Iterable[int], seconds: float = 60.0) -> None:
    """Wait until none of these processes, whosever children they are, runs any more.

    Raises:
        TimeoutError: names one that does after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise TimeoutError(f"process {pid} runs on after {seconds:g} s")
            finally:
                os.close(handle)
