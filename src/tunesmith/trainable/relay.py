"""Between a trial and the Python processes that it has started: what they report counts as reported by the trial itself.

The trial listens on a port of its own; who connects has to know its token. Both sides send lines of JSON. The other side is
:mod:`tunesmith.trainable.outpost`.

Processes that work on one thing together have ranks (the variable ``RANK``, as torchrun sets it). What rank 0 reports counts. The others
take part: the n-th report of each waits for the decision on the n-th of rank 0, and is told the same.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import pickle
import secrets
import selectors
import shutil
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from tunesmith.checkpoints.room import DiskLow
from tunesmith.errors import TrialStopped
from tunesmith.trainable.worker import Session

__all__ = ["RELAY", "Peer", "Relay"]

RELAY = "TUNESMITH_RELAY"
"""The environment variable that tells a process where its trial listens: ``host:port:token``."""

_CHUNK = 1 << 18
_GREETING = 1 << 16
"""Bytes of one who has not shown the token."""


class Peer:
    """One process that has connected.

    Attributes:
        rank: of the process; 0 for one that works alone.
        reports: how many it has made, if it is not rank 0.
        waiting: its newest report waits for the decision on that of rank 0.
        told: it has heard that the trial ends here, and unwinds.
        ended: what it has said of its end: ``{}`` for a good one, else the error; None: nothing.
        modules: of installed packages that it has imported meanwhile.
    """

    def __init__(self, connection: socket.socket, rank: int) -> None:
        self.rank = rank
        self.reports = 0
        self.waiting = False
        self.told = False
        self.ended: dict[str, Any] | None = None
        self.modules: list[str] = []
        self._socket = connection

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. One who has gone gets none; that he has is told elsewhere."""
        with suppress(OSError):
            self._socket.sendall(json.dumps(message).encode() + b"\n")


class Relay:
    """The trial's side.

    Args:
        session: the trial's own; None: nothing is reported anywhere (outside a run).
        selector: the sockets are registered there, with a callable as data.
        changed: called when a peer has ended or is gone.
        host: to listen on.

    Attributes:
        stopped: what ended the trial at a report; None: it goes on.
        heard: called with each message of a kind that is not known here, and its sender.
    """

    def __init__(
        self, session: Session | None, selector: selectors.BaseSelector, changed: Callable[[Peer], None], host: str = "127.0.0.1"
    ) -> None:
        self.stopped: TrialStopped | None = None
        self.heard: Callable[[Peer, dict[str, Any]], None] | None = None
        self._session, self._selector, self._changed = session, selector, changed
        self._decided = 0  # reports of rank 0 after which it was to go on
        self._over = False  # rank 0 has ended
        self._peers: list[Peer] = []
        self._token = secrets.token_hex(16)
        self._listener = socket.create_server((host, 0))
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self.address = f"{host}:{self._listener.getsockname()[1]}:{self._token}"

    def close(self) -> None:
        """Nobody is heard any more."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                self._selector.unregister(key.fileobj)
                key.fileobj.close()

    def let_go(self) -> None:
        """In a fork of the trial's process: sockets that are the trial's."""
        self._listener.close()

    def report(self, act: Callable[[Session], None]) -> bool:
        """Have something reported that decides on the whole trial; whether it goes on.

        Raises:
            Exception: what reporting it raised, but for the end of the trial.
        """
        if self.stopped is None and self._session is not None:
            try:
                act(self._session)
            except TrialStopped as stop:
                self.stopped = stop
        return self.stopped is None

    def release(self) -> None:
        """Rank 0 has ended by itself: reports of others have nothing to wait for."""
        self._over = True
        self._answer_waiting()

    @property
    def told(self) -> bool:
        """Whether a process knows that the trial ends here, and unwinds."""
        return any(peer.told for peer in self._peers)

    # -- connections -----------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(True)
            lines = _Lines(connection, self._first)
            self._selector.register(connection, selectors.EVENT_READ, lambda: self._readable(lines))

    def _readable(self, lines: _Lines) -> None:
        if not lines.read():
            self._selector.unregister(lines.socket)
            lines.socket.close()
            if lines.peer is not None:
                self._changed(lines.peer)

    def _first(self, lines: _Lines, message: Any) -> None:
        """Who does not know the token is not answered. Anybody may have sent anything."""
        token = message.get("token") if isinstance(message, dict) else None
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise ConnectionError
        peer = lines.peer = Peer(lines.socket, int(message.get("rank", 0)))
        lines.take = lambda _, message: self._take(peer, message)
        self._peers.append(peer)
        peer.send(self._welcome())

    def _welcome(self) -> dict[str, Any]:
        session = self._session
        if session is None:
            return {}
        given = session.assignment
        return {
            "trial": given.trial, "attempt": given.attempt, "trial_id": given.trial_id, "trial_name": given.trial_name,
            "experiment_name": given.experiment_name, "trial_dir": given.trial_dir, "resources": given.resources, "seed": given.seed,
            "checkpoint": self._checkpoint(),
        }  # fmt: skip

    # -- messages --------------------------------------------------------------------------------------------------------

    def _take(self, peer: Peer, message: dict[str, Any]) -> None:
        if "metrics" in message:
            if peer.rank:
                peer.reports += 1
                peer.waiting = True
                self._answer_waiting()
            else:
                self._decide(peer, message)
        elif "block" in message:
            self._act(peer, lambda session: _store_block(session, message["step"], message["block"]))
        elif "ended" in message:
            peer.ended, peer.modules = message["ended"], message["modules"]
            self._changed(peer)
        elif self.heard is not None:
            self.heard(peer, message)

    def _decide(self, peer: Peer, message: dict[str, Any]) -> None:
        metrics = message["metrics"] | {name: _rebuilt(name, blob) for name, blob in message["others"].items()}
        if self._act(peer, lambda session: _report(session, metrics, message)):
            self._decided += 1
        self._answer_waiting()

    def _act(self, peer: Peer, act: Callable[[Session], None]) -> bool:
        """Do it and tell the peer what came of it; whether the trial goes on. An error is the peer's: it is raised there."""
        try:
            going = self.report(act)
        except Exception as error:
            peer.send({"error": str(error)})
            return False
        peer.told = peer.told or not going
        peer.send({"go_on": going, "checkpoint": self._checkpoint()})
        return going

    def _checkpoint(self) -> str | None:
        session = self._session
        return session.checkpoint.path if session is not None and session.checkpoint is not None else None

    def _answer_waiting(self) -> None:
        path = self._checkpoint()
        for peer in self._peers:
            if not peer.waiting:
                continue
            if peer.reports <= self._decided or (self._over and self.stopped is None):
                peer.waiting = False
                peer.send({"go_on": True, "checkpoint": path})
            elif self.stopped is not None:
                peer.waiting, peer.told = False, True
                peer.send({"go_on": False, "checkpoint": path})


class _Lines:
    """What comes from one connection, line by line."""

    def __init__(self, connection: socket.socket, take: Callable[[_Lines, dict[str, Any]], None]) -> None:
        self.socket = connection
        self.peer: Peer | None = None
        self.take = take
        self._rest = bytearray()

    def read(self) -> bool:
        """Take what there is; false: there will be no more."""
        try:
            data = self.socket.recv(_CHUNK)
            if not data:
                return False
            self._rest += data
            if self.peer is None and len(self._rest) > _GREETING:
                return False
            if b"\n" in data:
                *lines, rest = bytes(self._rest).split(b"\n")
                self._rest = bytearray(rest)
                for line in lines:
                    self.take(self, json.loads(line))
        except (ConnectionError, ValueError, RecursionError):  # it is gone, or speaks another language
            return False
        return True


def _rebuilt(name: str, blob: str | None) -> Any:
    """A value that is no number; where it can't be rebuilt here, it is named only."""
    if blob is not None:
        with suppress(Exception):
            return pickle.loads(base64.b64decode(blob))
    return _Elsewhere(name)


class _Elsewhere:
    """Stands for a value that stays in the process that has reported it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"<{self._name}, in another process>"


def _report(session: Session, metrics: dict[str, Any], message: dict[str, Any]) -> None:
    session.checkpoint_read |= message["read"]
    if message["conclude"]:
        session.conclude(metrics)
        return
    if message["unsaved"]:
        session.skip(DiskLow(message["unsaved"]), ahead=1)
    session.report(metrics, message["checkpoint"])


def _store_block(session: Session, step: Any, written: str) -> None:
    """What a ``checkpoint_dir`` block of another process has written."""
    try:
        with session.checkpoint_dir(step) as folder:
            for name in os.listdir(written):
                shutil.move(os.path.join(written, name), os.path.join(folder, name))
    except DiskLow:
        pass  # told by the session
    finally:
        shutil.rmtree(written, ignore_errors=True)
