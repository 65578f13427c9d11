"""``preflight``: one trial, a step or two; whether it runs, what it reports, what it reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler

Config = dict[str, Any]
Fly = Callable[..., tune.Preflight]

NO_CHECKPOINT = "no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew"


def objective(config: Config) -> Config:
    return {"loss": config["x"]}


def loops(config: Config) -> None:
    for step in range(100):
        tune.report(loss=step)


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


@pytest.mark.parametrize("value", ["1", True, math.nan])
def test_a_time_that_is_no_number(fly: Fly, value: Any) -> None:
    found = fly(lambda config: {"loss": 1, "epoch": value}, scheduler=Timed())
    assert found.problems == (f"the scheduler's time_attr 'epoch' is {value!r}, and must be a number",)


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
        if type(config["deep"]) is not dict:
            raise TypeError(f"cannot represent {type(config).__name__}")
        return {"loss": 1}

    found = fly(train, config={"x": tune.choice([1]), "deep": {"y": 1}}, executor=executor)
    assert (found.ok, found.unread) == (True, ())
    (warning,) = found.warnings
    assert warning.startswith("config reads could not be watched: where the config is a subclass of dict that notes them, the trial fails")
    assert warning.endswith(": TypeError: cannot represent Watched)")
