"""One scheduler object in several runs: each begins as if it had never been used, and takes it as it is at that moment."""

from __future__ import annotations

import threading

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError


def train(config):
    for step in range(9):
        tune.report(loss=config["x"] / (step + 1))


def run(folder, scheduler, **options):
    analysis = tune.run(
        train, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", scheduler=scheduler, seed=1, executor="inline", verbose=0,
        storage_path=str(folder), search_alg="random", **options,
    )  # fmt: skip
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


MADE = {
    "asha": lambda: tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
    "hyperband": lambda: tune.HyperBandScheduler(max_t=9),
    "median": lambda: tune.MedianStoppingRule(grace_period=1, min_samples_required=2),
    "pbt": lambda: tune.PopulationBasedTraining(perturbation_interval=3, hyperparam_mutations={"x": tune.uniform(0, 1)}),
}


@pytest.mark.parametrize("name", MADE)
def test_a_second_run_is_as_the_first(name, tmp_path):
    scheduler = MADE[name]()
    first = run(tmp_path, scheduler, num_samples=8)
    assert run(tmp_path, scheduler, num_samples=4) == run(tmp_path, MADE[name](), num_samples=4)
    assert run(tmp_path, scheduler, num_samples=8) == first


def test_what_was_changed_in_between_holds(tmp_path):
    scheduler = MADE["asha"]()
    run(tmp_path, scheduler, num_samples=3)
    scheduler.max_t = 5
    assert max(run(tmp_path, scheduler, num_samples=3)) == 5


def test_one_that_cannot_be_copied(tmp_path):
    scheduler = MADE["asha"]()
    scheduler.lock = threading.Lock()
    with pytest.raises(SpecError, match="AsyncHyperBandScheduler can't be copied"):
        run(tmp_path, scheduler, num_samples=1)
