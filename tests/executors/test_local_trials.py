"""What trials may do in their processes: threads, forks, large values, output, and all that runs at a process's end."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import logging
import logging.handlers
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.errors import UserCodeError
from tunesmith.executors import LocalExecutor
from tunesmith.executors.base import CONTINUE, STOP
from tunesmith.testing.executor_rig import Rig, ended_of, note, notes_of
from tunesmith.trainable.session import get_context, report

ACTS: dict[str, Callable[[dict[str, Any]], Any]] = {}


def act(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    ACTS[function.__name__] = function
    return function


def acts(config: dict[str, Any]) -> None:
    ACTS[config["how"]](config)


def status_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@act
def threads_report(_config: dict[str, Any]) -> None:
    def several(index: int) -> None:
        for step in range(20):
            report(thread=index, step=step)

    threads = [threading.Thread(target=several, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@act
def fork_reports(_config: dict[str, Any]) -> None:
    report(value=1)
    pid = os.fork()
    if pid == 0:
        report(value=2)  # raises, and nobody catches it
    note(f"child {status_of(pid)}")
    report(value=3)


@act
def fork_returns(_config: dict[str, Any]) -> None:
    pid = os.fork()
    if pid == 0:
        print("from the child")
        return
    note(f"child {status_of(pid)}")
    report(value=3)


def tries_to_report() -> None:
    try:
        report(value=2)
    except UserCodeError as error:
        note(str(error))


@act
def process_reports(_config: dict[str, Any]) -> None:
    process = multiprocessing.get_context("fork").Process(target=tries_to_report)
    process.start()
    process.join()
    report(value=3)


@act
def children_are_terminated(_config: dict[str, Any]) -> None:
    """As a DataLoader or a Pool does with its processes."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    process.start()
    process.terminate()
    process.join()
    note(f"child {process.exitcode}")
    with multiprocessing.get_context("fork").Pool(2) as pool:
        report(total=sum(pool.map(abs, range(-5, 5))))


@act
def fork_has_no_socket(_config: dict[str, Any]) -> None:
    pid = os.fork()
    if pid == 0:
        left = []
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                left.append(os.readlink(f"/proc/self/fd/{name}"))
        note(f"sockets {sum(one.startswith('socket:') for one in left)}")
        os._exit(0)
    status_of(pid)
    os.system("ls -l /proc/self/fd | grep -c -e socket: -e pidfd >> " + os.environ["COUNT"])


@act
def huge_report(config: dict[str, Any]) -> None:
    report(value=1, blob=bytearray(config["bytes"]))


@act
def huge_config(config: dict[str, Any]) -> None:
    report(length=len(config["data"]))


@act
def prepares_for_its_end(_config: dict[str, Any]) -> None:
    """In a process that is not used again (it leaves a thread)."""
    atexit.register(print, "at exit", end="")
    memory = logging.handlers.MemoryHandler(100, target=logging.FileHandler(os.environ["LOGGED"]))
    logging.getLogger("trial").addHandler(memory)
    logging.getLogger("trial").warning("said at last")
    place = Path(str(get_context().get_trial_dir()), "notes.txt")

    def outlives() -> None:
        threading.main_thread().join()
        place.write_text("thread through\n")

    threading.Thread(target=outlives).start()
    report(value=1)


@act
def prints_everywhere(_config: dict[str, Any]) -> None:
    print("python out", end="")
    sys.stderr.write("python err")
    ctypes.CDLL(None).printf(b" C out")
    os.system("echo ' shell out'")
    report(value=1)


@act
def unwinds(_config: dict[str, Any]) -> None:
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(note, "closed")
            while True:
                report(value=1)
    finally:
        note("finally")


@act
def interrupts_itself(_config: dict[str, Any]) -> None:
    raise KeyboardInterrupt("by hand")


@act
def large_exception(_config: dict[str, Any]) -> None:
    raise ValueError("large", b"x" * (8 << 20))


@act
def unpicklable_exception(_config: dict[str, Any]) -> None:
    error = ValueError("mine")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    raise error


@act
def sets_handlers(_config: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report(pid=os.getpid())


@act
def waits(_config: dict[str, Any]) -> None:
    try:
        report(pid=os.getpid())
        threading.Event().wait()
    finally:
        note("finally")


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    executor = LocalExecutor()
    try:
        yield Rig(executor, acts, tmp_path_factory.mktemp("trials"), log_to_file=("stdout.log", "stderr.log"), keep_errors=True)
    finally:
        executor.close()


TRIALS = iter(range(1000))


class One:
    """A trial of its own, in the executor that all share."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.trial = next(TRIALS)
        self.path = rig.folder / f"trial_{self.trial}"

    def run(self, how: str, **config: Any) -> Any:
        return ended_of(self.rig.run(self.trial, config={"how": how, **config}))

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [event.metrics for event in self.rig.reports(self.trial)]

    @property
    def notes(self) -> list[str]:
        return notes_of(str(self.path))


@pytest.fixture
def one(executor: Rig) -> One:
    executor.decide = lambda _: (CONTINUE, "", False)
    return One(executor)


def test_reports_from_threads_are_counted_one_by_one(one: One) -> None:
    assert one.run("threads_report").outcome == "finished"
    assert [event.iteration for event in one.rig.reports(one.trial)] == list(range(1, 81))
    for index in range(4):
        assert [metrics["step"] for metrics in one.metrics if metrics["thread"] == index] == list(range(20))


def test_each_thread_is_told_to_stop(one: One) -> None:
    one.rig.decide = lambda event: (STOP if event.iteration == 10 else CONTINUE, "", False)
    assert one.run("threads_report").outcome == "stopped"
    assert len(one.metrics) == 10


def test_a_fork_of_the_trial_is_not_the_trial(one: One) -> None:
    assert one.run("fork_reports").outcome == "finished"
    assert [metrics["value"] for metrics in one.metrics] == [1, 3]
    assert one.notes == ["child 1"]
    assert "UserCodeError: report() was called in process" in (one.path / "stderr.log").read_text()


def test_a_fork_that_returns_is_not_the_end_of_the_trial(one: One) -> None:
    assert one.run("fork_returns").outcome == "finished"
    assert [metrics["value"] for metrics in one.metrics] == [3]
    assert one.notes == ["child 0"]
    assert (one.path / "stdout.log").read_text() == "from the child\n"


def test_a_process_of_the_trial_can_not_report(one: One) -> None:
    assert one.run("process_reports").outcome == "finished"
    assert [metrics["value"] for metrics in one.metrics] == [3]
    (said,) = one.notes
    assert "a child of trial" in said
    assert "queue" in said


def test_children_end_by_sigterm_as_anywhere(one: One) -> None:
    assert one.run("children_are_terminated").outcome == "finished"
    assert one.notes == [f"child -{signal.SIGTERM.value}"]
    assert [metrics["total"] for metrics in one.metrics] == [25]
    assert not (one.path / "stderr.log").exists() or (one.path / "stderr.log").read_text() == ""


def test_children_do_not_hold_our_sockets(one: One, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNT", str(tmp_path / "count"))
    assert one.run("fork_has_no_socket").outcome == "finished"
    assert one.notes == ["sockets 0"]
    assert (tmp_path / "count").read_text() == "0\n"


def test_a_huge_report(one: One) -> None:
    assert one.run("huge_report", bytes=50 << 20).outcome == "finished"
    (event,) = one.rig.reports(one.trial)
    assert event.metrics["value"] == 1
    assert event.named == ("blob",)
    assert event.extras is not None
    assert len(event.extras["blob"]) == 50 << 20
    one.rig.events.clear()


def test_a_huge_config(one: One) -> None:
    assert one.run("huge_config", data=b"x" * (50 << 20)).outcome == "finished"
    assert [metrics["length"] for metrics in one.metrics] == [50 << 20]


def test_a_config_beyond_all_bounds_is_that_trials_error(one: One, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.executors.talk.LIMIT", 2000)
    ended = one.run("huge_config", data=b"x" * 2000)
    assert ended.outcome == "user_error"
    assert "with_parameters" in ended.error["message"]
    assert One(one.rig).run("huge_config", data=b"").outcome == "finished"


def test_what_is_due_at_the_end_of_a_process_is_done(one: One, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGGED", str(tmp_path / "log"))
    assert one.run("prepares_for_its_end").outcome == "finished"
    assert one.notes == ["thread through"]
    assert (one.path / "stdout.log").read_text() == "at exit"
    assert (tmp_path / "log").read_text() == "said at last\n"


def test_output_is_complete_when_the_trial_has_ended(one: One) -> None:
    one.run("prints_everywhere")
    out = (one.path / "stdout.log").read_text()
    assert len(out) == len("python out C out shell out\n")
    assert all(part in out for part in ("python out", " C out", " shell out\n"))
    assert (one.path / "stderr.log").read_text() == "python err"


def test_a_stop_unwinds(one: One) -> None:
    one.rig.decide = lambda _: (STOP, "", False)
    assert one.run("unwinds").outcome == "stopped"
    assert one.notes == ["closed", "finally"]


def test_a_keyboard_interrupt_of_its_own_is_an_error_like_any_other(one: One) -> None:
    ended = one.run("interrupts_itself")
    assert (ended.outcome, ended.error["type"], ended.error["message"]) == ("user_error", "KeyboardInterrupt", "by hand")


@pytest.mark.parametrize("how", ["large_exception", "unpicklable_exception"])
def test_exceptions_that_do_not_travel_are_told(one: One, how: str) -> None:
    ended = one.run(how)
    assert (ended.outcome, ended.error["type"]) == ("user_error", "ValueError")
    assert one.rig.executor.error_of(one.trial) is None


def test_handlers_that_a_trial_sets_are_not_the_next_ones(one: One) -> None:
    one.run("sets_handlers")
    second = One(one.rig)
    second.rig.launch(second.trial, config={"how": "waits"})
    second.rig.until(lambda: bool(second.metrics))
    assert second.metrics[0]["pid"] == one.metrics[0]["pid"]
    second.rig.executor.kill(second.trial, 0, "timeout")
    second.rig.finish()
    assert second.notes == ["finally"]


def ends_late(_config: dict[str, Any]) -> None:
    report(value=1)


def test_closing_hears_those_that_end_meanwhile(tmp_path: Path) -> None:
    """An idle worker takes its leave while another one's trial ends."""
    executor = LocalExecutor()
    rig = Rig(executor, ends_late, tmp_path)
    rig.run(0)
    rig.launch(1)
    rig.launch(2)
    rig.until(lambda: bool(rig.reports(1) or rig.reports(2)))
    executor.close()  # in the midst of what they have to tell
