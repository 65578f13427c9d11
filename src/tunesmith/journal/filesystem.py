"""Whether a path lies on a network file system, where SQLite's shared memory does not work and locks are slow."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_network"]

_NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs", "panfs", "smb3", "smbfs"}
)
_LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.ntfs-3g"})


def is_network(path: Path, mounts: str | None = None) -> bool:
    """Whether ``path`` (which need not exist) is on a network file system; False where that cannot be told.

    Args:
        path: any path.
        mounts: the text of a mount table in the form of ``/proc/self/mounts``; None: this machine's.

    Example:
        >>> is_network(Path("/data/x"), "server:/data /data nfs4 rw 0 0")
        True
    """
    if mounts is None:
        try:
            mounts = Path("/proc/self/mounts").read_text(errors="surrogateescape")
        except OSError:
            return False
    place = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        columns = line.split(" ")
        if len(columns) < 3:
            continue
        point = _unescaped(columns[1])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):  # of equal ones the later mount hides the earlier
            best, kind = point, columns[2]
    return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def _unescaped(point: str) -> str:
    for escape, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        point = point.replace(escape, plain)
    return point
