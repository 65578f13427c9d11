"""``preflight``: whether a trial goes on from its own checkpoint, in the driver and in processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError

Config = dict[str, Any]
Fly = Callable[..., tune.Preflight]

NO_CHECKPOINT = "no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew"


def loops(config: Config) -> None:
    for step in range(100):
        tune.report(loss=step)


def saves(config: Config) -> None:
    saved = tune.get_checkpoint()
    for step in range(saved.to_dict()["step"] + 1 if saved else 0, 100):
        tune.report({"loss": step}, checkpoint={"step": step})


class Model(tune.Trainable):
    def setup(self, config: Config) -> None:
        self.count = 0

    def step(self) -> Config:
        self.count += 1
        return {"loss": self.count}

    def save_checkpoint(self, checkpoint_dir: str) -> Config:
        return {"count": self.count}

    def load_checkpoint(self, checkpoint: Config) -> None:
        self.count = checkpoint["count"]


def with_folder(config: Config, checkpoint_dir: str | None = None) -> None:
    start = int(Path(checkpoint_dir, "step").read_text()) + 1 if checkpoint_dir else 0
    for step in range(start, 100):
        with tune.checkpoint_dir(step=step) as folder:
            Path(folder, "step").write_text(str(step))
        tune.report(loss=step)


@pytest.mark.parametrize("trainable", [saves, Model, with_folder])
def test_round_trip(fly: Fly, trainable: Any) -> None:
    found = fly(trainable, metric="loss", mode="min")
    assert (found.ok, found.warnings, found.restored) == (True, (), True)
    assert found.checkpoint_bytes is not None
    assert found.checkpoint_bytes > 0


@pytest.mark.parametrize("executor", ["inline", "local"])
@pytest.mark.parametrize("trainable", [saves, Model])
def test_a_checkpoint_that_cannot_be_loaded(fly: Fly, trainable: Any, executor: str) -> None:
    class Broken(Model):
        def load_checkpoint(self, checkpoint: Config) -> None:
            self.count = checkpoint["counter"]

    def broken(config: Config) -> None:
        saved = tune.get_checkpoint()
        step = saved.to_dict()["counter"] if saved else 0
        tune.report({"loss": step}, checkpoint={"count": step})

    found = fly(Broken if trainable is Model else broken, executor=executor)
    assert found.restored is False
    (problem,) = found.problems
    assert problem.startswith(f"{__file__}:")
    assert problem.endswith(": KeyError: 'counter' (while it goes on from its checkpoint of iteration 1)")
    assert found.setup_s is not None


def test_a_trial_that_begins_anew(fly: Fly) -> None:
    def train(config: Config) -> None:
        tune.get_checkpoint()
        for epoch in range(1, 100):
            tune.report({"training_iteration": epoch}, checkpoint={"epoch": epoch})

    found = fly(train)
    assert found.restored is False
    assert found.problems == (
        "a trial that goes on from its checkpoint of training_iteration=1 reports 1 next: it began anew. Take the counter from the "
        "checkpoint, too",
    )


def test_a_counter_in_larger_steps_is_fine(fly: Fly) -> None:
    def train(config: Config) -> None:
        saved = tune.get_checkpoint()
        for epoch in range(saved.to_dict()["epoch"] + 100 if saved else 100, 1000, 100):
            tune.report({"training_iteration": epoch}, checkpoint={"epoch": epoch})

    found = fly(train)
    assert (found.ok, found.restored) == (True, True)


def test_a_checkpoint_that_is_never_loaded(fly: Fly) -> None:
    def train(config: Config) -> None:
        for step in range(100):
            tune.report({"loss": step}, checkpoint={"step": step})

    found = fly(train)
    assert (found.ok, found.restored) == (True, False)
    assert found.warnings == (
        "train writes checkpoints and never loads them: a retry, and a trial that goes on after a pause, starts anew. Ask for the "
        "checkpoint at the beginning: tune.get_checkpoint()",
    )


def test_a_trial_that_has_nothing_left_to_do_after_its_checkpoint(fly: Fly) -> None:
    def train(config: Config) -> None:
        saved = tune.get_checkpoint()
        for step in range(1 if saved else 0, 1):
            tune.report({"loss": step}, checkpoint={"step": step})

    found = fly(train)
    assert (found.problems, found.warnings, found.restored) == ((), (), True)


def test_a_trial_that_ends_with_its_first_step_never_goes_on(fly: Fly) -> None:
    class Once(Model):
        def step(self) -> Config:
            return {"loss": 1, "done": True}

        def load_checkpoint(self, checkpoint: Config) -> None:
            raise AssertionError

    found = fly(Once, checkpoint_at_end=True)
    assert (found.problems, found.warnings, found.restored, found.steps) == ((), (), None, 1)
    assert found.checkpoint_bytes is not None


def test_no_checkpoint(fly: Fly) -> None:
    class Plain(tune.Trainable):
        def step(self) -> Config:
            return {"loss": 1}

    assert fly(loops).warnings == fly(Plain).warnings == (NO_CHECKPOINT,)


def test_a_class_that_is_told_to_save_and_cannot(fly: Fly) -> None:
    class Plain(tune.Trainable):
        def step(self) -> Config:
            return {"loss": 1}

    (problem,) = fly(Plain, checkpoint_freq=1).problems
    assert "the class defines no save_checkpoint()" in problem


def test_no_time_is_left_to_go_on(fly: Fly, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def train(config: Config) -> None:
        now[0] += 6.0
        saves(config)

    found = fly(train, timeout_s=10)
    assert found.ok
    assert found.warnings == ("timeout_s=10 left no time to go on from the checkpoint: give more to have that tried",)


# -- in processes of their own ---------------------------------------------------------------------------------------------


def test_local(fly: Fly, capfd: pytest.CaptureFixture[str]) -> None:
    def train(config: Config) -> None:
        print("this is not for the console")
        saves({"x": config["x"]})

    space = {"x": tune.choice([1]), "y": tune.choice([2])}
    found = fly(train, config=space, metric="loss", mode="min", executor="local", num_samples=3)
    assert (found.problems, found.restored, found.unread, found.trials) == ((), True, ("y",), 3)
    assert "not for the console" not in capfd.readouterr().out
    assert found.metrics["loss"] == 0
    assert fly(Model, executor="local", reuse_actors=True).restored is True


def test_a_trial_that_hangs_is_killed(fly: Fly) -> None:
    def train(config: Config) -> None:
        threading.Event().wait()

    (problem,) = fly(train, executor="local", timeout_s=0.8).problems
    assert problem.endswith("no report came within timeout_s=0.8 s")


def test_a_process_that_dies(fly: Fly) -> None:
    def train(config: Config) -> None:
        os.kill(os.getpid(), 9)

    (problem,) = fly(train, executor="local").problems
    assert "SIGKILL" in problem


def test_what_cannot_be_sent_to_a_process(fly: Fly) -> None:
    lock = threading.Lock()
    with pytest.raises(SpecError, match="lock"):
        fly(lambda config: lock.locked(), executor="local")
