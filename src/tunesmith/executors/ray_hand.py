"""The driver's view of one actor: its line, its place, what it runs."""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable
from typing import Any, cast

from tunesmith.executors.process import Process
from tunesmith.executors.ray_places import Key, Place
from tunesmith.executors.ray_roads import RelayEnd
from tunesmith.executors.unwinding import UNWIND
from tunesmith.executors.wire import Frames, Kind

__all__ = ["Hand"]


class Hand(Process):
    """One actor, from the request to make it to its end.

    What is sent before its line is there waits for it.

    Args:
        number: of the worker, unique in the executor.
        place: where it is to run.
        selector: its connection is registered there.
        readable: called when it has something to say.

    Attributes:
        actor: Ray's handle.
        home: where its process lives; ``place``: where its attempt counts. None: another attempt has it, while this one is held in memory.
        info: what it has told of itself; empty until it is there.
        killed: it was ended by force, from here.
        mute: its line is broken; Ray has not said yet what became of it.
        held: its attempt waits for an answer, and another one may have its place.
        sure: its place was another one's before, so there is room for it.
        idle_since: when it was last given back.
    """

    def __init__(self, number: int, place: Place, selector: selectors.BaseSelector, readable: Callable[[Process], None]) -> None:
        self.key: Key = place.key
        self.place: Place | None = place
        self.home = place
        place.residents += 1
        self.actor: Any = None
        self.info: dict[str, Any] = {}
        self.killed = self.mute = self.held = self.sure = False
        self.idle_since = 0.0
        self._waiting = bytearray()
        self._relay: RelayEnd | None = None
        self._force: Callable[[Hand], None] = lambda _: None
        super().__init__(number, cast("Any", None), selector, readable)

    def _connect(self, _forker: Any) -> None:
        self._frames = Frames()
        self._outbox = bytearray()
        self._open = False

    def dismiss(self) -> None:
        """There is no other attempt for it."""
        self.home.leaving += 1
        super().dismiss()

    def bury(self) -> None:
        """It is no more."""
        self.gone = True
        self.home.residents -= 1
        self.home.leaving -= self.dismissed
        self.close(self._selector)

    @property
    def by_relay(self) -> bool:
        """Whether it is reached by the relay."""
        return self._relay is not None

    @property
    def runs_on(self) -> bool:
        """Whether it is at work, and so should have a place."""
        return self.assignment is not None and not (self.held or self.gone)

    @property
    def hung_up(self) -> bool:
        """Whether its connection has ended."""
        return bool(self.pid) and self._relay is None and not self._open

    def made(self, actor: Any, force: Callable[[Hand], None]) -> None:
        """Ray makes it now. ``force``: ends it whatever it is at."""
        self.actor, self._force = actor, force

    def attach(self, connection: socket.socket, frames: Frames, info: dict[str, Any]) -> None:
        """It has connected."""
        self._socket, self._frames, self._open = connection, frames, True
        self._selector.register(connection, selectors.EVENT_READ, self._ready)
        self._there(info)

    def attach_relay(self, relay: RelayEnd) -> None:
        """It is to be reached by the relay; what it has to say comes to :meth:`hear`."""
        self._relay = relay

    def hear(self, data: bytes) -> list[tuple[Kind, tuple[Any, ...]]]:
        """Messages that have come by the relay."""
        return self._frames.feed(data)

    def arrived(self, info: dict[str, Any]) -> None:
        """It has said by the relay that it is there."""
        self._there(info)

    def signal(self, what: int) -> None:
        """It gives signals to itself; SIGKILL is Ray's business."""
        self.signalled = True
        if what == signal.SIGKILL:
            self.killed = True
            self._force(self)
        else:
            self.send(Kind.SIGNAL, UNWIND if what == signal.SIGTERM else what)

    def close(self, selector: selectors.BaseSelector) -> None:
        """Nothing more is sent or received."""
        if self._relay is not None:
            self._relay.forget(self.number)
            self._relay = None
        super().close(selector)

    def _there(self, info: dict[str, Any]) -> None:
        self.info = info
        self.pid = info["pid"]
        data, self._waiting = bytes(self._waiting), bytearray()
        if data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if not self.pid:
            self._waiting += data
        elif self._relay is not None:
            self._relay.push(self.number, data)
        else:
            super()._write(data)
