"""How many paused attempts may stay in memory, blocked in ``report``: as many as half of what is free has room for.

What one takes is known once the first trials have reported: by then they have their data and their model.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from tunesmith.executors.machine import spare_memory
from tunesmith.executors.memory import Memory

__all__ = ["WarmRoom"]

_TRIALS = 3
"""So many trials are measured; the largest of them counts."""
_PART = 0.5
_ALL = 1 << 62


class WarmRoom:
    """Measures the first trials, and says how many have room.

    First with all their memory counted in full, which takes no time; if that leaves room for less than ``most``, a thread finds out what
    they share with others, which takes the kernel some 50 ms per gigabyte.

    Args:
        wake: makes the loop ask :meth:`news`; called from another thread.
        read: from a process id and a limit to the bytes that its tree holds; None: :meth:`~tunesmith.executors.memory.Memory.read`.
        spare: gives the bytes of memory that are free; None: :func:`~tunesmith.executors.machine.spare_memory`.
        most: no more than that, whatever the memory; None: half as many as this process may open files, as each takes one.

    Example:
        >>> room = WarmRoom(lambda: None, read=lambda pid, limit: (300, 1), spare=lambda: 10_000, most=16)
        >>> room.look(trial=0, pid=1234)
        >>> room.news()
        16
        >>> room.news() is None
        True
        >>> room.close()
    """

    def __init__(
        self,
        wake: Callable[[], None],
        read: Callable[[int, int], tuple[int, int]] | None = None,
        spare: Callable[[], float] | None = None,
        most: int | None = None,
    ) -> None:
        self._wake = wake
        self._read = Memory().read if read is None else read
        self._spare = spare_memory if spare is None else spare
        self._most = _open_files() // 2 if most is None else most
        self._sizes: dict[int, int] = {}
        self._found: deque[tuple[int, int]] = deque()
        self._threads: list[threading.Thread] = []
        self._told: int | None = None
        self._number: int | None = None

    @property
    def done(self) -> bool:
        """Whether enough trials have been looked at."""
        return len(self._sizes) >= _TRIALS

    def look(self, trial: int, pid: int) -> None:
        """The trial, run by that process, has reported. Only the first report of each of the first trials is of interest."""
        if self.done or trial in self._sizes:
            return
        self._take(trial, self._read(pid, _ALL)[0])
        if self._number is not None and self._number < self._most:
            thread = threading.Thread(target=self._share, args=(trial, pid), name="tunesmith-warm", daemon=True)
            self._threads.append(thread)
            thread.start()

    def news(self) -> int | None:
        """How many have room, if that is not what was said last."""
        while self._found:
            self._take(*self._found.popleft())
        if self._number == self._told:
            return None
        self._told = self._number
        return self._number

    def close(self) -> None:
        """``wake`` is not called again. Idempotent."""
        for thread in self._threads:
            thread.join()
        self._threads.clear()

    def _take(self, trial: int, size: int) -> None:
        if not size:  # it has ended
            return
        self._sizes[trial] = size
        self._number = int(min(self._most, _PART * self._spare() / max(self._sizes.values())))

    def _share(self, trial: int, pid: int) -> None:
        self._found.append((trial, self._read(pid, 0)[0]))
        self._wake()


def _open_files() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 16 if soft == resource.RLIM_INFINITY else soft
