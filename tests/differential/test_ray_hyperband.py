"""Synchronous HyperBand: bracket by bracket who goes on and who is stopped, as Ray Tune's ``HyperBandScheduler`` has it."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.schedulers import HyperBandScheduler

pytestmark = pytest.mark.slow


def play(side: Any, values: list[list[float]], ready: Any, report: Any) -> dict[int, int]:
    """All trials that may run go on by one iteration in turn; where each had come to when it was over."""
    at = dict.fromkeys(range(len(values)), 0)
    for number in at:
        side.add(number)
    side.all_are_drawn()
    side.begin()
    while running := ready(side):
        for number in running:
            trial = side.trials[number]
            if trial.status != "RUNNING":
                continue
            at[number] += 1
            report(side, number, at[number], values[number][at[number] - 1])
    return at


def ready_there(rays: Any) -> list[int]:
    """Running ones, and those that Ray's scheduler would resume."""
    while (trial := rays.scheduler.choose_trial_to_run(rays)) is not None:
        trial.status = "RUNNING"
    return [number for number, trial in rays.trials.items() if trial.status == "RUNNING"]


def ready_here(ours: Any) -> list[int]:
    while (trial := ours.choose()) is not None:
        trial.status = "RUNNING"
    return [number for number, trial in ours.trials.items() if trial.status == "RUNNING"]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(("max_t", "factor", "trials"), [(9, 3, 17), (27, 3, 49), (8, 2, 25), (16, 4, 20), (9, 3, 34)])
def test_the_same_trials_come_equally_far(pair: Any, rising: Any, max_t: int, factor: int, trials: int, mode: str) -> None:
    for seed in range(4):
        both = pair(HyperBandScheduler, "HyperBandScheduler", mode, max_t=max_t, reduction_factor=factor)
        values = rising(seed, trials, max_t)
        mine = play(both.ours, values, ready_here, lambda side, n, at, v: side.report(n, {"score": v, "training_iteration": at}))
        theirs = play(both.rays, values, ready_there, lambda side, n, at, v: side.report(n, {"score": v, "training_iteration": at}))
        assert mine == theirs
        assert len(set(mine.values())) > 1
        assert max(mine.values()) == max_t
