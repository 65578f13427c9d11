"""A program that a trial runs: its start, its output, its end, and that of all that it has started."""

from __future__ import annotations

import codecs
import contextlib
import os
import secrets
import selectors
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.executors.guardian import TEMPLATE, kill_marked
from tunesmith.executors.oom import OomWatch

__all__ = ["MARK", "Program", "Tee", "end_of", "ended_badly", "inherited", "tie"]

MARK = "TUNESMITH_PROGRAM"
"""The environment variable of a program, and of all that comes from it: which it is."""

_TAIL = 20
"""Lines of its standard error that are told."""
_LONGEST = 1000
"""Characters of such a line."""
_NO_FIRST_LINE = "A script needs a first line such as #!/bin/sh."
_TIED = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "try:\n"
    "    os.execv(sys.argv[2], sys.argv[3:])\n"
    "except OSError as error:\n"
    f'    sys.stderr.write(f"{{sys.argv[2]}} can\'t be started: {{error.strerror}}. {_NO_FIRST_LINE}\\n")\n'
    "sys.exit(126)\n"
)
"""Ties a program to the life of the process that starts it. As a shell does, it ends with 126 if the program can't be executed."""


class Program:
    """One program.

    Args:
        words: of its command line, the program first.
        path: directories in which it is looked for.
        cwd: working directory; None: the present one.
        shown: the command line for messages.

    Attributes:
        end: a descriptor that is readable once it has ended. is_over: it has been seen to.

    Raises:
        SpecError: there is no such program, or no such directory.
    """

    def __init__(self, words: Sequence[str], path: str, cwd: str | None, shown: str) -> None:
        self._words, self._cwd, self._shown = list(words), cwd, shown
        self._token = secrets.token_hex(8)
        if cwd is not None and not os.path.isdir(cwd):
            raise SpecError(f"{shown}: the working directory {cwd} is not there.")
        self._path = _located(words[0], path, cwd, shown)
        self._process: subprocess.Popen[bytes] | None = None
        self._held = False
        self._lock = threading.Lock()
        self.end = -1
        self.is_over = False

    def start(self, environment: Mapping[str, str], stdout: int | None, stderr: int | None) -> None:
        """Start it, as the leader of a process group.

        Args:
            environment: all of it.
            stdout, stderr: descriptors; None: ours.

        Raises:
            SpecError: the system can't.
        """
        words, path = self._words, self._path
        if sys.platform.startswith("linux") and TEMPLATE not in os.environ:  # else the template sees to that
            words = [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), path, *words]
            path = sys.executable
        try:
            self._process = subprocess.Popen(
                words, executable=path, env={**environment, MARK: self._token}, cwd=self._cwd, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, process_group=0,
            )  # fmt: skip
        except OSError as error:
            raise SpecError(f"{self._shown} can't be started: {error}. {_NO_FIRST_LINE}") from error
        self.end = end_of(self._process)

    def over(self) -> None:
        """Its end has been told."""
        self.is_over = True

    def signal(self, number: int) -> None:
        """Send a signal to its process group, and wake it if it stands still."""
        with self._lock:
            self._send(number)
            if number != signal.SIGSTOP:
                self._send(signal.SIGCONT)

    def hold(self) -> None:
        """Have it stand still. Called from another thread."""
        with self._lock:
            self._held = not self.is_over
            if self._held:
                self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        """The contrary."""
        with self._lock:
            if self._held:
                self._held = False
                self._send(signal.SIGCONT)

    def kill(self) -> int:
        """End all of it, if it has not ended; returns its exit code (negative: the signal that ended it). Idempotent."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._send(signal.SIGKILL)  # also of what it has left in its group; before it is reaped, so that the number is still its own
            self._process.wait()
            os.close(self.end)
            if os.path.isdir("/proc"):
                kill_marked(self._token, variable=MARK)  # what has left the group
        return self._process.returncode

    def _send(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)


class Tee:
    """Passes on what a program prints, and remembers the end of it.

    Args:
        selector: the pipe is registered there, with a callable as data.
        target: where it goes: the trial's own stream.
        line: called with each line.
    """

    def __init__(self, selector: selectors.BaseSelector, target: Any, line: Callable[[str], None] | None = None) -> None:
        self._selector, self._target, self._line = selector, target, line
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str] = deque(maxlen=_TAIL)
        self._rest = ""
        self._ours = self._its = -1

    def pipe(self) -> int:
        """The end that the program gets."""
        self._ours, self._its = os.pipe()
        os.set_blocking(self._ours, False)
        self._selector.register(self._ours, selectors.EVENT_READ, self._readable)
        return self._its

    def started(self) -> None:
        """The program has its end."""
        if self._its >= 0:
            os.close(self._its)
            self._its = -1

    def flush(self) -> None:
        """The program has ended: its last line may have no end."""
        self._take(self._decoder.decode(b"", True) + ("\n" if self._rest else ""), quiet=True)

    def tail(self) -> str:
        """The last lines."""
        return "\n".join(line[:_LONGEST] for line in self._lines)

    def close(self) -> None:
        """Pass on what is still there; more does not come. Idempotent."""
        self._line = None
        while self._ours >= 0 and self._read():
            pass
        self._shut()

    def _readable(self) -> None:
        if self._read() is None:
            self._shut()

    def _read(self) -> int | None:
        """How much there was to read; None: it has no more writers."""
        try:
            data = os.read(self._ours, 1 << 16)
        except BlockingIOError:
            return 0
        if not data:
            return None
        self._take(self._decoder.decode(data))
        return len(data)

    def _take(self, text: str, quiet: bool = False) -> None:
        if not quiet:
            with contextlib.suppress(Exception):  # the trial may have put anything there
                self._target.write(text)
                self._target.flush()
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._lines.append(line)
            if self._line is not None:
                self._line(line)

    def _shut(self) -> None:
        self.started()
        if self._ours >= 0:
            self._selector.unregister(self._ours)
            os.close(self._ours)
            self._ours = -1


def tie() -> None:
    """Tie this process to the life of the one that has forked it, where the system can do that."""
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)


def inherited(stream: Any) -> int | None:
    """The descriptor that a program gets as its own, so that it prints where the trial does; None: there is none."""
    try:
        stream.flush()
        return int(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return None


def end_of(process: subprocess.Popen[bytes]) -> int:
    """A descriptor that is readable once the process has ended."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(process.pid)
    reader, writer = os.pipe()

    def wait() -> None:
        process.wait()
        os.close(writer)

    threading.Thread(target=wait, daemon=True).start()
    return reader


def ended_badly(code: int, oom: OomWatch) -> tuple[str, str]:
    """The outcome of an attempt whose process ended with this code (negative: by this signal), and what is to be said of it.

    As for a trial's own process: an exit is its own doing, a signal the loss of a worker.
    """
    if code >= 0:
        return "user_error", f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if -code == signal.SIGKILL and oom.struck():
        return "oom_ram", "was killed by the kernel, because memory ran out"
    return "worker_lost", f"was killed by {name} ({signal.strsignal(-code)})"


def _located(program: str, path: str, cwd: str | None, shown: str) -> str:
    """Where the program is.

    Raises:
        SpecError: nowhere.
    """
    if os.path.dirname(program):
        place = os.path.join(cwd or os.getcwd(), program)
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
        wrong = "is not there" if not os.path.exists(place) else "is no program" if os.path.isdir(place) else "is not executable: chmod +x"
        raise SpecError(f"{shown} can't be started: {place} {wrong}.")
    ours = os.path.dirname(sys.executable or "")
    places = [ours, path] if sys.prefix != sys.base_prefix else [path, ours]
    found = shutil.which(program, path=os.pathsep.join(filter(None, places)))
    if found is None:
        raise SpecError(f"{shown} can't be started: there is no program {program!r} in PATH={path!r}, nor beside {sys.executable}.")
    return os.path.abspath(found)
