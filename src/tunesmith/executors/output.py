"""Where a trial's prints go: its standard output and error, on the level of file descriptors, which includes C code and subprocesses."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from typing import TextIO

__all__ = ["Output"]

_libc = ctypes.CDLL(None)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)


class Output:
    """Redirects descriptors 1 and 2 of this process to files of one trial after the other.

    Empty files are not left behind: one that nothing was written to moves on to the next trial (making and deleting files costs a
    small trial half its time).

    Args:
        names: (stdout file, stderr file), relative to a trial's directory; the same twice: both go into one.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self._names = tuple(dict.fromkeys(names))
        self._files: list[tuple[str, int]] = []  # path and descriptor, open on the present trial's, or empty
        self._stdout, self._stderr = _stream(1), _stream(2)
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def enter(self, trial_dir: str) -> None:
        """What is printed from here on is this trial's.

        Raises:
            OSError: a file can't be made.
        """
        try:
            os.mkdir(trial_dir)
            fresh = True
        except OSError:
            os.makedirs(trial_dir, exist_ok=True)
            fresh = False
        files = []
        for index, name in enumerate(self._names):
            path = os.path.join(trial_dir, name)
            files.append((path, self._opened(index, path, fresh)))
        self._files = files
        os.dup2(files[0][1], 1)
        os.dup2(files[-1][1], 2)
        if self._stdout.closed:  # by another trial
            self._stdout = _stream(1)
        if self._stderr.closed:
            self._stderr = _stream(2)
        sys.stdout, sys.stderr = self._stdout, self._stderr

    def leave(self) -> None:
        """The trial is over: what it printed is in its files."""
        for stream in {sys.stdout, sys.stderr, self._stdout, self._stderr}:
            with contextlib.suppress(Exception):  # the trial may have put anything there, or closed it
                stream.flush()
        _libc.fflush(None)  # what C code has printed
        kept = []
        for path, handle in self._files:
            if os.fstat(handle).st_size:
                os.close(handle)
                handle = -1
            kept.append((path, handle))
        self._files = kept

    def close(self) -> None:
        """Remove files that nothing was written to."""
        for path, handle in self._files:
            if handle >= 0:
                if not os.fstat(handle).st_size:
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                os.close(handle)
        self._files = []

    def _opened(self, index: int, path: str, fresh: bool) -> int:
        if index < len(self._files):
            old, handle = self._files[index]
            if handle >= 0:
                self._files[index] = (old, -1)
                if fresh or not os.path.lexists(path):
                    try:
                        os.rename(old, path)
                        return handle
                    except OSError:
                        pass  # somebody removed it
                os.close(handle)
                with contextlib.suppress(OSError):
                    os.unlink(old)
        if os.path.dirname(self._names[index]):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        return os.open(path, _FLAGS, 0o666)


def _stream(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
