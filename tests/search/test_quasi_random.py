"""Quasi-random search: even, the same in any order of requests, and within constraints."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from tunesmith.errors import SpecError, UserCodeError
from tunesmith.search import quasi_random
from tunesmith.search.base import Proposal, Searcher
from tunesmith.search.quasi_random import QuasiRandomSearch
from tunesmith.space import Space, choice, loguniform, randint, require, sample_from, uniform
from tunesmith.testing.searcher_kit import SearcherKit

BOTH = pytest.mark.parametrize("sequence", ["sobol", "halton"])


class TestSobolConforms(SearcherKit):
    def make(self) -> Searcher:
        return QuasiRandomSearch()


class TestHaltonConforms(SearcherKit):
    def make(self) -> Searcher:
        return QuasiRandomSearch(sequence="halton", max_concurrent=200)


def bound(config: dict[str, Any], of_all: int = 0, **options: Any) -> QuasiRandomSearch:
    searcher = QuasiRandomSearch("loss", "min", **options)
    searcher.bind(Space.parse(config), seed=of_all)
    return searcher


def values(searcher: QuasiRandomSearch, trial: int) -> dict[str, Any]:
    answer = searcher.propose(trial, str(trial))
    assert isinstance(answer, Proposal)
    return answer.values


SQUARE = {"x": uniform(0, 1), "y": uniform(0, 1)}


@BOTH
def test_points_are_those_of_scipys_sequence_in_whatever_order_they_are_asked_for(sequence) -> None:
    whole = [values(bound(SQUARE, sequence=sequence), n) for n in range(3)]
    one = bound(SQUARE, sequence=sequence)
    rows = [one.sampler._stream.point(n).tolist() for n in range(300)]
    assert [list(point.values()) for point in whole] == rows[:3]
    engine = {"sobol": qmc.Sobol, "halton": qmc.Halton}[sequence]
    plain = engine(2, scramble=False).random(256)
    # scrambling is a bijection in each dimension: what shares its first binary (ternary) digit before does so after
    for column, base in ((0, 2), (1, 2 if sequence == "sobol" else 3)):
        before = (plain[:, column] * base).astype(int)
        after = [int(row[column] * base) for row in rows[:256]]
        assert len(set(zip(before.tolist(), after))) == base
    again = bound(SQUARE, sequence=sequence)
    order = random.Random(1).sample(range(300), 40)
    assert [again.sampler._stream.point(n).tolist() for n in order] == [rows[n] for n in order]


@BOTH
def test_a_far_trial_is_the_same_whether_or_not_those_before_it_were_asked_for(sequence) -> None:
    space = {**SQUARE, "c": choice(["a", "b"])}
    walked = bound(space, sequence=sequence)
    for n in range(0, 5000, 50):
        values(walked, n)
    assert values(walked, 5000) == values(bound(space, sequence=sequence), 5000)


@BOTH
def test_it_covers_better_than_random_points(sequence) -> None:
    for seed in range(5):
        searcher = bound({name: uniform(0, 1) for name in "abcd"}, seed, sequence=sequence)
        even = qmc.discrepancy([list(values(searcher, n).values()) for n in range(128)])
        rng = random.Random(seed)
        assert even < 0.3 * qmc.discrepancy([[rng.random() for _ in range(4)] for _ in range(128)])


def test_options_of_choices_come_equally_often_and_together_with_all_of_others() -> None:
    searcher = bound({"c": choice(["a", "b", "c", "d"]), "d": choice([[1], {"k": 2}]), "x": loguniform(1e-6, 1)})
    seen = [values(searcher, n) for n in range(64)]
    for option in "abcd":
        alike = [point for point in seen if point["c"] == option]
        assert len(alike) == 16
        assert sorted(point["d"] for point in alike).count(0) in range(5, 12)
        assert 4 <= sum(point["x"] < 1e-3 for point in alike) <= 12


def test_seeds_and_sources() -> None:
    assert values(bound(SQUARE, 1), 5) != values(bound(SQUARE, 2), 5)
    assert values(bound(SQUARE, 1, seed=2), 5) == values(bound(SQUARE, 2), 5)
    assert [bound(SQUARE, sequence=name).propose(0, "").source for name in ("sobol", "halton")] == ["sobol", "halton"]


def test_start_points_move_nothing() -> None:
    without, searcher = bound(SQUARE), bound(SQUARE, points_to_evaluate=[{"x": 0.25}, {"x": 0.5, "y": 0.5}])
    assert values(searcher, 0)["x"] == 0.25
    assert values(searcher, 1) == {"x": 0.5, "y": 0.5}
    assert values(searcher, 2) == values(without, 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10), st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_constraints_leave_the_points_that_keep_them_in_their_order(seed, trials) -> None:
    searcher = bound({**SQUARE, "r": require(lambda config: config["x"] + config["y"] <= 1)}, seed)
    free = bound(SQUARE, seed)
    kept = [point for point in (values(free, n) for n in range(128)) if point["x"] + point["y"] <= 1]
    for trial in trials:
        assert values(searcher, trial) == kept[trial]


def test_constraints_on_computed_values_are_kept_in_any_order() -> None:
    config = {
        "x": uniform(0, 1),
        "y": sample_from(lambda config: config["x"] + random.random()),
        "r": require(lambda config: config["y"] < 0.8),
    }
    forward, backward = bound(config), bound(config)
    there = [values(forward, n) for n in range(10)]
    assert there == [values(backward, n) for n in reversed(range(10))][::-1]
    assert max(point["y"] for point in there) < 0.8


def test_where_points_hardly_ever_keep_a_constraint_the_rest_is_random(monkeypatch) -> None:
    monkeypatch.setattr(quasi_random, "_REFUSALS", 30)
    searcher = bound({"n": randint(0, 40), "r": require(lambda config: config["n"] == 3)})
    sources = [searcher.propose(n, str(n)).source for n in range(20)]
    assert sources == sorted(sources, reverse=True)
    assert set(sources) == {"sobol", "random"}


def test_a_constraint_that_raises_is_shown_as_it_is() -> None:
    searcher = bound({"x": uniform(0, 1), "r": require(lambda config: config["nothing"])})
    with pytest.raises(UserCodeError, match="nothing"):
        searcher.propose(0, "0")


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match='"sobol" or "halton", got \'niederreiter\''):
        QuasiRandomSearch(sequence="niederreiter")  # type: ignore[arg-type]


def test_more_parameters_than_a_sobol_sequence_has_are_refused(monkeypatch) -> None:
    assert qmc.Sobol.MAXDIM == quasi_random.SOBOL_PARAMETERS
    monkeypatch.setattr(quasi_random, "SOBOL_PARAMETERS", 1)
    with pytest.raises(SpecError, match=r'2 parameters, .*at most 1; use sequence="halton"'):
        bound(SQUARE)
    assert values(bound(SQUARE, sequence="halton"), 0)


def test_trials_beyond_the_sequence_are_random() -> None:
    searcher = bound({"n": randint(0, 5)})
    assert searcher.propose(2**30, "far").source == "random"


def test_a_space_with_nothing_to_choose_is_answered() -> None:
    assert values(bound({"k": 3, "s": sample_from(lambda config: config["k"] + 1)}), 4) == {"s": 4}


def test_it_needs_no_metric() -> None:
    searcher = QuasiRandomSearch()
    searcher.bind(Space.parse({"x": uniform(0, 1)}))
    assert 0 <= searcher.propose(0, "0").values["x"] <= 1
    searcher.on_trial_complete("0", {"loss": 1.0})
