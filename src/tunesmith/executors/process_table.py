"""The system's table of processes: who belongs to whom, and how to end one without ever hitting another that got its number."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import NamedTuple, Protocol

__all__ = ["Process", "ProcessTable", "Processes"]


class Process(NamedTuple):
    """One living process. ``group`` and ``session`` stay when its parent dies; ``started`` (clock ticks) tells it from a later namesake."""

    pid: int
    parent: int
    group: int
    session: int
    started: int
    command: str = ""


class Processes(Protocol):
    """What the hand-over of cards asks; :class:`ProcessTable` answers from ``/proc``."""

    def get(self, pid: int) -> Process | None:
        """None: there is none, or it has ended and nobody has taken note."""

    def all(self) -> Iterator[Process]:
        """All living ones."""

    def environment(self, pid: int) -> frozenset[bytes]:
        """``NAME=value`` as it was when its program was started; empty if that may not be read."""

    def kill(self, process: Process) -> None:
        """End it by force, if it is still there and may be."""


class ProcessTable:
    """:class:`Processes` of this machine.

    Args:
        root: of the file system, for tests.

    Example:
        >>> ProcessTable().get(os.getpid()).parent == os.getppid()
        True
    """

    def __init__(self, root: str = "/") -> None:
        self._proc = os.path.join(root, "proc")

    def get(self, pid: int) -> Process | None:
        try:
            with open(os.path.join(self._proc, str(pid), "stat"), encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            return None
        # The command is in parentheses and may hold some itself; what follows the last one are numbers.
        command, _, rest = text[text.index("(") + 1 :].rpartition(")")
        fields = rest.split()
        if fields[0] in "ZX":
            return None
        return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]), command)

    def all(self) -> Iterator[Process]:
        for name in os.listdir(self._proc):
            if name.isdecimal() and (process := self.get(int(name))) is not None:
                yield process

    def children(self) -> dict[int, list[int]]:
        """Parent -> those that it has now."""
        found: dict[int, list[int]] = {}
        for process in self.all():
            found.setdefault(process.parent, []).append(process.pid)
        return found

    def environment(self, pid: int) -> frozenset[bytes]:
        try:
            with open(os.path.join(self._proc, str(pid), "environ"), "rb") as file:
                return frozenset(file.read().split(b"\0"))
        except OSError:
            return frozenset()

    def kill(self, process: Process) -> None:
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:  # it has ended, or the system has no such descriptors
            return
        try:
            now = self.get(process.pid)  # asked while the descriptor holds on to it: the number cannot have changed hands since
            if now is not None and now.started == process.started:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # whether it is gone, the next look at the card says
        finally:
            os.close(descriptor)
