"""What runs in an actor of a Ray cluster: the actor itself, and its end of the line to the driver.

The line is a connection to the driver, or, where the network forbids that, calls of a relay (:mod:`tunesmith.executors.ray_relay`). One
long call serves all attempts: so they run in the actor's own process, on its main thread.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any

from tunesmith.executors.child import Orders
from tunesmith.executors.ray_worker import ActorWorker, EarLine
from tunesmith.executors.script_settings import ScriptSettings, apply_settings
from tunesmith.executors.wire import Kind, encode
from tunesmith.trainable.homes import Described, set_main
from tunesmith.trainable.parcel import unpack

__all__ = ["Host", "keep_alive"]

_CONNECT_S = 10.0
_KEEPALIVE_S = 60
"""An idle connection is shown to be alive so often: firewalls forget those that are silent."""


class Host:
    """The actor.

    Args:
        number: of the worker.
        parcel: the trainable, and buffers beside it.
        orders: as in :class:`~tunesmith.executors.child.Orders`.
        script: module, arguments and settings of the driver's script.
        mark: name of the file by which a directory that the driver sees is known.
        patience_s: how long a trial may take to unwind when the driver is gone.
    """

    def __init__(
        self, number: int, parcel: tuple[bytes, Sequence[Any]], orders: tuple[Any, ...], script: Any, mark: str, patience_s: float
    ) -> None:
        self._number = number
        self._parcel = parcel
        self._orders = Orders(*orders)
        self._script: tuple[Described, list[str], ScriptSettings] = script
        self._mark = mark
        self._patience_s = patience_s

    def serve(self, address: tuple[str, int] | None, token: bytes, relay: Any) -> str:
        """Run attempts until told to leave.

        Args:
            address: where the driver listens; None: the relay is to be used.
            token: of the run; tells the driver that this is no stranger.

        Returns:
            why the driver cannot be reached there. Otherwise this actor ends.
        """
        road: Connection | Calls
        if address is None:
            road = Calls(relay, self._number)
        else:
            try:
                road = Connection(address, token)
            except OSError as error:
                return f"{type(error).__name__}: {error}"
        line = EarLine(road, self._patience_s)
        line.send(encode(Kind.HELLO, self._number, _particulars()))
        described, sys.argv, settings = self._script
        set_main(described)
        worker = ActorWorker(line, lambda: unpack(*self._parcel), self._orders, self._number, self._mark)
        apply_settings(settings)
        worker.serve()
        line.leave()
        worker.leave()
        _exit_actor()
        return ""


class Connection:
    """Directly to the driver."""

    def __init__(self, address: tuple[str, int], token: bytes) -> None:
        self._socket = socket.create_connection(address, timeout=_CONNECT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        keep_alive(self._socket)
        self._socket.sendall(token)

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        return self._socket.recv(1 << 18)

    def close(self) -> None:
        self._socket.close()


class Calls:
    """By calls of the relay, each with its place in the order: Ray does not promise one."""

    def __init__(self, relay: Any, number: int) -> None:
        import ray

        self._get = ray.get
        self._gone = ray.exceptions.RayError
        self._relay = relay
        self._number = number
        self._order = 0

    def send(self, data: bytes) -> None:
        try:
            self._relay.tell.remote(self._number, self._order, data)
        except self._gone as error:
            raise ConnectionError(str(error)) from error
        self._order += 1

    def receive(self) -> bytes:
        try:
            data: bytes = self._get(self._relay.pull.remote(self._number))
        except self._gone as error:
            raise ConnectionError(str(error)) from error
        return data

    def close(self) -> None:
        """A process that the trial forks has nothing of it."""


def keep_alive(connection: socket.socket) -> None:
    """Have the system notice when the other side's machine is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", _KEEPALIVE_S), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _particulars() -> dict[str, Any]:
    """What is told of this process: it becomes part of ``AttemptStarted.info``."""
    ray: Any = importlib.import_module("ray")
    return {
        "pid": os.getpid(), "hostname": socket.gethostname(), "node_ip": ray.util.get_node_ip_address(),
        "node_id": ray.get_runtime_context().get_node_id(),
    }  # fmt: skip


def _exit_actor() -> None:
    ray: Any = importlib.import_module("ray")
    ray.actor.exit_actor()
