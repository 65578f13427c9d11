"""What goes over the sockets between driver, template and workers: framing and messages, without any input or output.

A frame is ``length (4 bytes, little-endian) | kind (1 byte) | body``; the body is a pickled tuple of plain values, whose meaning
depends on the kind. Objects of the user's (configurations with functions in them, images in reports) travel inside as bytes, so that
a class that one side can't import spoils that value and not the connection.
"""

from __future__ import annotations

import pickle
import struct
from enum import IntEnum
from typing import Any

from tunesmith.core.events import AttemptEnded, CheckpointSaved, Reported, SaveSkipped
from tunesmith.errors import ExecutorError

__all__ = ["HEADER", "LIMIT", "Frames", "Kind", "encode", "ended", "report_of", "reported", "saved", "unsaved"]

HEADER = struct.Struct("<IB")
LIMIT = 1 << 30
"""Longest body, in bytes. A longer one is a sign that the stream is out of step (large data go through files and checkpoints)."""

_dumps, _loads = pickle.dumps, pickle.loads


class Kind(IntEnum):
    """Kinds of messages, with their fields.

    Driver to worker: LAUNCH (see :mod:`tunesmith.executors.child`), ANSWER (trial, attempt, action, mode, save), SAVE (trial, attempt),
    EXIT (); on a cluster SIGNAL (number), which the driver cannot send itself, and answers to what is shipped: TAKEN (what, see
    :mod:`tunesmith.executors.ray_freight`).
    Worker to driver: REPORT (trial, attempt, iteration, metrics, checkpoint, its size, named, extras as bytes or None), SAVED (trial,
    attempt, iteration, checkpoint, size), UNSAVED (trial, attempt, iteration, reason), ENDED (trial, attempt, outcome, error, exception
    as bytes, reason why the worker can't be used again or "", modules imported); on a cluster first HELLO (worker,
    what is to be known of it), and what is shipped: PART (part), LOG (file name, bytes), WANT (number), FILE (path, offset, bytes).
    Driver to template: TRAINABLE (size of each part, orders, script, excluded packages, modules to import first) with a file,
    PRELOAD (module names), FORK (worker) with a socket.
    Template to driver: FORKED (worker, pid), UNFORKED (worker, why), EXITED (worker, wait status), SPOILED (module, why),
    IMPORTING (package that it begins to import, "" when it has done).
    """

    LAUNCH = 1
    ANSWER = 2
    SAVE = 3
    EXIT = 4
    SIGNAL = 5
    TAKEN = 6
    REPORT = 16
    SAVED = 17
    ENDED = 18
    UNSAVED = 19
    HELLO = 20
    PART = 21
    LOG = 22
    WANT = 23
    FILE = 24
    TRAINABLE = 32
    PRELOAD = 33
    FORK = 34
    FORKED = 48
    UNFORKED = 49
    EXITED = 50
    SPOILED = 51
    IMPORTING = 52


_KINDS = {int(kind): kind for kind in Kind}


def encode(kind: Kind, *fields: Any) -> bytes:
    """A whole frame.

    Raises:
        ExecutorError: longer than :data:`LIMIT`.

    Example:
        >>> list(Frames().feed(encode(Kind.SAVE, 3, 0)))
        [(<Kind.SAVE: 3>, (3, 0))]
    """
    body = _dumps(fields, 5)
    if len(body) > LIMIT:
        raise ExecutorError(f"a {kind.name} message has {len(body):,} bytes, more than {LIMIT:,}; send large data through files")
    return HEADER.pack(len(body), kind) + body


class Frames:
    """Turns a stream of bytes, in pieces of any size, into messages."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[tuple[Kind, tuple[Any, ...]]]:
        """The messages that are complete now.

        Raises:
            ExecutorError: this is no such stream. Nothing more can be read from it.
        """
        rest = self._rest
        rest += data
        found = []
        at, end = 0, len(rest)
        while end - at >= 5:
            length, kind = HEADER.unpack_from(rest, at)
            if length > LIMIT:
                raise ExecutorError(f"a message of {length:,} bytes is announced; the stream is out of step")
            if end - at - 5 < length:
                break
            at += 5 + length
            try:
                found.append((_KINDS[kind], _loads(memoryview(rest)[at - length : at])))
            except Exception as error:
                raise ExecutorError(f"a message of kind {kind} can't be read: {type(error).__name__}: {error}") from error
        if at:
            del rest[:at]
        return found


def report_of(event: Reported) -> bytes:
    """The frame of a report. Values that can't be pickled stay behind; their names go."""
    extras = None
    if event.extras:
        extras = _dumps({name: blob for name, value in event.extras.items() if (blob := _pickled(value)) is not None}, 5)
    return encode(
        Kind.REPORT, event.trial, event.attempt, event.iteration, event.metrics, event.checkpoint, event.bytes, event.named, extras
    )


def reported(fields: tuple[Any, ...]) -> Reported:
    """The inverse of :func:`report_of`. Values that can't be rebuilt here (their module is missing, say) are named only."""
    trial, attempt, iteration, metrics, checkpoint, size, named, blobs = fields
    event = Reported(trial, attempt, iteration, metrics, checkpoint, None, named, bytes=size)
    if blobs is not None:
        event.extras = {}
        for name, blob in _loads(blobs).items():
            try:
                event.extras[name] = _loads(blob)
            except Exception:
                continue  # its name is told all the same
    return event


def saved(fields: tuple[Any, ...]) -> CheckpointSaved:
    """The event of a SAVED message."""
    trial, attempt, iteration, checkpoint, size = fields
    return CheckpointSaved(trial, attempt, iteration, checkpoint, bytes=size)


def unsaved(fields: tuple[Any, ...]) -> SaveSkipped:
    """The event of an UNSAVED message."""
    return SaveSkipped(*fields)


def ended(fields: tuple[Any, ...]) -> AttemptEnded:
    """The event of an ENDED message."""
    return AttemptEnded(*fields[:4])


def _pickled(value: Any) -> bytes | None:
    try:
        return _dumps(value, 5)
    except Exception:
        return None
