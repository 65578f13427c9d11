"""``preflight``: how long an experiment takes, and what it needs of the disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.inspection.estimates import Plan, disk_use
from tunesmith.schedulers import FIFOScheduler
from tunesmith.spec import CheckpointPolicy

Config = dict[str, Any]
Fly = Callable[..., tune.Preflight]


def objective(config: Config) -> Config:
    return {"loss": config["x"]}


def loops(config: Config) -> None:
    for step in range(100):
        tune.report(loss=step)


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
