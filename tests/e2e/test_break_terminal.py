"""Ctrl-C typed at a terminal, which sends it to every process of the foreground: the trials must not get it, the driver decides."""

from __future__ import annotations

import contextlib
import csv
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, signal, subprocess, sys, tempfile, time
import tunesmith as tune

root, kind = sys.argv[1:]

def train(config):
    signal.signal(signal.SIGINT, lambda *_: os._exit(9))  # would be seen
    child = subprocess.Popen(["sleep", "1000"]) if kind == "clings" else None
    print("at work", flush=True)
    for step in range(100_000):
        time.sleep(0.01)
        if kind != "clings":
            tune.report(loss=step)

def saves(config):
    # it ends by itself only when it has gone on from a checkpoint
    start = 0
    if saved := tune.get_checkpoint():
        with open(os.path.join(saved, "step")) as file:
            start = int(file.read())
        print("went on from", start, flush=True)
    folder = tempfile.mkdtemp()
    print("at work", flush=True)
    try:
        for step in range(start + 1, start + 3 if saved else 100_000):
            time.sleep(0.01)
            with open(os.path.join(folder, "step"), "w") as file:
                file.write(str(step))
            tune.report(loss=step, checkpoint=folder)
    finally:
        print("cleared up", flush=True)

if __name__ == "__main__":
    analysis = tune.run(
        saves if kind == "saves" else train, num_samples=2, name="x", storage_path=root, log_to_file=False, max_concurrent_trials=2,
        resources_per_trial={"cpu": 0.5}, verbose=1, resume="AUTO",
    )
    print("RETURNED", [trial.status for trial in analysis.trials], flush=True)
"""


OPEN = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
"""The first terminal that the leader of a session opens becomes the one whose Ctrl-C it gets."""


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, *command: object) -> None:
        self.marker = f"TERMINAL_OF={os.getpid()}.{time.monotonic_ns()}"
        name, _, value = self.marker.partition("=")
        self._ours, theirs = pty.openpty()
        self.settings = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", OPEN, *map(str, command)], stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, name: value},
            start_new_session=True,
        )  # fmt: skip
        self._theirs = theirs
        self.text = ""

    def until(self, what: str, times: int = 1) -> None:
        """Read until it has shown ``what``."""
        deadline = time.monotonic() + 60
        while self.text.count(what) < times:
            ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{what!r} was not shown in a minute; {self.text!r} was"
            self.text += os.read(self._ours, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Its exit status, and all that it has shown."""
        code = self.process.wait(60)
        while select.select([self._ours], [], [], 0.1)[0]:
            self.text += os.read(self._ours, 65536).decode()
        assert termios.tcgetattr(self._theirs) == self.settings, "the terminal is as it was"
        return code

    def left(self) -> list[int]:
        """Processes that come from it."""
        found = []
        for entry in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if self.marker.encode() in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    found.append(int(entry))
        return found

    def close(self) -> None:
        for pid in self.left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[[str], Terminal]]:
    opened: list[Terminal] = []

    def start(kind: str) -> Terminal:
        script = tmp_path / "script.py"
        script.write_text(SCRIPT, encoding="utf-8")
        opened.append(Terminal(script, tmp_path, kind))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


CTRL_C = "\x03"


def test_once(terminal: Callable[[str], Terminal]) -> None:
    one = terminal("reports")
    one.until("at work", times=2)
    one.type(CTRL_C)
    assert one.end() == 0, one.text
    assert "to report and save, then they are killed; press it again to break off at once." in one.text
    assert "RETURNED ['PENDING', 'PENDING']" in one.text
    assert "interrupted by Ctrl-C; unfinished trials can go on: resume=True, name='x'." in one.text
    assert one.left() == []


def test_twice(terminal: Callable[[str], Terminal]) -> None:
    one = terminal("clings")
    one.until("at work", times=2)
    one.type(CTRL_C)
    one.until("press it again to break off at once.")
    assert len(one.left()) >= 6, "driver, template, two trials, and what these have started"
    began = time.monotonic()
    one.type(CTRL_C)
    assert one.end() == -signal.SIGINT, one.text
    assert time.monotonic() - began < 10, "nobody waited for the thirty seconds"
    assert "broken off by Ctrl-C. What was reported is kept; to go on: resume=True, name='x'." in one.text
    assert one.text.rstrip().endswith("KeyboardInterrupt")
    assert one.left() == []


def test_killed_while_it_drains(terminal: Callable[[str], Terminal]) -> None:
    """As by a batch system whose patience is at an end."""
    one = terminal("clings")
    one.until("at work", times=2)
    os.kill(one.process.pid, signal.SIGTERM)
    one.until("send it again to break off at once.")
    os.kill(one.process.pid, signal.SIGKILL)
    assert one.end() == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while left := one.left():  # nobody's children; one that ends may just have started another
        with contextlib.suppress(ProcessLookupError):  # it is gone
            handle = os.pidfd_open(left[0])
            ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
            os.close(handle)
            assert ready, one.left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_every_process_of_the_job(terminal: Callable[[str], Terminal], tmp_path: Path, number: signal.Signals) -> None:
    """As batch systems and service managers send it: trials have their time to report and save, and go on next time from there."""
    one = terminal("saves")
    one.until("at work", times=2)
    for pid in sorted(one.left(), reverse=True):  # trials first
        os.kill(pid, number)
    assert one.end() == (128 + number if number == signal.SIGTERM else 0), one.text
    assert one.text.count("cleared up") == 2
    assert f"interrupted by {'SIGTERM' if number == signal.SIGTERM else 'Ctrl-C'}; unfinished trials can go on" in one.text
    assert "killed" not in one.text.partition("; unfinished trials")[2]
    assert one.left() == []
    again = terminal("saves")
    assert again.end() == 0, again.text
    assert again.text.count("went on from") == 2
    assert "RETURNED ['TERMINATED', 'TERMINATED']" in again.text
    for table in tmp_path.glob("x/*/progress.csv"):
        with table.open(encoding="utf-8") as file:
            steps = [float(row["loss"]) for row in csv.DictReader(file)]
        assert steps == list(range(1, len(steps) + 1)), "each once"
