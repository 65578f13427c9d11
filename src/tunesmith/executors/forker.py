"""The driver's handle of a template process: starts it, has it fork workers, hears of their ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import astuple
from typing import Any

from tunesmith.executors.child import Orders
from tunesmith.executors.interpreter import Interpreter
from tunesmith.executors.preload import loaded, needed
from tunesmith.executors.script_settings import present_settings
from tunesmith.executors.surroundings import thread_variables
from tunesmith.executors.unwinding import UNWIND
from tunesmith.executors.wire import Frames, Kind, encode
from tunesmith.trainable.homes import describe, main_module
from tunesmith.trainable.parcel import Parcel

__all__ = ["Forker"]


class Forker:
    """One template process, and the sockets and pids of the workers that it forks.

    Args:
        interpreter: the process that is to be the template.
        parcel: the trainable.
        orders: the same for all workers.
        excluded: packages that the template must not import.

    Attributes:
        pid: of the template.
        pids: worker number -> pid, as long as it has not been told that the worker is gone.
        replaced: another template has taken over; this one ends with its last worker.
        forked_any: it has forked at least one worker.
        importing: the installed package that it is importing; "" while it does not.
    """

    def __init__(self, interpreter: Interpreter, parcel: Parcel, orders: Orders, excluded: Collection[str] = ()) -> None:
        self.pids: dict[int, int] = {}
        self.replaced = self.forked_any = False
        self.importing = ""
        self.pid = interpreter.pid
        self._interpreter = interpreter
        self._control = interpreter.control
        self._selector: selectors.BaseSelector | None = None
        self._waiting: deque[tuple[bytes, socket.socket | None]] = deque()
        self._frames = Frames()
        try:
            self._send_trainable(parcel, orders, excluded)
            self.preload(loaded(dict(sys.modules), excluded))
        except BaseException:  # nobody else knows of it yet
            self.close()
            raise

    def watch(self, selector: selectors.BaseSelector, told: Callable[[Forker], None], gone: Callable[[Forker], None]) -> None:
        """Have ``selector`` call these (as its keys' data): when there is something to :meth:`receive`, and when the template is gone."""

        def ready(mask: int) -> None:
            if mask & selectors.EVENT_WRITE:
                self._flush()
            if mask & selectors.EVENT_READ:
                told(self)

        self._selector = selector
        selector.register(self._control, selectors.EVENT_READ, ready)
        selector.register(self._interpreter.pidfd, selectors.EVENT_READ, lambda _: gone(self))
        self._flush()

    def fork(self, number: int, connection: socket.socket) -> None:
        """Ask for a worker at the other end of ``connection`` (which is closed here); FORKED or UNFORKED is the answer."""
        self._send(encode(Kind.FORK, number), connection)

    def preload(self, names: Iterable[str]) -> None:
        """Have the template import these when it has nothing else to do."""
        names = list(names)
        if names:
            self._send(encode(Kind.PRELOAD, names))

    def receive(self) -> list[tuple[Kind, tuple[Any, ...]]]:
        """What the template has told; keeps :attr:`pids`."""
        try:
            data = self._control.recv(1 << 16, socket.MSG_DONTWAIT)
        except OSError:
            return []
        messages = self._frames.feed(data)
        for kind, fields in messages:
            if kind is Kind.FORKED:
                self.pids[fields[0]] = fields[1]
                self.forked_any = True
            elif kind is Kind.EXITED:
                self.pids.pop(fields[0], None)
            elif kind is Kind.IMPORTING:
                (self.importing,) = fields
        return messages

    def signal(self, number: int, what: int) -> None:
        """Send a signal to a worker; SIGKILL goes to its whole process group, and for SIGTERM goes that which the worker knows as ours."""
        pid = self.pids.get(number)
        if pid is not None:
            what = UNWIND if what == signal.SIGTERM else what
            with contextlib.suppress(ProcessLookupError, PermissionError):
                (os.killpg if what == signal.SIGKILL else os.kill)(pid, what)

    def kill(self) -> None:
        """End the template by force."""
        self._interpreter.kill()

    def bury(self) -> int:
        """The template is gone: end whatever it has left. Returns its exit code, or the negative number of the signal that killed it."""
        for number in list(self.pids):
            self.signal(number, signal.SIGKILL)
        self.pids.clear()
        self._interpreter.kill_marked()
        self._leave()
        return self._interpreter.bury()

    def close(self, patience_s: float = 2.0) -> None:
        """End the template and all its workers, at once. Idempotent."""
        if self._interpreter.pidfd < 0:
            return
        self._leave()
        if not self._interpreter.end(patience_s):
            for number in list(self.pids):
                self.signal(number, signal.SIGKILL)
            self._interpreter.kill()
            self._interpreter.kill_marked()
        self._interpreter.bury()

    def _leave(self) -> None:
        """Nothing is heard of it any more."""
        if self._selector is not None:
            self._selector.unregister(self._control)
            self._selector.unregister(self._interpreter.pidfd)
            self._selector = None
        self._drop()

    def _send_trainable(self, parcel: Parcel, orders: Orders, excluded: Collection[str]) -> None:
        """Through a file in memory, which can be large and is not copied again at the other end."""
        parts = [memoryview(parcel.data), *parcel.buffers]
        where = (describe(main_module()), list(sys.argv), present_settings())
        with open(os.memfd_create("trainable"), "wb", buffering=0) as file:
            for part in parts:
                while part:
                    part = part[file.write(part) :]
            sizes = [part.nbytes for part in (memoryview(parcel.data), *parcel.buffers)]
            first = needed(dict(sys.modules), parcel.modules, excluded)
            threads = thread_variables(orders.threads, os.environ)
            message = encode(Kind.TRAINABLE, sizes, astuple(orders), where, sorted(excluded), first, threads)
            with contextlib.suppress(OSError):  # a template that is gone is noticed by its pidfd
                socket.send_fds(self._control, [message], [file.fileno()])

    def _send(self, data: bytes, connection: socket.socket | None = None) -> None:
        """Never blocks: a template that waits for us to read what it tells would wait for ever."""
        self._waiting.append((data, connection))
        if len(self._waiting) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            data, connection = self._waiting[0]
            files = [] if connection is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [connection.fileno()]))]
            try:
                sent = self._control.sendmsg([data], files, socket.MSG_DONTWAIT)  # socket.send_fds disregards its flags
            except BlockingIOError:
                break
            except OSError:  # a template that is gone is noticed by its pidfd
                self._drop()
                return
            if connection is not None:
                connection.close()
            if sent < len(data):
                self._waiting[0] = data[sent:], None
            else:
                self._waiting.popleft()
        if self._selector is not None:
            ready = self._selector.get_key(self._control)
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._waiting else 0)
            if ready.events != wanted:
                self._selector.modify(self._control, wanted, ready.data)

    def _drop(self) -> None:
        for _, connection in self._waiting:
            if connection is not None:
                connection.close()
        self._waiting.clear()
