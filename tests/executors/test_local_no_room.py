"""Saves of workers: their sizes arrive, a disk without room is told of, and a trial that was to save and to end does end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.events import CheckpointSaved, Reported, SaveSkipped
from tunesmith.executors import LocalExecutor
from tunesmith.executors.base import CONTINUE, PAUSE, STOP
from tunesmith.testing.executor_rig import Rig, Stepper, checkpoints, ended_of, kinds
from tunesmith.trainable.class_api import Trainable

NO_ROOM = 1 << 62
GRACE_S = 0.2


class Hangs(Stepper):
    """Does not come out of its clean-up."""

    def cleanup(self) -> None:
        threading.Event().wait(1000)


class HangsUnsaved(Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": 1.0}

    def cleanup(self) -> None:
        threading.Event().wait(1000)


class Waits(Stepper):
    """Its second step takes longer than the grace for those that unwind."""

    def step(self) -> dict[str, Any]:
        if self.count == 1:
            threading.Event().wait(3 * GRACE_S)
        return super().step()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    executors: list[LocalExecutor] = []

    def made(trainable: Any, **setup: Any) -> Rig:
        executors.append(LocalExecutor())
        return Rig(executors[-1], trainable, tmp_path, log_to_file=("out", "err"), grace_s=GRACE_S, **setup)

    yield made
    for executor in executors:
        executor.close()


def reason(event: Any) -> str:
    assert isinstance(event, SaveSkipped)
    return event.reason


def test_sizes_come_with_reports_and_with_saves_that_were_asked_for(make: Callable[..., Rig]) -> None:
    rig = make(checkpoints)
    rig.run(config={"steps": 2})
    assert [event.bytes for event in rig.reports()] == [1, 1]
    rig = make(Stepper, checkpoint_frequency=3, decide=lambda event: (CONTINUE, "", event.iteration == 1))
    events = rig.run(1)
    (saved,) = [event for event in events if isinstance(event, CheckpointSaved)]
    assert saved.bytes > 5
    assert [event.bytes for event in rig.reports(1)] == [0, 0, saved.bytes]


def test_a_function_goes_on_without_its_checkpoints(make: Callable[..., Rig], tmp_path: Path) -> None:
    rig = make(checkpoints, min_free=NO_ROOM)
    events = rig.run(config={"steps": 2})
    assert kinds(events) == ["AttemptStarted", "SaveSkipped", "Reported", "SaveSkipped", "Reported", "AttemptEnded"]
    assert ended_of(events).outcome == "finished"
    assert [(event.iteration, event.checkpoint, event.bytes) for event in rig.reports()] == [(1, None, 0), (2, None, 0)]
    assert f"free under {tmp_path}, 1 bytes are to be written, min_free_bytes=" in reason(events[1])
    assert [event.iteration for event in events if isinstance(event, SaveSkipped)] == [1, 2]


@pytest.mark.parametrize(("action", "mode"), [(STOP, ""), (PAUSE, "cold")])
def test_a_stop_or_pause_that_was_to_save_first_is_bounded(make: Callable[..., Rig], action: str, mode: str) -> None:
    rig = make(Hangs, min_free=NO_ROOM, decide=lambda _: (action, mode, True))
    events = rig.run()
    assert kinds(events) == ["AttemptStarted", "Reported", "SaveSkipped", "AttemptEnded"]
    assert ended_of(events).outcome == "stopped"


def test_so_is_one_whose_report_came_with_a_checkpoint(make: Callable[..., Rig]) -> None:
    rig = make(Hangs, checkpoint_frequency=1, decide=lambda _: (STOP, "", True))
    events = rig.run()
    assert kinds(events) == ["AttemptStarted", "Reported", "AttemptEnded"]
    assert ended_of(events).outcome == "stopped"


def test_so_is_one_that_cannot_save(make: Callable[..., Rig]) -> None:
    rig = make(HangsUnsaved, decide=lambda _: (STOP, "", True))
    events = rig.run()
    assert kinds(events) == ["AttemptStarted", "Reported", "AttemptEnded"]
    assert ended_of(events).outcome == "stopped"


@pytest.mark.parametrize("min_free", [NO_ROOM, 0])
def test_a_stop_that_comes_while_it_works_waits_for_its_report(make: Callable[..., Rig], min_free: int) -> None:
    """What it still says of a save before that does not begin the time that it has to unwind."""
    def decide(event: Reported) -> tuple[str, str, bool] | None:
        if event.iteration > 1:
            return None  # it has been told
        rig.executor.answer(0, 0, CONTINUE, save=True)
        return STOP, "", True

    rig = make(Waits, min_free=min_free, decide=decide)
    events = rig.run()
    name = "SaveSkipped" if min_free else "CheckpointSaved"
    assert kinds(events) == ["AttemptStarted", "Reported", name, "Reported", name, "AttemptEnded"]
    assert ended_of(events).outcome == "stopped"
