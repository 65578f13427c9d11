"""The driver's view of one worker process: its socket, what it runs, what it was told."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

from tunesmith.errors import ExecutorError
from tunesmith.executors.base import Assignment
from tunesmith.executors.forker import Forker
from tunesmith.executors.surroundings import Surroundings
from tunesmith.executors.wire import Frames, Kind, encode

__all__ = ["Process"]

_CHUNK = 1 << 16
"""Bytes read at once. For more the allocator may map fresh pages at each call, which takes longer than all else about a message."""

_without_config = attrgetter(*(field.name for field in fields(Assignment) if field.name != "config"))


class Process:
    """One worker, from the request to fork it to its end.

    Args:
        number: of the worker, unique in the executor.
        forker: whose template forks it.
        selector: its socket is registered there.
        readable: called when it has something to say.

    Attributes:
        pid: 0 until it is forked.
        assignment: the attempt that it runs or has not yet been buried with; None while it is idle.
        launches: how many attempts it was given.
        asked: a report waits for its answer.
        kept: its newest report came with a checkpoint, so there is nothing more to save.
        told_to_end: it was, while no report waited: it will be at its next one.
        leaving: it was told to end, and knows.
        save_due: it was told to save before it ends.
        doom: the outcome of its attempt, decided from here.
        excess: what is to be said of the memory that it held too much of, which is why.
        signalled: it was told to end by a signal, or will be: whatever it says, it is not for another attempt.
        dump_at: where in its log that begins which it was told to write before its end by force; None: it was not told.
        ended: its attempt's end, told when the process is gone.
        gpus: cards that this process may use.
        unread: messages that have come, and nobody has looked at.
        dismissed: it was sent away while it was idle.
        gone: it is no more.
    """

    def __init__(self, number: int, forker: Forker, selector: selectors.BaseSelector, readable: Callable[[Process], None]) -> None:
        self.number = number
        self.pid = 0
        self.assignment: Assignment | None = None
        self.launches = 0
        self.asked = self.kept = self.told_to_end = self.leaving = self.save_due = False
        self.doom = self.excess = ""
        self.signalled = False
        self.dump_at: int | None = None
        self.ended: Any = None
        self.gpus: tuple[tuple[int, float], ...] = ()
        self.unread: list[tuple[Kind, tuple[Any, ...]]] = []
        self.dismissed = self.gone = False
        self._selector = selector
        self._readable = readable
        self._sent: bytes = b""  # until it is forked: what to send again to another
        self._surroundings: Surroundings | None = None
        self._variables: dict[str, str | None] | None = None
        self._connect(forker)

    def _connect(self, forker: Forker) -> None:
        self.forker = forker
        self._frames = Frames()
        self._outbox = bytearray()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._open = True
        self._selector.register(self._socket, selectors.EVENT_READ, self._ready)
        forker.fork(self.number, theirs)

    def move(self, forker: Forker) -> None:
        """It could not be forked there: begin anew."""
        self.close(self._selector)
        self._connect(forker)
        self._write(self._sent)

    @property
    def idle(self) -> bool:
        """Whether it waits for another attempt."""
        return self.assignment is None and not (self.dismissed or self.gone)

    def dismiss(self) -> None:
        """There is no other attempt for it."""
        self.dismissed = True
        self.send(Kind.EXIT)

    @property
    def cards(self) -> set[int]:
        """The GPU cards that it may use."""
        return {card for card, _ in self.gpus}

    def runs(self, attempt: int) -> bool:
        """Whether the attempt is the one that it runs."""
        return self.assignment is not None and self.assignment.attempt == attempt and self.ended is None

    def launch(self, assignment: Assignment, config: bytes, surroundings: Surroundings, variables: dict[str, str | None]) -> None:
        """Give it an attempt. Surroundings travel only if they are others than the last time."""
        self.assignment = assignment
        self.launches += 1
        self.asked = self.kept = self.told_to_end = self.leaving = self.save_due = False
        self.gpus = assignment.gpus
        given = _without_config(assignment)
        if surroundings is self._surroundings and variables == self._variables:
            self.send(Kind.LAUNCH, given, config, None, None)
        else:
            self._surroundings, self._variables = surroundings, variables
            self.send(Kind.LAUNCH, given, config, surroundings.plain(), variables)

    def rest(self, *, forget: bool) -> None:
        """Its attempt is over, and it may get another. ``forget``: it is not known in which surroundings it is now."""
        self.assignment = None
        if forget:
            self._surroundings = None

    def send(self, kind: Kind, *fields: Any) -> None:
        """Send a message; what the socket does not take at once goes later."""
        data = encode(kind, *fields)
        if not self.pid:
            self._sent += data
        self._write(data)

    def receive(self) -> list[tuple[Kind, tuple[Any, ...]]]:
        """All that has come. A stream that is out of step is cut off; the end of the process will tell the rest."""
        messages: list[tuple[Kind, tuple[Any, ...]]] = []
        while self._open:
            try:
                data = self._socket.recv(_CHUNK)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close(self._selector)
                break
            try:
                messages += self._frames.feed(data)
            except ExecutorError:
                self.close(self._selector)
                self.signal(9)
            if len(data) < _CHUNK:
                break
        return messages

    def signal(self, what: int) -> None:
        """Send a signal; SIGKILL goes to the whole process group."""
        self.signalled = True
        self.forker.signal(self.number, what)

    def close(self, selector: selectors.BaseSelector) -> None:
        """Nothing more is sent or received."""
        if self._open:
            self._open = False
            selector.unregister(self._socket)
            self._socket.close()

    def _write(self, data: bytes) -> None:
        if not self._open:
            return
        if not self._outbox:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # it is gone; the template will tell
            if sent == len(data):
                return
            data = data[sent:]
            self._selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self._ready)
        self._outbox += data

    def _ready(self, mask: int) -> None:
        if mask & selectors.EVENT_WRITE and self._outbox:
            with contextlib.suppress(OSError):
                del self._outbox[: self._socket.send(self._outbox)]
            if not self._outbox:
                self._selector.modify(self._socket, selectors.EVENT_READ, self._ready)
        if mask & selectors.EVENT_READ:
            self._readable(self)
