"""The default searcher: grid x random x fixed points."""

from __future__ import annotations

import random

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import BugError, SpaceError, SpecError, UserCodeError
from tunesmith.search import BasicVariantGenerator, Exhausted, Proposal
from tunesmith.space import Space


def bound(config, seed: int = 1, **options):
    searcher = BasicVariantGenerator(**options)
    searcher.bind(Space.parse(config), seed=seed)
    return searcher


def take(searcher, count: int, first: int = 0):
    answers = [searcher.propose(number, str(number)) for number in range(first, first + count)]
    assert all(isinstance(answer, Proposal) for answer in answers), answers
    return [answer.values for answer in answers]


MIXED = {"lr": tune.uniform(0, 1), "a": tune.grid_search([1, 2]), "b": tune.grid_search(["x", "y"])}


def test_each_pass_walks_the_whole_grid_and_draws_the_rest_anew() -> None:
    searcher = bound(MIXED)
    assert searcher.total_samples(3) == 12
    values = take(searcher, 12)
    assert [(v["a"], v["b"]) for v in values] == [(1, "x"), (2, "x"), (1, "y"), (2, "y")] * 3
    assert len({v["lr"] for v in values}) == 12


def test_one_draw_per_pass_with_a_constant_grid() -> None:
    searcher = bound(MIXED | {"f": tune.sample_from(lambda: np.random.rand())}, constant_grid_search=True)  # noqa: NPY002, PLW0108
    values = take(searcher, 8)
    assert len({v["lr"] for v in values[:4]}) == 1
    assert len({v["f"] for v in values[:4]}) == 1
    assert len({v["lr"] for v in values}) == 2


def test_a_trial_depends_on_seed_and_number_only() -> None:
    assert take(bound(MIXED), 1, 7) == take(bound(MIXED), 8)[7:]
    assert take(bound(MIXED, seed=2), 4) != take(bound(MIXED, seed=1), 4)


def test_random_state_takes_the_place_of_the_experiments_seed() -> None:
    assert take(bound(MIXED, seed=1, random_state=5), 4) == take(bound(MIXED, seed=2, random_state=5), 4)
    for make in (random.Random, np.random.RandomState, np.random.default_rng):
        first, second = (bound(MIXED, seed=s, random_state=make(3)) for s in (1, 2))
        assert take(first, 3) == take(second, 3)
    assert take(bound(MIXED, seed=1, random_state=np.int64(5)), 2) == take(bound(MIXED, random_state=5), 2)
    with pytest.raises(SpecError, match="random_state must be an int or a random generator, got str"):
        BasicVariantGenerator(random_state="1")


def test_points_come_first_and_take_the_place_of_samples() -> None:
    searcher = bound(MIXED, points_to_evaluate=[{"lr": 0.25, "a": 2}, {"b": "y", "a": 1}])
    assert searcher.total_samples(3) == 2 + 1 + 4
    answers = [searcher.propose(n, "") for n in range(7)]
    values = [answer.values for answer in answers]
    assert values[0] == {"lr": 0.25, "a": 2, "b": "x"}
    assert values[1] == {"lr": 0.25, "a": 2, "b": "y"}
    assert (values[2]["a"], values[2]["b"]) == (1, "y")
    assert [(v["a"], v["b"]) for v in values[3:]] == [(1, "x"), (2, "x"), (1, "y"), (2, "y")]
    assert [answer.source for answer in answers] == ["point 0", "point 0", "point 1", *["random"] * 4]


def test_all_points_are_tried_even_if_more_than_samples() -> None:
    searcher = bound({"x": tune.uniform(0, 1)}, points_to_evaluate=[{"x": 0.1}, {"x": 0.2}, {}])
    assert searcher.total_samples(1) == 3
    assert [v["x"] for v in take(searcher, 2)] == [0.1, 0.2]


def test_points_choose_options_by_what_they_are() -> None:
    config = {"opt": tune.choice([{"name": "sgd", "lr": tune.uniform(0, 1)}, {"name": "adam"}])}
    assert take(bound(config, points_to_evaluate=[{"opt": {"name": "sgd", "lr": 0.5}}]), 1) == [{"opt": 0, "opt/0/lr": 0.5}]


@pytest.mark.parametrize(
    ("points", "error", "words"),
    [
        ([{}, {"lr": 2}], SpaceError, r"points_to_evaluate\[1\]: config\['lr'\]: 2 is not in uniform\(0.0, 1.0\)"),
        ([{"lrs": 2}], SpaceError, r"points_to_evaluate\[0\]: config\['lrs'\]: the space has no such entry; did you mean \"lr\""),
        ({"lr": 0.5}, SpecError, r"got a single one, so put it into \[ \]"),
    ],
)
def test_bad_points_are_refused_before_anything_starts(points, error, words) -> None:
    with pytest.raises(error, match=words):
        bound(MIXED, points_to_evaluate=points)


def test_a_point_that_breaks_a_constraint_is_named() -> None:
    config = {"x": tune.uniform(0, 1), "low": tune.require(lambda c: c["x"] < 0.5, "x below a half")}
    searcher = bound(config, points_to_evaluate=[{"x": 0.9}])
    with pytest.raises(SpaceError, match=r"points_to_evaluate\[0\]: config: no configuration .*x below a half"):
        searcher.propose(0, "0")


def test_points_of_the_grid_that_break_a_constraint_are_left_out() -> None:
    config = {"a": tune.grid_search([1, 2, 3]), "b": tune.grid_search([1, 2, 3]), "order": tune.require(lambda c: c["a"] < c["b"])}
    searcher = bound(config)
    assert searcher.total_samples(2) == 6
    assert [(v["a"], v["b"]) for v in take(searcher, 6)] == [(1, 2), (1, 3), (2, 3)] * 2
    with pytest.raises(SpaceError, match="no configuration"):
        bound({"a": tune.grid_search([1]), "no": tune.require(lambda c: False)})


def test_a_pure_grid_ends_with_a_reason() -> None:
    searcher = bound({"a": tune.grid_search([1, 2, 3])})
    assert searcher.total_samples(None) == 3
    take(searcher, 3)
    assert searcher.propose(3, "3") == Exhausted("all 3 points of the grid have been proposed, and nothing else in the space varies")


def test_other_spaces_have_no_end() -> None:
    assert bound(MIXED).total_samples(None) is None
    empty = bound({"epochs": 3})
    assert empty.total_samples(None) is None
    assert take(empty, 3) == [{}, {}, {}]


def test_a_grid_that_a_function_returns_counts_from_the_start() -> None:
    calls = []

    def grid(config):
        calls.append(config["a"])
        return tune.grid_search([config["a"], config["a"] + 10])

    searcher = bound({"a": tune.grid_search([1, 2]), "x": tune.sample_from(grid)})
    assert searcher.total_samples(2) == 8
    assert [(v["a"], v["x"]) for v in take(searcher, 4)] == [(1, 1), (2, 2), (1, 11), (2, 12)]
    assert len(calls) == 4  # the first trial's values are kept, not drawn twice


def test_functions_are_asked_once_per_trial() -> None:
    numbers = iter(range(10))
    searcher = bound({"x": tune.sample_from(lambda: next(numbers))})
    assert [v["x"] for v in take(searcher, 4)] == [0, 1, 2, 3]


def test_computed_entries_that_cannot_be_are_found_before_anything_starts() -> None:
    with pytest.raises(SpaceError, match="needs its own value"):
        bound({"a": tune.sample_from(lambda c: c["a"])})
    with pytest.raises(UserCodeError, match=r"config\['a'\]"):
        bound({"a": tune.sample_from(lambda c: 1 / 0)})


def changed(config, first: int, inside, **options):
    searcher = bound(config, **options)
    searcher.begin_version(first, inside)
    return searcher


def test_since_a_change_the_grid_is_walked_where_it_was_not() -> None:
    searcher = changed({"a": tune.grid_search([0, 1, 2])}, 4, [{"a": 1}, {"a": 2}, {"a": 1}])
    assert searcher.total_samples(None) == searcher.total_samples(1) == 5
    assert searcher.propose(4, "") == Proposal({"a": 0}, "grid")
    assert searcher.propose(5, "") == Exhausted("all 3 points of the grid have been proposed, and nothing else in the space varies")
    assert searcher.total_samples(3) == 4 + 6
    assert [v["a"] for v in take(searcher, 6, 4)] == [0, 0, 2, 0, 1, 2]
    assert changed({"a": tune.grid_search([1])}, 9, [{"a": 1}]).total_samples(1) == 9


def test_since_a_change_grids_in_options_and_constraints() -> None:
    two = tune.grid_search([1, 2])
    config = {"opt": tune.grid_search([{"k": two}, None, {"k": two, "m": two}]), "z": two}
    all_of_them = take(bound(config), 14)
    for left in range(14):
        searcher = changed(config, 13, [*all_of_them[:left], *all_of_them[left + 1 :]])
        assert searcher.total_samples(1) == 14
        assert take(searcher, 1, 13) == [all_of_them[left]]
    config = {"a": tune.grid_search([1, 2, 3]), "b": tune.grid_search([1, 2, 3]), "order": tune.require(lambda c: c["a"] < c["b"])}
    searcher = changed(config, 5, [{"a": 1, "b": 3}])
    assert searcher.total_samples(2) == 5 + 5
    assert [(v["a"], v["b"]) for v in take(searcher, 5, 5)] == [(1, 2), (2, 3), (1, 2), (1, 3), (2, 3)]


def test_since_a_change_points_that_were_tried_are_left_out() -> None:
    points = [{"lr": 0.25, "a": 2}, {"b": "y", "a": 1}]
    searcher = changed(MIXED, 3, [{"lr": 0.25, "a": 2, "b": "x"}, {"lr": 0.3, "a": 1, "b": "x"}], points_to_evaluate=points)
    assert searcher.total_samples(3) == 3 + 2 + 3
    answers = [searcher.propose(n, "") for n in range(3, 8)]
    assert [answer.source for answer in answers] == ["point 0", "point 1", *["random"] * 3]
    assert answers[0].values == {"lr": 0.25, "a": 2, "b": "y"}
    assert [(answer.values["a"], answer.values["b"]) for answer in answers[2:]] == [(2, "x"), (1, "y"), (2, "y")]


def test_since_a_change_samples_without_a_grid_are_counted_all() -> None:
    searcher = changed({"x": tune.uniform(0, 1)}, 4, [{"x": 0.5}])
    assert [searcher.total_samples(n) for n in (None, 2, 9)] == [None, 4, 9]
    assert take(searcher, 2, 4) == take(bound({"x": tune.uniform(0, 1)}), 2, 4), "trial n's draw is trial n's"
    searcher = changed({"x": tune.uniform(0, 1)}, 4, [{"x": 0.5}], points_to_evaluate=[{"x": 0.5}, {"x": 0.6}])
    assert searcher.total_samples(2) == 5
    assert take(searcher, 1, 4) == [{"x": 0.6}]


def test_since_a_change_a_grid_that_a_function_returns_is_walked_anew() -> None:
    """Nobody can know which of its points a value stands for."""
    config = {"a": tune.grid_search([1, 2]), "x": tune.sample_from(lambda c: tune.grid_search([c["a"], c["a"] + 10]))}
    searcher = changed(config, 2, [{"a": 1, "x": 1}])
    assert searcher.total_samples(1) == 6
    assert [(v["a"], v["x"]) for v in take(searcher, 4, 2)] == [(1, 1), (2, 2), (1, 11), (2, 12)]


def test_arguments_are_checked() -> None:
    with pytest.raises(SpecError, match="max_concurrent must be a whole number"):
        BasicVariantGenerator(max_concurrent=-1)
    with pytest.raises(BugError, match="before it was bound"):
        BasicVariantGenerator().total_samples(1)
