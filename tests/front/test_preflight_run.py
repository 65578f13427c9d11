"""``preflight``: what it leaves alone, and how it stands before a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.executors.inline import InlineExecutor
from tunesmith.schedulers.base import Scheduler

Config = dict[str, Any]
Fly = Callable[..., tune.Preflight]

NO_CHECKPOINT = "no checkpoint was saved. A retry, and a trial that goes on after a pause, starts anew"


def objective(config: Config) -> Config:
    return {"loss": config["x"]}


def loops(config: Config) -> None:
    for step in range(100):
        tune.report(loss=step)


class Timed(Scheduler):
    time_attr = "epoch"
    max_t = 5


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
    simple: dict[str, Any] = {"config": {"x": tune.uniform(0, 1)}, "seed": 5}
    run = tune.run(objective, storage_path=tmp_path / "before", executor="inline", verbose=0, **simple)
    assert fly(objective, **simple).config != run.trials[0].config
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
