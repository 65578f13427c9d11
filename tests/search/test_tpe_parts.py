"""Columns, kernels, ranking and beliefs: what TPE is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import truncnorm

from tunesmith.errors import SpecError
from tunesmith.search.tpe.beliefs import beliefs_of
from tunesmith.search.tpe.columns import Column, Columns, Points, columns_of
from tunesmith.search.tpe.parzen import Belief, Mixture, bandwidth
from tunesmith.search.tpe.ranking import POOL, Ranking
from tunesmith.search.tpe.tree import Level
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

DOMAINS: dict[str, Any] = {
    "float": uniform(-2, 3),
    "log": loguniform(1e-5, 1),
    "step": quniform(-0.5, 0.5, 0.1),
    "log step": qloguniform(0.01, 10, 0.01),
    "int": randint(-3, 4),
    "large int": randint(0, 1000),
    "cells without a table": randint(0, 100),
    "int step": qrandint(8, 64, 8),
    "log int": lograndint(1, 100_000),
    "small log int": lograndint(1, 9),
    "normal": randn(3, 2),
    "normal step": qrandn(0, 10, 5),
    "category": choice(["a", "b", None]),
}


def column(domain: Any) -> Column:
    return columns_of([Space.parse({"x": domain}).nodes["x"]]).columns[0]


def points_of(columns: Columns, *rows: dict[str, Any]) -> Points:
    encoded = [columns.encode(row) for row in rows]
    return Points(np.array([row[0] for row in encoded if row]), np.array([row[1] for row in encoded if row]))


@pytest.mark.parametrize("name", DOMAINS)
@given(seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_values_come_back_from_their_columns(name: str, seed: int) -> None:
    one, value = column(DOMAINS[name]), DOMAINS[name].sample(random_state=seed)
    again = one.decode(*one.encode(value))
    assert again == value if isinstance(value, int | str | None) else math.isclose(again, value, rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.parametrize("name", ["int", "step", "small log int", "int step", "log int", "log step", "normal step"])
@given(unit=st.floats(0, 1))
def test_a_cell_is_where_one_value_is(name: str, unit: float) -> None:
    one = column(DOMAINS[name])
    cell = int(one.cells(np.array([unit]))[0])
    if cell >= 0 and min(abs(unit - one.edges)) > 1e-9:
        assert one.decode(unit, cell) == one.decode((one.edges[cell] + one.edges[cell + 1]) / 2, cell)


def test_what_is_not_of_the_space_has_no_row() -> None:
    space = Space.parse({"x": uniform(0, 1), "n": randint(0, 5), "c": choice(["a", "b"])})
    columns = columns_of(list(space.nodes.values()))
    good = {"x": 0.5, "n": 2, "c": "b"}
    assert columns.encode(good) is not None
    for wrong in ({"x": 2.0}, {"n": 7}, {"c": "d"}, {"x": "text"}, {"x": None}):
        assert columns.encode({**good, **wrong}) is None
    assert columns.encode({"x": 0.5, "n": 2}) is None


def test_what_cannot_vary_has_no_column() -> None:
    space = Space.parse({"one": randint(5, 6), "only": choice(["a"]), "f": sample_from(lambda: 1), "x": uniform(0, 1)})
    assert [each.name for each in columns_of(list(space.nodes.values()))] == ["x"]


@pytest.mark.parametrize("name", DOMAINS)
@pytest.mark.parametrize("count", [0, 1, 7])
@pytest.mark.parametrize("belief", [False, True])
def test_densities_integrate_to_one_and_are_drawn_from(name: str, count: int, belief: bool) -> None:
    columns = Columns([column(DOMAINS[name])])
    (one,) = columns
    data = points_of(columns, *({"x": DOMAINS[name].sample(random_state=seed)} for seed in range(count)))
    if not count:
        data = Points(np.empty((0, 1)), np.empty((0, 1), dtype=np.int64))
    weights = np.array([0.5, 0.25, 0.25]) if one.options else None
    mixture = Mixture(columns, data, 1.0, [Belief(0.3, 0.1, weights) if belief else None], 0.07)
    if one.options:
        grid = Points(np.zeros((one.options, 1)), np.arange(one.options)[:, None])
    else:
        places = (np.arange(20_000) + 0.5) / 20_000
        grid = Points(places[:, None], one.cells(places)[:, None])
    density = np.exp(mixture.log_density(grid))
    assert density.mean() == pytest.approx(1.0, abs=0.02)
    drawn = mixture.sample(np.random.default_rng(0), 4000)
    if one.options or len(one.edges) > 1:
        part, expected = (drawn.index[:, 0] == 0).mean(), density[grid.index[:, 0] == 0].sum() / density.sum()
    else:
        part, expected = (drawn.units[:, 0] < 0.5).mean(), density[:10_000].sum() / density.sum()
    assert part == pytest.approx(expected, abs=0.03)


def test_kernels_are_truncated_normals() -> None:
    columns = Columns([column(uniform(0, 1)), column(uniform(0, 1))])
    data = Points(np.array([[0.02, 0.6]]), np.full((1, 2), -1))
    at = Points(np.array([[0.1, 0.55], [0.0, 0.9]]), np.full((2, 2), -1))
    width = 0.08
    parts = [truncnorm(-mean / width, (1 - mean) / width, mean, width) for mean in (0.02, 0.6)]
    expected = 0.5 * parts[0].pdf(at.units[:, 0]) * parts[1].pdf(at.units[:, 1]) + 0.5
    assert np.exp(Mixture(columns, data, 1.0, [None, None], width).log_density(at)) == pytest.approx(expected)


def test_kernels_of_integers_have_the_mass_of_their_cells() -> None:
    columns = Columns([column(randint(0, 4))])
    data = points_of(columns, {"x": 1})
    width = 0.08
    kernel = truncnorm(-0.375 / width, 0.625 / width, 0.375, width)
    masses = np.diff(kernel.cdf([0, 0.25, 0.5, 0.75, 1]))
    at = points_of(columns, *({"x": value} for value in range(4)))
    assert np.exp(Mixture(columns, data, 1.0, [None], width).log_density(at)) == pytest.approx(0.5 + 0.5 * masses * 4)


def test_kernels_get_narrower() -> None:
    widths = [bandwidth(count, 3, 0.1) for count in (0, 10, 500)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 0.1
    assert bandwidth(10**9, 1, 0.1) == 0.01


def test_one_loss_is_ranked_and_broken_bounds_come_last() -> None:
    ranking = Ranking()
    for number, (loss, broken) in enumerate([(3.0, 0), (1.0, 0), (0.0, 2.0), (0.0, 1.0), (2.0, 0)]):
        ranking.add(number, (loss,), broken)
    assert ranking.best(10) == [1, 4, 0, 3, 2]
    assert ranking.best(2) == [1, 4]
    assert (ranking.feasible, ranking.broken) == (3, 2)


def test_several_losses_are_ranked_by_fronts_of_which_the_first_survives_any_number() -> None:
    ranking, rng = Ranking(), np.random.default_rng(3)
    front = [10, 11, 12]
    for number in range(3 * POOL):
        x, y = (front.index(number) / 2, 1 - front.index(number) / 2) if number in front else 1.5 + rng.random(2)
        ranking.add(number, (x, y))
    assert sorted(ranking.best(3)) == front


def test_levels_split_what_they_have() -> None:
    levels: list[Level] = []
    space = Space.parse({"x": uniform(0, 1), "o": choice([{"y": uniform(0, 1)}, {"z": uniform(0, 1)}])})
    root = Level(space.group, levels)
    for number in range(100):
        values = {"x": number / 100, "o": number % 2, f"o/{number % 2}/{'yz'[number % 2]}": 0.5}
        for place, row in root.encode(values).items():
            levels[place].add(number, row, number % 5 == 0)
    split = root.split([97, 4, 1], most=10)
    assert split.best.units[:, 1].tolist() == [0.97, 0.04, 0.01]
    assert split.others.units[:, 1].tolist() == [n / 100 for n in (89, 90, 91, 92, 93, 94, 95, 96, 98, 99)]
    feasible, failed = split.feasible
    assert failed.units[:, 1].tolist() == [0.9, 0.95]
    assert len(feasible) == 11
    split.liars = [([0.0, 0.5], [1, -1])]
    assert split.bad.units[:, 1].tolist() == [*split.others.units[:, 1], 0.5]
    below = levels[2].split([97, 4, 1], most=1000)
    assert (len(below.best), len(below.others)) == (2, 48)


def test_beliefs_are_understood() -> None:
    space = Space.parse({"x": uniform(0, 10), "lr": loguniform(1e-4, 1), "z": randn(5, 2), "c": choice(["a", "b"]), "n": randint(0, 10)})
    found = beliefs_of("TPESearch", {"x": (5, 2), "lr": [1e-2, 10], "z": (5, 2), "c": {"b": 3}, "n": (4, 2)}, space)
    assert (found["x"].mean, found["x"].spread) == pytest.approx((0.5, 0.2))
    assert (found["lr"].mean, found["lr"].spread) == pytest.approx((0.5, 0.25))
    assert (found["z"].mean, found["z"].spread) == pytest.approx((0.5, 0.341), abs=1e-3)
    assert found["c"].weights is not None
    assert found["c"].weights.tolist() == [0.25, 0.75]
    assert beliefs_of("TPESearch", {"c": [1, 3]}, space)["c"].weights.tolist() == [0.25, 0.75]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("priors", "says"),
    [
        ({"xx": (1, 2)}, "no parameter 'xx'.*Did you mean 'x'"),
        ({"x": 3}, r"priors\['x'\].*two numbers"),
        ({"x": (30, 1)}, "between 0.0 and 10.0"),
        ({"x": (3, 0)}, "spread must be a number > 0"),
        ({"lr": (1e-2, 0.5)}, "factor > 1"),
        ({"c": [1]}, "2 weights"),
        ({"c": {"d": 1}}, "'d' is none of the options"),
        ({"c": [1, 0]}, "weights must be numbers > 0"),
        ({"f": (1, 2)}, "computed"),
    ],
)
def test_beliefs_that_make_no_sense_are_refused(priors: dict[str, Any], says: str) -> None:
    space = Space.parse({"x": uniform(0, 10), "lr": loguniform(1e-4, 1), "c": choice(["a", "b"]), "f": sample_from(lambda: 1)})
    with pytest.raises(SpecError, match=says):
        beliefs_of("TPESearch", priors, space)
