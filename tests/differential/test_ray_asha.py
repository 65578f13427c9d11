"""ASHA that stops: trial by trial the decision that Ray Tune's ``AsyncHyperBandScheduler`` takes."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from tunesmith.schedulers import AsyncHyperBandScheduler

pytestmark = pytest.mark.slow


def play(pair: Any, values: list[list[float]], seed: int, *, jump: int = 1, nan: float = 0.0) -> int:
    """Show both the same, a trial drawn at random each time; how many were stopped before their time."""
    rng = random.Random(seed)
    at = dict.fromkeys(range(len(values)), 0)
    for number in at:
        pair.add(number)
    stopped = 0
    while at:
        number = rng.choice(sorted(at))
        length = len(values[number])
        at[number] = min(at[number] + rng.randint(1, jump), length)
        answer = pair.report(number, at[number], math.nan if rng.random() < nan else values[number][at[number] - 1])
        if answer == "STOP" or at[number] == length:
            stopped += answer == "STOP" and at[number] < length
            del at[number]
    return stopped


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_t": 27, "reduction_factor": 3},
        {"max_t": 16, "grace_period": 2, "reduction_factor": 2},
        {"max_t": 50, "grace_period": 3, "reduction_factor": 2.5},
        {"max_t": 9, "reduction_factor": 3, "stop_last_trials": False},
    ],
)
def test_it_decides_alike(pair: Any, rising: Any, options: dict[str, Any], mode: str) -> None:
    stopped = 0
    for seed in range(10):
        both = pair(AsyncHyperBandScheduler, "AsyncHyperBandScheduler", mode, **options)
        stopped += play(both, rising(seed, 20, options.get("max_t", 100)), seed)
    assert stopped > 20


@pytest.mark.parametrize("seed", range(8))
def test_with_ties_and_with_jumps_over_rungs(pair: Any, rising: Any, seed: int) -> None:
    """With a factor whose percentile is exact: at 66.67 % Ray's cut may lie a rounding error above a score that equals it."""
    for jump, ties, factor in ((1, True, 2), (5, False, 3), (9, True, 4)):
        both = pair(AsyncHyperBandScheduler, "AsyncHyperBandScheduler", max_t=27, reduction_factor=factor)
        play(both, rising(seed, 30, 27, ties=ties), seed, jump=jump)


def test_the_top_rung_that_rounding_errors_cost_there(ray_schedulers: Any) -> None:
    """Documented difference: (243, 3) and (1000, 10) keep their top rungs, which a logarithm loses there."""
    from tunesmith.schedulers.rungs import milestones

    for max_t, factor in ((243, 3), (1000, 10)):
        theirs = ray_schedulers.AsyncHyperBandScheduler(metric="score", mode="max", max_t=max_t, reduction_factor=factor)
        assert max(milestone for milestone, _ in theirs._brackets[0]._rungs) < max_t
        assert milestones(1, max_t, factor)[-1] == max_t
