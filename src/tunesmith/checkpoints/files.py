"""Trees of files: measured, copied, sealed, and removed."""

from __future__ import annotations

import errno
import os
import queue
import shutil
import threading
from collections.abc import Callable

from tunesmith.errors import SpecError

__all__ = ["Remover", "copy_file", "copy_tree", "fsync", "seal", "size_of"]


def size_of(folder: str, but: str = "") -> int:
    """Bytes of all files in it, links followed as when it is copied; files named ``but`` don't count."""
    total = 0
    for inside, _, names in os.walk(folder, followlinks=True):
        total += sum(os.stat(os.path.join(inside, name)).st_size for name in names if name != but)
    return total


def copy_tree(source: str, target: str, copy: Callable[[str, str], object]) -> None:
    """Links in the user's tree are followed: a checkpoint must not depend on files outside it.

    Raises:
        SpecError: ``target`` is in ``source``: the copy would go into itself.
    """
    if os.path.realpath(target).startswith(os.path.join(os.path.realpath(source), "")):
        raise SpecError(
            f"report(checkpoint={source!r}): its copy would go into itself, for checkpoints are kept in {os.path.dirname(target)}. Write "
            f"the trial's state into a directory of its own, such as {os.path.join(source, 'state')}."
        )
    for folder, names, files in os.walk(source, followlinks=True):
        inside = os.path.join(target, os.path.relpath(folder, source))
        for name in names:
            os.mkdir(os.path.join(inside, name))
        for name in files:
            copy(os.path.join(folder, name), os.path.join(inside, name))


def copy_file(source: str, target: str) -> None:
    """In the kernel, so that file systems that can share blocks do; by hand where it can't."""
    with open(source, "rb") as reader, open(target, "xb") as writer:
        size = os.fstat(reader.fileno()).st_size
        try:
            while size > 0 and (done := os.copy_file_range(reader.fileno(), writer.fileno(), size)):
                size -= done
        except (OSError, AttributeError):
            reader.seek(0)
            writer.seek(0)
            writer.truncate()
            shutil.copyfileobj(reader, writer, 1 << 20)
    shutil.copymode(source, target)


def seal(folder: str, *, files: bool) -> None:
    """Make files read-only and force all of it to disk, innermost first. ``files`` false: they are sealed already."""
    for inside, _, names in os.walk(folder, topdown=False):
        for name in names if files else ():
            path = os.path.join(inside, name)
            fsync(path)
            os.chmod(path, os.stat(path).st_mode & 0o555)
        fsync(inside)


def fsync(path: str) -> None:
    """Force a file or directory to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(handle)


class Remover:
    """Removes directories one after the other, in a thread of its own: it takes seconds where files are many or large."""

    def __init__(self) -> None:
        self._doomed: queue.SimpleQueue[tuple[str, Callable[[], object] | None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def remove(self, path: str, after: Callable[[], object] | None = None) -> None:
        """Remove the directory soon; then call ``after``."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="tunesmith-remover", daemon=True)
            self._thread.start()
        self._doomed.put((path, after))

    def close(self) -> None:
        """Wait until all of them are gone."""
        if self._thread is not None:
            self._doomed.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (one := self._doomed.get()) is not None:
            path, after = one
            shutil.rmtree(path, ignore_errors=True)
            if after is not None:
                after()
