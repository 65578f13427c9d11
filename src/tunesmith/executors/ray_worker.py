"""The worker in an actor: as the local one, but its process is no fork of the driver's, and maybe on another machine.

A thread, the ear, reads the line: signals, which the driver cannot send to another machine itself, and the end of the line have their
effect at once.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import re
import shutil
import signal
import socket
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import Reported
from tunesmith.executors.base import Assignment
from tunesmith.executors.child import Orders, Worker, largest
from tunesmith.executors.line import Closed
from tunesmith.executors.ray_surroundings import HOST, together
from tunesmith.executors.shipping import ShippedStore, unpack
from tunesmith.executors.surroundings import Surroundings
from tunesmith.executors.unwinding import UNWIND
from tunesmith.executors.wire import Frames, Kind, encode
from tunesmith.trainable.attempt import AttemptRunner
from tunesmith.trainable.worker import Answer

__all__ = ["ActorWorker", "EarLine", "Road"]

_PIECE = 1 << 20
"""Bytes of a log in one message."""
_STORES = re.compile(r"checkpoint_\d{6,}|\.checkpoint_\d{6,}\..*|\.stage_checkpoint_.*")
"""Directories of the store in that of a trial."""


class ActorWorker(Worker):
    """See the module.

    Args:
        mark: name of the file that the driver has put beside the trial's directory. Where it is not seen the trial works in a directory
            of this machine, and what is to be kept is shipped.
    """

    def __init__(self, line: EarLine, trainable: Callable[[], Any], orders: Orders, number: int, mark: str) -> None:
        super().__init__(line, trainable, orders, number)
        self._ear = line
        self._mark = mark
        self._scratch: _Scratch | None = None
        self._threads = 0  # what libraries were told here is not our doing
        self._size = 1 << 62
        self._own = Surroundings.present()

    def leave(self) -> None:
        """Let go of what is kept for the next attempt: there is none."""
        if self._runner is not None:
            self._runner.close()
        if self._output is not None:
            self._output.close()

    def _run(self, *fields: Any) -> None:
        super()._run(*fields)
        self._size = min(self._size, largest())  # what the first attempt has imported is there for all that follow

    def _imported(self) -> list[str]:
        return []  # nobody here forks

    def _settle(self, drivers: Surroundings, variables: dict[str, str | None]) -> Surroundings:
        ray: Any = importlib.import_module("ray")
        brought = any(ray.get_runtime_context().runtime_env.get(what) for what in ("working_dir", "py_modules"))
        here = together(drivers, self._own, variables.pop(HOST, None) == socket.gethostname(), brought=brought)
        here.apply(variables)
        return here

    # -- where the driver's disk is not seen -----------------------------------------------------------------------------

    def ask(self, event: Reported) -> Answer:
        if self._scratch is not None:
            self._unwinding.guard()
            self._scratch.send_logs()
            self._unwinding.allow()
        return super().ask(event)

    def _prepare(self, assignment: Assignment, surroundings: tuple[Any, ...] | None, variables: dict[str, Any] | None) -> AttemptRunner:
        if not os.path.exists(os.path.join(os.path.dirname(assignment.trial_dir), self._mark)):
            self._scratch = _Scratch(self._ear, assignment, self._orders)
        return super()._prepare(assignment, surroundings, variables)

    def _store(self, _assignment: Assignment) -> LocalStore | None:
        return self._scratch.store if self._scratch is not None else None

    def _leave(self, assignment: Assignment) -> None:
        super()._leave(assignment)
        if self._scratch is not None:
            self._scratch.send_logs()
            self._scratch.send_files()
            self._scratch.remove()
            self._scratch = None


class _Scratch:
    """The directory of an attempt on this machine, and what is shipped of it.

    Args:
        ear: to the driver.
        assignment: gets the directory, and the checkpoint to start from in it.
        orders: say which logs there are.
    """

    def __init__(self, ear: EarLine, assignment: Assignment, orders: Orders) -> None:
        self._ear = ear
        self._root = tempfile.mkdtemp(prefix="tunesmith_")
        self._home = home = os.path.join(self._root, os.path.basename(assignment.trial_dir))
        first = ear.asked(Kind.WANT, -1)
        if assignment.checkpoint is not None:
            path = os.path.join(self._root, "start")
            unpack(self._parts(), path)
            assignment.checkpoint = path
        assignment.trial_dir = home
        self.store = ShippedStore(home, lambda part: ear.asked(Kind.PART, part), first=first, min_free=orders.min_free)
        self._logs = {os.path.join(home, name): name for name in orders.log_to_file or ()}
        self._sent = dict.fromkeys(self._logs, 0)

    def send_logs(self) -> None:
        """What was printed since the last time."""
        for path, name in self._logs.items():
            with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
                file.seek(self._sent[path])
                while piece := file.read(_PIECE):
                    self._ear.send(encode(Kind.LOG, name, piece))
                    self._sent[path] += len(piece)

    def send_files(self) -> None:
        """What else the trial has left in its directory."""
        for folder, below, names in os.walk(self._home):
            if folder == self._home:
                below[:] = [name for name in below if not _STORES.fullmatch(name)]
            for path in (os.path.join(folder, name) for name in names):
                if path in self._logs or not os.path.isfile(path):
                    continue
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    name, offset = os.path.relpath(path, self._home), 0
                    while (piece := file.read(_PIECE)) or not offset:
                        self._ear.asked(Kind.FILE, name, offset, piece)
                        offset += len(piece) or 1

    def remove(self) -> None:
        """The attempt is over, and the driver has all that is to be kept."""
        shutil.rmtree(self._root, ignore_errors=True)

    def _parts(self) -> Iterator[bytes]:
        number = 0
        while part := self._ear.asked(Kind.WANT, number):
            yield part
            number += 1


class Road(Protocol):
    """What a line goes over. Where the driver cannot be reached any more an ``OSError`` is raised."""

    def send(self, data: bytes) -> None:
        """To the driver."""

    def receive(self) -> bytes:
        """What has come, as soon as there is anything; empty: the driver has hung up."""

    def close(self) -> None:
        """In a process that the trial has forked."""


class EarLine:
    """A line that a thread of its own listens to.

    Args:
        road: what it goes over.
        patience_s: how long a trial has to unwind when the driver is gone; then the process ends by force.
    """

    def __init__(self, road: Road, patience_s: float) -> None:
        self._road = road
        self._patience_s = patience_s
        self._messages: queue.SimpleQueue[tuple[Kind, tuple[Any, ...]] | None] = queue.SimpleQueue()
        self._taken: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
        self._left = threading.Event()
        self.close = road.close
        threading.Thread(target=self._listen, name="tunesmith-ear", daemon=True).start()

    def send(self, data: bytes) -> None:
        try:
            self._road.send(data)
        except OSError as error:
            raise Closed from error

    def next(self) -> tuple[Kind, tuple[Any, ...]]:
        message = self._messages.get()
        if message is None:
            self._messages.put(None)
            raise Closed
        return message

    def asked(self, kind: Kind, *fields: Any) -> Any:
        """Send something that is shipped; returns what the driver says to it.

        Raises:
            Closed: the driver has hung up.
        """
        self.send(encode(kind, *fields))
        said = self._taken.get()
        if said is None:
            self._taken.put(None)
            raise Closed
        return said[0]

    def leave(self) -> None:
        """The end of the line is expected."""
        self._left.set()

    def _listen(self) -> None:
        try:
            if self._told_to_exit():
                return
        except OSError:
            pass  # the driver cannot be reached any more
        except Exception:  # a fault of this project: nothing more can be heard all the same, and the log says why
            traceback.print_exc()
        self._messages.put(None)
        self._taken.put(None)
        if not self._left.is_set():  # the driver is gone: nobody wants to know what the trial is at
            os.kill(os.getpid(), UNWIND)
            if not self._left.wait(self._patience_s):
                os._exit(128 + signal.SIGKILL)

    def _told_to_exit(self) -> bool:
        """Listen until the driver says that no more is to come (True), or hangs up."""
        frames = Frames()
        while data := self._road.receive():
            for message in frames.feed(data):
                if message[0] is Kind.SIGNAL:
                    os.kill(os.getpid(), message[1][0])
                elif message[0] is Kind.TAKEN:
                    self._taken.put(message[1])
                else:
                    self._messages.put(message)
                    if message[0] is Kind.EXIT:
                        return True
        return False
