"""NSGA-II: who survives, who breeds, and what children are made of."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.search import nsga2
from tunesmith.search.base import Searcher
from tunesmith.search.nsga2 import NSGA2Sampler, NSGA2Search
from tunesmith.search.problem import Bound, Observation, Problem
from tunesmith.search.sampler import Asked
from tunesmith.space import (
    Space,
    choice,
    lograndint,
    loguniform,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)
from tunesmith.testing.searcher_kit import SearcherKit


class TestNSGA2Conforms(SearcherKit):
    def make(self) -> Searcher:
        return NSGA2Search(population_size=6)


class TestNSGA2WithOptionsConforms(SearcherKit):
    def make(self) -> Searcher:
        return NSGA2Search(population_size=2, crossover="sbx", crossover_rate=1, mutation_rate=1.0, duplicates=True)


XY = {"x": uniform(0, 1), "y": uniform(0, 1)}


def sampler_of(config: dict[str, Any], metrics: int = 2, bounds: tuple[Bound, ...] = (), **options: Any) -> NSGA2Sampler:
    names = tuple(f"m{index}" for index in range(metrics))
    return NSGA2Sampler(Problem(Space.parse(config), names, (1.0,) * metrics, bounds=bounds), **options)


def ask(sampler: NSGA2Sampler, trial: int) -> dict[str, Any] | None:
    found = sampler.propose(Asked(trial, 0, np.random.default_rng(trial), {}, lambda values: False))
    assert found is None or found.source == "nsga2"
    return None if found is None else found.values


def tell(sampler: NSGA2Sampler, *losses: tuple[float, ...], **values: Any) -> None:
    for number, each in enumerate(losses):
        sampler.observe(Observation(number, values or {"x": each[0], "y": 0.5}, each))


def population(sampler: NSGA2Sampler) -> list[tuple[float, ...]]:
    return [member.losses for member in sampler._members]


# ---- survival


def test_the_last_front_leaves_first_and_there_who_is_most_crowded() -> None:
    sampler = sampler_of(XY, population_size=4)
    tell(sampler, (0.0, 4.0), (4.0, 0.0), (3.0, 3.0), (1.0, 2.0), (2.0, 1.0))
    assert population(sampler) == [(0.0, 4.0), (4.0, 0.0), (1.0, 2.0), (2.0, 1.0)]
    tell(sampler, (1.9, 1.1))
    assert (2.0, 1.0) not in population(sampler) or (1.9, 1.1) not in population(sampler)
    assert {(0.0, 4.0), (4.0, 0.0)} < set(population(sampler))


def test_of_equals_the_later_one_leaves() -> None:
    sampler = sampler_of(XY, metrics=1, population_size=2)
    for trial in range(3):
        sampler.observe(Observation(trial, {"x": trial / 10, "y": 0.0}, (1.0,)))
    assert len(sampler._members) == 2
    sampler.observe(Observation(3, {"x": 0.9, "y": 0.0}, (0.5,)))
    assert (0.5,) in population(sampler)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=12, max_size=40))
def test_nobody_who_left_dominates_anybody_who_stayed(losses) -> None:
    sampler = sampler_of(XY, population_size=10)
    tell(sampler, *((float(a), float(b)) for a, b in losses))
    stayed = population(sampler)
    assert len(stayed) == 10
    for gone in losses:
        if gone not in stayed:
            assert not any(gone[0] <= a and gone[1] <= b and gone != (a, b) for a, b in stayed)


def test_whoever_breaks_bounds_is_behind_all_who_do_not() -> None:
    sampler = sampler_of(XY, metrics=1, bounds=(Bound("size", "<=", 10.0),), population_size=3)
    for trial, (loss, excess) in enumerate([(0.0, 5.0), (0.1, 1.0), (9.0, -1.0), (8.0, 0.0), (0.2, 2.0), (7.0, -3.0)]):
        sampler.observe(Observation(trial, {"x": 0.5, "y": loss / 10}, (loss,), excess=(excess,)))
    assert sorted(population(sampler)) == [(7.0,), (8.0,), (9.0,)]
    behind = sampler_of(XY, metrics=1, bounds=(Bound("size", "<=", 10.0),), population_size=3)
    for trial, (loss, excess) in enumerate([(0.0, 5.0), (0.1, 1.0), (9.0, -1.0), (0.2, 2.0)]):
        behind.observe(Observation(trial, {"x": 0.5, "y": loss / 10}, (loss,), excess=(excess,)))
    assert sorted(population(behind)) == [(0.1,), (0.2,), (9.0,)]


def test_failed_trials_never_breed_and_lost_ones_are_not_counted() -> None:
    sampler = sampler_of(XY, metrics=1, population_size=4)
    for trial in range(4):
        sampler.observe(Observation(trial, {"x": 0.9, "y": 0.9}, None, outcome="oom_gpu"))
        sampler.observe(Observation(trial + 10, {"x": 0.8, "y": 0.8}, None, outcome="worker_lost"))
    unknown = sampler_of(XY, metrics=1, bounds=(Bound("size", "<=", 1.0),))
    unknown.observe(Observation(0, {"x": 0.9, "y": 0.9}, (0.0,), excess=(math.inf,)))
    assert population(sampler) == population(unknown) == []
    assert ask(sampler, 20) is None
    tell(sampler, (1.0,), (2.0,))
    assert ask(sampler, 21) is not None


def test_until_a_population_is_there_it_is_random() -> None:
    sampler = sampler_of(XY, population_size=5)
    for number in range(5):
        assert ask(sampler, number) is None
        sampler.observe(Observation(-1 - number, {"x": 0.1 * number, "y": 0.3}, (1.0, float(number))))
    assert ask(sampler, 5) is not None


# ---- children


def test_every_parameter_is_one_parents_where_nothing_mutates() -> None:
    sampler = sampler_of({name: uniform(0, 1) for name in "abcdefgh"}, metrics=1, population_size=4, crossover_rate=1, mutation_rate=0)
    rng = random.Random(0)
    parents = [{name: rng.random() for name in "abcdefgh"} for _ in range(4)]
    for trial, values in enumerate(parents):
        sampler.observe(Observation(trial, values, (1.0,)))
    mixed = 0
    for trial in range(100, 150):
        child = ask(sampler, trial)
        strange = [name for name in child if not any(child[name] == parent[name] for parent in parents)]
        assert len(strange) <= 1  # a copy of a parent mutates in one place
        mixed += child not in parents and not strange
    assert mixed > 20


def test_the_better_breed_more_often() -> None:
    sampler = sampler_of(XY, metrics=1, population_size=20, crossover_rate=0, mutation_rate=0)
    for trial in range(20):
        sampler.observe(Observation(trial, {"x": trial / 20, "y": trial / 20}, (float(trial),)))
    children = [ask(sampler, trial) for trial in range(100, 400)]
    # winners of tournaments of two: a third of the way from the best
    assert np.median([child["y"] for child in children]) == pytest.approx(0.3, abs=0.06)
    assert all(child["x"] != child["y"] for child in children)  # copies mutate in one place


TREE = {
    "opt": choice([{"lr": uniform(0, 1), "b": choice([{"c": uniform(0, 1)}, "none"])}, {"lr": uniform(5, 6)}]),
    "w": uniform(0, 1),
}


def test_what_hangs_on_an_option_comes_from_whoever_has_taken_it() -> None:
    space = Space.parse(TREE)
    sampler, rng = sampler_of(TREE), np.random.default_rng(0)
    parents = [
        {"opt": 0, "opt/0/lr": 0.25, "opt/0/b": 0, "opt/0/b/0/c": 0.75, "w": 0.1},
        {"opt": 1, "opt/1/lr": 5.5, "w": 0.9},
    ]
    seen = set()
    for number in range(40):
        child = space.complete(sampler._cross(rng, parents[number % 2], parents[1 - number % 2]), random.Random(0))
        assert {**child, "w": parents[child["opt"]]["w"]} == parents[child["opt"]]
        seen.add((child["opt"], child["w"]))
    assert seen == {(0, 0.1), (0, 0.9), (1, 0.1), (1, 0.9)}


def test_what_neither_parent_has_is_drawn() -> None:
    space = Space.parse(TREE)
    sampler = sampler_of(TREE, metrics=1, population_size=2, mutation_rate=1.0)
    for trial in range(2):
        sampler.observe(Observation(trial, {"opt": 1, "opt/1/lr": 5.5, "w": 0.1 * trial}, (1.0,)))
    child = ask(sampler, 9)
    assert child["opt"] == 0
    assert "opt/0/lr" not in child
    assert space.complete(child, random.Random(0)).keys() >= {"opt", "opt/0/lr", "opt/0/b", "w"}


def test_computed_values_are_computed_anew() -> None:
    config = {"x": uniform(0, 1), "double": sample_from(lambda config: 2 * config["x"])}
    sampler = sampler_of(config, metrics=1, population_size=2)
    for trial in range(2):
        sampler.observe(Observation(trial, {"x": 0.1 * trial, "double": 0.2 * trial}, (1.0,)))
    assert set(ask(sampler, 5)) == {"x"}


DOMAINS = [
    uniform(-1, 2), quniform(-0.5, 0.5, 0.1), loguniform(1e-4, 10), qloguniform(0.05, 5, 0.05), randn(3, 2), qrandn(3, 2, 0.5),
    randint(-3, 4), qrandint(8, 64, 8), lograndint(1, 1000), randint(0, 2),
]  # fmt: skip


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_mutants_are_other_members_of_the_domain_mostly_nearby(domain) -> None:
    (leaf,) = Space.parse({"p": domain}).nodes.values()
    rng, draws, far = np.random.default_rng(0), random.Random(0), 0
    for _ in range(300):
        value = leaf.draw(draws)
        mutant = nsga2._mutated(rng, leaf, value)
        assert domain.is_valid(mutant)
        assert mutant != value
        assert type(mutant) is type(value)
        far += abs(nsga2.to_unit(domain, mutant) - nsga2.to_unit(domain, value)) > 0.5
    assert far <= 15 or domain.describe() == {"type": "randint", "lower": 0, "upper": 2}


@pytest.mark.parametrize("domain", DOMAINS, ids=repr)
def test_between_two_parents_or_a_little_beyond(domain) -> None:
    (leaf,) = Space.parse({"p": domain}).nodes.values()
    rng, draws, near = np.random.default_rng(0), random.Random(0), 0
    for _ in range(300):
        one, other = leaf.draw(draws), leaf.draw(draws)
        child = nsga2._between(rng, domain, one, other)
        assert domain.is_valid(child)
        places = [nsga2.to_unit(domain, value) for value in (one, other, child)]
        near += min(abs(places[2] - places[0]), abs(places[2] - places[1])) <= 0.25 * abs(places[0] - places[1]) + 0.01
    assert near > 240


def test_categories_mutate_to_any_other_option_and_tell_true_from_one() -> None:
    (leaf,) = Space.parse({"p": choice([1, True, 1.5, "a"])}).nodes.values()
    rng = np.random.default_rng(0)
    seen = [nsga2._mutated(rng, leaf, True) for _ in range(100)]
    assert {repr(value) for value in seen} == {"1", "1.5", "'a'"}
    (single,) = Space.parse({"p": choice(["only"])}).nodes.values()
    assert nsga2._mutated(rng, single, "only") == "only"
    (one,) = Space.parse({"p": randint(3, 4)}).nodes.values()
    assert nsga2._mutated(rng, one, 3) == 3


# ---- the whole


def test_proposals_are_a_function_of_the_observations() -> None:
    config = {**XY, "c": choice(["a", "b"]), "n": randint(0, 9)}
    space, rng = Space.parse(config), random.Random(0)
    one, other = sampler_of(config, population_size=10), sampler_of(config, population_size=10)
    for trial in range(40):
        values = space.draw(rng)
        observation = Observation(trial, values, (values["x"], 1 - values["x"] + values["y"]))
        one.observe(observation)
        ask(one, trial)
        other.observe(observation)
    assert [ask(one, trial) for trial in (50, 40)] == [ask(other, trial) for trial in (50, 40)]


@pytest.mark.parametrize("crossover", ["uniform", "sbx"])
def test_with_one_metric_it_is_a_plain_genetic_algorithm(crossover) -> None:
    searcher = NSGA2Search("loss", "min", population_size=20, crossover=crossover)
    searcher.bind(Space.parse({**XY, "n": randint(0, 20), "c": choice(["a", "b", "c"])}), seed=2)
    best = math.inf
    for trial in range(250):
        values = searcher.propose(trial, str(trial)).values
        loss = (values["x"] - 0.3) ** 2 + (values["y"] - 0.6) ** 2 + abs(values["n"] - 17) / 20 + (values["c"] != "b")
        best = min(best, loss)
        searcher.on_trial_complete(str(trial), {"loss": loss})
    assert best < 0.003


def test_evaluated_points_are_members_from_the_start() -> None:
    points = [{"x": 0.1, "y": 0.1}, {"x": 0.9, "y": 0.1}]
    options = {"points_to_evaluate": points, "evaluated_rewards": [(0.1, 0.9), (0.9, 0.1)]}
    searcher = NSGA2Search(["a", "b"], ["min", "min"], population_size=2, mutation_rate=0.0, **options)
    searcher.bind(Space.parse(XY))
    assert searcher.propose(0, "0").source == "nsga2"


@pytest.mark.parametrize(
    "options",
    [
        {"population_size": 1}, {"population_size": 2.5}, {"population_size": True}, {"crossover": "blend"}, {"crossover_rate": 1.5},
        {"crossover_rate": None}, {"mutation_rate": -0.1}, {"mutation_rate": True}, {"mutation_rate": "all"},
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(options) -> None:
    (name,) = options
    with pytest.raises(SpecError, match=f"NSGA2Search: {name} must be"):
        NSGA2Search(**options)
