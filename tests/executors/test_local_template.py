"""The template: packages that spoil or end it, what it learns, its own death, and an executor that is closed at odd moments."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.events import AttemptEnded
from tunesmith.errors import ExecutorError
from tunesmith.executors import LocalExecutor, guardian
from tunesmith.executors.base import Assignment
from tunesmith.executors.preload import loaded
from tunesmith.testing.executor_rig import Rig, ended_of, note
from tunesmith.trainable.session import report

Install = Callable[[str, str], None]


@pytest.fixture
def rigs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Rig]]:
    """Makes started executors that preload nothing but what was installed; closed afterwards."""
    executors: list[LocalExecutor] = []
    monkeypatch.setattr("tunesmith.executors.forker.loaded", lambda _, excluded=(): [name for name in INSTALLED if name not in excluded])

    def make(trainable: Any, **setup: Any) -> Rig:
        executors.append(LocalExecutor())
        return Rig(executors[-1], trainable, tmp_path, **setup)

    yield make
    for executor in executors:
        executor.close()


INSTALLED: list[str] = []


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Makes an installed package that the driver has imported; ``in_template`` is true there when a template imports it."""
    place = tmp_path / "lib" / "site-packages"
    place.mkdir(parents=True)
    monkeypatch.syspath_prepend(str(place))

    def make(name: str, code: str) -> None:
        (place / f"{name}.py").write_text(f"import os\nin_template = 'TUNESMITH_RUN' in os.environ\n{code}\n")
        importlib.invalidate_caches()
        importlib.import_module(name)
        INSTALLED.append(name)

    yield make
    for name in INSTALLED:
        sys.modules.pop(name, None)
    INSTALLED.clear()


def marked(run: str) -> set[int]:
    """Living processes with this marker in their environment."""
    found = set()
    for place in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            marks = (place / "environ").read_bytes().split(b"\0") if place.name.isdecimal() else []
            if f"TUNESMITH_TEMPLATE={run}".encode() in marks and (place / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.add(int(place.name))
    return found


def tells(_config: dict[str, Any]) -> None:
    report(modules=" ".join(sorted(sys.modules)), run=os.environ["TUNESMITH_TEMPLATE"], template=os.getppid(), pid=os.getpid())


def modules_of(rig: Rig, trial: int) -> list[str]:
    return rig.reports(trial)[0].metrics["modules"].split()


BAD = {
    "starts_a_thread": "import threading\nif in_template: threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "exits": "if in_template: os._exit(5)",
    "segfaults": "import ctypes\nif in_template: ctypes.string_at(0)",
}
HARMLESS = {
    "raises": "if in_template: raise RuntimeError('not here')",
    "exits_politely": "import sys\nif in_template: sys.exit(3)",
    "interrupts": "if in_template: raise KeyboardInterrupt",
    "closes_output": "import sys\nif in_template: sys.stdout.close()",
    "removes_output": "import sys\nif in_template: sys.stdout = None",
}


@pytest.mark.parametrize("name", BAD)
def test_packages_that_spoil_the_template_are_left_out(
    rigs: Callable[..., Rig], install: Install, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    install("good", "")
    install(name, BAD[name])
    install("better", "")
    caplog.set_level(logging.INFO, "tunesmith")
    rig = rigs(tells, reuse=False)
    for trial in range(4):  # those that run when the template ends are retried
        assert ended_of(rig.run(trial)).outcome in ("finished", "worker_lost")
    rig.until(lambda: f"{name} is not imported ahead" in caplog.text)
    for trial in range(4, 100):
        assert ended_of(rig.run(trial)).outcome in ("finished", "worker_lost")
        if rig.reports(trial) and "better" in modules_of(rig, trial):
            break
    assert name not in modules_of(rig, trial)
    assert "good" in modules_of(rig, trial)


@pytest.mark.parametrize("name", HARMLESS)
def test_packages_that_can_not_be_imported_there_do_no_harm(rigs: Callable[..., Rig], install: Install, name: str) -> None:
    install(name, HARMLESS[name])
    install("better", "")
    rig = rigs(tells, reuse=False)
    for trial in range(100):
        assert ended_of(rig.run(trial)).outcome == "finished"
        if "better" in modules_of(rig, trial):
            break
    assert "better" in modules_of(rig, trial)


def test_what_packages_print_there_is_not_seen(rigs: Callable[..., Rig], install: Install, capfd: pytest.CaptureFixture[str]) -> None:
    install("talks", "import warnings\nif in_template: print('hello'); os.system('echo hello >&2'); warnings.warn('hello')")
    rig = rigs(tells, reuse=False)
    for trial in range(100):
        rig.run(trial)
        if "talks" in modules_of(rig, trial):
            break
    assert "talks" in modules_of(rig, trial)
    assert "hello" not in "".join(capfd.readouterr())


def imports_late(_config: dict[str, Any]) -> None:
    report(before="late" in sys.modules)
    import late  # noqa: F401


def test_what_trials_import_is_there_for_later_ones(rigs: Callable[..., Rig], install: Install) -> None:
    install("late", "")
    INSTALLED.clear()
    rig = rigs(imports_late, reuse=False)
    for trial in range(100):
        assert ended_of(rig.run(trial)).outcome == "finished"
        if rig.reports(trial)[0].metrics["before"]:
            break
    assert 0 < trial < 99
    del sys.modules["late"]


def test_lazy_modules_stay_lazy(install: Install) -> None:
    install("heavy", "")
    del sys.modules["heavy"]
    spec = importlib.util.find_spec("heavy")
    assert spec is not None
    assert spec.loader is not None
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    loaded({"heavy": module})
    assert "in_template" not in object.__getattribute__(module, "__dict__")


def waits(_config: dict[str, Any]) -> None:
    quiet = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    report(pid=os.getpid(), run=os.environ["TUNESMITH_TEMPLATE"], template=os.getppid(), child=quiet.pid)
    threading.Event().wait()


def waits_or_tells(config: dict[str, Any]) -> None:
    (waits if config.get("wait") else tells)(config)


def test_kill_9_of_the_template(rigs: Callable[..., Rig]) -> None:
    """Its trials are lost workers, which are retried; with another template the executor goes on."""
    rig = rigs(waits_or_tells)
    rig.launch(0, config={"wait": True})
    rig.launch(1, config={"wait": True})
    rig.until(lambda: bool(rig.reports(0) and rig.reports(1)))
    told = rig.reports(0)[0].metrics
    os.kill(told["template"], signal.SIGKILL)
    rig.finish()
    for trial in (0, 1):
        ended = ended_of(rig.of(trial))
        assert ended.outcome == "worker_lost"
        assert ended.error is not None
        assert ended.error["type"] == "TemplateLost"
    assert marked(told["run"]) == set()
    assert ended_of(rig.run(2)).outcome == "finished"
    assert rig.reports(2)[0].metrics["run"] != told["run"]


def guardian_of(run: str) -> int:
    (found,) = [pid for pid in marked(run) if Path(f"/proc/{pid}/comm").read_text() == f"{guardian.NAME}\n"]
    return found


def test_the_guardian_holds_nothing_and_is_reached_by_nothing(rigs: Callable[..., Rig]) -> None:
    rig = rigs(tells, reuse=False)
    for trial in range(3):  # the end of a worker is when orphans are looked for
        assert ended_of(rig.run(trial)).outcome == "finished"
    told = rig.reports(2)[0].metrics
    pid = guardian_of(told["run"])
    assert {os.path.basename(os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in os.listdir(f"/proc/{pid}/fd")} == {"null", "anon_inode:[pidfd]"}
    assert len(os.listdir(f"/proc/{pid}/fd")) == 4
    assert os.getpgid(pid) == os.getsid(pid) == pid
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(pid, number)
    rig.executor.close()
    assert marked(told["run"]) == set()


def test_kill_9_of_the_guardian(rigs: Callable[..., Rig]) -> None:
    """Nobody misses it."""
    rig = rigs(tells, reuse=False)
    rig.run(0)
    told = rig.reports(0)[0].metrics
    os.kill(guardian_of(told["run"]), signal.SIGKILL)
    assert ended_of(rig.run(1)).outcome == "finished"
    assert rig.reports(1)[0].metrics["run"] == told["run"]
    rig.executor.close()
    assert marked(told["run"]) == set()


def test_the_guardian_kills_what_the_template_has_left(rigs: Callable[..., Rig]) -> None:
    """The driver of this test does nothing."""
    rig = rigs(waits)
    rig.launch(0)
    rig.until(lambda: bool(rig.reports(0)))
    told = rig.reports(0)[0].metrics
    rig.until(lambda: len(marked(told["run"])) == 4)  # template, guardian, worker, and what that one has started (which execs still)
    handles = [os.pidfd_open(pid) for pid in marked(told["run"])]
    os.kill(told["template"], signal.SIGKILL)
    for handle in handles:
        assert select.select([handle], [], [], 10)[0]
        os.close(handle)


def test_what_does_not_die_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    token = secrets.token_hex(8)
    with subprocess.Popen(["sleep", "1000"], env={**os.environ, guardian.TEMPLATE: token}) as process:
        with monkeypatch.context() as patch:
            patch.setattr(signal, "pidfd_send_signal", lambda *_: None)
            assert guardian.kill_marked(token, patience_s=0.01) is False
        assert guardian.kill_marked(token) is True
        assert process.wait() == -signal.SIGKILL


def test_kill_9_of_the_template_while_workers_are_due(rigs: Callable[..., Rig]) -> None:
    """A worker that was not there yet is forked from the next one."""
    rig = rigs(waits_or_tells)
    rig.run(0)
    rig.launch(1, config={"wait": True})
    rig.until(lambda: bool(rig.reports(1)))
    template = rig.reports(1)[0].metrics["template"]
    os.kill(template, signal.SIGSTOP)
    rig.launch(2)
    os.kill(template, signal.SIGKILL)
    rig.finish()
    assert ended_of(rig.of(1)).outcome == "worker_lost"
    assert ended_of(rig.of(2)).outcome == "finished"


def test_kill_9_of_a_template_that_has_not_forked_yet(rigs: Callable[..., Rig], install: Install) -> None:
    rig = rigs(tells)
    (forker,) = rig.executor._nursery._forkers  # type: ignore[attr-defined]
    forker.kill()
    assert ended_of(rig.run(0)).outcome == "finished"


def test_a_package_whose_import_never_ends_is_left_out(rigs: Callable[..., Rig], install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("hangs", "import threading\nif in_template: threading.Event().wait()")
    rig = rigs(tells, reuse=False)
    (forker,) = rig.executor._nursery._forkers  # type: ignore[attr-defined]
    rig.until(lambda: forker.importing == "hangs")
    monkeypatch.setattr("tunesmith.executors.endings._BORN_S", 0.05)
    assert ended_of(rig.run(0)).outcome == "finished"
    assert "hangs" not in modules_of(rig, 0)


@pytest.mark.parametrize("by_force", [False, True])
def test_an_attempt_that_is_over_while_an_import_hangs(
    rigs: Callable[..., Rig], install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, by_force: bool
) -> None:
    """The template does not take note of the end of the process: nothing is wrong with the trial, and it does not wait for ever."""
    install("hangs", "import threading\nif in_template: threading.Event().wait()")
    INSTALLED.remove("hangs")  # the template gets to know it after the fork
    rig = rigs(waits_or_tells, reuse=False, grace_s=0.05)
    rig.launch(0, config={"wait": True})
    rig.until(lambda: bool(rig.reports(0)))
    INSTALLED.append("hangs")
    nursery = rig.executor._nursery  # type: ignore[attr-defined]
    nursery.learn(["hangs"])
    rig.until(lambda: nursery._forkers[-1].importing == "hangs")
    monkeypatch.setattr("tunesmith.executors.endings._BORN_S", 0.05)
    if by_force:
        os.kill(rig.reports(0)[0].metrics["pid"], signal.SIGSTOP)
    rig.executor.kill(0, 0, "timeout")
    rig.finish()
    assert ended_of(rig.of(0)).outcome == "timeout"
    assert "did not end" not in caplog.text


def test_closed_while_an_import_hangs(rigs: Callable[..., Rig], install: Install) -> None:
    install("hangs", "import threading\nif in_template: threading.Event().wait()")
    rig = rigs(tells)
    (forker,) = rig.executor._nursery._forkers  # type: ignore[attr-defined]
    rig.until(lambda: forker.importing == "hangs")
    rig.launch(0)
    rig.executor.close()
    assert forker._interpreter._process.returncode == 0  # it ended itself, and was not killed


FORKLESS = "if in_template:\n def fork():\n  raise BlockingIOError(11, 'Resource temporarily unavailable')\n os.fork = fork"


def without_processes(rig: Rig) -> AttemptEnded:
    """The first attempt that no process could be made for, once the template has imported what forbids it."""
    for trial in range(1000, 1100):
        ended = ended_of(rig.run(trial))
        if ended.outcome == "worker_lost":
            return ended
    raise AssertionError("the package was never imported")


def test_no_more_processes(rigs: Callable[..., Rig], install: Install) -> None:
    install("forkless", FORKLESS)
    ended = without_processes(rigs(tells, reuse=False))
    assert ended.error is not None
    assert ended.error["type"] == "ForkFailed"
    assert "Resource temporarily unavailable" in ended.error["message"]


def test_more_launches_at_once_than_a_socket_holds(rigs: Callable[..., Rig], install: Install) -> None:
    """Driver and template never wait for each other."""
    install("forkless", FORKLESS)
    rig = rigs(tells, reuse=False)
    without_processes(rig)
    for trial in range(400):
        rig.launch(trial)
    rig.executor._nursery.learn([f"not_there_{index}" for index in range(20_000)])  # type: ignore[attr-defined]
    for trial in range(400, 900):
        rig.launch(trial)
    rig.finish()
    assert all(ended_of(rig.of(trial)).outcome == "worker_lost" for trial in range(900))


@pytest.mark.parametrize("executable", ["/nowhere/python", "", None])
def test_python_can_not_be_started(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch, executable: str | None) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.raises(ExecutorError, match=r"sys\.executable.*executor='inline'"):
        rigs(tells)


def test_what_is_started_is_no_python(rigs: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    rig = rigs(tells)
    with pytest.raises(ExecutorError, match=r"ends as soon as it is started \(/bin/false: exit code 1\).*executor='inline'"):
        rig.run(0)


def test_closed_before_it_was_started() -> None:
    executor = LocalExecutor()
    executor.close()
    executor.wake()
    executor.close()


def test_closed_with_trials_running_and_due(rigs: Callable[..., Rig]) -> None:
    rig = rigs(waits)
    rig.launch(0)
    rig.until(lambda: bool(rig.reports(0)))
    told = rig.reports(0)[0].metrics
    for trial in range(1, 20):
        rig.launch(trial)
    rig.executor.close()
    assert marked(told["run"]) == set()
    rig.executor.close()


def test_closed_from_the_first_moment(rigs: Callable[..., Rig], tmp_path: Path) -> None:
    rig = rigs(tells)
    (forker,) = rig.executor._nursery._forkers  # type: ignore[attr-defined]
    rig.executor.launch(Assignment(0, 0, "a", "b", "c", {}, str(tmp_path)))
    rig.executor.close()
    assert forker._interpreter._process.returncode is not None


def leaves_a_note(_config: dict[str, Any]) -> None:
    note("begun")
    report(value=1)


def test_a_worker_that_dies_idle_is_not_missed(rigs: Callable[..., Rig]) -> None:
    rig = rigs(tells)
    rig.run(0)
    pid = rig.reports(0)[0].metrics["pid"]
    os.kill(pid, signal.SIGKILL)
    rig.until(lambda: not rig.executor._nursery.processes)  # type: ignore[attr-defined]
    assert ended_of(rig.run(1)).outcome == "finished"


def test_a_driver_that_was_killed_before_it_had_read_all() -> None:
    """Then the next read is an error, and no end of file."""
    script = """
import os, socket
from tunesmith.executors.template import Template

ours, drivers = socket.socketpair()
template = Template(ours, os.getppid(), guardian=0)
ours.sendall(b"unread")
drivers.close()
template.run()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
