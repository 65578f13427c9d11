"""The native Bayesian optimiser as users and the public kit see it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.search.gp import GPSampler, GPSearch
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked
from tunesmith.space import Space, choice, loguniform, qrandint, randint, require, sample_from, uniform
from tunesmith.testing.searcher_kit import FLAT, SearcherKit

Values = dict[str, Any]


class TestKit(SearcherKit):
    """All spaces, the last trials of each by the model."""

    def make(self):
        return GPSearch(n_initial_points=16)


class TestKitByTheModel(SearcherKit):
    """Few spaces, nearly all trials by the model."""

    flat: ClassVar = {name: FLAT[name] for name in ("steps", "categories")}
    conditional: ClassVar = {}

    def make(self):
        return GPSearch(n_initial_points=4)


def play(searcher: GPSearch, config: Mapping[str, Any], loss: Callable[[Values], Any], trials: int, *, seed: int = 0) -> list[Values]:
    """The configurations of so many trials, one after the other. ``loss`` returns the result; None: the trial fails for lack of memory."""
    space = Space.parse(dict(config))
    searcher.bind(space, searcher.metric or "loss", searcher.mode or "min", seed)
    tried = []
    for number in range(trials):
        proposal = searcher.propose(number, str(number))
        assert space.values_from(space.resolve(proposal.values)) == proposal.values
        tried.append(space.resolve(proposal.values))
        result = loss(tried[-1])
        if result is None:
            searcher.on_trial_failed(str(number), "oom_ram")
        searcher.on_trial_complete(str(number), result if result is None or isinstance(result, dict) else {"loss": result}, result is None)
    return tried


def bowl(config: Values) -> float:
    return (config["x"] - 0.3) ** 2 + (config["y"] - 0.8) ** 2


PLANE = {"x": uniform(0, 1), "y": uniform(0, 1)}


# ---- finding


def test_the_bottom_of_a_bowl_is_found_in_twenty_trials() -> None:
    assert min(map(bowl, play(GPSearch(), PLANE, bowl, 20))) < 1e-4


def test_mode_max_looks_for_the_top() -> None:
    assert min(map(bowl, play(GPSearch("loss", "max"), PLANE, lambda config: -bowl(config), 20))) < 1e-4


def test_the_best_option_and_the_best_number_are_found() -> None:
    config = {"act": choice(["a", "b", "c", "d"]), "n": randint(1, 30), "size": qrandint(8, 64, 8), "flag": choice([True, False])}

    def loss(found: Values) -> float:
        miss = {"a": 1.0, "b": 2.0, "c": 0.0, "d": 3.0}[found["act"]]
        return miss + ((found["n"] - 21) / 10) ** 2 + abs(found["size"] - 24) / 16 + found["flag"]

    best = min(play(GPSearch(), config, loss, 35), key=loss)
    assert best == {"act": "c", "n": 21, "size": 24, "flag": False}


def test_the_best_option_of_a_conditional_space_is_found_with_its_own_parameters() -> None:
    sgd, adam = {"name": "sgd", "lr": loguniform(1e-5, 1), "mom": uniform(0, 1)}, {"name": "adam", "lr": loguniform(1e-5, 1)}
    config = {"opt": choice([sgd, adam, None]), "x": uniform(0, 1)}

    def loss(found: Values) -> float:
        rest = (found["x"] - 0.5) ** 2
        if found["opt"] is None:
            return rest + 1
        at = math.log10(found["opt"]["lr"])
        return rest + (0.1 + (at + 3) ** 2 / 9 if found["opt"]["name"] == "adam" else 0.4 + (at + 1) ** 2 / 9 + found["opt"]["mom"] / 9)

    tried = play(GPSearch(), config, loss, 35)
    best = min(tried, key=loss)
    assert best["opt"]["name"] == "adam"
    assert loss(best) < 0.12
    assert sum(found["opt"] is None for found in tried[-15:]) <= 3


def test_every_fifth_trial_takes_options_that_are_drawn_and_improves_on_what_is_best_there() -> None:
    """Also those of which the model expects nothing."""
    space = Space.parse({"o": choice([{"a": uniform(0, 1)}, {"b": uniform(0, 1)}, {"c": uniform(0, 1)}])})
    sampler = GPSampler(Problem(space, seed=1))
    for number in range(30):
        values = space.draw(stream(1, "random", number))
        loss = abs(values["o/0/a"] - 0.4) if values["o"] == 0 else 5 + abs(values["o/1/b"] - 0.7) if values["o"] == 1 else 10.0
        sampler.observe(Observation(number, values, (loss,)))

    def ask(trial: int, refused: Callable[[Any], bool] = lambda values: False) -> Values:
        found = sampler.propose(Asked(trial, 0, np.random.default_rng(trial), {}, refused))
        assert found is not None
        return found.values

    assert {ask(trial)["o"] for trial in (30, 31, 32, 33)} == {0}
    drawn = [ask(trial) for trial in range(34, 134, 5)]
    counts = [sum(values["o"] == option for values in drawn) for option in range(3)]
    assert min(counts) > 2
    assert all(abs(values["o/1/b"] - 0.7) < 0.15 for values in drawn if values["o"] == 1)
    exhausted = {ask(trial, lambda values: values["o"] == 2)["o"] for trial in range(34, 134, 5)}
    assert exhausted == {0, 1}


def test_noise_does_not_keep_it_at_a_lucky_draw() -> None:
    noise = np.random.default_rng(3)
    tried = play(GPSearch(), PLANE, lambda config: bowl(config) + 0.1 * noise.standard_normal(), 40)
    assert np.median([bowl(config) for config in tried[-10:]]) < 0.1


def test_learning_goes_on_from_what_users_know() -> None:
    searcher = GPSearch("loss", "min")
    for x in np.linspace(0.05, 0.95, 10):
        searcher.add_evaluated_point({"x": float(x), "y": float(x * 7 % 1)}, bowl({"x": x, "y": x * 7 % 1}))
    assert bowl(play(searcher, PLANE, bowl, 3)[-1]) < 0.02


def test_all_configurations_of_a_small_space_are_tried_before_one_is_repeated() -> None:
    config = {"a": choice(["p", "q", "r"]), "n": randint(0, 7)}
    tried = play(GPSearch(), config, lambda found: found["n"], 21)
    assert len({(found["a"], found["n"]) for found in tried}) == 21


# ---- what must be kept


def test_bounds_on_outcomes_are_kept() -> None:
    searcher = GPSearch("loss", "min", outcome_constraints=["size <= 1", "speed >= 0.2"])

    def result(config: Values) -> Values:  # without bounds the best is x = 0.3, y = 0.8, where size is 1.1
        return {"loss": bowl(config), "size": config["x"] + config["y"], "speed": config["x"]}

    tried = play(searcher, PLANE, result, 40)
    kept = [config for config in tried if config["x"] + config["y"] <= 1 and config["x"] >= 0.2]
    assert len([config for config in tried[-20:] if config in kept]) >= 10
    assert min(map(bowl, kept)) < 0.0052  # 0.005 at x = 0.25, y = 0.75


def test_something_feasible_is_found_where_little_is() -> None:
    searcher = GPSearch("loss", "min", outcome_constraints=["far <= 0.15"])

    def result(config: Values) -> Values:
        return {"loss": config["x"], "far": math.hypot(config["x"] - 0.8, config["y"] - 0.2)}

    tried = play(searcher, PLANE, result, 30, seed=4)
    assert sum(result(config)["far"] <= 0.15 for config in tried) >= 8


def test_regions_that_fail_are_left() -> None:
    tried = play(GPSearch(), PLANE, lambda config: None if config["x"] > 0.5 else bowl(config), 25)
    assert sum(config["x"] > 0.5 for config in tried[-15:]) <= 4
    assert min(bowl(config) for config in tried if config["x"] <= 0.5) < 1e-3


def test_if_everything_fails_it_goes_on_to_other_places() -> None:
    tried = play(GPSearch(n_initial_points=3), PLANE, lambda config: None, 12)
    assert len({(round(config["x"], 1), round(config["y"], 1)) for config in tried}) >= 10


def test_constraints_of_the_space_are_kept_up_to_their_edge() -> None:
    config = {**PLANE, "order": require(lambda config: config["x"] + config["y"] <= 1.0)}
    tried = play(GPSearch(), config, bowl, 25)
    assert all(found["x"] + found["y"] <= 1 for found in tried)
    assert min(map(bowl, tried)) < 0.0055


# ---- many at once


def test_pending_trials_are_not_proposed_again_in_another_guise() -> None:
    searcher = GPSearch()
    play(searcher, PLANE, lambda config: math.sin(9 * config["x"]) + math.sin(7 * config["y"]), 12)
    points = np.array([[*searcher.propose(number, str(number)).values.values()] for number in range(12, 24)])
    gaps = np.linalg.norm(points[:, None] - points, axis=2)[np.triu_indices(12, 1)]
    assert gaps.min() > 0.002
    assert np.median(gaps) > 0.1
    assert np.ptp(points, axis=0).min() > 0.3


def test_a_batch_is_of_use() -> None:
    space, searcher = Space.parse(PLANE), GPSearch()
    searcher.bind(space, "loss", "min", 2)
    losses = []
    for start in range(0, 40, 8):
        batch = [searcher.propose(number, str(number)).values for number in range(start, start + 8)]
        for number, values in enumerate(batch, start=start):
            losses.append(bowl(values))
            searcher.on_trial_complete(str(number), {"loss": losses[-1]})
    assert min(losses) < 2e-3


def test_several_metrics_give_a_front() -> None:
    def result(config: Values) -> Values:
        return {"a": config["x"] ** 2 + config["y"] ** 2, "b": (config["x"] - 1) ** 2 + config["y"] ** 2}

    tried = play(GPSearch(["a", "b"], ["min", "min"]), PLANE, result, 30)
    front = [config["x"] for config in tried[8:] if config["y"] < 0.05]
    assert len(front) >= 10
    assert min(front) < 0.2
    assert max(front) > 0.8


# ---- the law


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_it_is_a_function_of_what_was_observed_and_asked_whoever_asked_before(seed: int, warping: bool) -> None:
    space = Space.parse({**PLANE, "c": choice(["a", {"z": uniform(0, 1)}])})
    rng = np.random.default_rng(seed)

    def sampler() -> GPSampler:
        return GPSampler(Problem(space, seed=seed), n_initial_points=3, input_warping=warping)

    def ask(one: GPSampler, trial: int, pending: Mapping[int, Values]) -> Values:
        found = one.propose(Asked(trial, 0, np.random.default_rng([seed, trial]), pending, lambda values: False))
        assert found is not None
        return found.values

    asked_often, asked_once = sampler(), sampler()
    pending: dict[int, Values] = {}
    for trial in range(7):
        values = {"x": rng.random(), "y": rng.random(), "c": "a"}
        for one in (asked_often, asked_once):
            one.observe(Observation(trial, values, (float(rng.integers(3)) if trial % 3 else 1.0,) if one is asked_often else None))
        losses = asked_often.beliefs.data.losses()[-1]
        asked_once.observe(Observation(trial, values, tuple(losses)))
        pending = {trial: values}
        ask(asked_often, 100 + trial, pending)
    assert ask(asked_often, 8, pending) == ask(asked_once, 8, pending)
    assert ask(asked_often, 9, {}) == ask(asked_once, 9, {})


def test_another_seed_gives_others() -> None:
    first, again, other = (play(GPSearch(), PLANE, bowl, 12, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0] != other[0]
    assert first[-1] != other[-1]


def test_computed_parameters_are_those_that_were_checked() -> None:
    config = {**PLANE, "sum": sample_from(lambda config: config["x"] + config["y"]), "low": require(lambda config: config["sum"] < 1.2)}
    assert all(found["sum"] == found["x"] + found["y"] < 1.2 for found in play(GPSearch(n_initial_points=3), config, bowl, 10))


def test_a_space_of_computed_parameters_only_is_drawn_at_random() -> None:
    assert play(GPSearch(), {"x": sample_from(lambda: 3)}, lambda config: 1.0, 2) == [{"x": 3}] * 2


def test_of_more_trials_than_it_looks_at_the_best_and_the_newest_remain() -> None:
    searcher = GPSearch("loss", "min", max_observations=20)
    for n in range(60):
        x, y = n % 8 / 8, n // 8 / 8
        searcher.add_evaluated_point({"x": x, "y": y}, bowl({"x": x, "y": y}))
    assert bowl(play(searcher, PLANE, bowl, 3)[-1]) < 2e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_initial_points": 0}, "n_initial_points must be a whole number >= 1, got 0"),
        ({"n_initial_points": 2.5}, "n_initial_points"),
        ({"max_observations": 5}, "max_observations must be a whole number >= 20, got 5"),
        ({"input_warping": "yes"}, "input_warping must be True or False, got 'yes'"),
    ],
)
def test_wrong_options_are_named(options: Values, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        GPSearch(**options)
