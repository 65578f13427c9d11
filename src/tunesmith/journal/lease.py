"""The lease on an experiment: one writer at a time, free at once when that writer's process is gone.

The lease is an exclusive ``flock`` on a small file beside the journal, whose JSON text names the owner: host, process id, start time
of the process, boot of the machine. The kernel drops the lock when the process ends, however it ends. The text serves people, and the
three cases that a lock alone cannot tell: a child that was forked from a dead owner and still has the lock open; an owner on another
host, whose locks may not reach this one; a file system without locks.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tunesmith.errors import JournalLocked, StorageFull

try:
    import fcntl
except ImportError:  # Windows: the owner's text alone decides
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lease", "Owner"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a lease.

    Args:
        host: name of its machine.
        pid: its number, within ``space``.
        started: when the process started, in whatever unit the system counts; tells it from a later one with the same number.
        boot: identity of that run of the machine; "": unknown.
        space: identity of the name space of process numbers (containers have their own); "": unknown.
        since: when it took the lease, seconds since the epoch.
    """

    host: str
    pid: int
    started: str
    boot: str
    space: str
    since: float

    @classmethod
    def here(cls) -> Owner:
        """This process, now."""
        pid = os.getpid()
        space = ""
        with suppress(OSError):
            space = os.readlink("/proc/self/ns/pid")
        return cls(socket.gethostname(), pid, _started(pid) or "", _boot(), space, time.time())

    def elsewhere(self, me: Owner) -> bool:
        """Whether it is, or was, on another machine than ``me``."""
        if self.boot and self.boot == me.boot:
            return False
        return self.host != me.host

    def gone(self, me: Owner) -> bool:
        """Whether it has certainly ended, as seen from ``me``."""
        if self.elsewhere(me):
            return False
        if self.boot != me.boot:
            return True  # the machine was started anew since
        return self.space == me.space and _started(self.pid) != self.started

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on host '{self.host}' (since {since})"


class Lease:
    """A lease that this process holds.

    Args:
        path: of the lock file.
        fd: the open lock file.
        owner: this process.
    """

    def __init__(self, path: Path, fd: int, owner: Owner) -> None:
        self.path = path
        self.owner = owner
        self._fd: int | None = fd

    @classmethod
    def acquire(cls, path: Path, *, take_over: bool = False) -> Lease:
        """Take the lease at ``path``.

        Args:
            path: of the lock file; its directory exists.
            take_over: take it from an owner on another host too, of which it cannot be told from here whether it still lives.

        Raises:
            JournalLocked: a live process, or one on another host, has it.
            StorageFull: the file cannot be written.
        """
        me = Owner.here()
        while True:
            fd = _open(path)
            try:
                locked = _lock(fd)
                if not _same_file(fd, path):
                    os.close(fd)  # its owner removed it between our two steps
                    continue
                owner = _read(fd)
                _refuse_if_owned(path, locked, owner, me, take_over)
                if locked is False:
                    # The lock outlived its owner in a forked child, or is held by a host that the caller declared dead.
                    path.unlink(missing_ok=True)
                    os.close(fd)
                    continue
                os.ftruncate(fd, 0)
                os.lseek(fd, 0, os.SEEK_SET)
                os.write(fd, json.dumps(asdict(me)).encode())
                return cls(path, fd, me)
            except OSError as error:
                os.close(fd)
                raise _unwritable(path, error) from error
            except JournalLocked:
                os.close(fd)
                raise

    def held(self) -> bool:
        """Whether nobody has taken the lease over since."""
        return self._fd is not None and _same_file(self._fd, self.path) and _read(self._fd) == self.owner

    def release(self) -> None:
        """Give the lease back. Idempotent; in a forked child it only closes the child's copy."""
        if self._fd is None:
            return
        if os.getpid() == self.owner.pid and self.held():
            with suppress(OSError):
                self.path.unlink()
        os.close(self._fd)
        self._fd = None


def _refuse_if_owned(path: Path, locked: bool | None, owner: Owner | None, me: Owner, take_over: bool) -> None:
    """Raise unless the lease may be taken. ``locked``: we have the lock; False: another has it; None: there are no locks here."""
    if owner is None:
        if locked is False:
            raise JournalLocked(f"the experiment in '{path.parent}' is just being opened by another process. Try again in a moment.")
        return
    if owner.elsewhere(me):
        if take_over:
            return
        raise JournalLocked(
            f"the experiment in '{path.parent}' belongs to {owner}, another machine, and from here it cannot be told whether that process "
            f"still runs. Stop it there; if it is certainly gone, open the experiment with take_over=True."
        )
    if locked or owner.gone(me):
        return
    raise JournalLocked(
        f"the experiment in '{path.parent}' is being written by {owner}. Only one process can write it (any number can read): "
        f"wait until that one ends or stop it, or start this run under another name."
    )


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StorageFull:
    return StorageFull(
        f"the lease '{path}' cannot be written ({error}); nothing was started. Free some space, or make '{path.parent}' writable. "
        f"To read the experiment only, open it with open_experiment."
    )


def _lock(fd: int) -> bool | None:
    """True: locked; False: another has the lock; None: this file system or platform has no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _same_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _read(fd: int) -> Owner | None:
    """The owner that the file names; None if it names none, or was cut short by a crash."""
    os.lseek(fd, 0, os.SEEK_SET)
    try:
        return Owner(**json.loads(os.read(fd, 4096)))
    except (ValueError, TypeError):
        return None


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When process ``pid`` started; None if there is no such process, or only its exit status is left."""
    if os.path.exists("/proc/self/stat"):
        try:
            state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if state[0] in (b"Z", b"X") else state[19].decode()
    import psutil

    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return None
