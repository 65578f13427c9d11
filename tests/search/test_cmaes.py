"""CMA-ES: the library's algorithm exactly, as a function of the observations, in whatever order they come."""

from __future__ import annotations

import math
import random
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.search.base import Proposal, Searcher
from tunesmith.search.cmaes import CMAESSampler, CMAESSearch
from tunesmith.search.cmaes_space import MARGIN_VALUES, Layout
from tunesmith.search.problem import Bound, Observation, Problem
from tunesmith.search.sampler import Asked
from tunesmith.space import Space, choice, lograndint, loguniform, qrandint, qrandn, quniform, randint, randn, sample_from, uniform
from tunesmith.testing.searcher_kit import SearcherKit


class TestCMAESConforms(SearcherKit):
    def make(self) -> Searcher:
        return CMAESSearch()


class TestCMAESWithOptionsConforms(SearcherKit):
    def make(self) -> Searcher:
        return CMAESSearch(sigma0=0.5, popsize=4, duplicates=True)


SQUARE = {"x": uniform(0, 1), "y": uniform(0, 1)}
MIXED = {"x": uniform(0, 1), "n": randint(0, 20), "q": quniform(0, 1, 0.25), "c": choice(["a", "b", "c"]), "b": choice([True, False])}


def sampler_of(config: dict[str, Any], **options: Any) -> CMAESSampler:
    start, seed, bounds = options.pop("start", None), options.pop("seed", 0), options.pop("bounds", ())
    return CMAESSampler(Problem(Space.parse(config), seed=seed, bounds=bounds), start=start, **options)


def ask(sampler: CMAESSampler, trial: int, attempt: int = 0) -> dict[str, Any]:
    found = sampler.propose(Asked(trial, attempt, np.random.default_rng(0), {}, lambda values: False))
    assert found is not None
    assert found.source == "cma-es"
    return found.values


def play(sampler: CMAESSampler, loss: Any, trials: int, first: int = 0) -> list[Observation]:
    """One trial after the other."""
    seen = []
    for trial in range(first, first + trials):
        values = ask(sampler, trial)
        seen.append(Observation(trial, values, (float(loss(values)),)))
        sampler.observe(seen[-1])
    return seen


def near(**optimum: float) -> Any:
    return lambda values: sum((values[name] - at) ** 2 for name, at in optimum.items())


# ---- the algorithm


def test_trials_in_order_are_what_the_library_does_by_itself() -> None:
    from cmaes import CatCMAwM

    sampler = sampler_of({"x": uniform(0, 1), "y": uniform(0, 1), "n": randint(0, 4), "c": choice(["a", "b", "c"])}, seed=5)
    places = [0.125, 0.375, 0.625, 0.875]
    theirs = CatCMAwM(x_space=[[0, 1]] * 2, z_space=[places], c_space=[3], sigma=1 / 6, mean=np.full(3, 0.5), cov=np.eye(3))
    trial = 0
    for _ in range(30):
        results = []
        for _ in range(theirs.population_size):
            theirs.reseed_rng(stream(5, "cma-es 0", trial).getrandbits(32))
            solution = theirs.ask()
            values = ask(sampler, trial)
            n, c = places.index(solution.z[0]), int(np.argmax(solution.c[0]))
            assert values == {"x": solution.x[0], "y": solution.x[1], "n": n, "c": "abc"[c]}
            loss = values["x"] ** 2 + 100 * (values["y"] - 0.5) ** 2 + n + c  # x's best is at its bound
            results.append((solution, loss))
            sampler.observe(Observation(trial, values, (loss,)))
            trial += 1
        results.sort(key=lambda result: result[1])
        theirs.tell([(solution, float(rank)) for rank, (solution, _) in enumerate(results)])


def test_only_the_order_of_losses_counts() -> None:
    one, other = sampler_of(MIXED), sampler_of(MIXED)
    play(one, near(x=0.2), 60)
    play(other, lambda values: 1e300 * math.atan(near(x=0.2)(values)) - 1e299, 60)
    assert ask(one, 60) == ask(other, 60)


def test_a_hundred_late_and_shuffled_results_at_a_time_do_not_stop_it() -> None:
    sampler, rng, live, best = sampler_of({name: uniform(0, 1) for name in "abcd"}), random.Random(3), [], math.inf
    for trial in range(600):
        live.append((trial, ask(sampler, trial)))
        if len(live) == 100:
            number, values = live.pop(rng.randrange(100))
            loss = sum((value - 0.7) ** 2 for value in values.values())
            best = min(best, loss)
            sampler.observe(Observation(number, values, (loss,)))
    assert best < 0.01  # of 500 random ones 0.03 is the median


def test_integers_do_not_get_stuck_at_a_value() -> None:
    sampler = sampler_of({"n": randint(0, 50), "m": randint(0, 50), "x": uniform(0, 1)}, start={"n": 2, "m": 2}, sigma0=0.02)
    seen = play(sampler, lambda values: abs(values["n"] - 30) + abs(values["m"] - values["n"]) + values["x"] ** 2, 400)
    assert min(seen, key=lambda one: one.loss).values["n"] == 30


# ---- a function of the observations


def test_questions_in_between_and_their_order_change_nothing() -> None:
    asked, quiet = sampler_of(MIXED), sampler_of(MIXED)
    seen = play(asked, near(x=0.3, n=4), 75)
    for one in seen:
        quiet.observe(one)
    assert [ask(asked, trial) for trial in (80, 75, 99)] == [ask(quiet, trial) for trial in (80, 75, 99)]
    assert ask(asked, 80, attempt=1) != ask(asked, 80) == ask(asked, 80)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-1e308, 1e308), min_size=20, max_size=60), st.integers(0, 3), st.randoms(use_true_random=False))
def test_whatever_comes_in_whatever_order_proposals_are_members_and_repeatable(losses, seed, shuffle) -> None:
    config = {**MIXED, "l": loguniform(1e-5, 1), "r": randn(0, 1)}
    space = Space.parse(config)
    sampler, again = sampler_of(config, seed=seed), sampler_of(config, seed=seed)
    trials = [(number, ask(sampler, number)) for number in range(len(losses))]
    shuffle.shuffle(trials)
    for (number, values), loss in zip(trials, losses):
        observation = Observation(number, values, (loss,))
        sampler.observe(observation)
        assert space.values_from(space.resolve(ask(sampler, number + 100))) == ask(sampler, number + 100)
        again.observe(observation)
    assert ask(sampler, 500) == ask(again, 500)


def test_trials_that_others_proposed_count_too() -> None:
    sampler, space, rng = sampler_of(MIXED), Space.parse(MIXED), random.Random(0)
    seen = [Observation(trial, values, (near(x=0.9, n=3)(values),)) for trial in range(200) if (values := space.draw(rng))]
    for one in seen:
        sampler.observe(one)
    assert np.median([ask(sampler, trial)["n"] for trial in range(200, 250)]) <= 8


def test_workers_that_were_lost_leave_no_trace() -> None:
    sampler, other = sampler_of(SQUARE), sampler_of(SQUARE)
    for one in play(sampler, near(x=0.2, y=0.2), 30):
        other.observe(one)
        other.observe(Observation(1000, {"x": 0.5, "y": 0.5}, None, outcome="worker_lost"))
    assert ask(sampler, 30) == ask(other, 30)


# ---- failures and bounds


@pytest.mark.parametrize("how", ["failed", "bound"])
def test_it_leaves_a_region_that_is_infeasible(how) -> None:
    """The best is at x = 0.2, and below 0.6 nothing goes."""
    sampler = sampler_of(SQUARE, bounds=(Bound("size", "<=", 1.0),), start={"x": 0.5, "y": 0.5})
    tried = []
    for trial in range(200):
        values = ask(sampler, trial)
        tried.append(values["x"])
        loss, excess = (near(x=0.2, y=0.5)(values),), (0.6 - values["x"],)
        if values["x"] >= 0.6:
            sampler.observe(Observation(trial, values, loss, excess=excess))
        elif how == "failed":
            sampler.observe(Observation(trial, values, None, outcome="oom_gpu", excess=excess))
        else:
            sampler.observe(Observation(trial, values, loss, excess=excess))
    assert np.mean(np.array(tried[-60:]) >= 0.6) > 0.4
    assert np.median(tried[-60:]) == pytest.approx(0.6, abs=0.05)


def test_when_nothing_works_it_goes_on() -> None:
    sampler = sampler_of(SQUARE)
    for trial in range(400):
        sampler.observe(Observation(trial, ask(sampler, trial), None, outcome="user_error"))
    assert sampler._run.number >= 1


# ---- where it begins


def spread(sampler: CMAESSampler, name: str, trials: int = 40) -> tuple[float, float]:
    drawn = [ask(sampler, trial)[name] for trial in range(trials)]
    return float(np.median(drawn)), float(np.std(drawn))


def test_it_begins_in_the_middle_or_where_a_start_point_is() -> None:
    assert spread(sampler_of(SQUARE), "x") == pytest.approx((0.5, 1 / 6), abs=0.06)
    assert spread(sampler_of(SQUARE, start={"x": 0.8}, sigma0=0.01), "x") == pytest.approx((0.8, 0.01), abs=0.006)
    started = sampler_of({"c": choice(list("abcdefgh")), "x": uniform(0, 1)}, start={"c": "g", "x": 0.5})
    assert 12 <= sum(ask(started, trial)["c"] == "g" for trial in range(40)) <= 32
    open_one = sampler_of({"c": choice(list("abcdefgh")), "x": uniform(0, 1)}, start={"x": 0.5})
    assert sum(ask(open_one, trial)["c"] == "a" for trial in range(40)) <= 10


def test_the_searcher_hands_over_the_first_start_point_that_is_to_be_run() -> None:
    points = [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.9}]
    searcher = CMAESSearch("loss", "min", points_to_evaluate=points, sigma0=0.01)
    searcher.bind(Space.parse(SQUARE))
    assert [searcher.propose(trial, str(trial)).values for trial in range(2)] == points
    assert searcher.propose(2, "2").values["x"] == pytest.approx(0.1, abs=0.05)
    searcher = CMAESSearch("loss", "min", points_to_evaluate=points, evaluated_rewards=[1.0], sigma0=0.01)
    searcher.bind(Space.parse(SQUARE))
    searcher.propose(0, "0")
    assert searcher.propose(1, "1").values["x"] == pytest.approx(0.1, abs=0.05)


def known(count: int) -> list[Observation]:
    rng = random.Random(1)
    points = [{"x": rng.random(), "y": rng.random()} for _ in range(count)]
    return [Observation(-1 - index, point, (near(x=0.8, y=0.2)(point),)) for index, point in enumerate(points)]


@pytest.mark.parametrize("count", [1, 9, 10, 200])
def test_evaluated_points_say_where_to_begin(count) -> None:
    sampler, told = sampler_of(SQUARE, sigma0=0.05, start={"x": 0.0}), known(count)
    for one in told:
        ask(sampler, 7)  # asked too early: forgotten
        sampler.observe(one)
    best = min(told, key=lambda one: one.loss).values
    middle, wide = spread(sampler, "x")
    assert middle == pytest.approx(best["x"] if count < 20 else 0.8, abs=0.06)
    assert 0.03 < wide < 0.2


def test_evaluated_points_that_failed_say_nothing() -> None:
    sampler = sampler_of(SQUARE)
    for trial in range(-12, 0):
        sampler.observe(Observation(trial, {"x": 0.0, "y": 0.0}, None, outcome="failed"))
    assert spread(sampler, "x") == spread(sampler_of(SQUARE), "x")


# ---- restarts


def test_where_it_has_converged_it_begins_anew_with_more_trials_a_generation() -> None:
    sampler = sampler_of(SQUARE)
    first = sampler._newest().optimizer.population_size
    seen = play(sampler, near(x=0.3, y=0.3), 700)
    assert min(one.loss for one in seen) < 1e-15
    assert sampler._run.number >= 1
    assert sampler._newest().optimizer.population_size == first * 2**sampler._run.number
    late = [one.values["x"] for one in seen[-20:]]
    assert np.ptp(late) > 1e-4


def test_results_from_before_a_restart_do_not_draw_it_back() -> None:
    sampler = sampler_of(SQUARE)
    trial = 0
    while sampler._run.number == 0:
        before = [(number, ask(sampler, number)) for number in range(10_000, 10_003)]
        play(sampler, near(x=0.3, y=0.3), 1, trial)
        trial += 1
    fresh = ask(sampler, trial)
    for number, values in before:
        sampler.observe(Observation(number, values, (0.0,)))
    assert not sampler._run.results
    assert ask(sampler, trial) == fresh


def test_a_flat_objective_makes_it_look_elsewhere() -> None:
    sampler = sampler_of({"x": uniform(0, 1), "c": choice(["a", "b"])})
    play(sampler, lambda values: 7.0, 200)
    assert sampler._run.number >= 1


# ---- spaces


DOMAINS = {
    "u": uniform(-3, 5), "l": loguniform(1e-6, 1e3), "q": quniform(-0.5, 0.5, 0.1), "i": randint(-3, 9), "w": randint(0, 10**12),
    "li": lograndint(1, 300), "qi": qrandint(8, 64, 8), "two": randint(4, 6), "one": randint(4, 5), "n": randn(1, 2),
    "qn": qrandn(0, 3, 0.5), "c": choice(["a", "b", None]), "t": choice([1, True, 1.5]), "o": choice([[1], {"k": 2}, len]),
    "s": sample_from(lambda config: config["i"]),
}  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_values_are_found_again_from_their_coordinates(seed) -> None:
    space = Space.parse(DOMAINS)
    layout, values = Layout(space), space.draw(random.Random(seed))
    found = layout.values(layout.point(values))
    assert set(found) == set(DOMAINS) - {"one", "s"}
    for name, value in found.items():
        assert value == (pytest.approx(values[name], rel=1e-6) if name in ("u", "l", "n", "w") else values[name])
        assert type(value) is type(values[name])


def test_kinds_of_parameters() -> None:
    layout = Layout(Space.parse(DOMAINS))
    assert [leaf.name for leaf in layout.continuous] == ["l", "n", "qn", "u", "w"]
    assert [steps.name for steps in layout.stepped] == ["i", "li", "q", "qi"]
    assert [category.name for category in layout.categorical] == ["c", "o", "t", "two"]
    assert Layout(Space.parse({"n": randint(0, MARGIN_VALUES), "m": randint(0, MARGIN_VALUES + 1)})).sizes == (1, 1, 0)
    assert layout.point({"two": 5}).options == (-1, -1, -1, 1)
    assert layout.point({"q": 0.5}).numbers.tolist() == pytest.approx([0.5] * 7 + [10.5 / 11, 0.5])


def test_parameters_that_depend_on_others_are_refused() -> None:
    config = {"opt": choice([{"lr": uniform(0, 1)}, "none"])}
    with pytest.raises(SpecError, match=r"options of config\['opt'\] have parameters of their own, .* Use TPESearch or NSGA2Search"):
        CMAESSearch("loss", "min").bind(Space.parse(config))


def test_a_space_of_choices_only() -> None:
    sampler = sampler_of({name: choice(list("abcde")) for name in "uvwxyz"})
    seen = play(sampler, lambda values: sum(value != "d" for value in values.values()), 400)
    assert min(one.loss for one in seen) == 0


# ---- arguments


def test_without_the_package_it_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(SpecError, match=r'CMAESSearch needs the package cmaes .*pip install "tunesmith\[cmaes\]"'):
        CMAESSearch()


@pytest.mark.parametrize("options", [{"sigma0": 0}, {"sigma0": 0.6}, {"sigma0": True}, {"popsize": 3}, {"popsize": 8.0}, {"popsize": True}])
def test_wrong_arguments_are_named(options) -> None:
    (name,) = options
    with pytest.raises(SpecError, match=f"CMAESSearch: {name} must be"):
        CMAESSearch(**options)


def test_whole_numbers_that_floats_do_not_tell_apart_are_rounded() -> None:
    searcher = CMAESSearch("loss", "min")
    searcher.bind(Space.parse({"i": randint(2**53, 2**53 + 10), "x": uniform(0, 1)}))
    for trial in range(12):
        answer = searcher.propose(trial, str(trial))
        assert isinstance(answer, Proposal)
        assert 2**53 <= answer.values["i"] < 2**53 + 10
        searcher.on_trial_complete(str(trial), {"loss": answer.values["x"]})
