"""The session of a process that a trial has started: ``tune.report`` in it reports for the trial. The other side is the trial's
:class:`~tunesmith.trainable.relay.Relay`.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import json
import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tunesmith.checkpoints.checkpoint import Checkpoint, write_dict
from tunesmith.checkpoints.room import full
from tunesmith.checkpoints.store import LocalStore
from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.executors.base import Assignment
from tunesmith.trainable.metrics import flatten_metrics
from tunesmith.trainable.place import Place
from tunesmith.trainable.relay import RELAY
from tunesmith.trainable.worker import Session, not_a_checkpoint

__all__ = ["Ended", "Outpost", "joined"]


class Ended(TrialStopped, SystemExit):
    """A program that lets it pass ends without a word, and well."""

    code = 0


class Outpost(Session):
    """A session whose reports are decided on elsewhere.

    Args:
        address: where the trial listens, ``host:port:token``.
        place: of this process among those that work together.
        config: of the trial, where it is known.

    Attributes:
        ended: never set: what a decision means for the trial is its relay's to say.

    Raises:
        Ended: the trial is no more.
    """

    def __init__(self, address: str, place: Place, config: dict[str, Any] | None = None) -> None:
        host, port, token = address.rsplit(":", 2)
        self.address, self.place = address, place
        self.checkpoint_read = False
        self.owner = threading.get_ident()
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._over = False
        self._at_end: list[Callable[[], None]] = []
        atexit.register(self._finish)  # nobody closes that of a program
        try:
            self._socket = socket.create_connection((host, int(port)))
        except OSError:
            raise Ended("the trial that has started this process is over") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")
        given = self.exchange({"token": token, "rank": place.rank})
        self.checkpoint = _checkpoint(given.get("checkpoint"))
        self.assignment = Assignment(
            given.get("trial", 0), given.get("attempt", 0), given.get("trial_id", ""), given.get("trial_name", ""),
            given.get("experiment_name", ""), config if config is not None else {}, given.get("trial_dir", os.getcwd()),
            given.get("checkpoint"), resources=given.get("resources", {}), seed=given.get("seed", 0),
        )  # fmt: skip

    def report(self, metrics: Mapping[Any, Any], checkpoint: Any = None, notes: Mapping[str, Any] | None = None) -> None:
        """See :func:`tunesmith.trainable.session.report`."""
        self._report(metrics, checkpoint, conclude=False)

    def conclude(self, metrics: Mapping[Any, Any]) -> None:
        """Report what the user's code returned. Only that of rank 0 is something to report."""
        if self.place.rank == 0:
            self._report(metrics, None, conclude=True)

    @contextlib.contextmanager
    def checkpoint_dir(self, step: Any) -> Iterator[str]:
        """See :func:`tunesmith.trainable.session.checkpoint_dir`. What is written by other ranks than 0 is dropped."""
        store = LocalStore.of_trial(self.assignment.trial_dir, 0)
        folder = store.stage(self.assignment.trial)
        try:
            yield folder
            if self.place.rank == 0:
                self._obey_reply(self.exchange({"block": folder, "step": step}))
        finally:
            store.discard(folder)

    def exchange(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and wait for what is answered.

        Raises:
            Ended: the trial is no more.
        """
        self.tell(message)
        line = self._lines.readline()
        if not line:
            raise Ended("the trial that has started this process is over")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message that has no answer."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            raise Ended("the trial that has started this process is over") from None

    def close(self) -> None:
        """The user's code has returned: reports that come later, from stray threads, unwind them."""
        self._over = True
        self._finish()

    def at_end(self, then: Callable[[], None]) -> None:
        """Have something done when this process's part of the attempt is over; it must not raise."""
        self._at_end.append(then)

    def _finish(self) -> None:
        while self._at_end:
            self._at_end.pop(0)()

    def _report(self, metrics: Mapping[Any, Any], checkpoint: Any, *, conclude: bool) -> None:
        if os.getpid() != self._pid:
            raise UserCodeError(
                f"report() was called in process {os.getpid()}, which process {self._pid} of trial {self.assignment.trial_id} has forked. "
                "Send the values there, over a queue for instance."
            )
        with self._lock:
            if self._over:
                raise Ended(f"trial {self.assignment.trial_id} was told to stop")
            counts = self.place.rank == 0
            flat, others = flatten_metrics(metrics) if counts else ({}, {})
            folder, unsaved, done_with = self._staged(checkpoint) if counts and checkpoint is not None else (None, "", lambda: None)
            try:
                blobs = {name: _blob(value) for name, value in others.items()}
                message = {
                    "metrics": flat, "others": blobs, "checkpoint": folder, "unsaved": unsaved, "conclude": conclude,
                    "read": self.checkpoint_read,
                }  # fmt: skip
                reply = self.exchange(message)
            finally:
                done_with()
            self._obey_reply(reply)

    def _staged(self, checkpoint: Any) -> tuple[str | None, str, Callable[[], None]]:
        """A directory that the trial can take it from; or why there is none; and what removes what it has not taken."""
        if isinstance(checkpoint, str | os.PathLike):
            return os.path.abspath(os.fspath(checkpoint)), "", lambda: None
        if not isinstance(checkpoint, Mapping):
            raise UserCodeError(not_a_checkpoint(self.assignment.trial_id, checkpoint))
        store = LocalStore.of_trial(self.assignment.trial_dir, 0)
        folder = store.stage(self.assignment.trial)  # on the store's disk, and of a name by which it moves it
        try:
            write_dict(folder, dict(checkpoint))
        except BaseException as error:
            store.discard(folder)
            if (low := full(error, folder)) is None:
                raise
            return None, str(low), lambda: None
        return folder, "", lambda: store.discard(folder)

    def _obey_reply(self, reply: dict[str, Any]) -> None:
        if "error" in reply:
            raise UserCodeError(reply["error"])
        self.checkpoint = _checkpoint(reply["checkpoint"]) or self.checkpoint  # on another machine it may not be seen
        if not reply["go_on"]:
            self._over = True
            raise Ended(f"trial {self.assignment.trial_id} was told to stop")


_joined: list[Outpost] = []


def joined() -> Outpost | None:
    """The session of a program that a trial has started, which its environment tells; None: none has.

    Raises:
        Ended: the trial is no more.
    """
    address = os.environ.get(RELAY)
    if not address:
        return None
    if not _joined:
        _joined.append(Outpost(address, Place.of_environment()))
    return _joined[0]  # also in what it forks, whose reports are refused


def _checkpoint(path: str | None) -> Checkpoint | None:
    return Checkpoint(path) if path is not None and os.path.isdir(path) else None


def _blob(value: Any) -> str | None:
    """A value that is no number, for the loggers that can show it; None: it can't be sent."""
    try:
        return base64.b64encode(pickle.dumps(value, 5)).decode()
    except Exception:
        return None
