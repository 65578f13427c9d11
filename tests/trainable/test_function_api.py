from __future__ import annotations

import functools
import os

import numpy as np
import pytest

from tunesmith.trainable import report, with_parameters
from tunesmith.trainable.session import GO_ON, Answer

STOP = Answer("stop")


def values(channel, key="_metric"):
    return [m.get(key) for m in channel.metrics]


def test_the_reporter_of_old_scripts(attempt, tmp_path):
    def train(config, reporter):
        for step in range(3):
            reporter(mean_accuracy=step, timesteps_total=10 * step)
        reporter({"mean_accuracy": 3})
        seen.update(dir=reporter.logdir, id=reporter.trial_id, name=reporter.trial_name, resources=reporter.trial_resources)

    seen = {}
    ended, channel = attempt(train)
    assert ended.outcome == "finished"
    assert values(channel, "mean_accuracy") == [0, 1, 2, 3]
    assert values(channel, "timesteps_total")[:3] == [0, 10, 20]
    assert seen == {
        "dir": str(tmp_path / "trial"), "id": "abcde_00003", "name": "train_abcde_00003", "resources": {"cpu": 1.0},
    }  # fmt: skip
    assert os.path.isdir(tmp_path / "trial")


def test_checkpoint_dir_is_the_restored_one_or_none(attempt, tmp_path):
    def train(config, checkpoint_dir=None):
        seen.append(checkpoint_dir)
        report({"a": 1}, checkpoint={"a": 1})

    seen = []
    attempt(train)
    path = str(tmp_path / "trial" / "checkpoint_000000")
    attempt(train, checkpoint=path, checkpoint_id="3/checkpoint_000000", iteration=1)
    assert seen == [None, path]


@pytest.mark.parametrize(
    ("result", "expected"), [(3, [3]), (0, [0]), (0.5, [0.5]), (np.float32(0.5), [0.5]), (np.array(2), [2]), (None, [])]
)
def test_returned_numbers(attempt, result, expected):
    ended, channel = attempt(lambda config: result)
    assert ended.outcome == "finished"
    assert values(channel) == expected


def test_returned_dict_and_generator_in_all_its_parts(attempt):
    _, channel = attempt(lambda config: {"a": {"b": 1}, "done": True})
    assert values(channel, "a/b") == [1]

    def generate(config):
        yield {"_metric": 1}
        yield None
        report(2)
        yield 3
        return 4

    ended, channel = attempt(generate)
    assert ended.outcome == "finished"
    assert values(channel) == [1, 2, 3, 4]


@pytest.mark.parametrize("wrong", ["text", [1], object()])
def test_other_values_are_the_users_error_at_the_function(attempt, wrong):
    def train(config):
        return wrong

    def generate(config):
        yield wrong

    for function, verb in ((train, "returned"), (generate, "yielded")):
        ended, _ = attempt(function)
        assert ended.outcome == "user_error"
        assert f"{function.__name__}() {verb} a {type(wrong).__name__} in trial abcde_00003" in ended.error["message"]
        assert ended.error["where"] == f"{__file__}:{function.__code__.co_firstlineno}"


def test_a_stopped_generator_is_closed(attempt):
    closed = []

    def generate(config):
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    ended, channel = attempt(generate, decide=lambda event: STOP if event.iteration == 2 else GO_ON)
    assert ended.outcome == "stopped"
    assert len(channel.events) == 2
    assert closed == [True]


def test_parameters_reach_the_function(attempt):
    def train(config, data, scale=1):
        report(total=sum(data) * scale + config["x"])

    data = [1, 2]
    for trainable in (
        with_parameters(train, data=data),
        functools.partial(with_parameters(train, data=data), scale=1),
        with_parameters(functools.partial(train, scale=1), data=data),
        functools.partial(train, data=data),
    ):
        _, channel = attempt(trainable, {"x": 10})
        assert values(channel, "total") == [13]


def test_callables_of_all_kinds(attempt):
    class Model:
        def fit(self, config):
            report(kind="method")

        def __call__(self, config):
            report(kind="object")

    assert values(attempt(Model().fit)[1], "kind") == ["method"]
    assert values(attempt(Model())[1], "kind") == ["object"]
    ended, channel = attempt(len, {"a": 1})
    assert ended.outcome == "finished"
    assert values(channel) == [1]
