"""The part of the scheduler kit that makes real runs, on Ray: a function that never saves, and a class that does when it is asked."""

from __future__ import annotations

import pytest

import tunesmith as tune
from tunesmith import schedulers
from tunesmith.executors import RayExecutor
from tunesmith.testing import SchedulerKit

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]

SHARES = schedulers.DistributeResources(increase_by={"cpu": 1})
"""Of five CPUs in all; no node has more than two."""

MADE = {
    "fifo": lambda **_: schedulers.FIFOScheduler(),
    "asha": lambda **given: schedulers.ASHAScheduler(max_t=20, **given),
    "promoting": lambda **given: schedulers.ASHAScheduler(max_t=20, form="promote", **given),
    "pasha": lambda **given: schedulers.PASHAScheduler(max_t=20, reduction_factor=2, **given),
    "hyperband": lambda **given: schedulers.HyperBandScheduler(max_t=9, **given),
    "halving": lambda **given: schedulers.SuccessiveHalvingScheduler(max_t=9, n=6, **given),
    "median": lambda **given: schedulers.MedianStoppingRule(time_attr="training_iteration", grace_period=2, **given),
    "cut": lambda **given: schedulers.FixedCutScheduler(max_t=20, cut_at=2, keep=2, **given),
    "patience": lambda **given: schedulers.PatienceScheduler(patience=3, **given),
    "pbt": lambda **given: schedulers.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations={"x": tune.uniform(0, 1)}, **given
    ),
    "resources": lambda **given: schedulers.ResourceChangingScheduler(schedulers.ASHAScheduler(max_t=20, **given), SHARES),
}


class Kit(SchedulerKit):
    """Of one scheduler."""

    num_samples = 8

    def __init__(self, made):
        self.made = made

    def make(self, metric, mode):
        return self.made(metric=metric, mode=mode)

    def executor(self):
        return RayExecutor()


Kit.__test__ = False


@pytest.mark.parametrize("name", MADE)
def test_every_experiment_ends(name, tmp_path):
    Kit(MADE[name]).test_in_a_real_run_every_experiment_ends(tmp_path)
