"""Reading and writing remote objects: tried again when that may help, with errors that say what was to be done, where, and what to do."""

from __future__ import annotations

import errno
import os
import posixpath
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tunesmith.errors import RemoteStorageError, StorageFull
from tunesmith.storage.remote import Remote

__all__ = ["Objects", "Retry", "hopeless", "inside", "names_below"]

T = TypeVar("T")

_SMALL = 8 << 20
"""Bytes of a file that is read as a whole before it is sent: what is appended to it meanwhile does no harm."""
_HOPELESS = (PermissionError, NotImplementedError, IsADirectoryError, NotADirectoryError, FileNotFoundError)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "DefaultCredentialsError")


@dataclass(frozen=True, slots=True)
class Retry:
    """How often something is tried, and how long is waited between: twice as long each time, and by chance less.

    Args:
        attempts: tries, the first included, >= 1.
        first_s: seconds before the second try, at most.
        longest_s: at most so many seconds before any try.
        wait: waits so many seconds; true: give up.
        draw: a number in [0, 1).
    """

    attempts: int = 6
    first_s: float = 0.5
    longest_s: float = 20.0
    wait: Callable[[float], bool] = field(default_factory=lambda: threading.Event().wait)
    draw: Callable[[], float] = random.random

    def pause(self, tried: int) -> float:
        """Seconds to wait after so many tries: between half of the bound and all of it."""
        bound = min(self.longest_s, self.first_s * 2.0 ** min(tried - 1, 50))
        return bound * (0.5 + self.draw() / 2)


class Objects:
    """The objects below one place. Names are relative to it, with "/". Any thread may call.

    Args:
        remote: the place.
        retry: how failures are met.
        clock: seconds, monotonic; for messages.
    """

    def __init__(self, remote: Remote, retry: Retry | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.remote = remote
        self.retry = retry or Retry()
        self.sent = 0
        self._clock = clock
        self._fs = remote.filesystem
        self._whole = remote.whole
        self._made: set[str] = set()

    @property
    def hands(self) -> int:
        """How many may be at work at once."""
        inner = getattr(self._fs, "fs", None)
        return 8 if self._fs.async_impl or self._whole or inner is not None else 1

    def read(self, name: str) -> bytes:
        """The object's content.

        Raises:
            FileNotFoundError: it is not there.
            RemoteStorageError: it could not be read.
        """
        return bytes(self._try("read", name, lambda: self._fs.cat_file(self._at(name)), missing=True))

    def write(self, name: str, data: bytes) -> None:
        """Make or replace the object.

        Raises:
            RemoteStorageError: that was not possible.
        """
        self._try("written", name, lambda: self._put(name, lambda at: self._fs.pipe_file(at, data)))
        self.sent += 1

    def send(self, name: str, path: str) -> int:
        """Make or replace the object with what is in the file; returns the bytes sent.

        Raises:
            FileNotFoundError: there is no such file.
            RemoteStorageError: that was not possible.
        """
        size = os.stat(path).st_size
        if size <= _SMALL:
            with open(path, "rb") as file:
                data = file.read()
            self.write(name, data)
            return len(data)
        self._try("written", name, lambda: self._put(name, lambda at: self._fs.put_file(path, at)))
        self.sent += 1
        return size

    def fetch(self, name: str, path: str) -> None:
        """Write the object's content into the file, whose directory is there.

        Raises:
            FileNotFoundError: there is no such object.
            RemoteStorageError: it could not be read; StorageFull: the file could not be written.
        """
        self._try("read", name, lambda: self._fs.get_file(self._at(name), path), missing=True)

    def sizes(self, below: str = "") -> dict[str, int]:
        """Name -> bytes of all objects below ``below``, which is a name of a "directory" ("": all).

        Raises:
            RemoteStorageError: they could not be listed.
        """
        at = self._at(below) if below else self.remote.root

        def find() -> dict[str, Any]:
            self._fs.invalidate_cache()
            try:
                return dict(self._fs.find(at, detail=True))
            except FileNotFoundError:
                return {}

        start = len(self.remote.root.strip("/")) + 1
        found = self._try("listed", below, find)
        return {path.strip("/")[start:]: int(entry.get("size") or 0) for path, entry in found.items() if entry.get("type") == "file"}

    def folders(self) -> list[str]:
        """Names of the "directories" directly in the place, sorted; none if it is not there.

        Raises:
            RemoteStorageError: they could not be listed.
        """

        def ls() -> list[dict[str, Any]]:
            self._fs.invalidate_cache()
            try:
                return list(self._fs.ls(self.remote.root, detail=True))
            except FileNotFoundError:
                return []

        found = self._try("listed", "", ls)
        return sorted(posixpath.basename(entry["name"].rstrip("/")) for entry in found if entry["type"] == "directory")

    def delete(self, name: str) -> None:
        """Delete the object; one that is not there is fine.

        Raises:
            RemoteStorageError: it could not be deleted.
        """

        def remove() -> None:
            with suppress(FileNotFoundError):
                self._fs.rm_file(self._at(name))

        self._try("deleted", name, remove)

    def _at(self, name: str) -> str:
        return f"{self.remote.root}/{name}"

    def _put(self, name: str, put: Callable[[str], object]) -> None:
        at = self._at(name)
        if self._whole:
            put(at)
            return
        folder = posixpath.dirname(at)
        if folder not in self._made:
            self._fs.makedirs(folder, exist_ok=True)
            self._made.add(folder)
        beside = f"{folder}/.{posixpath.basename(at)}.{os.urandom(4).hex()}.part"  # half of it must not pass for all of it
        try:
            put(beside)
            _rename(self._fs, beside, at)
        except BaseException:
            with suppress(Exception):
                self._fs.rm_file(beside)
            self._made.discard(folder)
            raise

    def _try(self, done: str, name: str, call: Callable[[], T], missing: bool = False) -> T:
        began = self._clock()
        tried = 0
        while True:
            tried += 1
            try:
                return call()
            except Exception as error:
                if missing and isinstance(error, FileNotFoundError):
                    raise
                if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                    raise StorageFull(f"{self.remote}/{name} could not be {done}: {error}. Free some space.") from error
                if hopeless(error) or tried >= self.retry.attempts or self.retry.wait(self.retry.pause(tried)):
                    raise self._failed(done, name, error, tried, self._clock() - began) from error

    def _failed(self, done: str, name: str, error: Exception, tried: int, seconds: float) -> RemoteStorageError:
        what = f"{self.remote}/{name}" if name else str(self.remote)
        tries = f", {tried} tries in {seconds:.0f} s" if tried > 1 else ""
        said = str(error).strip().rstrip(".")
        return RemoteStorageError(f"{what} could not be {done} ({type(error).__name__}: {said}{tries}). {_advice(error)}")


def hopeless(error: BaseException | None) -> bool:
    """Whether trying again will not help."""
    return isinstance(error, _HOPELESS) or type(error).__name__ in _NO_CREDENTIALS


def _advice(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "Check that the bucket (or directory) is there, and make it if it is not."
    if isinstance(error, PermissionError):
        return "Check that the credentials in use may read, list, write and delete there."
    if type(error).__name__ in _NO_CREDENTIALS:
        return "Give credentials as for the storage's other tools: environment variables, a profile, or storage_filesystem=."
    if isinstance(error, NotImplementedError):
        return "This kind of storage cannot do that; use another one."
    return "Check the network, and that the storage answers."


def _rename(filesystem: Any, before: str, after: str) -> None:
    """In one step where the file system can; ``after`` may be there."""
    if type(filesystem).__name__ == "LocalFileSystem":
        os.replace(before, after)
        return
    inner = getattr(filesystem, "fs", None)
    if inner is not None and type(inner).__module__.startswith("pyarrow"):
        inner.move(before, after)
        return
    with suppress(FileNotFoundError):
        filesystem.rm_file(after)
    filesystem.mv(before, after)


def inside(name: str, where: str) -> str:
    """The relative ``name``, of which ``where`` tells.

    Raises:
        RemoteStorageError: it leads out of the folder that it is to be in.
    """
    if os.path.isabs(name) or "\0" in name or any(one in ("", ".", "..") for one in name.split("/")):
        raise RemoteStorageError(
            f"{where} names {name!r}, and expected was a path inside its folder: nothing of it was written. Something else has stored that "
            "there; take it away."
        )
    return name


def names_below(folder: str) -> Sequence[str]:
    """Relative names, with "/", of all files below a local directory, sorted; links to directories are followed."""
    found = []
    for inside, _, names in os.walk(folder, followlinks=True):
        found += [os.path.relpath(os.path.join(inside, name), folder).replace(os.sep, "/") for name in names]
    return sorted(found)
