"""``kill -9`` of the driver, of the template, of both: nothing of a run is left, whatever its trials have started."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import ctypes, multiprocessing, os, signal, subprocess, sys, threading, time
import tunesmith as tune

root, kind = sys.argv[1], sys.argv[2]

def daemonise():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for handle in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), handle)
            time.sleep(1000)
        os._exit(0)
    os.wait()

def inner(config):
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    tune.report(loss=1)
    open(os.path.join(root, f"inside_{os.getpid()}"), "w").close()
    threading.Event().wait()

def train(config):
    if kind == "nested" and config["x"] == 0:
        tune.run(inner, name="inner", storage_path=os.path.join(root, "results"), verbose=0, executor="local", metric="loss", mode="min")
    if kind == "children":
        subprocess.Popen(["sleep", "1000"])
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,), daemon=True).start()
        daemonise()
    tune.report(loss=1, template=os.getppid())
    open(os.path.join(root, f"there_{config['x']}_{os.getppid()}"), "w").close()
    if kind == "c":
        mutex = ctypes.create_string_buffer(64)
        for _ in range(2):
            ctypes.PyDLL(None).pthread_mutex_lock(mutex)
    try:
        threading.Event().wait()
    except BaseException:
        threading.Event().wait()

if __name__ == "__main__":
    if kind == "importing":
        import slow_to_import
    tune.run(
        train, name="x", storage_path=os.path.join(root, "results"), config={"x": tune.grid_search([0, 1])}, max_concurrent_trials=2,
        verbose=0, executor="local", metric="loss", mode="min",
    )
"""
SLOW = """
import os, threading
if "TUNESMITH_RUN" in os.environ:
    open(os.environ["PLACE"], "w").close()
    threading.Event().wait()
"""


def state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "X"


def ended(pid: int, deadline: float) -> bool:
    """Waits for a process that is nobody's child here; ``deadline``: monotonic seconds."""
    with contextlib.suppress(ProcessLookupError):  # it is gone
        handle = os.pidfd_open(pid)
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        os.close(handle)
        return bool(ready)
    return True


class Run:
    """A driver in a process of its own; whatever comes from it is known by a mark in its environment."""

    def __init__(self, root: Path, kind: str) -> None:
        self.root = root
        self.mark = f"PROOF={uuid.uuid4().hex}"
        script = root / "script.py"
        script.write_text(SCRIPT, encoding="utf-8")
        packages = root / "site-packages"
        packages.mkdir()
        (packages / "slow_to_import.py").write_text(SLOW, encoding="utf-8")
        name, _, value = self.mark.partition("=")
        environment = {**os.environ, name: value, "PYTHONPATH": str(packages), "PLACE": str(root / "importing")}
        self.driver = subprocess.Popen([sys.executable, str(script), str(root), kind], env=environment, stderr=subprocess.PIPE)

    def wait(self, reached: Callable[[], bool]) -> None:
        """For files that its processes make."""
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline, self.processes()
            time.sleep(0.01)

    def there(self) -> set[str]:
        return {path.name for path in self.root.glob("there_*")}

    def templates(self) -> set[int]:
        return {int(name.rpartition("_")[2]) for name in self.there()}

    def processes(self) -> dict[int, str]:
        """Those that are alive, with their command lines."""
        found = {}
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                marks = (place / "environ").read_bytes().split(b"\0") if place.name.isdecimal() else []
                if self.mark.encode() in marks and state(int(place.name)) not in "ZX":
                    found[int(place.name)] = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()[-60:]
        return found

    def nothing_is_left(self) -> None:
        """Two seconds after at most; one that ends may just have started another."""
        deadline = time.monotonic() + 2
        while left := self.processes():
            assert all(ended(pid, deadline) for pid in left), self.processes()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    runs: list[Run] = []

    def begin(kind: str) -> Run:
        runs.append(Run(tmp_path, kind))
        return runs[-1]

    yield begin
    for run in runs:
        for pid in run.processes():
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        run.driver.communicate()


@pytest.mark.parametrize("kind", ["children", "c"])
def test_kill_9_of_the_driver(start: Callable[[str], Run], kind: str) -> None:
    """Driver, template, guardian, two trials; and four that each has started."""
    run = start(kind)
    run.wait(lambda: len(run.there()) == 2)
    assert len(run.processes()) == (13 if kind == "children" else 5)
    run.driver.kill()
    run.nothing_is_left()


def test_kill_9_of_the_driver_of_a_run_within_a_run(start: Callable[[str], Run]) -> None:
    run = start("nested")
    run.wait(lambda: bool(list(run.root.glob("inside_*"))) and len(run.there()) == 1)
    assert len(run.processes()) == 9
    run.driver.kill()
    run.nothing_is_left()


def test_kill_9_of_the_driver_while_the_template_imports(start: Callable[[str], Run]) -> None:
    run = start("importing")
    run.wait((run.root / "importing").exists)
    run.driver.kill()
    run.nothing_is_left()


def test_kill_9_of_the_template(start: Callable[[str], Run]) -> None:
    """The driver goes on with another, and runs the trials again; of the first one's nothing is left."""
    run = start("children")
    run.wait(lambda: len(run.there()) == 2)
    before = set(run.processes()) - {run.driver.pid}
    (template,) = run.templates()
    os.kill(template, signal.SIGKILL)
    deadline = time.monotonic() + 2
    assert all(ended(pid, deadline) for pid in before), run.processes()
    run.wait(lambda: len(run.there()) == 4)
    assert len(run.processes()) == 13
    run.driver.kill()
    run.nothing_is_left()


def test_kill_9_of_both_at_once(start: Callable[[str], Run]) -> None:
    """Workers die with their template; what the trials themselves have started is the guardian's to end."""
    run = start("children")
    run.wait(lambda: len(run.there()) == 2)
    (template,) = run.templates()
    os.kill(run.driver.pid, signal.SIGSTOP)
    os.kill(template, signal.SIGSTOP)
    os.kill(run.driver.pid, signal.SIGKILL)
    os.kill(template, signal.SIGKILL)
    run.nothing_is_left()


def test_kill_9_of_both_of_a_run_within_a_run(start: Callable[[str], Run]) -> None:
    """And of the inner template, too."""
    run = start("nested")
    run.wait(lambda: bool(list(run.root.glob("inside_*"))) and len(run.there()) == 1)
    inside = int(next(run.root.glob("inside_*")).name.rpartition("_")[2])
    inner = int(Path(f"/proc/{inside}/stat").read_text().rpartition(")")[2].split()[1])
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (run.driver.pid, *run.templates(), inner):
            os.kill(pid, number)
    run.nothing_is_left()


def test_the_driver_dumps_core(start: Callable[[str], Run]) -> None:
    """One that Python can do nothing about: it has closed nothing."""
    run = start("children")
    run.wait(lambda: len(run.there()) == 2)
    run.driver.send_signal(signal.SIGQUIT)
    run.nothing_is_left()
