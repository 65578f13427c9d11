from __future__ import annotations

import gc
import json
import weakref

import pytest

from tunesmith import blame
from tunesmith.errors import Infeasible
from tunesmith.executors.base import Assignment
from tunesmith.trainable import AttemptRunner, TrainableSpec, report
from tunesmith.trainable.session import GO_ON


class Recorder:
    def ask(self, event):
        return GO_ON


class OutOfMemoryError(RuntimeError):
    pass


OutOfMemoryError.__module__ = "torch.cuda"


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("x"), "user_error"), (Infeasible("x"), "infeasible"), (MemoryError(), "oom_ram"), (SystemExit(2), "user_error"),
        (OutOfMemoryError("x"), "oom_gpu"), (RuntimeError("CUDA out of memory. Tried"), "oom_gpu"), (RuntimeError("x"), "user_error"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "oom_ram"), (GeneratorExit(), "user_error"),
    ],
)  # fmt: skip
def test_classes_of_failures(attempt, error, outcome):
    def train(config):
        raise error

    ended, _ = attempt(train)
    assert ended.outcome == outcome
    assert ended.error["type"] == type(error).__name__
    assert all(type(value) is str for value in ended.error.values())


def test_messages():
    assert blame.describe(SystemExit(3))["message"].startswith("the trial's code called sys.exit(3)")
    assert blame.describe(KeyError("lr"))["message"] == "'lr'"
    assert "could not be made: RuntimeError" in blame.describe(Unprintable())["message"]
    assert blame.describe(ValueError(), "here:1")["where"] == "here:1"


def test_an_interrupt_is_the_drivers(attempt):
    def train(config):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(train)


def test_the_users_own_frame_comes_first(attempt):
    def train(config):
        json.loads("{")  # the frame to blame: json's own lie deeper

    line = train.__code__.co_firstlineno + 1
    ended, _ = attempt(train)
    assert ended.error["where"] == f"{__file__}:{line}"
    assert "json.loads" in ended.error["traceback"]
    assert "decoder.py" in ended.error["traceback"]


def test_our_own_frames_are_left_out_of_chains_too(attempt):
    def train(config):
        try:
            report([1])
        except Exception as error:
            raise RuntimeError("second") from error

    ended, _ = attempt(train)
    text = ended.error["traceback"]
    assert "second" in text
    assert "got a list" in text
    assert "report([1])" in text
    assert "tunesmith/trainable" not in text
    assert ended.error["where"].startswith(__file__)


def test_groups_and_cycles(attempt):
    def train(config):
        first, second = ValueError("first"), ValueError("second")
        first.__context__, second.__context__ = second, first
        raise ExceptionGroup("both", [first, second])

    ended, _ = attempt(train)
    assert ended.error["type"] == "ExceptionGroup"
    assert "first" in ended.error["traceback"]


def test_code_from_a_string_is_the_users(attempt):
    space: dict = {}
    exec(compile("def train(config):\n    1 / 0\n", "<cell 3>", "exec"), space)
    ended, _ = attempt(space["train"])
    assert ended.error["where"] == "<cell 3>:2"


def test_an_error_in_the_drivers_turn_is_no_stop(attempt):
    def decide(event):
        raise ConnectionError("driver gone")

    ended, _ = attempt(lambda config: report(a=1), decide=decide)
    assert ended.outcome == "user_error"
    assert ended.error["type"] == "ConnectionError"


def test_a_failed_trials_memory_is_freed_when_the_next_one_starts(tmp_path):
    class Big:
        pass

    def train(config):
        big = Big()
        weak.append(weakref.ref(big))
        if config["fails"]:
            raise ValueError("no")

    weak: list = []
    runner = AttemptRunner(TrainableSpec.of(train))
    gc.disable()
    try:
        for trial, fails in enumerate((True, False)):
            runner.run(Assignment(trial, 0, "id", "name", "exp", {"fails": fails}, str(tmp_path)), Recorder())
        assert [one() for one in weak] == [None, None]
        assert runner.error is None
    finally:
        gc.enable()
