"""The template: a process that has imported what trials need, and forks a fresh worker for each in some milliseconds.

:func:`main` is started with the arguments ``<socket> <pid of the driver>``. It never runs the user's code and has one thread. All workers
are its children and lead process groups of their own; what they leave behind becomes its child too (it is a "subreaper"). So the end of
a worker is known exactly, and nothing survives it: not the group, not daemons that it started. Should the template be killed, its first
child, the guardian (:mod:`tunesmith.executors.guardian`), sees to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import selectors
import signal
import socket
import sys
import warnings
import weakref
from collections import deque
from itertools import accumulate, pairwise
from typing import Any, NoReturn

from tunesmith.executors import preload
from tunesmith.executors.child import Orders, Worker
from tunesmith.executors.line import SocketLine
from tunesmith.executors.script_settings import ScriptSettings, apply_settings
from tunesmith.executors.unwinding import TO_ALL, UNWIND, unheard
from tunesmith.executors.wire import Frames, Kind, encode
from tunesmith.trainable.homes import Described, set_main
from tunesmith.trainable.parcel import unpack

__all__ = ["Template", "main"]

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36


class Template:
    """The loop of the template process.

    Args:
        control: socket to the driver.
        driver: its process id.
        guardian: that of the guardian.
    """

    def __init__(self, control: socket.socket, driver: int, guardian: int) -> None:
        self._control = control
        self._parent = driver
        self._guardian = guardian
        self._frames = Frames()
        self._files: deque[int] = deque()  # descriptors that came with messages, in order
        self._preload: deque[str] = deque()
        self._needed: list[str] = []
        self._excluded: frozenset[str] = frozenset()
        self._devices = preload.device_files()
        self._importing = ""
        self._spoilt = self._tidy = False
        self._parcel: tuple[memoryview, list[memoryview]] | None = None
        self._orders: Orders | None = None
        self._script: tuple[Described, list[str], ScriptSettings] = (("", "", "", ""), [], ([], []))
        self._workers: dict[int, tuple[int, int]] = {}  # pid -> number, pidfd
        self._orphans: dict[int, int] = {}  # pid -> pidfd
        self._ended: list[tuple[int, int]] = []  # number and status of workers whose leftovers are still dying
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ, None)
        os.set_inheritable(control.fileno(), False)
        self._driver = os.pidfd_open(driver)
        self._selector.register(self._driver, selectors.EVENT_READ, None)

    def run(self) -> NoReturn:
        """Serve until the driver says that it's over, or is gone."""
        try:
            while True:
                for key, _ in self._selector.select(0 if self._preload else None):
                    if key.fileobj is self._control:
                        self._receive()
                    elif key.fileobj == self._driver:
                        self._quit()
                    else:
                        self._reap(key.data)
                if self._preload:
                    self._import(self._preload.popleft())
                    if not self._preload:
                        self._announce("")
        except BaseException:
            self._kill_all()
            raise

    def hang_up(self, signum: int, _: object) -> None:
        """To end even in the middle of a long import. SIGHUP says that the thread that started us has ended: has the driver, too?"""
        if signum == UNWIND or os.getppid() != self._parent:
            self._quit()

    # -- messages --------------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        try:
            data, files, _, _ = socket.recv_fds(self._control, 1 << 16, 16)
        except ConnectionResetError:  # the driver was killed before it had read all that we told it
            self._quit()
        for file in files:
            os.set_inheritable(file, False)  # programs that a trial starts have no use for them
        self._files += files
        if not data:
            self._quit()
        for kind, fields in self._frames.feed(data):
            if kind is Kind.FORK:
                self._fork(fields[0], self._files.popleft())
            elif kind is Kind.TRAINABLE:
                sizes, orders, script, excluded, self._needed, threads = fields
                os.environ.update(threads)  # read by libraries that are imported from here on
                self._take(sizes, orders, script, excluded, self._files.popleft())
            elif kind is Kind.PRELOAD:
                self._preload += fields[0]

    def _tell(self, kind: Kind, *fields: Any) -> None:
        try:
            self._control.sendall(encode(kind, *fields))
        except OSError:
            self._quit()

    def _take(self, sizes: list[int], orders: tuple[Any, ...], script: Any, excluded: list[str], file: int) -> None:
        """The trainable. Its large arrays stay in this memory: workers share it until they write to it, each to its own copy."""
        memory = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_COPY))
        os.close(file)
        bounds = [0, *accumulate(sizes)]
        parts = [memory[start:end] for start, end in pairwise(bounds)]
        self._parcel = parts[0], parts[1:]
        self._orders = Orders(*orders)
        self._script = script
        self._excluded = frozenset(excluded)

    def _import(self, name: str) -> None:
        package = name.partition(".")[0]
        if package in self._excluded or name in sys.modules or self._spoilt:
            return
        if package not in sys.stdlib_module_names:
            self._announce(package)
        preload.import_quietly(name)
        self._tidy = False
        why = preload.harm(self._devices)
        if why:
            self._spoilt = True  # the driver begins another template, without this module
            self._preload.clear()
            self._tell(Kind.SPOILED, package, why)

    def _announce(self, package: str) -> None:
        """If importing it is our end, the driver knows what to do without."""
        if package != self._importing:
            self._importing = package
            self._tell(Kind.IMPORTING, package)

    # -- workers ---------------------------------------------------------------------------------------------------------

    def _fork(self, number: int, connection: int) -> None:
        while self._needed:  # the worker would have to do it, and all others, too
            self._import(self._needed.pop(0))
        if self._spoilt:
            os.close(connection)
            self._tell(Kind.UNFORKED, number, "")
            return
        if not self._tidy:  # objects that a collector in a worker need not look at (and so copy)
            gc.collect()
            gc.freeze()
            self._tidy = True
        parent = os.getpid()
        signal.pthread_sigmask(signal.SIG_BLOCK, [UNWIND])  # a worker has its own way with it: until then it waits there
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of threads: BLAS libraries have some, and see to forks themselves
                pid = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [UNWIND])
            os.close(connection)
            self._tell(Kind.UNFORKED, number, f"{type(error).__name__}: {error}")
            return
        if pid == 0:
            self._become(number, connection, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [UNWIND])
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # here, too: whoever comes first
        os.close(connection)
        handle = os.pidfd_open(pid)
        self._workers[pid] = (number, handle)
        self._selector.register(handle, selectors.EVENT_READ, pid)
        self._tell(Kind.FORKED, number, pid)

    def _become(self, number: int, connection: int, parent: int) -> NoReturn:
        """In the child: cut all ties to the template, and serve."""
        try:
            os.setpgid(0, 0)
            _prctl(_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            _prctl(_SET_CHILD_SUBREAPER, 1)
            if os.getppid() != parent:
                os._exit(1)
            self._control.close()
            self._selector.close()
            for handle in [self._driver, *self._files, *(pidfd for _, pidfd in self._workers.values()), *self._orphans.values()]:
                os.close(handle)
            gc.enable()
            described, sys.argv, settings = self._script
            set_main(described)
            import atexit

            atexit._clear()
            _forget_finalizers()
            assert self._parcel is not None and self._orders is not None, "the trainable comes before the first fork"
            data, buffers = self._parcel
            worker = Worker(SocketLine(socket.socket(fileno=connection)), lambda: unpack(data, buffers), self._orders, number)
            apply_settings(settings)
            worker.serve()
            worker.finish()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(70)

    def _reap(self, pid: int) -> None:
        """A child is over: tell, once everything that it has left behind is gone, too."""
        if pid in self._workers:
            number, handle = self._workers.pop(pid)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
            self._ended.append((number, status))
        else:
            handle = self._orphans.pop(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._selector.unregister(handle)
        os.close(handle)
        self._kill_orphans()
        if not self._orphans:
            ended, self._ended = self._ended, []
            for number, status in ended:
                self._tell(Kind.EXITED, number, status)

    def _kill_orphans(self) -> None:
        """Whatever is our child and no worker belonged to one that is gone (living ones keep theirs)."""
        for pid in _children():
            if pid not in self._workers and pid not in self._orphans and pid != self._guardian:
                with contextlib.suppress(ProcessLookupError):
                    handle = os.pidfd_open(pid)
                    self._orphans[pid] = handle
                    self._selector.register(handle, selectors.EVENT_READ, pid)
                    signal.pidfd_send_signal(handle, signal.SIGKILL)

    def _kill_all(self) -> None:
        """The guardian comes last: as long as there is anything else, it may be needed."""
        while True:
            children = _children()
            for pid in [pid for pid in children if pid != self._guardian] or children:
                for kill in (os.killpg, os.kill):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return

    def _quit(self) -> NoReturn:
        self._kill_all()
        os._exit(0)


def _forget_finalizers() -> None:
    """Those that libraries have registered here are not a worker's; its own are registered anew."""
    for finalizer in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without it
        import psutil

        return [child.pid for child in psutil.Process().children()]


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def main(guardian: int) -> NoReturn:
    """Entry point.

    Args:
        guardian: process id of the guardian, which has been forked already.
    """
    gc.disable()
    control, driver = int(sys.argv[1]), int(sys.argv[2])
    for number in TO_ALL:
        signal.signal(number, unheard)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # what the driver ignores or blocks would stay so
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _prctl(_SET_CHILD_SUBREAPER, 1)
    try:
        template = Template(socket.socket(fileno=control), driver, guardian)
    except ProcessLookupError:  # the driver is gone already
        os._exit(1)
    for one in (signal.SIGHUP, UNWIND):
        signal.signal(one, template.hang_up)
    _prctl(_SET_PDEATHSIG, signal.SIGHUP)
    import cloudpickle.cloudpickle  # noqa: F401 - each worker needs it

    template.run()
