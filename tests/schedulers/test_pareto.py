"""Rankings by several numbers, held against fronts and nets that are worked out anew."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.schedulers import nets, pareto
from tunesmith.schedulers.pareto import ParetoRanking

Point = tuple[float, ...]
Steps = list[tuple[int, Point | None]]


def points(size: int) -> st.SearchStrategy[Point]:
    decimal = st.floats(-10, 10).map(lambda value: round(value, 3))
    return st.tuples(*[st.one_of(st.integers(0, 4).map(float), decimal, st.sampled_from([math.inf, -math.inf]))] * size)


steps = st.integers(1, 3).flatmap(
    lambda size: st.lists(st.tuples(st.integers(0, 20), st.one_of(points(size), points(size), st.none())), min_size=1, max_size=30)
)
"""(trial, score): record it, if it is new; (trial, None): forget it, if it is known."""


def dominates(one: Point, other: Point) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other))


def scaled(front: set[Point]) -> dict[Point, Point]:
    """To the front's own range; infinities are at its ends."""
    ranges = []
    for column in zip(*front):
        finite = [value for value in column if math.isfinite(value)] or [0.0]
        ranges.append((min(finite), max(finite)))
    return {
        point: tuple((min(max(value, low), high) - low) / (high - low) if high > low else 0.0 for value, (low, high) in zip(point, ranges))
        for point in front
    }


def net(front: set[Point]) -> list[Point]:
    """Greedy: the best in the first objective, then always the one farthest from all before it."""
    spots, rest = scaled(front), set(front)
    order: list[Point] = []
    while rest:
        gaps = {point: min((math.dist(spots[point], spots[other]) for other in order), default=math.inf) for point in rest}
        order.append(max(rest, key=lambda point: (gaps[point], point)))
        rest.remove(order[-1])
    return order


def ranked(known: dict[int, Point]) -> list[int]:
    order, left = [], set(known.values())
    while left:
        front = {point for point in left if not any(dominates(other, point) for other in left)}
        order += [trial for point in net(front) for trial in sorted(known) if known[trial] == point]
        left -= front
    return order


@given(steps, st.data())
def test_it_is_the_order_worked_out_anew(steps: Steps, data: st.DataObject) -> None:
    """Asked now and then while scores come and go, so that what is kept of the order must be right."""
    ranking = ParetoRanking()
    known: dict[int, Point] = {}
    for trial, score in steps:
        if score is None and trial in known:
            del known[trial]
            ranking.remove(trial)
        elif score is not None and trial not in known:
            known[trial] = score
            ranking.add(trial, score)
        order = ranked(known)
        asked = data.draw(st.integers(0, 2))
        k = data.draw(st.integers(0, len(order)))
        if asked == 1:
            assert ranking.best(k) == order[:k]
        elif asked == 2 and order:
            one = data.draw(st.sampled_from(order))
            first = min(order.index(trial) for trial in known if known[trial] == known[one])
            assert ranking.within(one, k) == (order.index(one) < k)
            assert ranking.within(one, k, ties=True) == (first < k)
            assert ranking.place(one) == order.index(one)
    assert ranking.best(99) == order
    assert len(ranking) == len(known)
    assert all((trial in ranking) == (trial in known) for trial in range(21))


@given(st.lists(points(2), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_the_order_depends_on_the_scores_alone(scores: list[Point], rng: random.Random) -> None:
    """Not on the order in which they came, nor on those that came and went."""
    forwards, shuffled = ParetoRanking(), ParetoRanking()
    for trial, score in enumerate(scores):
        forwards.add(trial, score)
    for trial in rng.sample(range(len(scores)), len(scores)):
        shuffled.add(100 + trial, (float(rng.randrange(9)), 1.5))
        shuffled.best(rng.randrange(1, 9))
        shuffled.add(trial, scores[trial])
        shuffled.remove(100 + trial)
    assert forwards.best(99) == shuffled.best(99)


def test_units_do_not_matter() -> None:
    rng = random.Random(3)
    seconds, hours = ParetoRanking(), ParetoRanking()
    for trial in range(60):
        quality, time = rng.random(), rng.random()
        seconds.add(trial, (quality, -3600 * time))
        hours.add(trial, (quality, -time))
    assert seconds.best(60) == hours.best(60)


def test_the_first_few_of_a_front_are_spread_over_it() -> None:
    ranking = ParetoRanking()
    for trial in range(101):
        ranking.add(trial, (trial / 100, 1 - trial / 100))
    assert ranking.best(5) == [100, 0, 50, 75, 25]


def test_of_equal_scores_the_smaller_number_is_first() -> None:
    ranking = ParetoRanking()
    for trial in (7, 3, 5):
        ranking.add(trial, (1.0, 1.0))
    ranking.add(1, (0.0, 0.0))
    assert ranking.best(4) == [3, 5, 7, 1]
    assert ranking.standing(1) == "in the 2nd front of 2, of 4"
    assert [ranking.within(trial, 1) for trial in (3, 5, 7, 1)] == [True, False, False, False]
    assert [ranking.within(trial, 1, ties=True) for trial in (3, 5, 7, 1)] == [True, True, True, False]


@pytest.mark.parametrize("descending", [False, True])
def test_a_chain_of_fronts_of_one_trial_each_costs_little(monkeypatch: pytest.MonkeyPatch, descending: bool) -> None:
    """Each new trial dominates all before it, or is dominated by all: no front is gone through point by point."""
    compared = 0

    def counted(one: Point, other: Point) -> bool:
        nonlocal compared
        compared += 1
        return nets.covers(one, other)

    monkeypatch.setattr(pareto, "covers", counted)
    ranking = pareto.ParetoRanking()
    for trial in range(500):
        value = float(-trial if descending else trial)
        ranking.add(trial, (value, value))
    assert ranking.place(0) == (0 if descending else 499)
    for trial in range(0, 500, 2):
        ranking.remove(trial)
    assert ranking.best(2) == ([1, 3] if descending else [499, 497])
    assert compared <= 1000
