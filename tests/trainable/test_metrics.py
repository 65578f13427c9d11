from __future__ import annotations

import enum
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.trainable.metrics import Counters, as_metrics, filled, flatten_metrics


class Tensor:
    """As torch's, as far as it is looked at: ``float()`` of one that needs a gradient works, comparing does not."""

    def __init__(self, value, shape=()):
        self.value, self.shape = value, shape

    def item(self):
        return self.value


class EagerTensor:
    shape = ()

    def numpy(self):
        return np.float32(0.25)


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5), (np.int64(3), 3), (np.bool_(True), True), (np.float64(2.0), 2.0), (np.str_("x"), "x"),
        (np.array(1.5), 1.5), (np.array([4]), 4), (Tensor(0.1), 0.1), (Tensor(0.2, (1,)), 0.2), (EagerTensor(), 0.25),
        (Level.HIGH, 3), (Fraction(1, 4), 0.25), (True, True), (None, None), ("text", "text"), (10**40, 10**40),
        (np.longdouble(0.5), 0.5), (np.float16(0.5), 0.5),
    ],
)  # fmt: skip
def test_scalars_become_python_ones(value, plain):
    flat, others = flatten_metrics({"m": value})
    assert flat == {"m": plain}
    assert others == {}
    assert type(flat["m"]) is type(plain)


@pytest.mark.parametrize("value", [[1, 2], np.zeros(3), Tensor([1, 2], (2,)), object(), b"bytes", {}, 1j, np.datetime64("2020-01-01")])
def test_everything_else_is_put_apart(value):
    flat, others = flatten_metrics({"m": value})
    assert flat == {}
    assert others["m"] is value


def test_nested_names_are_joined_and_a_later_entry_wins():
    flat, others = flatten_metrics({"a": {"b": 1, "c": {2: 3}}, "x/y z-1": 4, 7: 8, "a/b": [0]})
    assert flat == {"a/c/2": 3, "x/y z-1": 4, "7": 8}
    assert others == {"a/b": [0]}


@given(
    st.recursive(
        st.dictionaries(st.text("ab/", min_size=1), st.floats() | st.integers() | st.text() | st.none() | st.lists(st.none()), max_size=4),
        lambda inner: st.dictionaries(st.text("ab/", min_size=1), inner, max_size=4),
        max_leaves=8,
    )
)
def test_flat_metrics_hold_scalars_only_and_each_name_once(metrics):
    flat, others = flatten_metrics(metrics)
    assert all(type(key) is str for key in flat)
    assert not set(flat) & set(others)
    assert all(value is None or type(value) in (float, int, str, bool) for value in flat.values())


def test_anonymous_values():
    assert as_metrics(0) == {"_metric": 0}
    assert as_metrics(np.float32(0.5)) == {"_metric": 0.5}
    assert as_metrics({"a": 1}) == {"a": 1}
    assert as_metrics("text") is as_metrics(None) is as_metrics([1]) is None


def test_counters_fill_in_and_the_users_own_win():
    counters = Counters(4, 10.0)
    flat = {"loss": 1.0}
    counters.fill(flat, 2.0)
    assert flat == {"loss": 1.0, "training_iteration": 5, "time_this_iter_s": 2.0, "time_total_s": 12.0}
    flat = {"training_iteration": 100, "time_this_iter_s": 5.0, "time_total_s": -1.0}
    counters.fill(flat, 2.0)
    assert flat == {"training_iteration": 100, "time_this_iter_s": 5.0, "time_total_s": 17.0}
    assert counters.iteration == 6


@pytest.mark.parametrize("odd", [float("nan"), -1, "soon", None])
def test_an_odd_time_of_the_users_does_not_spoil_the_total(odd):
    counters = Counters()
    counters.fill({"time_this_iter_s": odd}, 2.0)
    assert counters.time_total == 2.0


def test_timesteps_and_episodes_add_up():
    counters = Counters.resumed(2, 1.0, {"timesteps": 100, "episodes": None})
    flat = {"timesteps_this_iter": 10, "episodes_this_iter": 1}
    counters.fill(flat, 0.0)
    assert (flat["timesteps_total"], flat["timesteps_since_restore"], flat["episodes_total"]) == (110, 10, 1)
    flat = {"timesteps_total": 500}
    counters.fill(flat, 0.0)
    flat = {"timesteps_this_iter": 1}
    counters.fill(flat, 0.0)
    assert flat["timesteps_total"] == 501
    flat = {"timesteps_this_iter": None}
    counters.fill(flat, 0.0)
    assert counters.timesteps == 501
    assert counters.notes() == {"time_total": 1.0, "timesteps": 501, "episodes": 1}


def test_filled_keeps_the_shape_and_adds_the_keys():
    result = filled({"a": {"b": np.float32(1)}, "time_total_s": 99}, Counters(), 0.5)
    assert result["a"]["b"] == 1
    assert result["time_total_s"] == 0.5
    assert result["done"] is False
    assert filled({"done": True}, Counters(), 0.5)["done"] is True
    assert math.isclose(result["time_this_iter_s"], 0.5)
