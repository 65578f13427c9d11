from __future__ import annotations

import os

import pytest

from tunesmith.executors.base import Assignment
from tunesmith.trainable import AttemptRunner, Trainable, TrainableSpec, report, with_parameters
from tunesmith.trainable.session import GO_ON, Answer


class Counting(Trainable):
    calls: list[str]

    def setup(self, config):
        self.calls = config.setdefault("calls", [])
        self.calls.append("setup")
        self.count = 0

    def step(self):
        self.count += 1
        return {"count": self.count, "done": self.count == self.config.get("steps", 3)}

    def save_checkpoint(self, checkpoint_dir):
        self.calls.append("save")
        return {"count": self.count}

    def load_checkpoint(self, checkpoint):
        self.count = checkpoint["count"]

    def cleanup(self):
        self.calls.append("cleanup")


class Old(Trainable):
    def _setup(self, config):
        self.n = config["n"]

    def _train(self):
        self.n += 1
        return {"n": self.n, "done": self.n == 3}

    def _save(self, checkpoint_dir):
        path = os.path.join(checkpoint_dir, "n.txt")
        with open(path, "w") as file:
            file.write(str(self.n))
        return path

    def _restore(self, path):
        with open(path) as file:
            self.n = int(file.read())

    def _stop(self):
        self.config["stopped"] = True

    def _log_result(self, result):
        self.config["logged"] = result


def test_runs_alone(tmp_path):
    config = {"steps": 9}
    trainable = Counting(config=config)
    assert trainable.config == {"steps": 9, "calls": ["setup"]}
    assert config == {"steps": 9}
    result = trainable.train()
    assert (result["count"], result["training_iteration"], result["done"]) == (1, 1, False)
    path = trainable.save()
    assert path.startswith(trainable.logdir)
    assert os.path.isdir(path)
    trainable.train()
    assert (trainable.iteration, trainable.training_iteration) == (2, 2)
    other = Counting(config={})
    other.restore(path)
    assert (other.count, other.iteration) == (1, 1)
    other.restore(trainable.save(str(tmp_path / "mine")))
    assert (other.count, other.iteration) == (2, 2)
    other.stop()
    assert other.config["calls"] == ["setup", "cleanup"]
    assert (other.trial_id, other.trial_name, other.trial_resources) == ("default", "default", {})
    assert other.get_config() is other.config
    assert Trainable.default_resource_request({}) is None


def test_old_names_alone_and_in_a_run(attempt, tmp_path):
    trainable = Old(config={"n": 0})
    trainable.train()
    path = trainable.save(str(tmp_path / "old"))
    trainable.train()
    trainable.restore(path)
    assert trainable.n == 1
    trainable.restore(os.path.join(path, "n.txt"))
    trainable.stop()
    assert trainable.config["stopped"]
    assert trainable.config["logged"]["training_iteration"] == 2

    config = {"n": 0}
    ended, channel = attempt(Old, config, frequency=2)
    assert ended.outcome == "finished", ended.error
    assert [m["n"] for m in channel.metrics] == [1, 2, 3]
    assert config["stopped"]
    assert config["logged"]["training_iteration"] == 3
    last = str(tmp_path / "trial" / "checkpoint_000000")
    _, channel = attempt(Old, {"n": 0}, checkpoint=last, checkpoint_id="3/checkpoint_000000", iteration=2)
    assert [m["n"] for m in channel.metrics] == [3]


def test_in_a_run_it_knows_the_trial(attempt, tmp_path):
    class Knows(Counting):
        def step(self):
            return {
                "id": self.trial_id, "name": self.trial_name, "dir": self.logdir, "cpu": self.trial_resources["cpu"],
                "before": self.iteration, "done": self.iteration == 1,
            }  # fmt: skip

    _, channel = attempt(Knows)
    first, second = channel.metrics
    assert (first["id"], first["name"], first["dir"]) == ("abcde_00003", "train_abcde_00003", str(tmp_path / "trial"))
    assert (first["before"], second["before"], first["cpu"]) == (0, 1, 1.0)


def test_the_trials_config_is_its_own_and_not_copied_again(attempt):
    config = {"steps": 1}
    attempt(Counting, config)
    assert config["calls"] == ["setup", "cleanup"]


@pytest.mark.parametrize("returned", ["directory", "slashed", "file", "deep", "dict", "none"])
def test_load_gets_what_save_returned(attempt, tmp_path, returned):
    class Saves(Counting):
        def save_checkpoint(self, checkpoint_dir):
            os.mkdir(os.path.join(checkpoint_dir, "deep"))
            for name in ("file", "deep/file"):
                with open(os.path.join(checkpoint_dir, name), "w") as file:
                    file.write("x")
            return {
                "directory": checkpoint_dir, "slashed": checkpoint_dir + "/", "file": os.path.join(checkpoint_dir, "file"),
                "deep": os.path.join(checkpoint_dir, "deep/file"), "dict": {"a": 1}, "none": None,
            }[returned]  # fmt: skip

        def load_checkpoint(self, checkpoint):
            loaded.append(checkpoint)

    loaded = []
    ended, channel = attempt(Saves, frequency=1)
    assert ended.outcome == "finished", ended.error
    path = str(tmp_path / "trial" / channel.events[0].checkpoint.rpartition("/")[2])
    attempt(Saves, checkpoint=path, checkpoint_id="3/checkpoint_000000", iteration=1)
    expected = {"file": f"{path}/file", "deep": f"{path}/deep/file", "dict": {"a": 1}}.get(returned, f"{path}/")
    assert loaded == [expected]


def test_wrong_returns_are_named(attempt, tmp_path):
    class Elsewhere(Counting):
        def save_checkpoint(self, checkpoint_dir):
            return "/elsewhere"

    class NoDict(Counting):
        def step(self):
            return 5

    class CannotSave(Trainable):
        def step(self):
            return {"a": 1}

    ended, _ = attempt(Elsewhere, frequency=1)
    assert "Elsewhere.save_checkpoint(" in ended.error["message"]
    assert "returned '/elsewhere'" in ended.error["message"]
    assert os.listdir(tmp_path / "trial") == []
    ended, _ = attempt(NoDict)
    assert "NoDict.step() returned a int; expected a dict" in ended.error["message"]
    ended, _ = attempt(CannotSave, frequency=1)
    assert "defines no save_checkpoint" in ended.error["message"]


def test_checkpoints_at_the_frequency_on_request_and_at_the_end_but_never_twice(attempt):
    class Asks(Counting):
        def step(self):
            return {**super().step(), "should_checkpoint": self.count == 3}

    _, channel = attempt(Asks, {"steps": 5}, frequency=2, at_end=True)
    assert [event.checkpoint is not None for event in channel.events] == [False, True, True, True, True]
    assert channel.saved == []
    _, channel = attempt(Counting, {"steps": 9}, lambda e: Answer("stop", save=True) if e.iteration == 2 else GO_ON, frequency=2)
    assert channel.events[1].checkpoint is not None
    assert channel.saved == []


@pytest.mark.parametrize(
    ("answer", "saves"),
    [
        (Answer("stop"), 1), (Answer("stop", save=True), 1), (Answer("pause", "cold"), 1), (Answer("pause", "rerun"), 0),
        (Answer("stop", outcome="timeout"), 0),
    ],
)  # fmt: skip
def test_what_is_saved_at_an_end_from_outside(attempt, answer, saves):
    config = {"steps": 9}
    ended, channel = attempt(Counting, config, lambda event: answer, at_end=True)
    assert ended.outcome == answer.outcome
    assert len(channel.saved) == saves
    assert all(event.iteration == 1 for event in channel.saved)
    assert config["calls"][-1] == "cleanup"


def test_at_end_is_harmless_for_a_class_that_cannot_save(attempt):
    class CannotSave(Trainable):
        def step(self):
            return {"a": 1, "done": True}

    ended, channel = attempt(CannotSave, at_end=True)
    assert ended.outcome == "finished"
    assert channel.events[0].checkpoint is None


def test_reports_inside_step(attempt):
    class Reports(Counting):
        def step(self):
            self.count += 1
            report(inner=self.count)
            return {"outer": self.count, "done": True} if self.count == 2 else None

    ended, channel = attempt(Reports)
    assert ended.outcome == "finished", ended.error
    assert [(m.get("inner"), m.get("outer")) for m in channel.metrics] == [(1, None), (2, None), (None, 2)]


def test_log_result_sees_all_keys_before_the_report(attempt):
    class Logs(Counting):
        def log_result(self, result):
            logged.append(result)

    logged = []
    _, channel = attempt(Logs, {"steps": 2})
    assert [result["training_iteration"] for result in logged] == [1, 2]
    assert {"count", "done", "time_this_iter_s", "time_total_s"} <= set(logged[0])
    assert [event.iteration for event in channel.events] == [1, 2]


def test_errors_clean_up_and_failures_of_the_clean_up_change_nothing(attempt, capsys):
    class Fails(Counting):
        def step(self):
            raise KeyError("lr")

    class FailsLate(Counting):
        def cleanup(self):
            raise RuntimeError("late")

    config = {}
    ended, _ = attempt(Fails, config)
    assert (ended.outcome, ended.error["message"], config["calls"]) == ("user_error", "'lr'", ["setup", "cleanup"])
    ended, _ = attempt(FailsLate)
    assert ended.outcome == "finished"
    assert ended.error is None
    assert "FailsLate.cleanup() failed; the trial's results stand:" in capsys.readouterr().err


def test_parameters_reach_setup(attempt):
    class Takes(Counting):
        def setup(self, config, data, scale=1):
            super().setup(config)
            self.data = data * scale

        def step(self):
            return {"data": self.data, "done": True}

    _, channel = attempt(with_parameters(Takes, data=3, scale=2))
    assert channel.metrics[0]["data"] == 6


def test_a_trainable_that_a_trial_makes_for_itself_is_its_own(attempt):
    def train(config):
        trainable = Counting(config={})
        trainable.train()
        trainable.train()
        report(inner=trainable.iteration, id=trainable.trial_id)

    _, channel = attempt(train)
    assert (channel.metrics[0]["inner"], channel.metrics[0]["id"], channel.metrics[0]["training_iteration"]) == (2, "default", 1)


def test_an_idle_instance_is_reset_or_replaced(tmp_path):
    class Resets(Counting):
        def reset_config(self, new_config):
            self.calls = new_config.setdefault("calls", [])
            self.calls.append("reset")
            self.count = 0
            return new_config["agree"]

    class Channel:
        def ask(self, event):
            seen.append((event.trial, event.iteration, event.metrics["count"]))
            return GO_ON

    seen, configs = [], [{"agree": True, "steps": 1} for _ in range(2)] + [{"agree": False, "steps": 1}]
    runner = AttemptRunner(TrainableSpec.of(Resets), reuse=True)
    for trial, config in enumerate(configs):
        runner.run(Assignment(trial, 0, "id", "name", "exp", config, str(tmp_path / str(trial))), Channel())
    assert seen == [(0, 1, 1), (1, 1, 1), (2, 1, 1)]
    assert [config["calls"] for config in configs] == [["setup"], ["reset"], ["reset", "cleanup", "setup"]]
    runner.close()
    runner.close()
    assert configs[2]["calls"][-1] == "cleanup"
