"""The driver's side of what is shipped: checkpoints and logs of workers that do not see the driver's disk, and checkpoints they start from.

Threads of their own write and read files; each part of a checkpoint is acknowledged when it was taken off the line, so neither side holds
more than a few. What a worker says after a checkpoint waits until that is stored: a report that is seen has its checkpoint.
"""

from __future__ import annotations

import logging
import os
import queue
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tunesmith.checkpoints.room import DiskLow
from tunesmith.checkpoints.store import Kept, LocalStore
from tunesmith.executors.base import Assignment
from tunesmith.executors.ray_hand import Hand
from tunesmith.executors.shipping import Damaged, ShippedStore, pack, receive
from tunesmith.executors.wire import Kind

__all__ = ["Freight", "Message"]

_log = logging.getLogger("tunesmith")
Message = tuple[Kind, tuple[Any, ...]]
_FREIGHT = (Kind.PART, Kind.LOG, Kind.WANT, Kind.FILE)
_THREADS = 8


class Freight:
    """What is under way between the driver and its workers.

    Args:
        post: has something called on the loop's thread.
        heard: takes the messages that are not about freight, in their order.
        min_free: bytes that saves leave free; see :class:`~tunesmith.checkpoints.store.LocalStore`.
    """

    def __init__(
        self, post: Callable[[Callable[[], None]], None], heard: Callable[[Hand, list[Message]], None], min_free: int | None
    ) -> None:
        self._post, self._heard, self._min_free = post, heard, min_free
        self._pool: ThreadPoolExecutor | None = None
        self._coming: dict[int, _Coming] = {}  # worker -> the checkpoint that it sends
        self._going: dict[int, Iterator[bytes]] = {}
        self._held: dict[int, deque[Message]] = {}  # worker -> what waits for its checkpoint

    def sort(self, hand: Hand, messages: list[Message]) -> None:
        """Look at what a worker has sent."""
        held = self._held.get(hand.number)
        if held is not None:
            held += messages
            return
        plain: list[Message] = []
        for index, (kind, fields) in enumerate(messages):
            if kind in _FREIGHT:
                self._take(hand, kind, fields)
            elif kind in (Kind.REPORT, Kind.SAVED) and hand.number in self._coming and fields[4 if kind is Kind.REPORT else 3]:
                self._heard(hand, plain)
                self._held[hand.number] = deque(messages[index:])
                self._coming[hand.number].finish(lambda: self._post(lambda: self._stored(hand)))
                return
            else:
                if kind is Kind.ENDED:
                    self._forget(hand)  # it was told to end in the middle of a save
                plain.append((kind, fields))
        self._heard(hand, plain)

    def drop(self, hand: Hand) -> None:
        """The worker is gone; what is incomplete leaves nothing."""
        self._forget(hand)
        self._held.pop(hand.number, None)

    def close(self) -> None:
        """Nothing comes any more."""
        for coming in self._coming.values():
            coming.abandon()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self, hand: Hand) -> None:
        self._going.pop(hand.number, None)
        coming = self._coming.pop(hand.number, None)
        if coming is not None:
            coming.abandon()

    def _take(self, hand: Hand, kind: Kind, fields: tuple[Any, ...]) -> None:
        assignment = hand.assignment
        if assignment is None:
            return
        if kind is Kind.LOG:
            _write(os.path.join(assignment.trial_dir, fields[0]), fields[1])
        elif kind is Kind.WANT:
            self._submit(lambda: self._give(hand, assignment, fields[0]))
        elif kind is Kind.FILE:
            self._submit(lambda: self._keep(hand, assignment, *fields))
        else:
            coming = self._coming.get(hand.number)
            if coming is None:
                coming = self._coming[hand.number] = _Coming(lambda: self._post(lambda: self._taken(hand)))
                coming.future = self._submit(lambda: coming.store(assignment, self._min_free))
            coming.parts.put(fields[0])

    def _give(self, hand: Hand, assignment: Assignment, number: int) -> None:
        """In a thread: what a worker wants. -1: the index of its first checkpoint; else the next part of the one that it starts from."""
        given: Any = b""
        if number < 0:
            given = ShippedStore.free_index(assignment.trial_dir)
        elif assignment.checkpoint is not None:
            if number == 0:
                self._going[hand.number] = pack(assignment.checkpoint)
            given = next(self._going[hand.number], b"")
        self._post(lambda: self._taken(hand, given))

    def _keep(self, hand: Hand, assignment: Assignment, name: str, offset: int, data: bytes) -> None:
        """In a thread: a file that the trial has left."""
        path = os.path.normpath(os.path.join(assignment.trial_dir, name))
        if path.startswith(os.path.join(assignment.trial_dir, "")):
            try:
                _write(path, data, afresh=not offset)
            except OSError as error:
                _log.warning("%s of trial %s could not be brought from its node: %s", name, assignment.trial_id, error)
        self._post(lambda: self._taken(hand))

    def _taken(self, hand: Hand, given: Any = None) -> None:
        if not hand.gone:
            hand.send(Kind.TAKEN, given)

    def _stored(self, hand: Hand) -> None:
        """The checkpoint is stored, or could not be: then the trial goes on without."""
        coming = self._coming.pop(hand.number, None)
        if coming is None:
            return
        messages = self._held.pop(hand.number)
        kind, fields = messages.popleft()
        failed = coming.failed()
        first: list[Message] = [(kind, fields)]
        if failed:
            first = [(Kind.UNSAVED, (*fields[:3], failed))]
            if kind is Kind.REPORT:
                first.append((kind, (*fields[:4], None, 0, *fields[6:])))
        self._heard(hand, first)
        self.sort(hand, list(messages))

    def _submit(self, work: Callable[[], Any]) -> Future[Any]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tunesmith-freight")
        return self._pool.submit(work)


class _Coming:
    """A checkpoint on its way here."""

    def __init__(self, taken: Callable[[], None]) -> None:
        self.parts: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.future: Future[Any] | None = None
        self._taken = taken
        self._whole = self._over = False

    def store(self, assignment: Assignment, min_free: int | None) -> Kept:
        """In a thread: write what comes."""
        os.makedirs(assignment.trial_dir, exist_ok=True)
        try:
            return receive(LocalStore.of_trial(assignment.trial_dir, min_free), assignment.trial, self._each())
        except Exception:
            self._rest()
            raise

    def finish(self, then: Callable[[], None]) -> None:
        """All parts have come; ``then`` is called, in any thread, when they are stored or could not be."""
        assert self.future is not None
        self._whole = True
        self.parts.put(None)
        self.future.add_done_callback(lambda _: then())

    def abandon(self) -> None:
        """No more parts will come."""
        self.parts.put(None)

    def failed(self) -> str:
        """Why it is not stored; "" if it is."""
        assert self.future is not None
        error = self.future.exception()
        if error is None:
            return ""
        return str(error) if isinstance(error, DiskLow) else f"it was lost on its way from its node: {type(error).__name__}: {error}"

    def _each(self) -> Iterator[bytes]:
        while (part := self._next()) is not None:
            self._taken()
            yield part
        if not self._whole:
            raise Damaged("the worker that sent it is gone")

    def _rest(self) -> None:
        """It is not stored any more; the worker sends on until it is told."""
        while self._next() is not None:
            self._taken()

    def _next(self) -> bytes | None:
        part = None if self._over else self.parts.get()
        self._over = part is None
        return part


def _write(path: str, data: bytes, *, afresh: bool = False) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if afresh else "ab") as file:
        file.write(data)
