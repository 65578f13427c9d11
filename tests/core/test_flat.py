"""Flat and nested dicts: round trips, and the look-ups of ResultDict."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.flat import ResultDict, flatten, unflatten

KEYS = st.text("abc-_ .", min_size=1, max_size=3)
NESTED = st.recursive(
    st.dictionaries(KEYS, st.integers() | st.text(max_size=2), max_size=3),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(NESTED)
def test_unflatten_is_the_inverse_of_flatten(d: dict[str, object]) -> None:
    assert unflatten(flatten(d)) == d


@given(NESTED)
def test_every_flat_entry_is_found_at_its_path_and_every_level_as_a_sub_dict(d: dict[str, object]) -> None:
    result = ResultDict(flatten(d))
    assert result.nested() == d
    for path, value in result.items():
        assert result[path] == value
        assert path in result
        parts = path.split("/")
        for end in range(1, len(parts)):
            level = result["/".join(parts[:end])]
            assert isinstance(level, ResultDict)
            assert level["/".join(parts[end:])] == value


def test_flatten_makes_keys_strings_and_takes_another_delimiter() -> None:
    assert flatten({"layers": {0: 3, 1: 5}}, ".") == {"layers.0": 3, "layers.1": 5}


def test_flatten_leaves_lists_alone() -> None:
    assert flatten({"a": {"b": [{"c": 1}]}}) == {"a/b": [{"c": 1}]}


def test_unflatten_never_writes_into_a_value() -> None:
    value = {"x": 1}
    assert unflatten({"a": value, "a/b": 2}) == {"a": {"x": 1}, "a/b": 2}
    assert value == {"x": 1}


@pytest.mark.parametrize("flat", [{"a": 1, "a/b": 2}, {"a/b": 2, "a": 1}])
def test_a_key_that_runs_through_another_value_stays_at_the_top(flat: dict[str, int]) -> None:
    assert unflatten(flat) == {"a": 1, "a/b": 2}


def test_exact_entries_win_over_sub_dicts() -> None:
    result = ResultDict({"a": 1, "a/b": 2})
    assert result["a"] == 1
    assert result.get("a") == 1


def test_a_path_goes_on_inside_an_entry_that_is_a_dict() -> None:
    result = ResultDict({"config": {"optimizer": {"lr": 0.1}, "a/b": 3}, "x/y": {"z": 1}})
    assert result["config/optimizer/lr"] == 0.1
    assert result["config/a/b"] == 3
    assert result["x/y/z"] == 1
    assert "config/optimizer" in result
    assert "config/momentum" not in result


def test_what_is_not_there() -> None:
    result = ResultDict({"val/acc": 0.5})
    with pytest.raises(KeyError, match="'va'"):
        result["va"]
    assert result.get("va") is None
    assert result.get("va", 7) == 7
    assert "va" not in result
    assert 3 not in result
    assert "val/acc/x" not in result


def test_it_is_a_flat_dict_to_everything_else() -> None:
    result = ResultDict({"a": 1, "b/c": 2})
    assert result == {"a": 1, "b/c": 2}
    assert list(result) == ["a", "b/c"]
    assert {**result} == {"a": 1, "b/c": 2}


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, ResultDict.copy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_are_of_the_same_kind(duplicate: object) -> None:
    again = duplicate(ResultDict({"a/b": 1}))  # type: ignore[operator]
    assert type(again) is ResultDict
    assert again["a"] == {"b": 1}
