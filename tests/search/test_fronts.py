"""Fronts against their definitions, on points of all kinds: equal ones, ties, up to five losses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.search.fronts import crowding, front_ranks, hypervolume, violation
from tunesmith.search.problem import Bound, Observation


@st.composite
def points(draw, most: int = 12, losses: int = 5, top: int = 4):
    """Whole numbers from 0 to ``top``, so that ties and equal points are common."""
    width = draw(st.integers(1, losses))
    rows = draw(st.lists(st.lists(st.integers(0, top), min_size=width, max_size=width), min_size=1, max_size=most))
    return np.array(rows, dtype=float)


def dominates(one, other) -> bool:
    return all(a <= b for a, b in zip(one, other)) and any(a < b for a, b in zip(one, other))


@given(points(most=25))
def test_a_front_is_what_only_earlier_fronts_dominate(losses) -> None:
    ranks = front_ranks(losses)
    expected, left, rank = {}, set(range(len(losses))), 0
    while left:
        front = {i for i in left if not any(dominates(losses[j], losses[i]) for j in left)}
        expected.update(dict.fromkeys(front, rank))
        left, rank = left - front, rank + 1
    assert ranks.tolist() == [expected[i] for i in range(len(losses))]


@given(points(), st.randoms(use_true_random=False))
def test_fronts_do_not_depend_on_the_order_of_points(losses, random) -> None:
    order = list(range(len(losses)))
    random.shuffle(order)
    assert front_ranks(losses[order]).tolist() == front_ranks(losses)[order].tolist()


def test_fronts_of_infinite_and_of_many_points() -> None:
    assert front_ranks([[math.inf, 1.0], [0.0, math.inf], [math.inf, math.inf]]).tolist() == [0, 0, 1]
    rng = np.random.default_rng(0)
    for width in (2, 3):
        front = rng.random((400, width))
        front /= front.sum(axis=1, keepdims=True)
        assert set(front_ranks(np.vstack([front, front + 1]))[:400]) == {0}


@pytest.mark.parametrize("wrong", [[1.0, 2.0], [[math.nan, 1.0]], [[]]])
def test_what_is_no_table_of_losses_is_refused(wrong) -> None:
    with pytest.raises(ValueError, match="front_ranks: expected losses of shape"):
        front_ranks(wrong)


@given(points(top=9))
def test_crowding_is_the_sum_of_gaps_between_neighbours(losses) -> None:
    expected = np.zeros(len(losses))
    for column in losses.T:
        order = sorted(range(len(losses)), key=lambda i: (column[i], i))
        span = column.max() - column.min()
        for place, i in enumerate(order):
            if place in (0, len(order) - 1):
                expected[i] = math.inf
            elif span:
                expected[i] += (column[order[place + 1]] - column[order[place - 1]]) / span
    assert crowding(losses) == pytest.approx(expected)


@given(points(most=20, top=9))
def test_crowding_of_all_fronts_is_that_of_each_alone(losses) -> None:
    ranks = front_ranks(losses)
    together = crowding(losses, ranks)
    for rank in set(ranks.tolist()):
        assert together[ranks == rank] == pytest.approx(crowding(losses[ranks == rank]))


def test_crowding_looks_at_the_own_front_only() -> None:
    losses = [[0, 4], [1, 2], [2, 1], [4, 0], [3, 3]]
    assert crowding(losses, front_ranks(losses)).tolist() == [math.inf, 1.25, 1.25, math.inf, math.inf]
    assert math.isfinite(crowding(losses)[4])


def test_crowding_of_the_largest_floats_is_finite_between_the_ends() -> None:
    assert crowding([[-1.7e308], [0.0], [1.7e308]]).tolist() == [math.inf, 1.0, math.inf]
    with pytest.raises(ValueError, match="finite"):
        crowding([[math.inf]])


def counted(losses, reference) -> int:
    """The volume of whole numbers' boxes, cell by cell."""
    cells = itertools.product(*(range(int(end)) for end in reference))
    return sum(any(all(a <= b for a, b in zip(point, cell)) for point in losses) for cell in cells)


@given(points(most=10, losses=3, top=6))
def test_hypervolume_up_to_three_losses_is_what_counting_cells_gives(losses) -> None:
    reference = [6] * losses.shape[1]
    assert hypervolume(losses, reference) == pytest.approx(counted(losses, reference))


@given(points(most=8, losses=5, top=3))
def test_hypervolume_of_many_losses_is_what_counting_cells_gives(losses) -> None:
    reference = [3] * losses.shape[1]
    assert hypervolume(losses, reference) == pytest.approx(counted(losses, reference))


@given(points(losses=4), points(losses=4))
def test_more_points_never_dominate_less(some, more) -> None:
    if some.shape[1] == more.shape[1]:
        reference = [5.0] * some.shape[1]
        both = hypervolume(np.vstack([some, more]), reference)
        assert both >= max(hypervolume(some, reference), hypervolume(more, reference)) - 1e-9


def test_hypervolume_of_nothing_and_of_what_is_outside_is_zero() -> None:
    assert hypervolume([], [1.0, 1.0]) == 0.0
    assert hypervolume([[1.0, 0.0], [2.0, -5.0]], [1.0, 1.0]) == 0.0


@pytest.mark.parametrize(("losses", "reference"), [([[1.0, 2.0]], [3.0]), ([[1.0]], [math.inf]), ([[-math.inf]], [1.0])])
def test_a_reference_that_does_not_fit_is_refused(losses, reference) -> None:
    with pytest.raises(ValueError, match="hypervolume: expected a reference"):
        hypervolume(losses, reference)


def test_violation_adds_parts_of_limits() -> None:
    bounds = [Bound("latency", "<=", 20.0), Bound("margin", ">=", 0.0)]
    assert violation(Observation(0, {}, (1.0,), excess=(-3.0, 0.0)), bounds) == 0
    assert violation(Observation(0, {}, (1.0,), excess=(5.0, 2.0)), bounds) == 2.25
    assert violation(Observation(0, {}, (1.0,), excess=(math.inf, 0.0)), bounds) == math.inf
    assert violation(Observation(0, {}, None, outcome="oom_gpu"), bounds) == math.inf
    assert violation(Observation(0, {}, None, outcome="nan", excess=(5.0, 0.0)), bounds) == math.inf
    assert violation(Observation(0, {}, None, outcome="worker_lost"), bounds) == 0
