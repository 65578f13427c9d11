"""``preflight`` on an executor that plays what attempts do: time, kills, and whose events are heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.build import check
from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged, Event, Reported, SaveSkipped
from tunesmith.executors.base import Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.inline import InlineExecutor
from tunesmith.inspection.flow import inspect

Config = dict[str, Any]

NO_CHECKPOINT = "no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew"


def objective(config: Config) -> Config:
    return {"loss": config["x"]}


class Fake:
    """Plays what an attempt does: ``script`` gets the assignment, and returns events for the next polls (None: nothing happens)."""

    def __init__(self, script: Callable[[Assignment], list[Event | None]], kill: bool = True, obeys: bool = True) -> None:
        self.capabilities = ExecutorCapabilities(name="fake", kill=kill, max_ram=True)
        self.script, self.obeys = script, obeys
        self.events: list[Event | None] = []
        self.launched: list[Assignment] = []
        self.answers: list[str] = []
        self.closed = False
        self.starts = 0
        self.now = 0.0

    def start(self, setup: ExecutorSetup) -> dict[str, float]:
        self.setup = setup
        self.starts += 1
        return {"cpu": 4.0, "gpu": 2.0}

    def launch(self, assignment: Assignment) -> None:
        self.launched.append(assignment)
        self.events = self.script(assignment)

    def answer(self, trial: int, attempt: int, action: str, *, mode: str = "", save: bool = False) -> None:
        self.answers.append(action)

    def kill(self, trial: int, attempt: int, outcome: str) -> None:
        if self.obeys:
            error = {"type": "Terminated", "message": "so it goes", "where": "train.py:7", "traceback": ""}
            self.events = [AttemptEnded(trial, attempt, outcome, error)]

    def poll(self, timeout: float | None) -> list[Event]:
        event = self.events.pop(0) if self.events else None
        if event is None:
            assert timeout is not None, "it would wait for ever"
            self.now += timeout
        return [] if event is None else [event]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[tune.Preflight, Fake]]:
    """A preflight on a fake executor, in its time."""

    def play(script: Any, kill: bool = True, obeys: bool = True, timeout_s: Any = 10.0, kind: type[Fake] = Fake, **arguments: Any) -> Any:
        fake = kind(script, kill, obeys)
        monkeypatch.setattr(time, "monotonic", lambda: fake.now)
        checked = check(objective, storage_path=tmp_path, executor=fake_spec(fake), **arguments)
        return inspect(checked.spec, checked.root, fake, timeout_s), fake

    return play


def fake_spec(fake: Fake) -> Any:
    return SimpleNamespace(capabilities=fake.capabilities, start=print, launch=print, answer=print, poll=print)


def test_a_killed_trial_is_shown_where_it_was(play: Any) -> None:
    found, fake = play(lambda assignment: [])
    assert found.problems == ("train.py:7: no report came within timeout_s=10 s",)
    assert (fake.now, fake.closed) == (10.0, True)


def test_a_second_step_that_takes_too_long_is_no_problem(play: Any) -> None:
    found, fake = play(lambda assignment: [Reported(assignment.trial, 0, 1, {"loss": 1})])
    assert (found.problems, found.warnings) == ((), (NO_CHECKPOINT,))
    assert (fake.answers, fake.now) == (["continue"], 10.0)


def test_one_that_cannot_be_killed_is_waited_for_no_longer(play: Any) -> None:
    found, fake = play(lambda assignment: [], obeys=False)
    assert found.problems == ("no report came within timeout_s=10 s",)
    assert fake.now == 10.0 + 5.0 + 5.0  # the grace, and a little more
    found, fake = play(lambda assignment: [], kill=False)
    assert found.problems == ("no report came within timeout_s=10 s",)
    assert fake.now == 10.0


def test_an_error_is_told_even_if_the_second_try_hangs(play: Any) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        error = {"type": "ValueError", "message": "no", "where": "train.py:3", "traceback": ""}
        return [AttemptEnded(assignment.trial, 0, "user_error", error)] if assignment.watch else []

    found, fake = play(script)
    assert found.problems == ("train.py:3: ValueError: no",)
    assert (len(fake.launched), fake.starts, fake.now) == (2, 1, 10.0)


def test_the_second_step_must_fit_into_the_time(play: Any) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        number = assignment.trial
        return [Reported(number, 0, 1, {"time_this_iter_s": 2.0}), AttemptEnded(number, 0, "stopped")]

    class Slow(Fake):
        def poll(self, timeout: float | None) -> list[Event]:
            self.now += 6.0 * (not self.answers)
            return super().poll(timeout)

    found, fake = play(script, kind=Slow)
    assert fake.answers == ["stop"]
    assert (found.setup_s, found.step_s) == (4.0, 2.0)


def test_infeasible_configurations_need_no_new_executor(play: Any) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        return [AttemptEnded(assignment.trial, 0, "infeasible")]

    found, fake = play(script)
    assert found.problems == ("infeasible (10 configurations were drawn, and all were infeasible)",)
    assert (len(fake.launched), fake.starts) == (10, 1)
    assert len({assignment.trial_dir for assignment in fake.launched}) == 10


def test_the_space_of_the_experiment_knows_nothing_of_it(tmp_path: Path) -> None:
    space = {"x": tune.sample_from(lambda config: tune.grid_search([1, 2]))}
    checked = check(objective, config=space, storage_path=tmp_path, executor="inline")
    assert inspect(checked.spec, checked.root, InlineExecutor(), 60.0).trials == 2
    assert not checked.spec.space.has_grid  # it is not known before the first draw


def test_events_of_others_are_not_heard(play: Any) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        number = assignment.trial
        return [
            CapacityChanged({"cpu": 1.0}), Reported(number + 1, 0, 1, {"loss": 5}), AttemptEnded(number, 3, "user_error"),
            AttemptStarted(number, 0), Reported(number, 0, 1, {"loss": 1}), AttemptEnded(number, 0, "finished"),
        ]  # fmt: skip

    found, fake = play(script, timeout_s=None)
    assert (found.ok, dict(found.metrics), fake.answers) == (True, {"loss": 1}, ["continue"])


def test_what_an_attempt_is_given(play: Any, tmp_path: Path) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        return [AttemptEnded(assignment.trial, assignment.attempt, "oom_ram", None)]

    keep = tune.CheckpointConfig(min_free_bytes=7)
    found, fake = play(script, max_ram="1GB", resources={"gpu": 0.5}, seed=3, grace_s=2.0, checkpoint=keep)
    watched, plain = fake.launched
    assert (watched.watch, plain.watch) == (True, False)
    assert watched.gpus == plain.gpus == ((0, 0.5),)
    assert (watched.max_ram, watched.seed, watched.attempt, watched.config) == (10**9, plain.seed, 0, {})
    assert watched.trial_dir != plain.trial_dir
    assert (fake.setup.grace_s, fake.setup.min_free, fake.setup.reuse, fake.setup.log_to_file) == (2.0, 7, False, None)
    assert found.problems == ("oom_ram",)


def test_a_disk_that_is_too_full_to_save(play: Any) -> None:
    def script(assignment: Assignment) -> list[Event | None]:
        number = assignment.trial
        reports = [Reported(number, 0, step, {}) for step in (1, 2)]
        return [SaveSkipped(number, 0, 1, "1 kB are free"), *reports, AttemptEnded(number, 0, "stopped")]

    found, fake = play(script)
    assert found.warnings == (NO_CHECKPOINT.replace("saved", "saved: 1 kB are free"),)
    assert fake.answers == ["continue", "stop"]
