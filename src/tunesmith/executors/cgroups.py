"""Control groups: where the limits and counters of the one that this process is in can be read, and those of all groups around it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

__all__ = ["Cgroup", "own_cgroup"]


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A process's group under one controller.

    Args:
        version: 1 or 2: the files of the two have other names.
        directories: its own first, then its parent and so on, up to the outermost that can be seen from here.
    """

    version: int
    directories: tuple[str, ...]


def own_cgroup(controller: str, root: str = "/") -> Cgroup | None:
    """The group that this process is in under ``controller`` ("cpu", "memory"); None where there are no groups.

    With both versions in use the first one has the controllers that it names, the second all others.

    Args:
        controller: its name, the same in both versions.
        root: of the file system, for tests.

    Example:
        >>> own_cgroup("cpu", root="/nowhere") is None
        True
    """
    own = _memberships(os.path.join(root, "proc/self/cgroup"))
    mounts = _mounts(os.path.join(root, "proc/self/mountinfo"))
    for version, key in ((1, controller), (2, "")):
        if key in own:
            places = [(top, point) for kind, names, top, point in mounts if kind == version and (version == 2 or key in names)]
            if places:
                return Cgroup(version, _upwards(own[key], places, root))
    return None


def _upwards(own: str, places: list[tuple[str, str]], root: str) -> tuple[str, ...]:
    """The directories from the group ``own`` up to the mount point.

    A mount shows the part of the hierarchy below its top. In a container the group may lie outside of that, or be named as the host
    sees it: then the mount point itself is the nearest that there is.
    """
    insides = [(os.path.relpath(own, top), point) for top, point in places]
    inside, point = next((pair for pair in insides if ".." not in [*own.split("/"), *pair[0].split("/")]), (".", places[0][1]))
    outermost = os.path.join(root, point.lstrip("/"))
    here = os.path.normpath(os.path.join(outermost, inside))
    found = [here]
    while len(here) > len(outermost):
        here = os.path.dirname(here)
        found.append(here)
    return tuple(directory for directory in found if os.path.isdir(directory))


def _memberships(path: str) -> dict[str, str]:
    """Controller -> path of the group, as in ``4:cpu,cpuacct:/user.slice``; that of version 2 under the empty name."""
    found: dict[str, str] = {}
    for line in _lines(path):
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return found


def _mounts(path: str) -> list[tuple[int, list[str], str, str]]:
    """(version, controllers, top of the part that is shown, mount point) of every mounted hierarchy.

    A line: ``36 31 0:33 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu``; the fields before the dash vary in number.
    """
    found = []
    for line in _lines(path):
        before, dash, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if dash and len(fields) >= 5 and len(kind) >= 3 and kind[0] in ("cgroup", "cgroup2"):
            found.append((1 if kind[0] == "cgroup" else 2, kind[2].split(","), _plain(fields[3]), _plain(fields[4])))
    return found


def _plain(path: str) -> str:
    r"""Blanks and the like are written as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read().splitlines()
    except OSError:
        return []
