"""Spaces as columns, candidates, and local search on them."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.search.gp.climb import climb, improve
from tunesmith.search.gp.columns import Columns
from tunesmith.search.gp.pool import around, cover, first_point
from tunesmith.space import (
    Space,
    choice,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    quniform,
    randint,
    randn,
    sample_from,
    uniform,
)

ALL = {
    "u": uniform(-3, 5),
    "l": loguniform(1e-6, 1),
    "q": quniform(-0.5, 0.5, 0.1),
    "ql": qloguniform(0.01, 10, 0.01),
    "n": randint(-3, 4),
    "nl": lograndint(1, 500),
    "nq": qrandint(8, 64, 8),
    "nql": qlograndint(8, 64, 8),
    "huge": lograndint(1, 100_000),
    "g": randn(0, 1),
    "c": choice(["a", "b", None]),
    "o": choice([{"x": uniform(0, 1), "deep": choice([{"k": randint(0, 3)}, [1]])}, {"lr": loguniform(1e-6, 1), "e": choice([0, 1])}, len]),
    "double": sample_from(lambda config: config["u"] * 2),
}


SPACE = Space.parse(ALL)
COLUMNS = Columns(SPACE)


def columns_of(**config: Any) -> Columns:
    return Columns(Space.parse(config))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
def test_what_is_drawn_is_encoded_and_decoded_without_loss(seed: int) -> None:
    space, columns = SPACE, COLUMNS
    values = space.draw(random.Random(seed))
    row = columns.encode(values)
    assert row is not None
    there = columns.active(row[None])[0]
    assert columns.snap(row[None])[0][there] == pytest.approx(row[there], abs=1e-12)
    again = columns.decode(row)
    assert again.keys() == values.keys() - {"double"}
    for name, value in again.items():
        number = isinstance(value, int | float)
        assert value == (pytest.approx(values[name], rel=1e-6, abs=1e-6) if number else values[name])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30), st.floats(0.1, 10))
def test_every_row_is_a_configuration_and_rounded_as_the_space_does(seed: int, wide: float) -> None:
    space, columns = SPACE, COLUMNS
    row = np.clip(np.random.default_rng(seed).normal(0.5, wide, columns.dim), 0, 1)
    values, snapped = columns.decode(row), columns.decode(columns.snap(row[None])[0])
    assert snapped == values
    full = space.complete(values, random.Random(1))
    assert full.keys() == values.keys() | {"double"}
    assert space.values_from(space.resolve(full)) == full


def test_levels_are_where_the_values_are() -> None:
    columns = columns_of(n=randint(0, 4), c=choice(["a", "b"]), x=uniform(0, 1), big=randint(0, 10_000))
    levels = dict(zip(columns.names, columns.levels))
    assert levels["n"].tolist() == [0.125, 0.375, 0.625, 0.875]
    assert levels["c"].tolist() == [0.25, 0.75]
    assert levels["x"] is None
    assert levels["big"] is None
    assert columns.snap(np.array([[0.3, 0.9, 0.3, 0.99]]))[0].tolist() == [0.3, 0.75, 0.375, 0.99]


def test_only_parameters_of_options_taken_exist() -> None:
    columns = COLUMNS
    row = columns.encode({**columns.decode(np.full(columns.dim, 0.5)), "o": 0, "o/0/x": 0.5, "o/0/deep": 0, "o/0/deep/0/k": 1})
    assert row is not None
    there = {name for name, exists in zip(columns.names, columns.active(row[None])[0]) if exists and "/" in name}
    assert there == {"o/0/x", "o/0/deep", "o/0/deep/0/k"}
    row[columns.names.index("o")] = 0.9
    assert not {name for name, exists in zip(columns.names, columns.active(row[None])[0]) if exists and "/" in name}


def test_configurations_of_another_space_have_no_row() -> None:
    columns = columns_of(x=loguniform(0.1, 1), c=choice(["a", "b"]), o=choice([{"y": uniform(0, 1)}, None]))
    good = {"x": 0.5, "c": "a", "o": 0, "o/0/y": 0.1}
    assert columns.encode(good) is not None
    for change in ({"c": "z"}, {"x": -1.0}, {"x": "text"}, {"o": 7}):
        assert columns.encode({**good, **change}) is None
    assert columns.encode({"x": 0.5, "c": "a", "o": 0}) is None


def test_a_small_space_is_covered_whole() -> None:
    columns = columns_of(n=randint(0, 5), c=choice(["a", "b", "c"]), q=quniform(0, 1, 0.5))
    rows = cover(columns, 16, np.random.default_rng(0))
    assert len(rows) == 5 * 3 * 3 == len(np.unique(rows, axis=0))
    assert columns_of(n=randint(0, 100), x=randint(0, 100)).every(1000) is None


def test_many_parameters_with_one_value_are_one_row() -> None:
    rows = cover(columns_of(**{f"n{i}": randint(3, 4) for i in range(100)}), 16, np.random.default_rng(0))
    assert rows.tolist() == [[0.5] * 100]


def test_a_large_space_is_covered_evenly() -> None:
    rows = cover(columns_of(x=uniform(0, 1), y=uniform(0, 1)), 100, np.random.default_rng(0))
    assert len(rows) == 128
    assert (np.histogram2d(*rows.T, bins=4, range=[[0, 1], [0, 1]])[0] == 8).all()


def test_first_points_are_those_of_one_sequence_whatever_the_order() -> None:
    columns = columns_of(x=uniform(0, 1), y=uniform(0, 1))
    there = [first_point(columns, 5, n) for n in range(16)]
    back = [first_point(columns, 5, n) for n in reversed(range(16))][::-1]
    assert np.array_equal(there, back)
    assert (np.histogram2d(*np.array(there).T, bins=4, range=[[0, 1], [0, 1]])[0] == 1).all()
    assert not np.array_equal(there[0], first_point(columns, 6, 0))


def test_around_a_row_there_are_near_and_far_ones_that_differ_in_few_and_in_all_columns() -> None:
    columns = columns_of(**{f"x{i}": uniform(0, 1) for i in range(6)}, c=choice(list("abcdef")))
    centre = columns.snap(np.full((1, 7), 0.5))
    rows = around(columns, centre, 400, np.random.default_rng(0))
    moves = np.abs(rows - centre)[:, 1:]
    assert (moves.max(1) < 0.01).any()
    assert (moves.max(1) > 0.3).any()
    assert ((moves > 0).sum(1) <= 2).any()
    assert ((moves > 0).sum(1) == 6).any()
    kept = (rows[:, 0] == centre[0, 0]).mean()
    assert 0.3 < kept < 0.9


# ---- climbing


class Landscape:
    """In place of an acquisition: any function of rows."""

    def __init__(self, function, slope=None) -> None:
        self.function, self.slope = function, slope

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return self.function(rows)

    def with_slopes(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.function(rows), self.slope(rows) if self.slope else np.zeros_like(rows)


def valley(rows: np.ndarray) -> np.ndarray:
    """Rosenbrock's, upside down, with its top at 0.4, 0.16 ..."""
    x = rows * 2.5
    return -(100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def valley_slope(rows: np.ndarray) -> np.ndarray:
    x = rows * 2.5
    found = np.zeros_like(x)
    found[:, :-1] += 400 * (x[:, 1:] - x[:, :-1] ** 2) * x[:, :-1] + 2 * (1 - x[:, :-1])
    found[:, 1:] -= 200 * (x[:, 1:] - x[:, :-1] ** 2)
    return found * 2.5


def test_climbs_find_the_top_of_a_curved_ridge() -> None:
    starts = np.random.default_rng(0).random((8, 2))
    rows, values = climb(Landscape(valley, valley_slope).with_slopes, starts, np.array([True, True]))
    assert (values >= valley(starts)).all()
    assert values == pytest.approx(valley(rows))
    assert rows[values.argmax()] == pytest.approx([0.4, 0.4], abs=0.01)
    assert np.median(values) > -0.1


@given(st.lists(st.floats(-0.5, 1.5), min_size=3, max_size=3), st.integers(0, 1000))
def test_climbs_stay_inside_and_end_at_the_nearest_point_of_the_cube(top: list[float], seed: int) -> None:
    weights = np.array([1.0, 30.0, 900.0])
    landscape = Landscape(lambda rows: -(weights * (rows - top) ** 2).sum(1), lambda rows: -2 * weights * (rows - top))
    rows, values = climb(landscape.with_slopes, np.random.default_rng(seed).random((3, 3)), np.array([True] * 3))
    assert ((rows >= 0) & (rows <= 1)).all()
    assert (values > landscape(np.clip([top], 0, 1)) - 1e-3).all()


def test_columns_that_are_not_free_stay() -> None:
    rows, _ = climb(Landscape(valley, valley_slope).with_slopes, np.full((1, 2), 0.2), np.array([False, True]))
    assert rows[0] == pytest.approx([0.2, 0.1], abs=1e-3)


def test_choices_and_whole_numbers_are_searched_together_with_numbers() -> None:
    columns = columns_of(c=choice(list("abcdefgh")), n=randint(0, 9), m=randint(0, 200), x=uniform(0, 1))
    target = columns.encode({"c": "f", "n": 7, "m": 123, "x": 0.3})
    code = columns.names.index("c")

    def value(rows: np.ndarray) -> np.ndarray:
        misses = (rows[:, code] != target[code]) * 1.0
        rest = np.delete(rows - target, code, axis=1)
        return -misses - (rest**2).sum(1)

    def slope(rows: np.ndarray) -> np.ndarray:
        found = -2 * (rows - target)
        found[:, code] = 0
        return found

    rng = np.random.default_rng(0)
    rows, values = improve(Landscape(value, slope), columns, columns.snap(rng.random((5, 4))), rng)
    for row in rows:
        found = columns.decode(row)
        assert (found["c"], found["n"], found["m"]) == ("f", 7, 123)
        assert found["x"] == pytest.approx(0.3, abs=1e-3)
    assert values == pytest.approx(np.zeros(5), abs=1e-6)


def test_another_option_is_taken_where_it_is_better() -> None:
    columns = columns_of(o=choice([{"x": uniform(0, 1)}, {"y": randint(0, 5)}, None]), c=choice(["a", "b"]))
    at = {name: columns.names.index(name) for name in columns.names}

    def value(rows: np.ndarray) -> np.ndarray:
        second = columns.option(rows[:, at["o"]], at["o"]) == 1
        return np.where(second, 1.0 - np.abs(rows[:, at["o/1/y"]] - 0.7), 0.0)

    rng = np.random.default_rng(1)
    rows, _ = improve(Landscape(value), columns, columns.snap(rng.random((6, columns.dim))), rng)
    assert [columns.decode(row)["o"] for row in rows] == [1] * 6
    assert {columns.decode(row)["o/1/y"] for row in rows} == {3}

    begin = columns.snap(rng.random((6, columns.dim)))
    held, _ = improve(Landscape(value), columns, begin, rng, {at["o"]})
    assert np.array_equal(held[:, at["o"]], begin[:, at["o"]])
    assert not np.array_equal(held, begin)


def test_of_many_options_the_best_is_found_from_several_starts() -> None:
    columns = columns_of(c=choice(list(range(300))), d=choice(list(range(300))))
    rng = np.random.default_rng(1)
    rows = columns.snap(rng.random((10, 2)))
    before = rows.sum(1)
    after, values = improve(Landscape(lambda found: found.sum(1)), columns, rows, rng)
    assert (values >= before).all()
    assert values.max() > 1.8
    assert np.array_equal(after, columns.snap(after))
