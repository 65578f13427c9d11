"""Which checkpoints may go."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.retention import Saved, superfluous


def saved(*scores: float | None) -> list[Saved]:
    return [Saved(f"0/{index}", index, float(index), score) for index, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "keep", "order", "gone"),
    [
        ((None, None, None), None, "max", []),
        ((None, None, None), 3, "max", []),
        ((None, None, None), 2, "max", ["0/0"]),  # without a score, the oldest goes
        ((0.9, 0.5, 0.7), 2, "max", ["0/1"]),
        ((0.9, 0.5, 0.7), 2, "min", ["0/0"]),
        ((0.9, 0.8, 0.1), 1, "max", ["0/1", "0/0"]),  # the newest stays, however bad
        ((0.5, 0.5, 0.9), 2, "max", ["0/0"]),  # a tie: the older goes
        ((0.5, math.nan, 0.1, 0.2), 3, "max", ["0/1"]),  # nan ranks below all others
        ((0.5, None, 0.1, 0.2), 2, "min", ["0/1", "0/0"]),
        ((-math.inf, 0.0, 1.0), 2, "max", ["0/0"]),
    ],
)
def test_superfluous(scores: tuple[float | None, ...], keep: int | None, order: str, gone: list[str]) -> None:
    assert superfluous(saved(*scores), keep, order) == gone


@given(st.lists(st.none() | st.floats(), max_size=12), st.integers(1, 5), st.sampled_from(["max", "min"]))
def test_as_many_as_asked_stay_and_the_newest_among_them(scores: list[float | None], keep: int, order: str) -> None:
    one = saved(*scores)
    gone = superfluous(one, keep, order)
    assert len(gone) == len(set(gone)) == max(0, len(one) - keep)
    if one:
        assert one[-1].id not in gone
