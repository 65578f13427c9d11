"""Sizes and milestones of HyperBand's brackets, and the book of one bracket."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.schedulers.brackets import Bracket, Plan, hyperband_plans, share
from tunesmith.schedulers.ranking import Objective

LOSS = Objective.of(["loss"], ["min"])

PAPER = [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
"""Li et al. 2018, table 1, R = 81 and eta = 3: n_0 and r_0 of the brackets s = 4 ... 0."""


def bracket(places: int = 4, *milestones: float, members: int | None = None) -> Bracket:
    found = Bracket.begin(0, Plan(places, milestones or (1, 2, 4)), LOSS)
    for number in range(places if members is None else members):
        found.join(number)
    return found


# -- sizes ---------------------------------------------------------------------------------------------------------------


def test_the_table_of_the_paper() -> None:
    assert [(plan.places, plan.milestones[0]) for plan in reversed(hyperband_plans(81, 3))] == PAPER


def test_rounds_promote_the_third_part_rounded_up() -> None:
    counts = {}
    for plan in hyperband_plans(81, 3):
        counts[plan.places] = [plan.places]
        for _ in plan.milestones[1:]:
            counts[plan.places].append(share(counts[plan.places][-1], 3))
    assert counts == {5: [5], 8: [8, 3], 15: [15, 5, 2], 34: [34, 12, 4, 2], 81: [81, 27, 9, 3, 1]}


@pytest.mark.parametrize(("max_t", "eta", "brackets"), [(243, 3, 6), (1000, 10, 4), (729, 3, 7), (3**20, 3, 21), (10**15, 10, 16)])
def test_powers_keep_their_last_bracket(max_t: int, eta: int, brackets: int) -> None:
    """Computed with logarithms or powers of floats some of these lose a bracket, or a milestone."""
    plans = hyperband_plans(max_t, eta)
    assert len(plans) == brackets
    assert plans[-1] == Plan(max_t, tuple(eta**k for k in range(brackets)))


def test_a_maximum_between_powers_is_where_all_brackets_end() -> None:
    ends = [plan.milestones for plan in hyperband_plans(100, 3)]
    assert ends == [(100,), (33, 100), (11, 33, 100), (3, 11, 33, 100), (1, 3, 11, 33, 100)]


@pytest.mark.parametrize(("max_t", "places"), [(2, [1]), (8, [3, 6]), (32, [3, 6, 16])])
def test_a_logarithm_and_a_half_is_rounded_to_the_even_one(max_t: int, places: list[int]) -> None:
    """As Ray Tune has it, and so its sizes; the logarithms here are 0.5, 1.5 and 2.5."""
    assert [plan.places for plan in hyperband_plans(max_t, 4)] == places


def test_milestones_that_are_alike_are_one() -> None:
    assert [plan.milestones for plan in hyperband_plans(4, 1.5)] == [(4,), (2, 4), (1, 2, 4), (1, 2, 4)]


@pytest.mark.parametrize(("max_t", "plans"), [(1, [Plan(1, (1,))]), (0.5, [Plan(1, (0.5,))]), (2.5, [Plan(2, (2.5,))])])
def test_too_little_for_a_cut(max_t: float, plans: list[Plan]) -> None:
    assert hyperband_plans(max_t, 3) == plans


@given(max_t=st.integers(1, 3000), eta=st.sampled_from([2, 3, 4, 5, 2.5, 10]))
def test_sizes_are_those_of_the_formula(max_t: int, eta: float) -> None:
    """In floats, apart from where they are next to a whole number."""
    exponent = math.log(max_t) / math.log(eta)
    steps = len(hyperband_plans(max_t, eta)) - 1
    assert steps in (math.floor(exponent + 1e-9), math.floor(exponent))
    if abs(exponent % 1 - 0.5) > 1e-9:
        for s, plan in enumerate(hyperband_plans(max_t, eta)):
            exact = (round(exponent) + 1) / (s + 1) * eta**s
            assert plan.places == math.ceil(exact - 1e-9)
            assert plan.milestones[-1] == max_t
            assert list(plan.milestones) == sorted(set(plan.milestones))
            assert plan.milestones[0] == max_t if s == 0 else plan.milestones[0] == math.floor(max_t / eta**s + 1e-9)


# -- the book of one bracket ---------------------------------------------------------------------------------------------


def test_all_wait_until_the_last_one_is_there() -> None:
    one = bracket()
    for number, loss in enumerate([0.4, 0.1, 0.3]):
        assert one.reach(number, 1, -loss)
        assert not one.complete(True, 2)
    assert not one.reach(3, 0.9, -0.2), "before the milestone nobody waits"
    assert one.reach(3, 1, -0.2)
    assert one.complete(False, 2)
    cut = one.halve(2)
    assert (cut.milestone, cut.keep, cut.order, cut.scores) == (1, 2, [1, 3, 2, 0], [-0.1, -0.2, -0.3, -0.4])
    assert (list(one.going), list(one.promoted), one.waiting, one.milestone, one.left) == ([1, 3], [1, 3], {}, 2, 1)


def test_it_waits_for_members_that_are_still_to_come() -> None:
    one = bracket(members=3)
    for number in range(3):
        one.reach(number, 1, 0.0)
    assert one.open
    assert not one.complete(False, 2)
    assert one.complete(True, 2)
    one.halve(2)
    assert not one.open, "after a cut it takes nobody"


def test_nobody_waits_where_nobody_would_be_stopped() -> None:
    one = bracket(members=2)
    one.reach(1, 1, 0.0)
    assert not one.complete(False, 2), "more may come"
    assert one.complete(True, 2)
    assert one.halve(2).order == [1]
    assert (list(one.going), one.milestone) == ([0, 1], 2)


def test_the_dead_leave_their_places_to_the_next_best() -> None:
    one = bracket(6, 1, 2, 4)
    for number in (0, 1, 2, 3, 4):
        one.reach(number, 1, -float(number))
    assert one.leave(0), "it waited"
    assert one.leave(5), "it ran"
    assert not one.leave(5), "nobody dies twice"
    cut = one.halve(2)
    assert (cut.order, cut.keep) == ([1, 2, 3, 4], 3)


def test_who_is_beyond_the_next_milestone_waits_there_at_once() -> None:
    one = bracket()
    for number, time in enumerate([3, 1, 1, 1]):
        one.reach(number, time, -float(number))
    one.halve(2)
    assert (one.waiting, list(one.promoted)) == ({0: 3}, [1])
    one.reach(1, 2, 5.0)
    assert one.halve(2).order == [1, 0], "with the result that it had then"
    assert not one.left


def test_at_its_end_nobody_waits() -> None:
    one = bracket(2, 3)
    assert not one.reach(0, 3, 0.0)
    assert not one.complete(True, 2)


@pytest.mark.parametrize(
    ("last", "max_t", "eta", "milestones"),
    [
        (81, 243, 3, [27, 81, 243]),
        (81, 200, 3, [27, 81, 200]),
        (81, 1000, 3, [27, 81, 243, 729, 1000]),
        (81, 81, 3, [27, 81]),
        (81, 9, 3, [27, 81]),
        (81, 300, 2.5, [27, 81, 202, 300]),
        (81, 84, 1.01, [27, 81, 82, 83, 84]),
    ],
)
def test_a_later_end_brings_further_rounds(last: float, max_t: float, eta: float, milestones: list[float]) -> None:
    one = bracket(2, 27, last)
    one.extend(max_t, eta)
    assert one.milestones == milestones
