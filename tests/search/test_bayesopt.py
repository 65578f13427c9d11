"""BayesOptSearch with the installed bayesian-optimization; tests/e2e/test_bayesopt_today.py runs today's."""

from __future__ import annotations

import logging
import math
import random
import sys
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Exhausted, Proposal, Searcher
from tunesmith.search.bayesopt import BayesOptSearch
from tunesmith.space import Space, choice, loguniform, qrandint, quniform, randint, randn, require, uniform
from tunesmith.space.domains import Categorical
from tunesmith.testing.searcher_kit import FLAT, SearcherKit
from tunesmith.testing.searcher_story import SearcherStory

XY = {"x": uniform(-1, 1), "y": uniform(-1, 1)}


class NumbersOnlyKit(SearcherKit):
    """Choices are refused by this searcher: they are left out of the kit's spaces."""

    flat = {
        name: {key: domain for key, domain in config.items() if not isinstance(domain, Categorical) or len(domain.categories) == 1}
        for name, config in FLAT.items()
        if name not in ("categories", "one wide category", "nested")
    } | {"nested": {"net": {"layers": [uniform(0, 1), 3]}, "constant": ["a", "b"], "n": randint(0, 3)}}

    def bound(self, config: Mapping[str, Any], seed: int = 0) -> tuple[Searcher, Space]:
        numbers = {key: domain for key, domain in config.items() if not isinstance(domain, Categorical) or len(domain.categories) == 1}
        return super().bound(numbers, seed)

    def test_resumed_at_any_moment_it_proposes_what_it_would_have(self) -> None:
        space = Space.parse({"x": uniform(0, 1), "n": randint(0, 5)})
        whole = SearcherStory(self.make, space, self.metric, self.mode)
        for moment in range(1, whole.play()):
            story = SearcherStory(self.make, space, self.metric, self.mode)
            story.play(moment)
            for more in (3, 1000):
                story.resume()
                story.play(more)
            assert story.proposed() == whole.proposed(), f"resumed after moment {moment}, it proposed something else"


class TestAtRandom(NumbersOnlyKit):
    def make(self) -> BayesOptSearch:
        return BayesOptSearch(random_search_steps=1000)


@pytest.mark.slow
class TestWithAModel(NumbersOnlyKit):
    random_spaces = 4  # each proposal takes a tenth of a second

    def make(self) -> BayesOptSearch:
        return BayesOptSearch(random_search_steps=2, patience=None)


def bound(config: Mapping[str, Any], seed: int = 0, **options: Any) -> BayesOptSearch:
    searcher = BayesOptSearch(**{"random_search_steps": 3, **options})
    searcher.bind(Space.parse(config), "loss", "min", seed)
    return searcher


def step(searcher: Searcher, trial: int, loss: Any) -> dict[str, Any]:
    """One trial whose loss is ``loss(values)``, or fails as that says."""
    answer = searcher.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    found = loss(answer.values)
    if isinstance(found, str):
        searcher.on_trial_failed(str(trial), found)
        searcher.on_trial_complete(str(trial), None, True)
    else:
        searcher.on_trial_complete(str(trial), {"loss": found, "training_iteration": 1})
    return answer.values


def hill(values: Mapping[str, float]) -> float:
    return (values["x"] - 0.3) ** 2 + (values["y"] + 0.5) ** 2


def test_it_comes_close_to_the_best() -> None:
    searcher = bound(XY, seed=1)
    assert min(hill(step(searcher, trial, hill)) for trial in range(14)) < 0.01


def test_metrics_are_maximised_too() -> None:
    searcher, downwards = BayesOptSearch(None, "score", "max", random_search_steps=3), bound(XY)
    searcher.bind(Space.parse(XY), "score", "max", 0)
    for trial in range(5):
        answer = searcher.propose(trial, str(trial))
        searcher.on_trial_complete(str(trial), {"score": -hill(answer.values)})
        assert answer.values == step(downwards, trial, hill)


@pytest.mark.parametrize("utility", [{"kind": "ei", "xi": 0.01}, {"kind": "poi"}, {"kappa": 1, "kappa_decay": 0.5, "kappa_decay_delay": 3}])
def test_every_utility_proposes(utility: dict[str, Any]) -> None:
    searcher = bound(XY, utility_kwargs=utility)
    for trial in range(5):
        step(searcher, trial, hill)


def test_the_utility_matters() -> None:
    greedy, curious = (bound(XY, utility_kwargs={"kappa": kappa}) for kappa in (0.0, 100.0))
    for trial in range(3):
        assert step(greedy, trial, hill) == step(curious, trial, hill)
    assert greedy.propose(3, "3") != curious.propose(3, "3")


def test_kappa_decays_with_results() -> None:
    steady, decaying = (bound(XY, 1, utility_kwargs={"kappa": 100, "kappa_decay": decay, "kappa_decay_delay": 5}) for decay in (1.0, 1e-9))
    for trial in range(6):
        assert step(steady, trial, hill) == step(decaying, trial, hill)
    assert steady.propose(6, "6") != decaying.propose(6, "6")


def test_logarithms_are_even_for_the_model() -> None:
    searcher = bound({"lr": loguniform(1e-6, 1)}, seed=2)
    losses = [abs(math.log10(step(searcher, trial, lambda values: abs(math.log10(values["lr"]) + 4))["lr"]) + 4) for trial in range(12)]
    assert min(losses) < 0.05


def test_steps_and_whole_numbers_are_kept() -> None:
    space = {"q": quniform(0, 1, 0.25), "n": randint(0, 4), "b": qrandint(8, 32, 8), "g": randn(0, 1)}
    searcher = bound(space)
    for trial in range(8):
        values = step(searcher, trial, lambda values: values["q"] + values["n"] + values["g"])
        assert values["q"] in (0, 0.25, 0.5, 0.75, 1)
        assert values["n"] in range(4)
        assert values["b"] in (8, 16, 24, 32)
        assert type(values["n"]) is type(values["b"]) is int


def test_a_choice_is_refused_and_the_message_says_what_to_use() -> None:
    with pytest.raises(SpecError, match=r"act is a choice.*TPESearch"):
        bound({"x": uniform(0, 1), "act": choice(["relu", "tanh"])})


def test_failures_push_the_model_away_and_lost_workers_do_not() -> None:
    def beyond(outcome: str) -> int:
        searcher = bound({"x": uniform(0, 1)}, seed=1)
        found = [step(searcher, trial, lambda values: outcome if values["x"] > 0.5 else -values["x"])["x"] for trial in range(14)]
        return sum(x > 0.5 for x in found[6:])

    assert beyond("user_error") <= 3
    assert beyond("worker_lost") == 8


def test_results_that_are_no_numbers_are_failures() -> None:
    nan, failed = bound({"x": uniform(0, 1)}, seed=5), bound({"x": uniform(0, 1)}, seed=5)
    for trial in range(6):
        a = step(nan, trial, lambda values: math.nan if values["x"] > 0.5 else -values["x"])
        b = step(failed, trial, lambda values: "user_error" if values["x"] > 0.5 else -values["x"])
        assert a == b


def test_trials_under_way_are_not_proposed_again() -> None:
    searcher = bound(XY)
    for trial in range(5):
        step(searcher, trial, hill)
    pending = [searcher.propose(trial, str(trial)).values for trial in range(5, 9)]
    near = min(math.dist(tuple(a.values()), tuple(b.values())) for i, a in enumerate(pending) for b in pending[:i])
    assert near > 0.05


def test_what_the_model_insists_on_ends_the_search_when_patience_is_lost() -> None:
    searcher = bound({"n": randint(0, 3)}, patience=2)
    for trial in range(30):
        answer = searcher.propose(trial, str(trial))
        if isinstance(answer, Exhausted):
            assert "3 times in a row (patience=2)" in answer.reason
            assert trial >= 3
            return
        searcher.on_trial_complete(str(trial), {"loss": answer.values["n"]})
    pytest.fail("it went on for ever")


def test_without_patience_it_goes_on() -> None:
    searcher = bound({"n": randint(0, 3)}, patience=None)
    assert {step(searcher, trial, lambda values: values["n"])["n"] for trial in range(12)} == {0, 1, 2}


def test_duplicates_are_allowed_if_they_are_not_skipped() -> None:
    space = {"n": randint(0, 2)}
    again = bound(space, skip_duplicate=False, random_search_steps=2)
    for trial in range(5):
        step(again, trial, lambda values: values["n"])
    skipping = bound(space, random_search_steps=2)
    answers = []
    for trial in range(5):
        answers.append(skipping.propose(trial, str(trial)))
        if isinstance(answers[-1], Proposal):
            skipping.on_trial_complete(str(trial), {"loss": answers[-1].values["n"]})
    assert isinstance(answers[-1], Exhausted)


def test_constraints_are_kept_by_the_model() -> None:
    searcher = bound(XY | {"half": require(lambda config: config["x"] <= 0)}, seed=3)
    for trial in range(8):
        assert step(searcher, trial, hill)["x"] <= 0


def test_a_space_of_its_own() -> None:
    searcher = BayesOptSearch({"x": (-1, 1), "y": (-1.0, 1.0)}, "loss", "min", random_search_steps=2)
    searcher.bind(Space.parse({"epochs": 3}), "loss", "min", 1)
    for trial in range(4):
        values = step(searcher, trial, hill)
        assert Space.parse({"epochs": 3}).resolve(values) == {"epochs": 3, "x": values["x"], "y": values["y"]}
        assert -1 <= values["x"] <= 1


def test_start_points_come_first_and_known_ones_are_not_run() -> None:
    searcher = bound(XY, points_to_evaluate=[{"x": 0.25, "y": 0.5}, {"x": 0.5}], evaluated_rewards=[0.1])
    first = searcher.propose(0, "0")
    assert first.values["x"] == 0.5
    assert searcher.propose(1, "1").source != "start point"


def test_it_learns_from_an_earlier_experiment() -> None:
    known = [SimpleNamespace(config={"x": x, "y": -0.5, "more": 1}, last_result={"loss": (x - 0.3) ** 2}) for x in (-1, 0.0, 0.2, 0.5, 1)]
    outside = [SimpleNamespace(config={"x": 7}, last_result={"loss": -9}), SimpleNamespace(config={"x": 0, "y": 0}, last_result=None)]
    searcher = bound(XY, analysis=SimpleNamespace(trials=known + outside), utility_kwargs={"kappa": 0})
    values = searcher.propose(0, "0").values
    assert abs(values["x"] - 0.3) < 0.15


def test_an_earlier_experiment_needs_trials() -> None:
    with pytest.raises(SpecError, match="analysis must have trials"):
        BayesOptSearch(analysis=3)


@pytest.mark.parametrize(("verbose", "lines"), [(0, 0), (1, 2), (2, 3)])
def test_results_are_logged_as_wanted(verbose: int, lines: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tunesmith")
    searcher = bound(XY, verbose=verbose)
    for trial, loss in enumerate([3.0, 4.0, 2.0]):
        step(searcher, trial, lambda _, loss=loss: loss)
    assert len(caplog.records) == lines
    assert verbose == 0 or caplog.messages[-1] == "BayesOptSearch: trial 2: 2, the best so far"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"utility_kwargs": {"kapa": 1}}, "Did you mean 'kappa'"),
        ({"utility_kwargs": {"kind": "best"}}, '"ucb", "ei" or "poi"'),
        ({"utility_kwargs": {"xi": -1}}, "xi.*>= 0"),
        ({"random_search_steps": 0}, "random_search_steps"),
        ({"patience": -1}, "patience"),
        ({"verbose": True}, "verbose"),
        ({"space": [1]}, "dict of name"),
        ({"random_state": "a"}, "whole number"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        BayesOptSearch(**options)


def test_start_points_outside_are_named() -> None:
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[0\].*x"):
        bound(XY, points_to_evaluate=[{"x": 2}])


def test_the_seed_decides() -> None:
    def run(**options: Any) -> list[dict[str, Any]]:
        searcher = bound(XY, **options)
        return [step(searcher, trial, hill) for trial in range(5)]

    assert run(random_state=7) == run(random_state=7, seed=3) != run(random_state=8)


def test_a_state_goes_on_exactly() -> None:
    searcher = bound(XY)
    for trial in range(5):
        step(searcher, trial, hill)
    searcher.propose(5, "5")
    again = bound(XY)
    again.set_state(searcher.get_state())
    assert again.propose(6, "6") == searcher.propose(6, "6")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bayes_opt", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[bayes_opt\]"'):
        BayesOptSearch()


@pytest.mark.slow
def test_it_beats_random_search() -> None:
    """Branin's function, with three valleys: after 25 trials the median of 8 seeds is below four of five random searches."""
    space = {"x": uniform(-5, 10), "y": uniform(0, 15)}

    def branin(values: Mapping[str, float]) -> float:
        x, y = values["x"], values["y"]
        bent = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
        return bent * bent + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10

    def best(seed: int) -> float:
        searcher = bound(space, seed, random_search_steps=5)
        return min(branin(step(searcher, trial, branin)) for trial in range(25))

    found = sorted(map(best, range(8)))
    rng, parsed = random.Random(1), Space.parse(space)
    at_random = sorted(min(branin(parsed.draw(rng)) for _ in range(25)) for _ in range(200))
    assert found[4] < at_random[40], (found, at_random[40], at_random[100])  # one time in a hundred by chance


def test_losses_that_cannot_be_squared_do_not_end_the_search() -> None:
    searcher = bound({"x": uniform(0, 1)})
    for trial in range(8):
        step(searcher, trial, lambda values: 1e308 if values["x"] > 0.5 else -1e308)
    assert isinstance(searcher.propose(8, "8"), Proposal)
