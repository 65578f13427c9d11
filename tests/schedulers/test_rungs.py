"""Milestones without rounding errors, arguments that make no rungs, and rungs that record a trial once."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.errors import SpecError
from tunesmith.schedulers.promotion import share
from tunesmith.schedulers.ranking import Objective
from tunesmith.schedulers.rungs import Rung, check_halving, milestones, time_of


@pytest.mark.parametrize(
    ("grace_period", "max_t", "factor", "expected"),
    [
        (1, 1000, 10, [1, 10, 100, 1000]),
        (1, 243, 3, [1, 3, 9, 27, 81, 243]),
        (1, 100, 4, [1, 4, 16, 64]),
        (5, 5, 2, [5]),
        (3, 50, 2.5, [3, 7.5, 18.75, 46.875]),
        (0.5, 4, 2, [0.5, 1, 2, 4]),
    ],
)
def test_milestones(grace_period: float, max_t: float, factor: float, expected: list[float]) -> None:
    found = milestones(grace_period, max_t, factor)
    assert found == expected
    assert [type(one) for one in found] == [int if one == int(one) else float for one in expected]


@given(st.integers(1, 20), st.integers(2, 12), st.integers(0, 8), st.integers(0, 5))
def test_a_maximum_that_is_a_power_has_its_rung(grace_period: int, factor: int, power: int, more: int) -> None:
    top = grace_period * factor**power
    found = milestones(grace_period, top + min(more, top), factor)
    assert top in found
    assert len(found) == power + 1 + (top + min(more, top) >= top * factor)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((math.inf, 1, 4), "max_t must be a finite number, got inf"),
        ((100, "1", 4), "grace_period must be a finite number, got '1'"),
        ((100, 1, True), "reduction_factor must be a finite number, got True"),
        ((100, 0, 4), "grace_period must be positive, got 0"),
        ((1, 2, 4), "max_t=1 is below grace_period=2"),
        ((100, 1, 1), "reduction_factor must be above 1, got 1"),
    ],
)
def test_what_makes_no_rungs_is_refused(arguments: tuple[Any, Any, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        check_halving("Mine", *arguments)
    assert str(caught.value).startswith("Mine: ")


@pytest.mark.parametrize(("value", "time"), [(3, 3), (2.5, 2.5), (True, None), ("3", None), (None, None), (math.nan, None)])
def test_the_time_of_a_result(value: Any, time: float | None) -> None:
    assert time_of({"epoch": value}, "epoch") == time
    assert time_of({}, "epoch") is None


def test_a_rung_records_a_trial_once() -> None:
    rung = Rung.at(9, Objective.of(["loss"], ["min"]))
    assert rung.record(4, -1.0)
    assert rung.record(2, -0.5)
    assert not rung.record(4, -0.1)
    assert rung.ranking.score(4) == -1.0
    assert (len(rung), 4 in rung, 5 in rung) == (2, True, False)
    assert rung.standing(4) == "2nd of 2"


@given(st.integers(0, 10**6), st.integers(2, 20))
def test_a_share_is_rounded_down(count: int, factor: int) -> None:
    assert share(count, factor) == count // factor
    assert share(count, factor + 0.5) == math.floor(Fraction(count) / Fraction(2 * factor + 1, 2))


def test_a_share_loses_nobody_to_a_rounding_error() -> None:
    assert 33 / 1.1 < 30
    assert share(33, 1.1) == 30
