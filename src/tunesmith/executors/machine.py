"""How much this machine can hold: CPUs, memory, GPUs, and whatever else the user says there is."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import closing

from tunesmith.executors.cgroups import own_cgroup
from tunesmith.executors.gpus import Cards
from tunesmith.executors.overrides import overrides

__all__ = ["machine_totals", "spare_memory"]


def machine_totals(cards: Cards | None = None, *, environ: Mapping[str, str] | None = None, root: str = "/") -> dict[str, float]:
    """Totals to place trials on, e.g. ``{"cpu": 8.0, "memory": 33554432000.0, "gpu": 0.0}``.

    CPUs are those that this process may use: by its affinity, and by the quotas of its control group and of all groups around it.
    Memory, in bytes, is that of the machine, or the least limit of these groups. ``TUNESMITH_NUM_CPUS``, ``TUNESMITH_NUM_GPUS``
    and ``TUNESMITH_RESOURCES`` (a JSON object of these and any further ones) override.

    Args:
        cards: the GPUs; None: they are looked for.
        environ: where the overrides are; None: the process's environment.
        root: of the file system, for tests.

    Raises:
        ExecutorError: one of these variables is no number, or no JSON object of numbers, >= 0.
    """
    given = overrides(environ)
    if cards is None:
        with closing(Cards.discover(environ=environ)) as found:
            count = found.count
    else:
        count = cards.count
    totals = {"cpu": _cpus(root), "gpu": float(count)}
    memory = _memory(root)
    if memory < math.inf:
        totals["memory"] = memory
    return {**totals, **given}


def spare_memory(root: str = "/") -> float:
    """Bytes of memory that could be taken now: of the machine, or of the control group with the least left. Infinite if it cannot be told.

    Files that are held in memory only because they were read once count as free.
    """
    group = own_cgroup("memory", root)
    spare = [_line(os.path.join(root, "proc/meminfo"), "MemAvailable:") * 1024]
    if group is not None:
        limit, used, idle = {
            1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            2: ("memory.max", "memory.current", "inactive_file"),
        }[group.version]
        for directory in group.directories:
            free = _bytes(_read(os.path.join(directory, limit))) - _bytes(_read(os.path.join(directory, used)))
            if math.isfinite(free):
                reclaimable = _line(os.path.join(directory, "memory.stat"), idle)
                spare.append(max(0.0, free + (reclaimable if math.isfinite(reclaimable) else 0.0)))
    return min(spare)


def _cpus(root: str) -> float:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(root)
    return float(max(1, math.floor(quota) if quota < usable else usable))


def _quota(root: str) -> float:
    """CPUs that the control groups allow; infinite if none sets a limit."""
    group = own_cgroup("cpu", root)
    if group is None:
        return math.inf
    return min((_quota_of(directory, group.version) for directory in group.directories), default=math.inf)


def _quota_of(directory: str, version: int) -> float:
    files = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    words = " ".join(_read(os.path.join(directory, name)) for name in files).split()
    try:
        quota, period = map(int, words)  # "max 100000", "-1 100000": no limit
    except ValueError:
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf


def _memory(root: str) -> float:
    """Bytes that this machine, or the control groups, allow; infinite if it cannot be found out."""
    group = own_cgroup("memory", root)
    limits = [_physical(root)]
    if group is not None:
        name = "memory.max" if group.version == 2 else "memory.limit_in_bytes"
        limits += [_bytes(_read(os.path.join(directory, name))) for directory in group.directories]
    return min(limits)


def _physical(root: str) -> float:
    if (total := _line(os.path.join(root, "proc/meminfo"), "MemTotal:") * 1024) < math.inf:
        return total
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (OSError, ValueError):
        return math.inf


def _line(path: str, name: str) -> float:
    """The number in the line of a file that begins with that word; infinite if there is none."""
    words = (line.split() for line in _read(path).splitlines())
    return next((_bytes(one[1]) for one in words if len(one) > 1 and one[0] == name), math.inf)


def _bytes(text: str) -> float:
    """Infinite for "max", and for what cannot be read."""
    return float(text) if text.strip().isdecimal() else math.inf


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
