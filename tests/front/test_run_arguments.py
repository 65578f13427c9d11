"""Every argument of ``run``: what it becomes in the spec, and how a wrong one is refused, before anything is made."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith import ending
from tunesmith.errors import SpecError
from tunesmith.executors.base import ExecutorCapabilities
from tunesmith.executors.inline import InlineExecutor
from tunesmith.executors.local import LocalExecutor
from tunesmith.legacy import RULES
from tunesmith.schedulers import FIFOScheduler, Scheduler, SchedulerCapabilities
from tunesmith.search import BasicVariantGenerator, Searcher
from tunesmith.spec import ExperimentSpec
from tunesmith.stopper import CombinedStopper, DictStopper, FunctionStopper

Run = Callable[..., ExperimentSpec]


def train(config: dict[str, Any]) -> None:
    """Does nothing."""


class Model(tune.Trainable):
    def step(self) -> dict[str, float]:
        return {"loss": 1.0}


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run`` up to the point where the experiment would start; gives the spec."""
    monkeypatch.setattr(ending, "perform", lambda spec, *_: spec)

    def run(trainable: Any = train, **arguments: Any) -> ExperimentSpec:
        return tune.run(trainable, **{"storage_path": tmp_path / "results", **arguments})  # type: ignore[return-value]

    return run


# -- what arguments become -------------------------------------------------------------------------------------------------


def test_sizes_and_failures(spec: Run) -> None:
    made = spec(
        max_ram="1.5GB",
        grace_s=2,
        keep_best=3,
        max_checkpoint_bytes="20 GiB",
        metric="loss",
        mode="min",
        max_failures={"timeout": 2, "nan": 0},
    )
    assert (made.max_ram, made.grace_s) == (1_500_000_000, 2.0)
    assert (made.checkpoint.keep_best, made.checkpoint.max_bytes, made.checkpoint.min_free) == (3, 20 << 30, None)
    assert made.failure.retries == {"timeout": 2, "nan": 0}
    config = tune.FailureConfig(max_failures=2, nan="continue", circuit_breaker=None)
    made = spec(failure_config=config, checkpoint_config=tune.CheckpointConfig(min_free_bytes="1GB"))
    assert (made.failure.retries, made.failure.nan_policy, made.failure.identical) == ({"user_error": 2}, "continue", None)
    assert made.checkpoint.min_free == 1_000_000_000


def test_defaults(spec: Run, tmp_path: Path) -> None:
    made = spec()
    assert made.name.startswith("train_20")
    assert made.path == str(tmp_path / "results" / made.name)
    assert (made.num_samples, made.metrics, made.modes, made.stop, made.time_budget_s) == (1, (), (), None, None)
    assert (made.resources, made.max_concurrent, made.seed, made.deterministic) == ({"cpu": 1.0}, None, None, False)
    assert isinstance(made.searcher, BasicVariantGenerator)
    assert isinstance(made.scheduler, FIFOScheduler)
    assert isinstance(made.executor, LocalExecutor if sys.platform == "linux" else InlineExecutor)
    assert (made.failure.retries, made.failure.fail_fast, made.failure.raise_on_failed_trial) == ({}, False, True)
    assert (made.failure.identical, made.failure.nan_policy, made.grace_s, made.max_ram) == (5, "fail", 5.0, None)
    assert (made.callbacks, made.loggers, made.log_to_file, made.verbose, made.resume) == ((), None, None, 1, False)


def test_defaults_passed_explicitly_are_silent(spec: Run, caplog: pytest.LogCaptureFixture) -> None:
    idle = {name: rule.idle[-1] for name, rule in RULES.items() if name != "concurrent"}
    with caplog.at_level(logging.DEBUG, "tunesmith"):
        spec(resume=False, loggers=None, sync_config=None, callbacks=None, stop=None, name=None, verbose=None, **idle)
        spec(resume=None, **{name: rule.idle[0] for name, rule in RULES.items()})
    assert not caplog.records


@pytest.mark.parametrize("search_alg", [None, "random", "variant_generator", BasicVariantGenerator(constant_grid_search=True)])
def test_searchers(spec: Run, search_alg: Any) -> None:
    assert isinstance(spec(search_alg=search_alg).searcher, BasicVariantGenerator)


@pytest.mark.parametrize("scheduler", [None, "fifo", "FIFO", FIFOScheduler()])
def test_schedulers(spec: Run, scheduler: Any) -> None:
    assert isinstance(spec(scheduler=scheduler).scheduler, FIFOScheduler)


def test_metric_and_mode_reach_the_spec_from_wherever_they_are(spec: Run) -> None:
    assert (spec(metric="loss", mode="min").metrics, spec(metric="loss", mode="min").modes) == (("loss",), ("min",))
    made = spec(mode="min", scheduler=Scheduler(metric="loss"))
    assert (made.metrics, made.modes, made.scheduler.mode) == (("loss",), ("min",), "min")
    assert spec(metric=["a", "b"], mode=["min", "max"]).modes == ("min", "max")


def test_counts_and_times(spec: Run) -> None:
    assert spec(num_samples=-1).num_samples is None
    assert spec(num_samples=7).num_samples == 7
    assert spec(max_concurrent_trials=3).max_concurrent == 3
    assert spec(time_budget_s=timedelta(minutes=2)).time_budget_s == 120.0
    assert spec(time_budget_s=1.5).time_budget_s == 1.5
    assert spec(seed=3, deterministic=True).deterministic


def test_stop(spec: Run) -> None:
    assert isinstance(spec(stop={"loss": 1}).stop, DictStopper)
    assert isinstance(spec(stop=lambda trial_id, result: True).stop, FunctionStopper)
    assert isinstance(spec(stop=[{"loss": 1}, lambda trial_id, result: True]).stop, CombinedStopper)


@pytest.mark.parametrize(
    ("given", "files"),
    [
        (None, None),
        (False, ()),
        (True, ("stdout.log", "stderr.log")),
        ("all.log", ("all.log", "all.log")),
        (("o", "e"), ("o", "e")),
        (["o", "e"], ("o", "e")),
    ],
)
def test_log_to_file(spec: Run, given: Any, files: Any) -> None:
    assert spec(log_to_file=given).log_to_file == files


def test_resources(spec: Run) -> None:
    assert spec(resources_per_trial={"gpu": 0.5}).resources == {"cpu": 1.0, "gpu": 0.5}
    assert spec(resources_per_trial=tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 2}])).resources == {"cpu": 3.0}
    request = spec(resources_per_trial=lambda config: {"cpu": config["n"]}).resources
    assert callable(request)
    assert request({"n": 2}) == {"cpu": 2.0}


def test_resources_of_the_trainable_itself(spec: Run) -> None:
    assert spec(tune.with_resources(train, {"gpu": 1})).resources == {"cpu": 0.0, "gpu": 1.0}
    request = spec(tune.with_resources(train, lambda config: {"cpu": config["n"]})).resources
    assert callable(request)
    assert request({"n": 2}) == {"cpu": 2.0}


def test_checkpoints(spec: Run) -> None:
    made = spec(Model, checkpoint_freq=5, keep_checkpoints_num=2, checkpoint_score_attr="min-loss", checkpoint_at_end=True)
    keep = made.checkpoint
    assert (keep.num_to_keep, keep.score_attribute, keep.score_order, keep.frequency, keep.at_end) == (2, "loss", "min", 5, True)
    assert (made.trainable.checkpoint_frequency, made.trainable.checkpoint_at_end) == (5, True)
    assert spec(Model).checkpoint.at_end is False
    config = tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute="acc")
    assert (spec(checkpoint_config=config).checkpoint.score_attribute, spec(checkpoint_config=config).checkpoint.at_end) == ("acc", False)


def test_names_and_registered_trainables(spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.registry._trainables", {})
    tune.register_trainable("digits", train)
    made = spec("digits")
    assert made.trainable.name == "digits"
    assert made.name.startswith("digits_20")
    assert spec(name="a/b").path.endswith("/results/a/b")


def test_an_experiment_brings_its_own_arguments(spec: Run) -> None:
    experiment = tune.Experiment("digits", train, config={"lr": 0.1}, num_samples=3, stop={"loss": 1}, local_dir=None)
    made = spec(experiment, metric="loss", mode="min")
    assert (made.name, made.num_samples, made.metrics, made.space.config) == ("digits", 3, ("loss",), {"lr": 0.1})
    assert spec([experiment]).path == f"{made.path}_2", "the first one is taken, though nothing has run there yet"


def test_two_names_for_one_place(tmp_path: Path, spec: Run) -> None:
    assert spec(storage_path=None, local_dir=tmp_path / "old", name="x").path == str(tmp_path / "old" / "x")


def test_loggers(spec: Run) -> None:
    from tunesmith.logger import DEFAULT_LOGGERS, Logger

    class Mine(Logger):
        def on_result(self, result: dict[str, Any]) -> None:
            pass

    assert spec(loggers=()).loggers == ()
    names = [type(logger).__name__ for logger in spec(loggers=(*DEFAULT_LOGGERS, Mine)).loggers or ()]
    assert names == ["JsonLoggerCallback", "CSVLoggerCallback", "TBXLoggerCallback", "LegacyLoggerCallback", "ErrorFileCallback"]


def test_the_executor_may_come_from_the_environment(spec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_EXECUTOR", "Inline")
    assert isinstance(spec().executor, InlineExecutor)
    monkeypatch.setenv("TUNESMITH_EXECUTOR", "moon")
    with pytest.raises(SpecError, match=r"executor='moon' is not known\. Known names: inline, local, ray\."):
        spec()


# -- arguments of older releases ------------------------------------------------------------------------------------------

ASKS_FOR_WHAT_IS: dict[str, Any] = {
    "queue_trials": True,
    "ray_auto_init": False,
    "global_checkpoint_period": 60,
    "sync_on_checkpoint": False,
    "sync_to_driver": "rsync",
    "_remote": True,
    "concurrent": True,
}


@pytest.mark.parametrize("name", sorted(name for name, rule in RULES.items() if rule.accepted))
def test_what_always_holds_is_accepted_with_one_line(spec: Run, caplog: pytest.LogCaptureFixture, name: str) -> None:
    with caplog.at_level(logging.WARNING, "tunesmith"):
        spec(**{name: ASKS_FOR_WHAT_IS[name]})
    (record,) = caplog.records
    assert f"argument {name}=" in record.getMessage()


@pytest.mark.parametrize("name", sorted(name for name, rule in RULES.items() if not rule.accepted))
def test_what_is_not_built_is_refused_by_name(spec: Run, tmp_path: Path, name: str) -> None:
    with pytest.raises(SpecError, match=rf"^run\(\): argument '{name}' is not supported yet; \w+ .*\.$|remove it\.$"):
        spec(**{name: "something"})
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("front", "argument", "hint"),
    [
        (tune.run, "param_space", "the search space is its argument config"),
        (tune.run, "tune_config", r"as in run\(metric=..., num_samples=...\)"),
        (tune.run, "run_config", r"as in run\(name=..., stop=...\)"),
        (tune.Tuner, "config", "the search space is its argument param_space"),
        (tune.Tuner, "num_samples", r"give it in tune_config=TuneConfig\(...\)"),
        (tune.Tuner, "stop", r"give it in run_config=RunConfig\(...\)"),
        (tune.Tuner, "resources_per_trial", r"use tune.with_resources\(trainable"),
    ],
)
def test_an_argument_of_the_other_front_is_sent_there(front: Any, argument: str, hint: str) -> None:
    with pytest.raises(SpecError, match=rf"\(\) has no argument '{argument}'; .*{hint}"):
        front(lambda config: None, **{argument: {"x": 1}})


LEGACY_RUN = set("""
run_or_experiment name metric mode stop time_budget_s config resources_per_trial num_samples local_dir upload_dir storage_path
storage_filesystem trial_name_creator trial_dirname_creator loggers callbacks log_to_file sync_config sync_to_cloud sync_to_driver
sync_function sync_on_checkpoint checkpoint_freq checkpoint_at_end keep_checkpoints_num checkpoint_score_attr checkpoint_config
global_checkpoint_period export_formats max_failures fail_fast restore search_alg scheduler progress_reporter verbose resume
resume_config queue_trials reuse_actors trial_executor raise_on_failed_trial return_trials ray_auto_init with_server server_port
run_errored_only max_concurrent_trials chdir_to_trial_dir _experiment_checkpoint_dir _remote
""".split())  # noqa: SIM905 - readable as a text


def test_every_argument_that_run_ever_had_is_known_by_name() -> None:
    own = set(inspect.signature(tune.run).parameters) - {"legacy"}
    assert own | set(RULES) >= LEGACY_RUN
    assert not own & set(RULES), "an argument is ours, or in the table"


def test_every_argument_is_documented() -> None:
    doc = tune.run.__doc__ or ""
    assert [name for name in inspect.signature(tune.run).parameters if name not in doc] == []


# -- wrong values -----------------------------------------------------------------------------------------------------------


class Needy(Scheduler):
    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities(needs_metric=True)


class NoSearcher:
    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_sample": 3}, r"run\(\) has no argument 'num_sample'\. Did you mean 'num_samples'\?"),
        ({"wibble": 3}, r"run\(\) has no argument 'wibble'\. It knows: "),
        ({"num_samples": 0}, "num_samples must be a whole number >= 1, or -1"),
        ({"num_samples": -2}, "num_samples must be a whole number >= 1"),
        ({"num_samples": 2.0}, "num_samples must be a whole number"),
        ({"num_samples": True}, "num_samples must be a whole number"),
        ({"max_concurrent_trials": 0}, "max_concurrent_trials must be a whole number >= 1"),
        ({"time_budget_s": 0}, "time_budget_s must be a number of seconds > 0"),
        ({"time_budget_s": "1h"}, "time_budget_s must be a number of seconds > 0"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"config": [1]}, "config must be a dict"),
        ({"mode": "best"}, "mode must be 'min' or 'max'"),
        ({"metric": "loss"}, "metric='loss' is given without a mode"),
        ({"fail_fast": True, "max_failures": 2}, "give one of the two"),
        ({"fail_fast": "never"}, "fail_fast must be False, True or 'raise'"),
        ({"max_failures": -2}, "max_failures must be a whole number"),
        ({"max_failures": {"time_out": 1}}, r"there is no outcome 'time_out'; there are .*Did you mean 'timeout'\?"),
        ({"max_failures": {"timeout": -2}}, r"max_failures\['timeout'\] must be a whole number >= 0, or -1"),
        ({"fail_fast": True, "max_failures": {"timeout": 2}}, "give one of the two"),
        ({"failure_config": 3}, "failure_config must be a FailureConfig, got int 3"),
        ({"failure_config": tune.FailureConfig(), "max_failures": 3}, "max_failures and failure_config are both given"),
        ({"max_ram": "much"}, "max_ram must be a number of bytes >= 1, a text such as '4GB'"),
        ({"max_ram": 0}, "max_ram must be a number of bytes >= 1"),
        ({"max_ram": "4GB", "executor": "inline"}, "max_ram=4000000000 needs an executor that gives each trial processes of its own"),
        ({"grace_s": 0}, "grace_s must be a number of seconds > 0"),
        ({"grace_s": 1, "executor": "inline"}, "grace_s=1 needs an executor"),
        ({"keep_best": 0, "metric": "a", "mode": "min"}, "keep_best must be a whole number >= 1"),
        ({"keep_best": 2}, "keep_best must know which checkpoints are the best"),
        ({"max_checkpoint_bytes": "1GB"}, "max_checkpoint_bytes must know which checkpoints are the best"),
        ({"max_checkpoint_bytes": 1.5}, "max_checkpoint_bytes must be a number of bytes"),
        ({"take_over": "yes"}, "take_over must be True or False"),
        ({"search_alg": "hyperoptt"}, r"search_alg='hyperoptt' is not known\..* Known names: auto, ax, .*variant_generator"),
        ({"search_alg": BasicVariantGenerator}, "got the class BasicVariantGenerator; pass an instance"),
        ({"search_alg": 3}, "search_alg: int 3 has no method suggest"),
        ({"search_alg": NoSearcher()}, r"derive it from tune\.search\.Searcher"),
        ({"scheduler": "fido"}, r"scheduler='fido' is not known\. Did you mean 'fifo'\?"),
        ({"scheduler": FIFOScheduler}, "got the class FIFOScheduler; pass an instance"),
        ({"scheduler": object()}, r"has no method on_result\(\)"),
        ({"scheduler": Needy()}, "the scheduler Needy needs a metric and a mode"),
        ({"scheduler": Needy(), "metric": ["a", "b"], "mode": ["min", "min"]}, "the scheduler Needy ranks by one metric"),
        ({"executor": "inlin"}, r"executor='inlin' is not known\. Did you mean 'inline'\?"),
        ({"executor": InlineExecutor}, "got the class InlineExecutor"),
        ({"max_trial_s": 5, "executor": "inline"}, "max_trial_s=5 needs an executor that can end a trial by force; 'inline' runs"),
        ({"max_silence_s": 5, "executor": "inline"}, "max_silence_s=5 needs an executor"),
        ({"callbacks": [tune.Callback]}, r"callbacks: got the class Callback; pass an instance, as in callbacks=\[Callback\(\)\]"),
        ({"callbacks": tune.Callback()}, "callbacks must be a list"),
        ({"callbacks": [print]}, "callbacks must be instances of Callback; builtin_function_or_method"),
        ({"loggers": [3]}, "loggers: 3 is neither a Logger class"),
        ({"log_to_file": ("a", "b", "c")}, "log_to_file must be True, False, a file name, or a pair"),
        ({"log_to_file": 3}, "log_to_file must be"),
        ({"trial_name_creator": "x"}, "trial_name_creator must be a function"),
        ({"trial_dirname_creator": 3}, "trial_dirname_creator must be a function"),
        ({"verbose": -1}, "verbose must be a whole number >= 0"),
        ({"verbose": "loud"}, "verbose must be a whole number >= 0"),
        ({"reuse_actors": "yes"}, "reuse_actors must be True or False"),
        ({"raise_on_failed_trial": "no"}, "raise_on_failed_trial must be True or False"),
        ({"name": "../up"}, "leads out of the storage path"),
        ({"storage_path": "s3://bucket?endpoint_override=x"}, "settings in a URL are not supported"),
        ({"storage_path": "nowhere://bucket/x"}, "there is no such storage .*nowhere"),
        ({"storage_filesystem": "s3"}, "storage_filesystem must be a file system"),
        ({"resume": "REMOTE", "name": "x"}, "resume='REMOTE' needs a storage_path that is a URL"),
        ({"local_dir": "elsewhere"}, "two names of one argument"),
        ({"resume": "PROMPT"}, "resume='PROMPT' asks a person"),
        ({"resume": True}, "resume=True needs name="),
        ({"resume": True, "name": "nothing"}, "there is no experiment 'nothing'"),
        ({"sync_config": {"upload_dir": "x"}}, "sync_config must be a SyncConfig, got dict"),
        ({"checkpoint_config": 3}, "checkpoint_config must be a CheckpointConfig"),
        ({"checkpoint_config": tune.CheckpointConfig(), "keep_checkpoints_num": 2}, "keep_checkpoints_num and .* are both given"),
        ({"keep_checkpoints_num": 0}, "num_to_keep must be a whole number >= 1"),
        ({"checkpoint_freq": 3}, "checkpoint_freq.* is for Trainable classes, and 'train' is a function"),
        ({"checkpoint_at_end": True}, "checkpoint_at_end is for Trainable classes"),
        ({"resources_per_trial": {"gpu": -1}}, r"resources_per_trial\['gpu'\] must be a finite number >= 0"),
        ({"stop": "done"}, "stop: expected a dict"),
        ({"deterministic": True, "time_budget_s": 3}, "deterministic=True cannot be kept with time_budget_s"),
        ({"deterministic": True, "stop": {"time_total_s": 3}}, r"cannot be kept with stop=\{'time_total_s'"),
        ({"deterministic": True, "stop": tune.TimeoutStopper(3)}, "cannot be kept with a stopper with a time limit"),
    ],
)
def test_wrong_values_are_refused_before_anything_is_made(spec: Run, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        spec(**arguments)
    assert "\n" not in str(caught.value), "one paragraph"
    assert not (tmp_path / "results").exists(), "nothing was made"


def test_a_limit_in_seconds_needs_an_executor_that_can_kill(spec: Run) -> None:
    class Forceful(InlineExecutor):
        capabilities = ExecutorCapabilities(name="forceful", kill=True)

    assert spec(executor=Forceful(), max_trial_s=5, max_silence_s=2).max_trial_s == 5.0


@pytest.mark.parametrize("trainable", [3, None, object, "nobody"])
def test_what_is_no_trainable(spec: Run, trainable: Any) -> None:
    with pytest.raises(SpecError):
        spec(trainable)


def test_resources_are_given_once(spec: Run) -> None:
    with pytest.raises(SpecError, match="resources are given twice: resources_per_trial="):
        spec(tune.with_resources(train, {"cpu": 2}), resources_per_trial={"cpu": 1})


def test_several_experiments_are_for_run_experiments(spec: Run) -> None:
    one = tune.Experiment("one", train)
    with pytest.raises(SpecError, match=r"run\(\) takes one experiment, got a list of 2; use run_experiments"):
        spec([one, one])


def test_an_argument_of_the_experiment_and_of_run_must_agree(spec: Run) -> None:
    experiment = tune.Experiment("one", train, num_samples=3)
    assert spec(experiment, num_samples=3).num_samples == 3
    with pytest.raises(SpecError, match=r"num_samples is given twice: 4 to run\(\), and 3 in the Experiment 'one'"):
        spec(experiment, num_samples=4)


def test_experiments_know_their_arguments() -> None:
    with pytest.raises(SpecError, match=r"Experiment\(\) has no argument 'num_sample'\. Did you mean 'num_samples'\?"):
        tune.Experiment("x", train, num_sample=3)
    with pytest.raises(SpecError, match=r"Experiment\(\): argument 'restore' is not supported yet"):
        tune.Experiment("x", train, restore="/tmp/x")
    with pytest.raises(SpecError, match="expected a dict with an entry 'run'"):
        tune.Experiment.from_json("x", {"config": {}})


def test_created_by_name() -> None:
    searcher = tune.create_searcher("random", constant_grid_search=True)
    assert isinstance(searcher, Searcher)
    assert searcher.constant_grid_search  # type: ignore[attr-defined]
    assert isinstance(tune.create_scheduler("fifo"), FIFOScheduler)
    with pytest.raises(SpecError, match=r"search_alg 'random' \(BasicVariantGenerator\) has no argument 'max_concurent'\. Did you mean"):
        tune.create_searcher("random", max_concurent=3)
    with pytest.raises(SpecError, match=r"scheduler 'fifo' \(FIFOScheduler\) has no argument 'max_t'"):
        tune.create_scheduler("fifo", max_t=3)
    with pytest.raises(SpecError, match=r"scheduler='ashaa' is not known\. Did you mean 'asha'\?"):
        tune.create_scheduler("ashaa")


@pytest.mark.parametrize("given", ["progress.csv", ("out.log", "error.txt")])
def test_logs_do_not_take_the_place_of_results(spec: Run, given: Any) -> None:
    with pytest.raises(SpecError, match=r"log_to_file=.* is a file of results"):
        spec(log_to_file=given)
