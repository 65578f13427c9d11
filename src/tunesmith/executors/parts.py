"""A directory as a series of *parts*, byte strings of a few megabytes that may travel by any road, and a directory again.

Each part carries its number and a hash over itself and all parts before it, so one that is damaged, missing, doubled or out of its place is
found before the result can be read by anybody: a directory appears complete, or not at all. Neither side ever holds more than one or two
parts in memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from tunesmith.checkpoints.store import LocalStore
from tunesmith.errors import ExecutorError

__all__ = ["PART", "Damaged", "Part", "fill", "pack", "unpack"]

PART = 8 << 20
"""Bytes of content in a part, but for the last: large against what handing over one costs, small against a worker's memory."""

_READ = 1 << 20
_MAGIC = b"tspt"
_PART = struct.Struct("<4sI32s")  # magic, number, hash
_TREE = struct.Struct("<QQ")  # how many entries follow, and how many bytes all their files have
_ENTRY = struct.Struct("<BIQI")  # kind, mode, bytes of content, bytes of the path
_FOLDER, _FILE = 0, 1

Part = bytes | bytearray | memoryview


class Damaged(ExecutorError):
    """Parts are not those that were sent. The message is a clause that says what is wrong with which one."""


def pack(directory: str | os.PathLike[str], size: int = PART) -> Iterator[bytes]:
    """The files and folders in ``directory``, as parts for :func:`unpack`. Links are followed, as by every save of a checkpoint.

    Args:
        directory: nobody may write into it meanwhile. A stored checkpoint is such a one.
        size: bytes of content in each part but the last.

    Raises:
        OSError: a file can't be read.
        ExecutorError: a file has another size than when it was looked at first, or is none (a socket, a pipe).

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as home:
        ...     os.makedirs(f"{home}/a/empty")
        ...     unpack(pack(f"{home}/a"), f"{home}/b")
        ...     os.listdir(f"{home}/b")
        ['empty']
    """
    rest, digest, number = bytearray(), b"", 0
    for piece in _flattened(os.fspath(directory)):
        rest += piece
        while len(rest) > size:
            part, digest = _part(rest[:size], digest, number)
            del rest[:size]
            number += 1
            yield part
    yield _part(rest, digest, number)[0]


def unpack(parts: Iterable[Part], into: str | os.PathLike[str]) -> None:
    """Make the directory that :func:`pack` took apart.

    Args:
        parts: in their order. They are taken one by one, so they may be fetched when they are asked for.
        into: is not there yet, or is empty; folders above it are made. It appears when all is in it.

    Raises:
        Damaged: these are not the parts of one directory, or not all of them.
        OSError: it can't be written.
    """
    into = os.path.abspath(os.fspath(into))
    home = os.path.dirname(into)
    os.makedirs(home, exist_ok=True)
    staged = LocalStore.of_trial(home).stage(0)  # what a crash leaves of it, a sweep finds
    try:
        fill(staged, parts, lambda _: None)
        os.rename(staged, into)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


# -- taking apart ------------------------------------------------------------------------------------------------------------


def _part(content: bytearray, digest: bytes, number: int) -> tuple[bytes, bytes]:
    """A part, and its hash. ``digest``: that of the part before."""
    digest = _hash(digest, content)
    return b"".join((_PART.pack(_MAGIC, number, digest), content)), digest


def _hash(before: bytes, content: Part) -> bytes:
    """Of a part's content and, through ``before``, of all that came before it: so it knows its place, too."""
    found = hashlib.blake2b(before, digest_size=32)
    found.update(content)
    return found.digest()


def _flattened(directory: str) -> Iterator[bytes]:
    """All of the tree as one stream of bytes, in pieces: folders come before what is in them."""
    entries = list(_entries(directory))
    yield _TREE.pack(len(entries), sum(found.st_size for _, found in entries if found is not None))
    for name, found in entries:
        path = os.fsencode(name)
        if found is None:
            yield _ENTRY.pack(_FOLDER, 0, 0, len(path)) + path
            continue
        yield _ENTRY.pack(_FILE, stat.S_IMODE(found.st_mode), found.st_size, len(path)) + path
        with open(os.path.join(directory, name), "rb") as file:
            left = found.st_size
            while left and (piece := file.read(min(left, _READ))):
                left -= len(piece)
                yield piece
            if left or file.read(1):
                raise ExecutorError(f"{file.name} has changed its size while it was sent. Is something still writing into this checkpoint?")


def _entries(directory: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Path of each folder and file, relative to ``directory``, in an order that is always the same; for files what they are like."""
    for folder, names, files in os.walk(directory, followlinks=True, onerror=_raise):
        names.sort()
        inside = os.path.relpath(folder, directory)
        for name in names:
            yield os.path.normpath(os.path.join(inside, name)), None
        for name in sorted(files):
            path = os.path.join(folder, name)
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                raise ExecutorError(f"{path} is no file: a checkpoint holds files and folders only. Write what it stands for into a file.")
            yield os.path.normpath(os.path.join(inside, name)), found


def _raise(error: OSError) -> None:
    raise error


# -- putting together --------------------------------------------------------------------------------------------------------


def _verified(parts: Iterable[Part]) -> Iterator[memoryview]:
    """The contents of the parts, each looked at before it is given out."""
    digest = b""
    for number, part in enumerate(parts):
        view = memoryview(part)
        if len(view) < _PART.size:
            raise Damaged(f"part {number} is cut off")
        magic, told, found = _PART.unpack_from(view)
        if magic != _MAGIC:
            raise Damaged(f"part {number} is something else")
        if told != number:
            raise Damaged(f"part {told} came where part {number} should")
        content = view[_PART.size :]
        digest = _hash(digest, content)
        if digest != found:
            raise Damaged(f"part {number} has arrived with other bytes than it was sent with, or belongs to something else")
        yield content


class _Content:
    """The stream that the parts carry."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = _verified(parts)
        self._count = 0
        self._rest = memoryview(b"")

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next ``size`` bytes."""
        while size:
            if not self._rest:
                self._rest = self._next()
            piece, self._rest = self._rest[:size], self._rest[size:]
            size -= len(piece)
            yield piece

    def take(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def end(self) -> None:
        """There must be nothing more."""
        if self._rest or next(self._parts, None) is not None:
            raise Damaged("there is more than belongs to the directory")

    def _next(self) -> memoryview:
        try:
            part = next(self._parts)
        except StopIteration:
            raise Damaged(f"what should come after {self._count} parts is missing") from None
        self._count += 1
        return part


def fill(folder: str, parts: Iterable[Part], room: Callable[[int], object]) -> None:
    """Write the tree into the empty ``folder``, which :func:`unpack` does in one step; ``room`` is told before how many bytes it has."""
    content = _Content(parts)
    count, total = _TREE.unpack(content.take(_TREE.size))
    room(total)
    for _ in range(count):
        kind, mode, size, length = _ENTRY.unpack(content.take(_ENTRY.size))
        path = os.path.join(folder, _inside(os.fsdecode(content.take(length))))
        if kind == _FOLDER:
            os.mkdir(path)
            continue
        with open(path, "xb") as file:
            _copy(content, size, file)
            os.fchmod(file.fileno(), mode & 0o777)
    content.end()


def _copy(content: _Content, size: int, file: BinaryIO) -> None:
    file.writelines(content.pieces(size))


def _inside(name: str) -> str:
    """The relative path, unless it leads out of the folder."""
    if os.path.isabs(name) or "\0" in name or not name or any(one in ("", ".", "..") for one in name.split("/")):
        raise Damaged(f"{name!r} is no path inside a checkpoint")
    return name
