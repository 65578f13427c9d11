"""Trials that hold more memory than they may, themselves or by what they have started: they end, all of it, and the slot is free."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.events import AttemptEnded
from tunesmith.executors import LocalExecutor
from tunesmith.executors.base import STOP
from tunesmith.executors.memory import Memory
from tunesmith.testing.executor_rig import Rig, ended_of, note, notes_of
from tunesmith.trainable.session import report

LIMIT = 400_000_000
STEP = 1 << 20
ACTS: dict[str, Callable[[dict[str, Any]], Any]] = {}


def act(function: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    ACTS[function.__name__] = function
    return function


def acts(config: dict[str, Any]) -> None:
    ACTS[config["how"]](config)


def grows(trial: int, times: float = 1.02) -> list[bytes]:
    """Until the trial, with all that comes from it, holds so many times what it may."""
    blocks: list[bytes] = []
    while (left := int(times * LIMIT) - Memory().read(trial, limit=0)[0]) >= 0:
        blocks.append(b"x" * max(STEP, left // 2))
    return blocks


def child_of(trial: int, *, leaves: Callable[[], Any] = lambda: None) -> int:
    pid = os.fork()
    if pid == 0:
        leaves()
        note(f"pid {os.getpid()}")
        blocks = grows(trial)
        threading.Event().wait()
        note(f"not to be reached, with {len(blocks)}")
        os._exit(0)
    return pid


def becomes_a_daemon() -> None:
    os.setsid()
    if os.fork():
        os._exit(0)


@act
def holds_little(_config: dict[str, Any]) -> None:
    report(pid=os.getpid(), held=Memory().read(os.getpid(), limit=0)[0])


@act
def grows_itself(_config: dict[str, Any]) -> None:
    try:
        blocks = grows(os.getpid())
        threading.Event().wait()
        note(f"not to be reached, with {len(blocks)}")
    finally:
        note("finally")


@act
def its_child_grows(_config: dict[str, Any]) -> None:
    os.waitpid(child_of(os.getpid()), 0)


@act
def its_child_of_another_session_grows(_config: dict[str, Any]) -> None:
    os.waitpid(child_of(os.getpid(), leaves=os.setsid), 0)


@act
def its_daemon_grows(_config: dict[str, Any]) -> None:
    os.waitpid(child_of(os.getpid(), leaves=becomes_a_daemon), 0)
    report(value=1)
    threading.Event().wait()


@act
def grows_and_does_not_unwind(_config: dict[str, Any]) -> None:
    blocks = []
    while True:
        with contextlib.suppress(BaseException):
            blocks += grows(os.getpid(), times=1.5)
            threading.Event().wait()  # it holds it here


@act
def grows_when_it_is_stopped(_config: dict[str, Any]) -> None:
    try:
        report(value=1)
    finally:
        blocks = grows(os.getpid())
        threading.Event().wait()
        note(f"not to be reached, with {len(blocks)}")


@act
def grows_when_it_is_over(_config: dict[str, Any]) -> None:
    """In a thread that runs on."""
    trial = os.getpid()
    over = threading.Event()

    def goes_on() -> None:
        over.wait()
        blocks = grows(trial)
        threading.Event().wait()
        note(f"not to be reached, with {len(blocks)}")

    threading.Thread(target=goes_on).start()
    threading._register_atexit(over.set)  # type: ignore[attr-defined]  # called before threads are waited for
    report(value=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    executor = LocalExecutor()
    try:
        yield Rig(executor, acts, tmp_path_factory.mktemp("memory"), log_to_file=("stdout.log", "stderr.log"), grace_s=60.0)
    finally:
        executor.close()


TRIALS = iter(range(1000))


class Story:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.trial = next(TRIALS)
        self.trial_dir = str(rig.folder / f"trial_{self.trial}")

    def tell(self, how: str) -> AttemptEnded:
        return ended_of(self.rig.run(self.trial, config={"how": how}, max_ram=LIMIT))


@pytest.fixture
def story(shared: Rig) -> Iterator[Story]:
    """Afterwards: what the trial has started is gone, and the next one runs well."""
    story = Story(shared)
    yield story
    pids = [int(line.split()[1]) for line in notes_of(story.trial_dir) if line.startswith("pid ")]
    assert [pid for pid in pids if alive(pid)] == []
    assert not any("not to be reached" in line for line in notes_of(story.trial_dir))
    shared.decide = lambda _: ("continue", "", False)
    after = next(TRIALS)
    assert ended_of(shared.run(after, config={"how": "holds_little"}, max_ram=LIMIT)).outcome == "finished"
    assert shared.reports(after)[0].metrics["held"] < LIMIT
    assert shared.executor._endings._ram._watched == {}  # type: ignore[attr-defined]


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def error_of(ended: AttemptEnded) -> dict[str, str]:
    assert (ended.outcome, ended.error is not None) == ("oom_ram", True)
    assert ended.error is not None
    assert set(ended.error) == {"type", "message", "where", "traceback"}
    assert ended.error["type"] == "MemoryLimit"
    assert ended.error["message"].endswith(", more than max_ram=400 MB")
    return ended.error


def test_a_trial_that_grows_unwinds(story: Story) -> None:
    error = error_of(story.tell("grows_itself"))
    assert error["message"].startswith("its process held 4")
    assert error["where"].startswith(f"{__file__}:")
    assert "in grows_itself" in error["traceback"]
    assert notes_of(story.trial_dir) == ["finally"]


@pytest.mark.parametrize("how", ["its_child_grows", "its_child_of_another_session_grows", "its_daemon_grows"])
def test_a_trial_whose_processes_grow(story: Story, how: str) -> None:
    error = error_of(story.tell(how))
    assert error["message"].startswith("its 2 processes held 4")
    assert f"in {how}" in error["traceback"]
    assert len(notes_of(story.trial_dir)) == 1


def test_a_trial_that_grows_and_does_not_unwind(story: Story) -> None:
    error = error_of(story.tell("grows_and_does_not_unwind"))
    assert f" in {grows_and_does_not_unwind.__name__}\n" in error["traceback"]
    assert error["where"].startswith(f"{__file__}:")


def test_a_stop_is_a_stop_whatever_it_costs(story: Story) -> None:
    story.rig.decide = lambda _: (STOP, "", False)
    ended = story.tell("grows_when_it_is_stopped")
    assert (ended.outcome, ended.error) == ("stopped", None)


def test_a_result_is_a_result_whatever_comes_after(story: Story) -> None:
    """The grace of a minute is not waited for."""
    assert story.tell("grows_when_it_is_over").outcome == "finished"


def test_the_watch_ends_with_the_executor(tmp_path: Path) -> None:
    executor = LocalExecutor()
    rig = Rig(executor, acts, tmp_path)
    before = threading.active_count()
    rig.run(0, config={"how": "holds_little"})
    assert threading.active_count() == before, "nothing to watch"
    rig.run(1, config={"how": "holds_little"}, max_ram=LIMIT)
    assert threading.active_count() == before + 1
    executor.close()
    assert threading.active_count() == before
