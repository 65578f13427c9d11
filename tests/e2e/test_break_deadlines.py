"""Deadlines hold, by the journal's own times: a trial, whatever it is at, is gone in time, with all that it has started."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.events import AttemptEnded, AttemptStarted, Event
from tunesmith.journal import JOURNAL_FILE, open_reader

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LIMIT_S = 1.0
GRACE_S = 0.5
SLACK_S = 1.0
OUTCOMES = {"max_trial_s": "timeout", "max_silence_s": "silent"}


def spins() -> None:
    while True:
        pass


def blocks_in_c() -> None:
    sum(itertools.repeat(0))  # it is here


def waits_for_itself() -> None:
    mutex = ctypes.create_string_buffer(64)
    lock = ctypes.PyDLL(None).pthread_mutex_lock
    lock(mutex)
    lock(mutex)  # it is here


def sleeps() -> None:
    threading.Event().wait()


WAYS: dict[str, Callable[[], Any]] = {way.__name__: way for way in (spins, blocks_in_c, waits_for_itself, sleeps)}


def has_a_family(place: Path) -> None:
    """A child, one in a session of its own, and a daemon, none of which ends of itself; ``place`` gets the pids of all, and its own."""
    pids = [os.getpid(), forked(signal.pause), subprocess.Popen(["sleep", "1000"], start_new_session=True).pid]
    read, write = os.pipe()

    def daemon() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(write, str(os.getpid()).encode())
        signal.pause()

    os.waitpid(forked(daemon), 0)
    pids.append(int(os.read(read, 20)))
    place.write_text(" ".join(map(str, pids)))


def forked(then: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(0)
    return pid


def train(config: dict[str, Any]) -> None:
    """A bad one, and after each a good one, which looks for what the bad ones have left."""
    places, (number, way) = Path(os.environ["PLACES"]), config["way"]
    if way == "good":
        pids = [int(pid) for place in places.iterdir() for pid in place.read_text().split()]
        tune.report(looked_for=len(pids), left=sum(map(alive, pids)))
        return
    has_a_family(places / str(number))
    WAYS[way]()


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.fixture
def one_core() -> Iterator[None]:
    """The driver, the template and the trials share it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def line_of(function: Callable[..., Any], text: str) -> str:
    lines = Path(function.__code__.co_filename).read_text().splitlines()
    start = function.__code__.co_firstlineno
    return f"{function.__code__.co_filename}:{next(at for at, line in enumerate(lines[start:], start + 1) if text in line)}"


WAYS_AND_GOOD = [*enumerate(itertools.chain.from_iterable((way, "good") for way in WAYS))]


def run(folder: str, limit: str) -> None:
    tune.run(
        train, name="x", config={"way": tune.grid_search(WAYS_AND_GOOD)}, storage_path=folder, verbose=0, executor="local",
        raise_on_failed_trial=False, grace_s=GRACE_S, **{limit: LIMIT_S},
    )  # fmt: skip


@pytest.mark.parametrize("limit", list(OUTCOMES))
def test_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_core: None, limit: str) -> None:
    """In a process of its own: trials begin with all that their driver has imported, and other tests import much."""
    places = tmp_path / "places"
    places.mkdir()
    monkeypatch.setenv("PLACES", str(places))
    here, ways = Path(__file__), WAYS_AND_GOOD
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as story; story.run({str(tmp_path)!r}, {limit!r})"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
    analysis = tune.open_experiment(tmp_path / "x")
    with open_reader(tmp_path / "x" / JOURNAL_FILE) as reader:
        events = [record.event for record in reader.read()]
    began = {event.trial: event.at for event in events if isinstance(event, AttemptStarted)}
    ended = {event.trial: event for event in events if isinstance(event, AttemptEnded)}
    assert len(began) == len(ended) == len(ways)
    for number, way in ways:
        if way == "good":
            assert ended[number].outcome == "finished"
            found = analysis.trials[number].last_result
            assert (found["looked_for"], found["left"]) == (4 * (number // 2 + 1), 0), f"of the processes of {ways[number - 1]}"
        else:
            assert ended[number].outcome == OUTCOMES[limit], way
            assert LIMIT_S <= ended[number].at - began[number] < LIMIT_S + GRACE_S + SLACK_S, way
            assert 0 <= began[number + 1] - ended[number].at < SLACK_S, f"the slot of {way} is used again"
    for number, way in ways:
        if way in ("blocks_in_c", "waits_for_itself"):
            assert where(ended[number]) == line_of(WAYS[way], "it is here")


def where(event: Event) -> str:
    assert isinstance(event, AttemptEnded)
    assert event.error is not None
    return event.error["where"]
