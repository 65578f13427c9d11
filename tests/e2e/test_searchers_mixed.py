"""Every searcher with schedulers that stop and pause, on real processes: it ends, with every trial accounted for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.create import SEARCHERS

pytestmark = pytest.mark.e2e

HEAVY = {"ax", "smac"}
"""These come with torch, or take seconds to think: in `make test-all` only."""
NUMBERS_ONLY = {"bayesopt"}

SCHEDULERS: dict[str, Callable[[], Any]] = {
    "fifo": lambda: None,
    "asha": lambda: tune.ASHAScheduler(max_t=9, reduction_factor=3),
    "hyperband": lambda: tune.HyperBandScheduler(max_t=9, reduction_factor=3),
}


def train(config: dict[str, Any]) -> None:
    for epoch in range(1, 10):
        tune.report(loss=(config["lr"] - 0.3) ** 2 + config.get("width", 0) / 1000 + 1 / epoch)


def space(name: str) -> dict[str, Any]:
    numbers = {"lr": tune.uniform(0, 1), "decay": tune.loguniform(1e-4, 1)}
    return numbers if name in NUMBERS_ONLY else {**numbers, "width": tune.randint(1, 65), "act": tune.choice(["relu", "tanh"])}


NAMES = [pytest.param(name, marks=(pytest.mark.slow, pytest.mark.heavy) if name in HEAVY else ()) for name in sorted(SEARCHERS)]


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ends(tmp_path: Path, name: str, scheduler: str) -> None:
    samples = 6 if name in HEAVY else 12
    analysis = tune.run(
        train, config=space(name), num_samples=samples, metric="loss", mode="min", search_alg=name, scheduler=SCHEDULERS[scheduler](),
        max_concurrent_trials=3, resources_per_trial={"cpu": 0.5}, storage_path=tmp_path, seed=2, verbose=0,
    )  # fmt: skip
    assert len(analysis) == samples
    assert {trial.status for trial in analysis} == {"TERMINATED"}
    assert all(0 <= trial.config["lr"] <= 1 for trial in analysis)
    assert len({trial.config["lr"] for trial in analysis}) > samples / 2
    if scheduler == "fifo":
        assert {trial.iteration for trial in analysis} == {9}
    else:
        assert max(trial.iteration for trial in analysis) == 9
        assert min(trial.iteration for trial in analysis) < 9
