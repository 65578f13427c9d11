"""``preflight``: one trial, a step or two, and what it tells of an experiment."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import yaml

import tunesmith as tune
from tunesmith.build import check
from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged, Event, Reported, SaveSkipped
from tunesmith.errors import SpecError
from tunesmith.executors.base import Assignment, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.inline import InlineExecutor
from tunesmith.inspection.estimates import Plan, disk_use
from tunesmith.inspection.flow import inspect
from tunesmith.schedulers import FIFOScheduler
from tunesmith.schedulers.base import Scheduler
from tunesmith.spec import CheckpointPolicy

Config = dict[str, Any]
Fly = Callable[..., tune.Preflight]

NO_CHECKPOINT = "no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew"


@pytest.fixture
def fly(tmp_path: Path) -> Iterator[Fly]:
    """``tune.preflight``, inline; whatever happens, nothing of it is left."""
    (tmp_path / "before").mkdir()

    def preflight(trainable: Any, **arguments: Any) -> tune.Preflight:
        return tune.preflight(trainable, **{"storage_path": tmp_path, "executor": "inline", **arguments})

    yield preflight
    assert [path.name for path in tmp_path.iterdir()] == ["before"]


def objective(config: Config) -> Config:
    return {"loss": config["x"]}


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


# -- the trial itself ------------------------------------------------------------------------------------------------------


def test_all_is_well(fly: Fly) -> None:
    found = fly(objective, config={"x": tune.uniform(1, 2)}, metric="loss", mode="min", num_samples=7)
    assert (found.ok, found.problems, found.warnings, found.unread) == (True, (), (), ())
    assert found.metrics["loss"] == found.config["x"] == found.drawn["x"]
    assert (found.trials, found.parallel, found.steps, found.checkpoint_bytes, found.restored) == (7, 1, 1, None, None)
    assert found.estimated_s is not None
    assert 0 < found.estimated_s < 5
    found.raise_if_bad()


def test_an_error_begins_with_the_line_of_the_user(fly: Fly) -> None:
    def train(config: Config) -> None:
        raise KeyError(config["x"])

    found = fly(train, config={"x": tune.choice([3])})
    assert not found.ok
    line = train.__code__.co_firstlineno + 1
    assert found.problems == (f"{__file__}:{line}: KeyError: 3",)
    assert found.warnings == ()
    with pytest.raises(SpecError, match=rf"^preflight of train: 1 problem, and nothing was started\.\n  {__file__}:{line}: KeyError: 3$"):
        found.raise_if_bad()


def test_an_error_in_the_second_step(fly: Fly) -> None:
    def train(config: Config) -> None:
        tune.report(loss=1)
        raise RuntimeError("step\ntwo")

    found = fly(train)
    assert len(found.problems) == 1
    assert found.problems[0].endswith(": RuntimeError: step ...")
    assert found.metrics["loss"] == 1


def test_a_trial_without_a_report(fly: Fly) -> None:
    assert fly(lambda config: None).problems == (
        "lambda ended without a report: call tune.report({'loss': ...}), or return a dict of metrics",
    )


def test_infeasible_configurations_are_drawn_again(fly: Fly) -> None:
    tried = []

    def train(config: Config) -> Config:
        tried.append(config["x"])
        if len(tried) < 4 or config["never"]:
            raise tune.Infeasible("too large")
        return {"loss": 1}

    space = {"x": tune.uniform(0, 1), "never": False}
    assert fly(train, config=space).ok
    assert len(set(tried)) == 4
    (problem,) = fly(train, config={**space, "never": True}).problems
    assert problem.endswith(": Infeasible: too large (10 configurations were drawn, and all were infeasible)")


def test_functions_of_the_configuration_are_tried_too(fly: Fly) -> None:
    def bad(_: Any) -> Any:
        raise ValueError("no")

    assert "trial_name_creator raised ValueError: no" in fly(objective, trial_name_creator=bad).problems[0]
    assert "resources_per_trial raised ValueError: no" in fly(objective, resources_per_trial=bad).problems[0]
    assert "sample_from function raised ValueError: no" in fly(objective, config={"x": tune.sample_from(bad)}).problems[0]
    (problem,) = fly(objective, resources_per_trial={"unicorn": 1}).problems
    assert problem.startswith("No trial could ever start: each asks for cpu 1, unicorn 1")


def test_the_trial_sees_itself_as_in_a_run(fly: Fly, tmp_path: Path) -> None:
    seen = []

    def train(config: Config) -> Config:
        context = tune.get_context()
        seen.append((context.get_experiment_name(), context.get_trial_name(), Path(context.get_trial_dir() or "").parts[-3:]))
        return {"loss": context.get_trial_resources()["cpu"]}  # type: ignore[index]

    named: dict[str, Any] = {"name": "exp", "trial_name_creator": lambda trial: "me", "trial_dirname_creator": lambda trial: "here"}
    found = fly(train, resources_per_trial={"cpu": 0.5}, **named)
    assert found.metrics["loss"] == 0.5
    ((experiment, name, parts),) = seen
    assert (experiment, name, parts[1:]) == ("exp", "me", ("0", "here"))
    assert parts[0].startswith(".preflight_")


# -- metrics ---------------------------------------------------------------------------------------------------------------


def test_a_metric_that_never_comes(fly: Fly) -> None:
    found = fly(lambda config: {"los": 1, "acc": 2}, metric="loss", mode="min")
    assert found.problems == ("the metric 'loss' is not among what was reported: acc, los. Did you mean 'los'?",)
    assert found.warnings == ()


def test_a_metric_that_may_come_later(fly: Fly) -> None:
    found = fly(loops, metric="los", mode="min")
    assert found.ok
    text = "the metric 'los' is not among what was reported: loss. Did you mean 'loss'? (All is well if it comes with a later report.)"
    assert found.warnings == (text, NO_CHECKPOINT)


def test_a_metric_that_comes_with_the_second_report(fly: Fly) -> None:
    def train(config: Config) -> None:
        for step in range(9):
            tune.report({"loss": step, **({"val": step} if step % 2 else {})})

    assert fly(train, metric="val", mode="min").warnings == (NO_CHECKPOINT,)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("high", "is 'high'"), ([1, 2], "is an array or an object")],
)
def test_a_metric_that_is_no_number(fly: Fly, value: Any, problem: str) -> None:
    found = fly(lambda config: {"loss": value}, metric="loss", mode="min")
    assert found.problems == (f"the metric 'loss' {problem}, and must be a number",)


def test_a_metric_that_is_nan(fly: Fly) -> None:
    found = fly(lambda config: {"loss": math.nan}, metric="loss", mode="min")
    assert found.warnings == ("the metric 'loss' is nan; a trial that reports nan ends in ERROR, unless FailureConfig(nan='continue')",)
    lenient = fly(lambda config: {"loss": math.nan}, metric="loss", mode="min", failure_config=tune.FailureConfig(nan="continue"))
    assert lenient.warnings == ("the metric 'loss' is nan",)


class Timed(Scheduler):
    time_attr = "epoch"
    max_t = 5


def test_other_keys_that_the_run_looks_at(fly: Fly) -> None:
    found = fly(
        objective, config={"x": 1}, metric="loss", mode="min", stop={"acc": 1, "training_iteration": 3, "done": True},
        scheduler=Timed(), checkpoint_score_attr="min-acc",
    )  # fmt: skip
    assert found.problems == (
        "the stop criterion and the score attribute of checkpoints 'acc' is not among what was reported: loss.",
        "the scheduler's time_attr 'epoch' is not among what was reported: loss.",
    )
    assert found.steps == 1
    nested = fly(lambda config: {"val": {"acc": 1}, "epoch": 1}, stop={"val/acc": 2}, scheduler=Timed())
    assert nested.ok
    assert fly(loops, scheduler=Timed()).steps is None  # its max_t counts epochs


# -- checkpoints -----------------------------------------------------------------------------------------------------------


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


# -- keys that nobody reads ------------------------------------------------------------------------------------------------


def test_a_parameter_that_is_never_read(fly: Fly) -> None:
    def train(config: Config) -> Config:
        return {"loss": config["lr"] + config.get("momentun", 0.9)}

    found = fly(train, config={"lr": tune.uniform(0, 1), "momentum": tune.uniform(0, 1), "note": "constant", "deep": {"also": 1}})
    assert (found.ok, found.unread) == (True, ("momentum",))
    assert found.warnings == (
        "the parameter 'momentum' was drawn, and never read in the first steps of the trial; it asked for 'momentun', which the config "
        "does not have",
    )


def test_nested_parameters_and_those_in_options(fly: Fly) -> None:
    space = {
        "opt": tune.choice([{"kind": "sgd", "lr": tune.uniform(0, 1), "nesterov": tune.choice([True, False])}]),
        "model": {"width": tune.choice([8]), "depth": tune.choice([2])},
        "layers": [{"units": tune.choice([4])}],
    }

    def train(config: Config) -> Config:
        return {"loss": config["opt"]["lr"] * config["model"]["width"]}

    found = fly(train, config=space)
    assert found.unread == ("layers/0/units", "model/depth", "opt/nesterov")
    assert found.warnings[0].startswith("the parameters 'layers/0/units', 'model/depth', 'opt/nesterov' were drawn, and never read")


def rest_as_a_whole(config: Config) -> Config:
    return {"loss": config["a"], **dict(config)}


def level_as_a_whole(config: Config) -> Config:
    return {"loss": config["a"] + sum(config["deep"].values()) + config["b"]}


@pytest.mark.parametrize("trainable", [rest_as_a_whole, level_as_a_whole])
def test_what_is_passed_on_as_a_whole_counts_as_read(fly: Fly, trainable: Any) -> None:
    space = {"a": tune.choice([1]), "b": tune.choice([2]), "deep": {"c": tune.choice([3])}}
    assert fly(trainable, config=space).unread == ()


def test_reads_of_the_restored_attempt_and_of_resources_count(fly: Fly) -> None:
    def train(config: Config) -> None:
        if tune.get_checkpoint():
            config["late"]
        for step in range(9):
            tune.report({"loss": step}, checkpoint={"a": 1})

    space = {"late": tune.choice([1]), "cpus": tune.choice([1]), "unused": tune.choice([1])}
    assert fly(train, config=space, resources_per_trial=lambda config: {"cpu": config["cpus"]}).unread == ("unused",)

    def particular(config: Config) -> Config:
        if type(config) is not dict:
            raise TypeError
        return {"cpu": config["cpus"]}

    assert fly(train, config=space, resources_per_trial=particular).unread == ()


def test_a_parameter_that_a_function_of_the_space_may_have_read(fly: Fly) -> None:
    space = {"base": tune.choice([2]), "lr": tune.sample_from(lambda config: config["base"] / 10)}
    found = fly(lambda config: {"loss": config["lr"]}, config=space)
    assert found.unread == ("base",)
    assert found.warnings == ("the parameter 'base' was drawn, and never read in the first steps of the trial (by a sample_from perhaps)",)


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_library_that_refuses_other_dicts(fly: Fly, executor: str) -> None:
    def train(config: Config) -> Config:
        yaml.safe_dump(config)
        return {"loss": 1}

    found = fly(train, config={"x": tune.choice([1]), "deep": {"y": 1}}, executor=executor)
    assert (found.ok, found.unread) == (True, ())
    (warning,) = found.warnings
    assert warning.startswith("config reads could not be watched: where the config is a subclass of dict that notes them, the trial fails")
    assert "RepresenterError" in warning


# -- how long, how much ----------------------------------------------------------------------------------------------------


def test_a_step_is_told_from_what_is_done_once(fly: Fly, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def train(config: Config) -> None:
        now[0] += 50.0  # loads its data
        for step in range(100):
            now[0] += 2.0
            tune.report(loss=step)

    found = fly(train, num_samples=4, stop={"training_iteration": 10})
    assert (found.setup_s, found.step_s, found.steps, found.shortened) == (50.0, 2.0, 10, False)
    assert found.estimated_s == 4 * (50 + 10 * 2)
    assert str(found).splitlines()[-2:] == [
        "  a trial takes 50 s to set up and 2 s per step",
        "  4 trials of 10 steps, 1 at a time: about 4 min 40 s",
    ]
    assert fly(train, num_samples=4).estimated_s is None
    assert fly(train, num_samples=-1, time_budget_s=60).estimated_s == 60
    assert fly(train, num_samples=4, stop={"training_iteration": 10}, time_budget_s=60).estimated_s == 60


class Halving(FIFOScheduler):
    max_t = 6

    def on_result(self, trial: Any, result: Any) -> str:
        raise AssertionError("a preflight asks no scheduler")


def test_the_scheduler_bounds_a_trial(fly: Fly) -> None:
    found = fly(loops, scheduler=Halving(), num_samples=2)
    assert (found.steps, found.shortened) == (6, True)
    assert "2 trials of 6 steps, 1 at a time: at most " in str(found)
    both = fly(loops, scheduler=Halving(), stop=[{"training_iteration": 4}, tune.MaximumIterationStopper(5)])
    assert both.steps == 4


def test_all_points_of_a_grid_are_counted(fly: Fly) -> None:
    space = {"x": tune.grid_search([1, 2, 3]), "y": tune.uniform(0, 1)}
    searcher = tune.search.BasicVariantGenerator(points_to_evaluate=[{"x": 1}])
    assert fly(objective, config=space, num_samples=4).trials == 12
    assert fly(objective, config=space, num_samples=4, search_alg=searcher).trials == 10
    (problem,) = fly(objective, config=space, search_alg=tune.search.BasicVariantGenerator(points_to_evaluate=[{"x": 9}])).problems
    assert problem.startswith("points_to_evaluate[0]: config['x']")


class Foreign(tune.search.Searcher):
    def __deepcopy__(self, memo: Any) -> Any:
        raise RuntimeError("there is only one")

    def total_samples(self, num_samples: int | None) -> int | None:
        raise AssertionError


def test_a_searcher_that_cannot_be_copied(fly: Fly) -> None:
    assert fly(objective, config={"x": tune.uniform(0, 1)}, num_samples=3, search_alg=Foreign()).trials == 3


def test_trials_at_once(fly: Fly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_RESOURCES", '{"cpu": 8, "gpu": 0, "license": 3}')

    def parallel(**arguments: Any) -> int | None:
        return fly(objective, executor="local", config={"x": tune.uniform(0, 1)}, num_samples=20, **arguments).parallel

    assert parallel(resources_per_trial={"cpu": 2}) == 4
    assert parallel(resources_per_trial={"cpu": 1, "license": 1}, max_concurrent_trials=2) == 2


def test_checkpoints_that_the_disk_cannot_hold(fly: Fly, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))

    def train(config: Config) -> None:
        saved = tune.get_checkpoint()
        for step in range(saved.to_dict()["step"] if saved else 0, 100):
            tune.report({"loss": step}, checkpoint={"step": step, "weights": b"x" * 100_000})

    arguments: dict[str, Any] = {"num_samples": 10, "stop": {"training_iteration": 5}, "config": {"x": 1}}
    found = fly(train, **arguments)
    assert found.checkpoint_bytes is not None
    assert 100_000 < found.checkpoint_bytes < 101_000
    assert found.estimated_bytes == 50 * found.checkpoint_bytes
    assert found.warnings == (
        "checkpoints may take 5.01 MB in all, and 2 MB are free. Keep fewer of them: num_to_keep (keep_checkpoints_num) per trial, "
        "keep_best or max_checkpoint_bytes for the experiment",
    )
    assert str(found).endswith("; up to 5.01 MB of checkpoints, 2 MB are free")
    assert fly(train, **arguments, keep_checkpoints_num=1).warnings == ()
    assert fly(train, **arguments, max_checkpoint_bytes=1000, checkpoint_score_attr="loss").estimated_bytes == 1000


@pytest.mark.parametrize(
    ("policy", "plan", "every", "kind", "expected"),
    [
        (CheckpointPolicy(), Plan(10, 2, 100), 1, "function", 1000),
        (CheckpointPolicy(), Plan(10, 2, 100), 30, "function", 30),
        (CheckpointPolicy(num_to_keep=2), Plan(10, 2, None), 1, "function", 20),
        (CheckpointPolicy(num_to_keep=2), Plan(10, 2, 1), 1, "function", 10),
        (CheckpointPolicy(), Plan(10, 2, None), 1, "function", None),
        (CheckpointPolicy(), Plan(None, 2, 5), 1, "function", None),
        (CheckpointPolicy(max_bytes=7), Plan(None, 2, 5), 1, "function", 7),
        (CheckpointPolicy(keep_best=3), Plan(10, 2, 4), 1, "function", 11),
        (CheckpointPolicy(keep_best=3), Plan(2, 2, 4), 1, "function", 8),
        (CheckpointPolicy(at_end=False), Plan(10, 2, None), 1, "class", 0),
        (CheckpointPolicy(at_end=True), Plan(10, 2, None), 1, "class", 10),
        (CheckpointPolicy(frequency=10, at_end=True), Plan(10, 2, 100), 1, "class", 110),
    ],
)
def test_disk_use(policy: CheckpointPolicy, plan: Plan, every: int, kind: str, expected: int | None) -> None:
    assert disk_use(policy, plan, 1, every, kind) == expected


# -- arguments, and what is left alone -------------------------------------------------------------------------------------


def test_wrong_arguments(fly: Fly) -> None:
    with pytest.raises(SpecError, match=r"preflight\(\) has no argument 'num_sample'\. Did you mean 'num_samples'\?"):
        fly(objective, num_sample=3)
    with pytest.raises(SpecError, match=r"preflight\(\) has no argument 'preflight'"):
        fly(objective, preflight=True)
    with pytest.raises(SpecError, match="num_samples must be"):
        fly(objective, num_samples=0)
    with pytest.raises(SpecError, match="timeout_s must be a number of seconds > 0"):
        fly(objective, timeout_s=0)
    with pytest.raises(SpecError, match=r"InlineExecutor is one that is made already: give a name, such as executor='local'"):
        fly(objective, executor=InlineExecutor())
    with pytest.raises(SpecError, match=r"a preflight is for new experiments, and 'x' would be resumed: leave resume out"):
        fly(objective, name="x", resume=True)
    assert fly(objective, name="x", resume="AUTO", config={"x": 1}).ok


def test_an_experiment_object(fly: Fly) -> None:
    assert fly(tune.Experiment("one", objective, config={"x": 1}, num_samples=3)).trials == 3


def test_secrets_are_not_shown(fly: Fly) -> None:
    found = fly(objective, config={"x": tune.choice([1]), "api_key": "s3cret", "deep": tune.choice([{"password": "s3cret", "y": 2}])})
    assert found.config["api_key"] == "s3cret"
    assert "s3cret" not in f"{found!r} {found}"
    assert str(found).startswith("preflight of objective with x=1 deep/y=2: 1 warning\n")


def test_a_directory_that_was_not_there_is_gone_again(tmp_path: Path) -> None:
    assert tune.preflight(objective, config={"x": 1}, storage_path=tmp_path / "a" / "b", executor="inline").ok
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made(fly: Fly, tmp_path: Path) -> None:
    (tmp_path / "before" / "file").write_text("")
    with pytest.raises(tune.StorageFull, match=r"file/x cannot be written: .* Give a directory that you can write as storage_path"):
        fly(objective, storage_path=tmp_path / "before" / "file" / "x")


def test_ctrl_c_leaves_nothing(fly: Fly) -> None:
    def train(config: Config) -> None:
        tune.report(loss=1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fly(train)


def test_listings_do_not_show_it(tmp_path: Path) -> None:
    def train(config: Config) -> Config:
        with pytest.raises(tune.TuneError, match=r"No experiment|no experiment"):
            tune.open_experiment(tmp_path)
        return {"loss": 1}

    assert tune.preflight(train, storage_path=tmp_path, executor="inline").ok


def test_metric_and_scheduler_are_free_for_another_run(fly: Fly) -> None:
    scheduler = Timed()
    fly(objective, config={"x": 1}, metric="loss", mode="min", scheduler=scheduler)
    assert scheduler.metric is None


def test_the_run_draws_as_if_there_had_been_none(fly: Fly, tmp_path: Path) -> None:
    def grid(config: Any) -> Any:
        return tune.grid_search([config["x"], 2 * config["x"]])

    arguments: dict[str, Any] = {"config": {"x": tune.uniform(0, 1), "y": tune.sample_from(grid)}, "seed": 5, "num_samples": 3}

    def configs(**more: Any) -> list[Config]:
        analysis = tune.run(objective, storage_path=tmp_path / "before", executor="inline", verbose=0, **arguments, **more)
        return [trial.config for trial in analysis.trials]

    plain = configs()
    assert len(plain) == 6
    searcher = tune.search.BasicVariantGenerator()
    found = fly(objective, **arguments, search_alg=searcher)
    assert (found.trials, vars(searcher)) == (6, vars(tune.search.BasicVariantGenerator()))
    assert found.config not in plain
    assert configs(search_alg=searcher) == plain
    assert configs(preflight=True) == plain


def test_stop_criteria_are_not_asked(fly: Fly) -> None:
    def stop(trial_id: str, result: Any) -> bool:
        raise AssertionError("not in a preflight")

    assert fly(loops, stop=stop).ok


# -- before a run ----------------------------------------------------------------------------------------------------------


def test_a_run_that_would_fail_is_refused(tmp_path: Path) -> None:
    calls = []

    def train(config: Config) -> Config:
        calls.append(1)
        return {"los": config["x"]}

    with pytest.raises(SpecError, match=r"preflight of train: 1 problem, and nothing was started\.\n  the metric 'loss' is not among"):
        tune.run(train, config={"x": 1}, metric="loss", mode="min", num_samples=5, storage_path=tmp_path, executor="inline", preflight=True)
    assert list(tmp_path.iterdir()) == []
    assert len(calls) == 1


def test_a_run_with_warnings_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        analysis = tune.run(loops, stop={"training_iteration": 3}, storage_path=tmp_path, executor="inline", verbose=0, preflight=True)
    assert analysis.trials[0].last_result["training_iteration"] == 3
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"preflight: {NO_CHECKPOINT}."
    assert said[1].startswith("preflight: 1 trial of 3 steps, 1 at a time: about ")


def test_a_resumed_run_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    arguments: dict[str, Any] = {"name": "x", "storage_path": tmp_path, "executor": "inline", "verbose": 0, "config": {"x": 1}}
    tune.run(objective, **arguments)
    tune.run(objective, **arguments, resume=True, preflight=True)
    assert "preflight=True is for new experiments; 'x' is resumed without one." in caplog.text


def test_a_run_refuses_an_executor_that_is_made_already(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="a preflight runs on an executor of its own"):
        tune.run(objective, storage_path=tmp_path, executor=InlineExecutor(), preflight=True)
    with pytest.raises(SpecError, match="preflight must be True or False"):
        tune.run(objective, storage_path=tmp_path, preflight="yes")
    assert list(tmp_path.iterdir()) == []


def test_tuner(tmp_path: Path) -> None:
    config = tune.RunConfig(name="x", storage_path=str(tmp_path), executor="inline", verbose=0)
    tuner = tune.Tuner(objective, param_space={"x": 1}, tune_config=tune.TuneConfig(metric="los", mode="min"), run_config=config)
    assert tuner.preflight().problems == ("the metric 'los' is not among what was reported: loss. Did you mean 'loss'?",)
    assert list(tmp_path.iterdir()) == []
    good = tune.Tuner(objective, param_space={"x": 1}, tune_config=tune.TuneConfig(metric="loss", mode="min"), run_config=config)
    assert good.preflight(timeout_s=60).ok
    assert len(good.fit()) == 1
    with pytest.raises(SpecError, match=r"Tuner\.preflight\(\) is for new experiments, and this one goes on with .*; call fit\(\)"):
        tune.Tuner.restore(str(tmp_path / "x"), objective).preflight()


# -- in processes of their own ---------------------------------------------------------------------------------------------


class Kept(Model):
    seen: ClassVar[list[int]] = []

    def load_checkpoint(self, checkpoint: Config) -> None:
        super().load_checkpoint(checkpoint)
        self.seen.append(os.getpid())


def test_local(fly: Fly, capfd: pytest.CaptureFixture[str]) -> None:
    def train(config: Config) -> None:
        print("this is not for the console")
        saves({"x": config["x"]})

    space = {"x": tune.choice([1]), "y": tune.choice([2])}
    found = fly(train, config=space, metric="loss", mode="min", executor="local", num_samples=3)
    assert (found.problems, found.restored, found.unread, found.trials) == ((), True, ("y",), 3)
    assert "not for the console" not in capfd.readouterr().out
    assert fly(Kept, executor="local", reuse_actors=True).restored is True
    assert json.loads(json.dumps(dict(found.metrics)))["loss"] == 0


def test_a_trial_that_hangs_is_killed(fly: Fly) -> None:
    def train(config: Config) -> None:
        while True:
            time.sleep(0.01)

    (problem,) = fly(train, executor="local", timeout_s=0.8).problems
    assert problem.endswith("no report came within timeout_s=0.8 s")


def test_a_second_step_that_hangs_is_no_problem(fly: Fly) -> None:
    def train(config: Config) -> None:
        tune.report(loss=1)
        while True:
            time.sleep(0.01)

    found = fly(train, executor="local", timeout_s=1.0)
    assert (found.problems, found.warnings) == ((), (NO_CHECKPOINT,))


def test_a_process_that_dies(fly: Fly) -> None:
    def train(config: Config) -> None:
        os.kill(os.getpid(), 9)

    (problem,) = fly(train, executor="local").problems
    assert "SIGKILL" in problem


def test_what_cannot_be_sent_to_a_process(fly: Fly) -> None:
    lock = threading.Lock()
    with pytest.raises(SpecError, match="lock"):
        fly(lambda config: lock.locked(), executor="local")


# -- on executors of other kinds -------------------------------------------------------------------------------------------


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
