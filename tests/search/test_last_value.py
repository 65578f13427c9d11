"""Any searcher with any scheduler that stops trials early: each trial counts once, with the last result that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.search import Proposal, Searcher
from tunesmith.search.limiter import ConcurrencyLimiter
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.repeater import Repeater
from tunesmith.search.sampler import Asked, Sampler

SPACE = {"x": tune.uniform(0, 1)}

SCHEDULERS = {
    "asha": lambda: tune.ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3),
    "asha, pausing": lambda: tune.ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, form="promote"),
    "hyperband": lambda: tune.HyperBandScheduler(max_t=27),
    "median": lambda: tune.MedianStoppingRule(grace_period=2, min_samples_required=3),
    "successive halving": lambda: tune.SuccessiveHalvingScheduler(max_t=27),
}


class Listening(Sampler):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.seen: list[Observation] = []

    def observe(self, observation: Observation) -> None:
        self.seen.append(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        return None


class Shared:
    """A simulation plays with copies of what it is given; what these were told is to be seen here."""

    def __deepcopy__(self, memo: Any) -> Shared:
        return self


class Native(Shared, NativeSearcher):
    def make_sampler(self, problem: Problem) -> Sampler:
        return Listening(problem)

    def told(self) -> dict[float, tuple[float, float]]:
        seen: list[Observation] = self.sampler.seen  # type: ignore[attr-defined]
        assert len({one.trial for one in seen}) == len(seen)
        return {one.values["x"]: (one.loss, one.step) for one in seen}


class Foreign(Shared, Searcher):
    """As a user writes it."""

    def __init__(self) -> None:
        super().__init__("loss", "min")
        self.live: dict[str, float] = {}
        self.ends: dict[float, tuple[float, float]] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.live[trial_id] = (len(self.live) + len(self.ends)) * 0.618 % 1
        return {"x": self.live[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        assert result is not None
        assert not error
        self.ends[self.live.pop(trial_id)] = (result["loss"], float(result["training_iteration"]))

    def told(self) -> dict[float, tuple[float, float]]:
        assert not self.live
        return self.ends


def curve(config: dict[str, Any], iteration: int) -> tuple[dict[str, float], float]:
    return {"loss": config["x"] + (1.5 - config["x"]) / iteration}, 1.0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("make", [Native, Foreign])
def test_each_trial_is_told_once_with_its_last_result(make: Any, scheduler: str) -> None:
    searcher = make()
    sim = tune.simulate(
        curve, config=SPACE, num_samples=40, workers=4, max_t=27, metric="loss", mode="min", seed=3, search_alg=searcher,
        scheduler=SCHEDULERS[scheduler](),
    )  # fmt: skip
    expected = {trial.config["x"]: (trial.last_result["loss"], float(trial.iteration)) for trial in sim.trials}
    assert searcher.told() == expected
    assert len({step for _, step in expected.values()}) > 1, "none was stopped early: this shows nothing"


@pytest.mark.parametrize("wrap", [lambda one: ConcurrencyLimiter(one, 3), lambda one: ConcurrencyLimiter(one, 3, batch=True)])
def test_through_a_limiter_too(wrap: Any) -> None:
    searcher = Foreign()
    sim = tune.simulate(
        curve, config=SPACE, num_samples=30, workers=4, max_t=27, metric="loss", mode="min", seed=3, search_alg=wrap(searcher),
        scheduler=SCHEDULERS["hyperband"](),
    )  # fmt: skip
    assert searcher.told() == {trial.config["x"]: (trial.last_result["loss"], float(trial.iteration)) for trial in sim.trials}


def test_through_a_repeater_it_is_the_mean_of_the_last_results() -> None:
    searcher = Foreign()
    sim = tune.simulate(
        curve, config=SPACE, num_samples=30, workers=4, max_t=27, metric="loss", mode="min", seed=3,
        search_alg=Repeater(ConcurrencyLimiter(searcher, 2), 3), scheduler=SCHEDULERS["asha"](),
    )  # fmt: skip
    by_x: dict[float, list[float]] = {}
    for trial in sim.trials:
        by_x.setdefault(trial.config["x"], []).append(trial.last_result["loss"])
    assert {len(losses) for losses in by_x.values()} == {3}
    assert {x: loss for x, (loss, _) in searcher.told().items()} == pytest.approx({x: sum(found) / 3 for x, found in by_x.items()})


def test_in_a_real_run_that_is_resumed(tmp_path: Path) -> None:
    """What earlier sessions stopped is told again with the same results."""

    def train(config: dict[str, Any]) -> None:
        for iteration in range(1, 28):
            tune.report(curve(config, iteration)[0])

    for total in (6, 12):
        searcher = Native()
        analysis = tune.run(
            train, config=SPACE, metric="loss", mode="min", num_samples=total, search_alg=searcher, scheduler=SCHEDULERS["asha"](),
            storage_path=tmp_path, name="x", resume=total > 6, seed=1, executor="inline", verbose=0, loggers=(),
        )  # fmt: skip
        assert searcher.told() == {trial.config["x"]: (trial.last_result["loss"], float(trial.iteration)) for trial in analysis}
        assert len(searcher.told()) == total
