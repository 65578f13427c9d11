"""The guardian: a process with nothing to do but to outlive its template, and to end what that one has left.

Workers die with their template. What trials have started themselves does not: the driver kills that, known by a marker in its environment.
If the driver is killed in the same instant, nobody is left who would, but the guardian.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from typing import NoReturn

__all__ = ["NAME", "TEMPLATE", "kill_marked", "post_guardian"]

TEMPLATE = "TUNESMITH_TEMPLATE"
"""The environment variable of a template and of every process that comes from it: which template's it is."""

NAME = "tune-guardian"
"""What the system calls the process."""


def post_guardian(control: int) -> int:
    """Fork the guardian of this process. To be called first of all: it keeps the memory that it is forked with.

    Args:
        control: the descriptor that the template has inherited. In the guardian it is closed: a socket that is held open has no end.

    Returns:
        Its process id.
    """
    template = os.pidfd_open(os.getpid())
    pid = os.fork()
    if pid == 0:
        _guard(template, control)
    os.close(template)
    return pid


def _guard(template: int, control: int) -> NoReturn:
    """In the guardian. It has a session of its own and is deaf: whoever ends a whole job by signals gets at the template, not at it."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
        os.setsid()
        os.close(control)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):  # a pipe that is held open has no end, either
            os.dup2(nowhere, standard)
        os.close(nowhere)
        os.chdir("/")
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
            file.write(NAME)
        _gone(template, None)
        while not kill_marked(os.environ[TEMPLATE]):
            pass
    finally:
        os._exit(0)


def kill_marked(template: str, patience_s: float = 2.0, variable: str = TEMPLATE) -> bool:
    """Kill every process (but this one) that comes from a template, until there are none: a killed one may just have started another.

    Args:
        template: the value of ``variable`` in their environment.
        patience_s: ends the waiting for some that do not die, seconds (the kernel holds those that wait for a device).
        variable: another mark than a template's.

    Returns:
        Whether none is left.

    Example:
        >>> kill_marked("no such template")
        True
    """
    mark = f"{variable}={template}".encode()
    deadline = time.monotonic() + patience_s
    looks = 0
    while looks < 2:  # one look may pass by a process that moves from parent to child
        handles = _kill(mark)
        looks = 0 if handles else looks + 1
        dead = [_gone(handle, deadline) for handle in handles]
        for handle in handles:
            os.close(handle)
        if not all(dead):
            return False
    return True


def _kill(mark: bytes) -> list[int]:
    """Kill those that are there now; returns their pidfds."""
    handles: list[int] = []
    for pid in [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]:
        if pid == os.getpid() or not _is_marked(pid, mark):
            continue
        try:
            handle = os.pidfd_open(pid)
        except OSError:  # it is gone, or this process has no descriptors left: then the next look sees to it
            continue
        if _is_marked(pid, mark):  # asked while the pidfd holds on to it: the number has not changed hands since
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            handles.append(handle)
        else:
            os.close(handle)
    return handles


def _is_marked(pid: int, mark: bytes) -> bool:
    """Whether the process was started with the mark. A dead one that nobody has taken note of has no environment any more."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def _gone(handle: int, deadline: float | None) -> bool:
    """Wait for the end of a process, given as a pidfd; ``deadline``: monotonic seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(None if deadline is None else max(0.0, 1000 * (deadline - time.monotonic()))))
