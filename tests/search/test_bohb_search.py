"""BOHB: TPE that compares losses at equal budgets."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.search import BOHBSearch, Proposal, Searcher, TuneBOHB
from tunesmith.search.bohb import BOHBSampler
from tunesmith.search.problem import Bound, Observation, Problem
from tunesmith.search.sampler import Asked
from tunesmith.space import Space, choice, randint, uniform
from tunesmith.testing.searcher_kit import SearcherKit


class TestBOHBConforms(SearcherKit):
    def make(self) -> Searcher:
        return BOHBSearch(min_points_in_model=1)


class TestBOHBWithDefaultsConforms(SearcherKit):
    def make(self) -> Searcher:
        return BOHBSearch(max_concurrent=0, outcome_constraints=["loss <= 4"])


SPACE = Space.parse({"x": uniform(0, 1), "y": uniform(0, 1)})


def sampler_of(problem: Problem | None = None, least: int = 4, **options: Any) -> BOHBSampler:
    """One whose models need ``least`` trials."""
    return BOHBSampler(problem or Problem(SPACE), min_points_in_model=least - 2, **{"random_fraction": 0.0, **options})


def place(number: int) -> dict[str, float]:
    return {"x": (number * 0.618) % 1, "y": (number * 0.414) % 1}


def asked(trial: int, pending: Mapping[int, Mapping[str, Any]] | None = None) -> Asked:
    return Asked(trial, 0, np.random.default_rng(trial), pending or {}, lambda values: False)


def test_the_budget_is_the_largest_that_enough_trials_have_reached() -> None:
    sampler, budgets = sampler_of(), []
    for step in (1, 3, 9):
        for number in range(6 if step < 9 else 3):
            sampler.report(number, place(number), step, (1.0,))
            budgets.append(sampler.budget)
    assert budgets == [None] * 3 + [1] * 3 + [1] * 3 + [3] * 3 + [3] * 3
    sampler.report(3, place(3), 27, (1.0,))
    assert sampler.budget == 9


def test_parameters_of_one_configuration_say_how_many_are_enough() -> None:
    options = choice([{"a": uniform(0, 1), "b": uniform(0, 1)}, {"c": uniform(0, 1)}])
    space = Space.parse({"x": uniform(0, 1), "o": options, "n": randint(3, 4)})
    sampler = BOHBSampler(Problem(space))
    for number in range(7):
        assert sampler.budget is None
        sampler.report(number, {"x": 0.5, "o": 1, "o/1/c": 0.5, "n": 3}, 1, (1.0,))
    assert sampler.budget == 1


def test_losses_are_compared_at_the_budget_and_not_at_the_end() -> None:
    """What is good at first is bad later: at equal steps the later ones decide, and nobody is compared with anybody's other step."""
    sampler = sampler_of(least=20)
    for number in range(40):
        far = number % 2
        values = place(number)
        for step in (1, 3) if far else (1,):
            sampler.report(number, values, step, (abs(values["x"] - (0.2 if step == 1 else 0.8)) + step,))
    assert sampler.budget == 3
    assert sorted(sampler._ranking.best(99)) == list(range(20))  # only those that came so far
    found = []
    for number in range(40, 60):
        answer = sampler.propose(asked(number))
        assert answer is not None
        found.append(answer.values["x"])
    assert np.mean([abs(x - 0.8) < 0.15 for x in found]) > 0.6


def test_the_first_result_at_a_budget_or_beyond_counts() -> None:
    sampler = sampler_of(least=2)
    for step, loss in ((2, 5.0), (4, 1.0), (4, 9.0), (3, 9.0), (6, 9.0)):
        sampler.report(0, place(0), step, (loss,))
    sampler.report(1, place(1), 3, (2.0,))
    assert sampler.budget == 3
    assert sampler._ranking.best(2) == [0, 1]


def test_trials_that_ended_below_the_budget_count_as_bad() -> None:
    sampler = sampler_of()
    for number in range(12):
        steps = (1, 3) if number < 4 else (1,)
        for step in steps:
            sampler.report(number, place(number), step, (0.0,))
    assert (sampler.budget, len(sampler._root)) == (3, 4)
    for number in range(4, 12):
        sampler.observe(Observation(number, place(number), (0.0,), "stopped", 1.0))
    assert (len(sampler._root), sampler._ranking.feasible) == (12, 4)


def test_what_failed_or_broke_a_bound_is_no_longer_good() -> None:
    problem = Problem(SPACE, bounds=(Bound.parse("BOHBSearch", "latency <= 20"),))
    sampler = sampler_of(problem)
    for number in range(7):
        sampler.report(number, place(number), 1, (float(number),))
    sampler.observe(Observation(0, place(0), None, "oom_gpu", 1.0))
    sampler.observe(Observation(1, place(1), (1.0,), "finished", 1.0, (5.0,)))
    ranking = sampler._ranking
    assert (sampler.budget, ranking.feasible, ranking.broken, len(sampler._root)) == (1, 5, 1, 7)
    assert sampler._root.split(ranking.best(1), 99).best.units.tolist() == [[pytest.approx(value) for value in place(2).values()]]


def test_what_users_know_counts_at_any_budget() -> None:
    sampler = sampler_of()
    for number in range(3):
        sampler.observe(Observation(-1 - number, place(number), (1.0,)))
    assert sampler.budget is None
    sampler.report(5, place(5), 7, (2.0,))
    assert (sampler.budget, sampler._ranking.feasible) == (7, 4)
    for number in range(6, 10):
        sampler.report(number, place(number), 9, (2.0,))
    assert (sampler.budget, sampler._ranking.feasible) == (9, 7)


def test_only_pending_trials_of_which_nothing_was_heard_are_kept_away_from() -> None:
    sampler = sampler_of()
    for number in range(6):
        sampler.report(number, place(number), 1, (float(number),))
    pending = {number: place(number) for number in range(9)}
    assert len(sampler._pending(asked(9, pending))) == 3


def test_a_part_is_random() -> None:
    sampler = sampler_of(random_fraction=0.4)
    for number in range(6):
        sampler.report(number, place(number), 1, (float(number),))
    drawn = [sampler.propose(asked(number)) is None for number in range(200)]
    assert 0.3 < np.mean(drawn) < 0.5
    assert drawn == [sampler.propose(asked(number)) is None for number in range(200)]


def test_reports_are_part_of_the_state() -> None:
    def searcher() -> BOHBSearch:
        made = BOHBSearch("loss", "min", min_points_in_model=2)
        made.bind(SPACE, seed=4)
        return made

    first, second = searcher(), searcher()
    for number in range(12):
        assert isinstance(first.propose(number, str(number)), Proposal)
        for step in range(1, 2 + number % 5):
            first.on_trial_result(str(number), {"loss": (number * 5 % 7) / step, "training_iteration": step})
        if number % 3:
            first.on_trial_complete(str(number), {"loss": float(number)}, error=number % 4 == 3)
    second.set_state(pickle.loads(pickle.dumps(first.get_state())))
    assert second.sampler.budget == first.sampler.budget  # type: ignore[attr-defined]
    assert [second.propose(n, str(n)) for n in range(12, 20)] == [first.propose(n, str(n)) for n in range(12, 20)]
    assert second.get_state()["_reports"] == first.get_state()["_reports"]


SCHEDULERS: dict[str, Any] = {
    "BOHB's HyperBand": lambda: tune.HyperBandForBOHB(max_t=27),
    "ASHA": lambda: tune.ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3),
    "ASHA, pausing": lambda: tune.ASHAScheduler(max_t=27, grace_period=1, reduction_factor=3, form="promote"),
    "none": lambda: None,
}


def curve(config: dict[str, Any], iteration: int) -> tuple[dict[str, float], float]:
    """Losses that fall towards what the configuration is worth."""
    worth = sum((config[name] - 0.3) ** 2 for name in "xyzw")
    return {"loss": worth + (1.0 + 0.2 * config["x"]) / iteration}, 1.0


@pytest.mark.parametrize("name", SCHEDULERS)
def test_with_and_without_rungs_it_beats_random_configurations(name: str) -> None:
    def worth(search_alg: Any, seed: int) -> float:
        sim = tune.simulate(
            curve, config={name: uniform(0, 1) for name in "xyzw"}, num_samples=60, workers=4, max_t=27, metric="loss", mode="min",
            seed=seed, search_alg=search_alg, scheduler=SCHEDULERS[name](),
        )  # fmt: skip
        late = [trial.config for trial in sim.trials[30:]]
        return float(np.mean([curve(config, 10**9)[0]["loss"] for config in late]))

    assert worth(BOHBSearch(random_fraction=0.2), 1) < 0.6 * worth("random", 1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"min_points_in_model": 0}, "min_points_in_model must be a whole number >= 1"),
        ({"n_candidates": 0}, "n_candidates must be a whole number >= 1"),
        ({"random_fraction": 2}, "random_fraction must be a number in"),
        ({"max_concurrent": -1}, "max_concurrent"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        TuneBOHB(**options)
