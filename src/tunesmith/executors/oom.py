"""Whether the kernel has killed for want of memory: what tells a trial that took too much from one that somebody killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from tunesmith.executors.cgroups import own_cgroup

__all__ = ["OomWatch"]

_FRESH_S = 5.0
"""A kill that nobody asked about for so long was not that of a worker: it was a process that a trial had started, or a stranger."""


class OomWatch:
    """Follows the kernel's count of its kills for want of memory, from its creation on.

    It reads that of this process's own control group (which counts a limit of any group around it, too), or, where there is none,
    that of the whole machine.

    Args:
        root: of the file system, for tests.
        clock: seconds, monotonic.

    Example:
        >>> OomWatch(root="/nowhere").struck()
        False
    """

    def __init__(self, root: str = "/", clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files = _counters(root)
        self._seen = self._count()
        self._kills = 0
        self._until = 0.0

    def struck(self) -> bool:
        """Whether there was a kill that no earlier call has answered for. To be asked once for each worker that SIGKILL has ended."""
        now, count = self._clock(), self._count()
        if count > self._seen:
            self._kills += count - self._seen
            self._until = now + _FRESH_S
        self._seen = count
        if not self._kills or now > self._until:
            self._kills = 0
            return False
        self._kills -= 1
        return True

    def _count(self) -> int:
        """From the first of the files that has it."""
        for path in self._files:
            try:
                with open(path, encoding="ascii") as file:
                    lines = file.read().splitlines()
            except (OSError, ValueError):
                continue
            for line in lines:
                name, _, count = line.partition(" ")
                if name == "oom_kill" and count.strip().isdecimal():
                    return int(count)
        return 0


def _counters(root: str) -> list[str]:
    """Files with a line ``oom_kill N``, the most telling first."""
    group = own_cgroup("memory", root)
    own = []
    if group is not None and group.directories:
        own = [os.path.join(group.directories[0], "memory.events" if group.version == 2 else "memory.oom_control")]
    return [*own, os.path.join(root, "proc/vmstat")]
