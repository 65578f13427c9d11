"""The median rule: report by report the decision that Ray Tune's ``MedianStoppingRule`` takes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tunesmith.schedulers import MedianStoppingRule

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize(
    "options",
    [
        {"time_attr": "training_iteration", "grace_period": 1},
        {"time_attr": "training_iteration", "grace_period": 4, "min_samples_required": 2},
        {"time_attr": "time_total_s", "grace_period": 3.0, "min_samples_required": 5},
    ],
)
def test_it_decides_alike(pair: Any, rising: Any, options: dict[str, Any], mode: str) -> None:
    """All trials run at once, so that none has to make way for another; times of trials differ."""
    stopped = 0
    for seed in range(12):
        both = pair(MedianStoppingRule, "MedianStoppingRule", mode, **options)
        rng = random.Random(seed)
        values = rising(seed, 15, 20, ties=seed % 3 == 0)
        pace = [rng.uniform(0.5, 2.0) if options["time_attr"] == "time_total_s" else 1 for _ in values]
        at = dict.fromkeys(range(15), 0)
        for number in at:
            both.add(number)
        both.begin()
        while at:
            number = rng.choice(sorted(at))
            at[number] += 1
            answer = both.report(number, at[number] * pace[number], values[number][at[number] - 1], options["time_attr"])
            if answer == "STOP" or at[number] == 20:
                stopped += answer == "STOP"
                del at[number]
    assert stopped > 10
