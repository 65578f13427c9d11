"""How much memory a trial holds, with all processes that come from it, and which trials hold more than they may.

What several processes share counts for each by its share (the kernel's "proportional set size"): libraries that the template has imported,
and data of ``with_parameters``, which lie in memory once however many trials run. The address space is no measure: libraries for GPUs
reserve hundreds of gigabytes of it, so a limit on that (RLIMIT_AS) would end trials that hold next to nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tunesmith.executors.process_table import ProcessTable

__all__ = ["Memory", "RamWatch", "excess"]

_REST_S = 0.2
_NEAR_S = 0.05
_NEAR = 0.8
"""From this part of a limit on, it is looked every ``_NEAR_S``, not every ``_REST_S``."""
_LOAD = 0.1
"""Looking takes at most this part of one core's time."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """Reads from ``/proc`` what processes hold.

    Args:
        root: of the file system, for tests.

    Example:
        >>> held, processes = Memory().read(os.getpid(), limit=1 << 50)
        >>> held > 1_000_000, processes >= 1
        (True, True)
    """

    def __init__(self, root: str = "/") -> None:
        self._proc = os.path.join(root, "proc")
        self._table = ProcessTable(root)
        self._lists_children = os.path.exists(os.path.join(self._proc, "thread-self", "children"))

    def read(self, pid: int, limit: int) -> tuple[int, int]:
        """Bytes that the process and all that come from it hold, and how many processes these are."""
        return self.held(self.tree(pid), limit)

    def tree(self, pid: int) -> list[int]:
        """The process and its descendants. A worker's daemons are among them: it adopts them."""
        children = self._children if self._lists_children else self._table.children().get
        found: dict[int, None] = {}
        todo = [pid]
        while todo:
            one = todo.pop()
            if one not in found:  # it may have moved from parent to child meanwhile
                found[one] = None
                todo += children(one) or ()
        return list(found)

    def held(self, pids: Iterable[int], limit: int) -> tuple[int, int]:
        """Bytes that the processes hold together, and how many of them hold any.

        What they share with each other and with others is found out only if it matters: that takes the kernel some 50 ms per gigabyte.
        As long as they are not above ``limit`` with everything counted in full, that sum is what is returned.
        """
        resident = {pid: size for pid in pids if (size := self._resident(pid))}
        total = sum(resident.values())
        if total > limit:
            total = sum(self._share(pid, size) for pid, size in resident.items())
        return total, len(resident)

    def _children(self, pid: int) -> list[int]:
        """Each thread has its own."""
        threads = os.path.join(self._proc, str(pid), "task")
        found: list[int] = []
        try:
            for thread in os.listdir(threads):
                found += map(int, self._read(os.path.join(threads, thread, "children")).split())
        except OSError:  # it has ended
            pass
        return found

    def _resident(self, pid: int) -> int:
        fields = self._read(os.path.join(self._proc, str(pid), "statm")).split()
        return int(fields[1]) * _PAGE if len(fields) > 1 else 0

    def _share(self, pid: int, resident: int) -> int:
        """``resident`` where the kernel does not tell (another user's process, an old kernel)."""
        for line in self._read(os.path.join(self._proc, str(pid), "smaps_rollup")).splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
        return resident

    def _read(self, path: str) -> str:
        """"" for a process or a thread that has ended, and for what may not be read."""
        try:
            with open(path, encoding="ascii") as file:
                return file.read()
        except OSError:
            return ""


@dataclass(eq=False, slots=True)
class _Watched:
    pid: int
    limit: int


class RamWatch:
    """Looks again and again at what processes hold, in a thread of its own, which begins with the first that is watched.

    Args:
        read: from a process id and its limit to the bytes that its tree holds, and the number of processes; see :meth:`Memory.read`.
        clock: seconds, monotonic.
        wake: called from the thread when there is something to be asked for by :meth:`exceeded`.

    Example:
        >>> watch = RamWatch(lambda pid, limit: (300, 2), lambda: 0.0, lambda: None)
        >>> watch.watch(7, pid=1234, limit=200)
        >>> watch.look()
        0.05
        >>> watch.exceeded()
        [(7, 300, 2)]
        >>> watch.close()
    """

    def __init__(self, read: Callable[[int, int], tuple[int, int]], clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._read, self._clock, self._wake = read, clock, wake
        self._watched: dict[int, _Watched] = {}
        self._found: dict[int, tuple[int, int]] = {}
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, number: int, pid: int, limit: int) -> None:
        """From now on, under this number: the process with all that come from it. ``limit`` in bytes."""
        with self._changed:
            self._watched[number] = _Watched(pid, limit)
            self._changed.notify()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tunesmith-ram", daemon=True)
            self._thread.start()

    def forget(self, number: int) -> None:
        """It is over. What was found of it is not told any more."""
        with self._changed:
            self._watched.pop(number, None)
            self._found.pop(number, None)

    def exceeded(self) -> list[tuple[int, int, int]]:
        """(number, bytes, processes) of those that were found above their limit since the last call."""
        if not self._found:
            return []
        with self._changed:
            found, self._found = self._found, {}
        return [(number, *what) for number, what in found.items()]

    def look(self) -> float:
        """Look once at each; returns in how many seconds to look again."""
        began = self._clock()
        rest, news = _REST_S, False
        with self._changed:
            watched = list(self._watched.items())
        for number, one in watched:
            held, processes = self._read(one.pid, one.limit)
            if held > _NEAR * one.limit:
                rest = _NEAR_S
            if held > one.limit:
                with self._changed:
                    if self._watched.get(number) is one:  # not another attempt's by now
                        self._found[number] = (held, processes)
                        news = True
            if self._closed.is_set():
                break
        if news:
            self._wake()
        return max(rest, (self._clock() - began) * (1 / _LOAD - 1))

    def close(self) -> None:
        """Nothing is watched any more, and ``wake`` is not called again. Idempotent."""
        self._closed.set()
        with self._changed:
            self._watched.clear()
            self._found.clear()
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        rest = _REST_S
        while not self._closed.wait(rest):
            rest = self.look()
            with self._changed:
                self._changed.wait_for(lambda: self._watched or self._closed.is_set())


def excess(held: int, processes: int, limit: int) -> str:
    """What is said of a trial that held too much.

    Example:
        >>> excess(5_210_000_000, 3, 4_000_000_000)
        'its 3 processes held 5.21 GB, more than max_ram=4 GB'
        >>> excess(512_100_000, 1, 512_000_000)
        'its process held 512.1 MB, more than max_ram=512 MB'
    """
    who = "its process" if processes == 1 else f"its {processes} processes"
    most = _size(limit, 15)
    told = next((text for digits in range(3, 16) if (text := _size(held, digits)) != _size(limit, digits)), _size(held, 15))
    return f"{who} held {told}, more than max_ram={most}"


def _size(count: int, digits: int) -> str:
    """Rounded to so many digits."""
    rounded = float(f"{count:.{digits}g}")
    power = next((power for power in (4, 3, 2, 1) if rounded >= 1000**power), 0)
    return f"{rounded / 1000**power:.15g} {('B', 'kB', 'MB', 'GB', 'TB')[power]}"
