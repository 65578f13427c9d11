"""Whether there is room for a checkpoint.

A disk that fills up takes more with it than checkpoints: the journal, the logs, other people's work. So nothing is saved that would
leave less than ``min_free`` bytes.
"""

from __future__ import annotations

import errno
import os

from tunesmith.errors import StorageFull

__all__ = ["DiskLow", "Room", "full"]

_LEAST = 1 << 30
_PART = 0.02
"""Unless told otherwise so many bytes stay free, or this part of the file system if that is less."""

_FULL = {errno.ENOSPC: "no space is left", errno.EDQUOT: "your quota is used up"}
_DEEP = 20
"""How many exceptions that were raised from one another are looked at."""


class DiskLow(StorageFull):
    """There is no room for a checkpoint, and nothing of it is left behind. The message is a clause, for other sentences."""


def full(error: BaseException, place: str) -> DiskLow | None:
    """What an exception of the system's means, if it is that there is no space; else None."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return DiskLow(f"{_FULL[error.errno]} under {place}")
    return None


class Room:
    """The room on the file system of ``place``.

    Args:
        place: a directory; while it isn't there, the nearest one above it counts.
        min_free: bytes that a save leaves free; 0: as few as there are; None: 1 GiB, or 2 % of the file system if that is less.
    """

    def __init__(self, place: str, min_free: int | None = None) -> None:
        self._place = place
        self._min_free = min_free

    def check(self, need: int = 0) -> None:
        """Ask whether ``need`` bytes more can be written.

        Raises:
            DiskLow: less than ``min_free`` would be left.
        """
        if self._min_free == 0:
            return
        place = self._place
        while not os.path.isdir(place):
            place = os.path.dirname(place)
        found = os.statvfs(place)
        if not found.f_blocks:  # it does not say
            return
        free, least = found.f_bavail * found.f_frsize, self._min_free
        if least is None:
            least = min(_LEAST, int(found.f_blocks * found.f_frsize * _PART))
        if free - need < least:
            what = f", {_amount(need)} are to be written" if need else ""
            raise DiskLow(f"{_amount(free)} are free under {place}{what}, min_free_bytes={_amount(least)}")

    def is_there(self) -> bool:
        """Whether :meth:`check` would pass."""
        try:
            self.check()
        except DiskLow:
            return False
        return True

    def lacked(self, error: Exception, had_room: bool = True) -> DiskLow | None:
        """What came out of the writing of a checkpoint, if it means that there was no room for it; else None.

        Args:
            error: the exception. Libraries wrap what the system says in others of their own, so the file system is asked, too, as long as
                what was written is there.
            had_room: there was room when it began; else an exception is blamed on that only if the system says so.
        """
        cause: BaseException | None = error
        for _ in range(_DEEP):
            if cause is None:
                break
            if (low := full(cause, self._place)) is not None:
                return low
            cause = cause.__cause__ or cause.__context__
        try:
            self.check()
        except DiskLow as low:
            return DiskLow(f"{low} ({type(error).__name__} while it was written)") if had_room else None
        return None


def _amount(size: float) -> str:
    """As people write it: ``min_free_bytes="5GB"``."""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} EB"
