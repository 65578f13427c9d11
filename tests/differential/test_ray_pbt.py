"""Population-based training: who exploits whom and when, as Ray Tune's ``PopulationBasedTraining`` has it.

Whom of the best a trial copies is drawn: Ray's draw is made to be ours, if ours is among those that it may draw.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from tunesmith.schedulers import PopulationBasedTraining

pytestmark = pytest.mark.slow

OPTIONS: list[dict[str, Any]] = [
    {"perturbation_interval": 4},
    {"perturbation_interval": 3, "quantile_fraction": 0.5},
    {"perturbation_interval": 5, "burn_in_period": 12, "quantile_fraction": 0.3},
    {"perturbation_interval": 2, "quantile_fraction": 0.0},
]


def follow(rays: Any, ours: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Let Ray's scheduler draw what ours has drawn, and note its exploits instead of carrying them out."""
    import ray.tune.schedulers.pbt as module

    found: list[tuple[int, int]] = []
    allowed: dict[int, Any] = {}

    def choice(upper: list[Any]) -> Any:
        allowed.clear()
        allowed.update({trial.number: trial for trial in upper})
        drawn = {source for _, source in ours.exploits[rays.seen :]}  # a donor that has not saved is drawn there, and then not copied
        return next((trial for trial in upper if trial.number in drawn), upper[0])

    def exploit(_: Any, trial: Any, __: Any) -> None:
        source = dict(ours.exploits[rays.seen :]).get(trial.number)
        assert source in allowed, f"trial {trial.number}: ours copies {source}; Ray's would copy one of {sorted(allowed)}"
        found.append((trial.number, source))
        mine, theirs = rays.scheduler._trial_state[trial], rays.scheduler._trial_state[allowed[source]]
        mine.last_perturbation_time = theirs.last_perturbation_time
        mine.last_train_time = theirs.last_train_time

    monkeypatch.setattr(module.random, "choice", choice)
    monkeypatch.setattr(rays.scheduler, "_exploit", exploit)
    rays._schedule_trial_save = lambda trial, result: "checkpoint"
    return found


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_same_trials_exploit(pair: Any, rising: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], mode: str) -> None:
    """All run at once, at paces of their own."""
    exploits = 0
    for seed in range(6):
        mutations = {"lr": [0.1, 0.2, 0.4]}
        both = pair(PopulationBasedTraining, "PopulationBasedTraining", mode, time_attr="training_iteration",
                    hyperparam_mutations=mutations, **options)  # fmt: skip
        found = follow(both.rays, both.ours, monkeypatch)
        rng = random.Random(seed)
        values = rising(seed, 8, 60)
        for number in range(8):
            both.add(number, {"lr": 0.2})
        both.ours.all_are_drawn()
        both.begin()
        at = dict.fromkeys(range(8), 0)
        for _ in range(240):
            number = rng.randrange(8)
            at[number] += 1
            result = {"score": values[number][min(at[number], 60) - 1], "training_iteration": at[number]}
            before = len(both.ours.exploits)
            both.ours.report(number, dict(result))
            both.rays.seen = len(found)
            both.rays.report(number, dict(result))
            assert found == both.ours.exploits
            for trial, source in found[before:]:
                at[trial] = at[source]
        exploits += len(found)
    assert exploits > 10 or options.get("quantile_fraction") == 0.0


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_same_trials_exploit_in_step(
    pair: Any, rising: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], mode: str
) -> None:
    """``synch=True``: each interval the trials wait for the last of them, and the worst copy the best."""
    for seed in range(4):
        mutations = {"lr": [0.1, 0.2, 0.4]}
        both = pair(PopulationBasedTraining, "PopulationBasedTraining", mode, time_attr="training_iteration", synch=True,
                    hyperparam_mutations=mutations, **options)  # fmt: skip
        found = follow(both.rays, both.ours, monkeypatch)
        values = rising(seed, 8, 60)
        for number in range(8):
            both.add(number, {"lr": 0.2})
        both.ours.all_are_drawn()
        both.begin()
        for at in range(1, 31):
            for number in random.Random(1000 * seed + at).sample(range(8), 8):
                result = {"score": values[number][at - 1], "training_iteration": at}
                both.ours.report(number, dict(result))
                both.rays.seen = len(found)
                both.rays.report(number, dict(result))
                assert sorted(found) == sorted(both.ours.exploits)
        assert found or options.get("quantile_fraction") == 0.0
