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


def point(rng: random.Random, size: int) -> Point:
    """Few different numbers, so that some are equal, and now and then an infinite one."""
    decimals = rng.randrange(2)
    return tuple(rng.choice((math.inf, -math.inf)) if rng.random() < 0.05 else round(rng.uniform(0, 4), decimals) for _ in range(size))


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


@given(st.integers(0, 2**32), st.integers(1, 25), st.integers(1, 3))
def test_it_is_the_order_worked_out_anew(seed: int, steps: int, size: int) -> None:
    """Asked now and then while scores come and go, so that what is kept of the order must be right."""
    rng = random.Random(seed)
    ranking = ParetoRanking()
    known: dict[int, Point] = {}
    for _ in range(steps):
        if known and rng.random() < 0.25:
            trial = rng.choice(sorted(known))
            del known[trial]
            ranking.remove(trial)
        elif (trial := rng.randrange(100)) not in known:
            known[trial] = point(rng, size)
            ranking.add(trial, known[trial])
        order = ranked(known)
        k = rng.randint(0, len(order))
        if rng.random() < 0.5:
            assert ranking.best(k) == order[:k]
        elif order:
            one = rng.choice(order)
            first = min(order.index(trial) for trial in known if known[trial] == known[one])
            assert ranking.within(one, k) == (order.index(one) < k)
            assert ranking.within(one, k, ties=True) == (first < k)
            assert ranking.place(one) == order.index(one)
    assert ranking.best(99) == order
    assert len(ranking) == len(known)
    assert all((trial in ranking) == (trial in known) for trial in range(100))


@given(st.integers(0, 2**32), st.integers(1, 30))
def test_a_large_front_is_ordered_as_if_worked_out_anew(seed: int, steps: int) -> None:
    """All on one front: newcomers find their place in an order of which the first part is known."""
    rng = random.Random(seed)
    ranking = ParetoRanking()
    known: dict[int, Point] = {}
    for trial in range(steps):
        gain = rng.uniform(0.1, 0.9) if trial > 1 else float(trial)  # the ends first, or each new one would begin the order anew
        known[trial] = (gain, -3 * gain**2)
        ranking.add(trial, known[trial])
        if trial > 4 and rng.random() < 0.2:
            gone = rng.choice(sorted(known)[2:])
            del known[gone]
            ranking.remove(gone)
        k = rng.randint(0, len(known))
        assert ranking.best(k) == ranked(known)[:k]


@given(st.integers(0, 2**32), st.integers(1, 25))
def test_the_order_depends_on_the_scores_alone(seed: int, count: int) -> None:
    """Not on the order in which they came, nor on those that came and went."""
    rng = random.Random(seed)
    scores = [point(rng, 2) for _ in range(count)]
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
