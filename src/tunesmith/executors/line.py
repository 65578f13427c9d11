"""A worker's line to its driver: frames of :mod:`tunesmith.executors.wire` in both directions, over whatever there is."""

from __future__ import annotations

import socket
from typing import Any, Protocol

from tunesmith.executors.wire import Frames, Kind

__all__ = ["Closed", "Line", "SocketLine"]


class Closed(BaseException):
    """The driver has hung up. Not an ``Exception``: it must pass through the trial's code."""


class Line(Protocol):
    """What a worker needs of its connection."""

    def send(self, data: bytes) -> None:
        """Hand over whole frames.

        Raises:
            Closed: the driver has hung up.
        """

    def next(self) -> tuple[Kind, tuple[Any, ...]]:
        """The next message of the driver; waits for it.

        Raises:
            Closed: the driver has hung up.
        """

    def close(self) -> None:
        """In a process that the trial has forked: the line is not its own."""


class SocketLine:
    """A line over a socket that only this thread reads.

    Args:
        connection: connected to the driver, blocking.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._frames = Frames()
        self._messages: list[tuple[Kind, tuple[Any, ...]]] = []

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            raise Closed from None

    def next(self) -> tuple[Kind, tuple[Any, ...]]:
        while not self._messages:
            try:
                data = self._socket.recv(65536)
            except OSError:
                data = b""
            if not data:
                raise Closed
            self._messages = self._frames.feed(data)
        return self._messages.pop(0)

    def close(self) -> None:
        self._socket.close()
