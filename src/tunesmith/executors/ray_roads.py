"""The driver's end of the lines to its workers: connections that come in, and the relay for workers that cannot connect."""

from __future__ import annotations

import contextlib
import hmac
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.executors.ray_actor import keep_alive
from tunesmith.executors.ray_relay import relay_beside
from tunesmith.executors.wire import Frames, Kind

__all__ = ["Listener", "Mail", "RelayEnd"]

_GREETING_S = 20.0
"""A stranger is let go of after that."""
_LONGEST_GREETING = 1 << 16


class Mail:
    """Calls from other threads, made on the loop's own. ``post`` may be called anywhere."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._calls: deque[Callable[[], None]] = deque()
        self._in, self._out = socket.socketpair()
        self._in.setblocking(False)
        self._out.setblocking(False)
        selector.register(self._in, selectors.EVENT_READ, self._rung)

    def ring(self) -> None:
        """Make the loop turn. From any thread, and from signal handlers."""
        with contextlib.suppress(OSError):  # it is full, so the loop turns; or closed
            self._out.send(b"\0")

    def post(self, call: Callable[[], None]) -> None:
        """Have ``call`` made by :meth:`deliver`."""
        self._calls.append(call)
        self.ring()

    def deliver(self) -> None:
        """Make the calls."""
        while self._calls:
            self._calls.popleft()()

    def close(self) -> None:
        """What comes now is not heard."""
        self._selector.unregister(self._in)
        self._in.close()
        self._out.close()

    def _rung(self, _mask: int) -> None:
        with contextlib.suppress(OSError):
            self._in.recv(4096)


class Listener:
    """Takes connections of this run's workers. Who does not show the run's token first is nobody.

    Args:
        host: address of this machine in the cluster.
        token: what a worker must show; others know nothing of it.
        selector: of the loop.
        welcome: is given the connection, the fields of its HELLO, and what has come beyond; says whether it is expected.
    """

    def __init__(
        self, host: str, token: bytes, selector: selectors.BaseSelector, welcome: Callable[[socket.socket, tuple[Any, ...], Frames], bool]
    ) -> None:
        self._token = token
        self._selector = selector
        self._welcome = welcome
        self._guests: dict[socket.socket, _Guest] = {}
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=1024)
        self._socket.setblocking(False)
        self.address: tuple[str, int] = (host, self._socket.getsockname()[1])
        selector.register(self._socket, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Take no more."""
        for guest in list(self._guests):
            self._dismiss(guest)
        self._selector.unregister(self._socket)
        self._socket.close()

    def _accept(self, _mask: int) -> None:
        now = time.monotonic()
        for guest in [connection for connection, one in self._guests.items() if one.since < now - _GREETING_S]:
            self._dismiss(guest)
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(connection)
            self._guests[connection] = _Guest(now)
            self._selector.register(connection, selectors.EVENT_READ, lambda _: self._greet(connection))

    def _greet(self, connection: socket.socket) -> None:
        guest = self._guests[connection]
        wanted = len(self._token) - len(guest.shown)
        try:
            data = connection.recv(wanted or _LONGEST_GREETING)
        except OSError:
            data = b""
        if not data:
            self._dismiss(connection)
        elif wanted:
            guest.shown += data
            if len(data) == wanted and not hmac.compare_digest(bytes(guest.shown), self._token):
                self._dismiss(connection)
        else:
            self._hear(connection, guest.frames, data)

    def _hear(self, connection: socket.socket, frames: Frames, data: bytes) -> None:
        """Of one that has shown the token."""
        try:
            messages = frames.feed(data)
        except ExecutorError:
            self._dismiss(connection)
            return
        if messages:
            kind, fields = messages[0]
            self._selector.unregister(connection)
            del self._guests[connection]
            if kind is not Kind.HELLO or not self._welcome(connection, fields, frames):
                connection.close()

    def _dismiss(self, connection: socket.socket) -> None:
        del self._guests[connection]
        self._selector.unregister(connection)
        connection.close()


class _Guest:
    """A connection that has not said whose it is."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.shown = bytearray()
        self.frames = Frames()


class RelayEnd:
    """The driver's end of the relay, which is made when it is first needed.

    Args:
        ray: the module.
        mail: brings what comes.
        heard: called with the worker's number and what it has sent.
        lost: called when the relay is gone, with all lines that go over it.
    """

    def __init__(self, ray: Any, mail: Mail, heard: Callable[[int, bytes], None], lost: Callable[[], None]) -> None:
        self._ray, self._mail, self._heard, self._lost = ray, mail, heard, lost
        self._actor: Any = None
        self._orders: dict[int, int] = {}

    @property
    def actor(self) -> Any:
        """For a worker that is to use it."""
        if self._actor is None:
            self._actor = relay_beside(self._ray)
            self._wait()
        return self._actor

    def push(self, worker: int, data: bytes) -> None:
        """To a worker."""
        order = self._orders.get(worker, 0)
        self._orders[worker] = order + 1
        self.actor.push.remote(worker, order, data)

    def forget(self, worker: int) -> None:
        """It is gone."""
        if self._actor is not None and self._orders.pop(worker, None) is not None:
            self._actor.forget.remote(worker)

    def close(self) -> None:
        """Nothing more is heard."""
        actor, self._actor = self._actor, None
        if actor is not None:
            self._ray.kill(actor)

    def _wait(self) -> None:
        actor = self._actor
        call = actor.hear.remote()
        # The callback holds the reference: when a large answer comes for one that was let go of, Ray ends this process.
        call._on_completed(lambda found, _held=call: self._mail.post(lambda: self._came(actor, found)))

    def _came(self, actor: Any, found: Any) -> None:
        if actor is not self._actor:
            return
        if isinstance(found, Exception):
            self._actor = None
            self._orders.clear()
            self._lost()
            return
        self._wait()
        for worker, data in found:
            self._heard(worker, data)
