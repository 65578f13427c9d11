"""Events and decisions survive the way through rows and JSON text, whatever is in them."""

from __future__ import annotations

import enum
import json
import math
from collections import OrderedDict
from dataclasses import fields
from typing import Any, NamedTuple, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.codec import KINDS, decode_decisions, decode_event, dumps, encode_decisions, encode_event, loads
from tunesmith.core.commands import Decision
from tunesmith.errors import JournalCorrupt, SerializationError
from tunesmith.testing.journal_kit import same
from tunesmith.testing.strategies import decisions, events, json_values


@given(events())
def test_every_event_comes_back_as_it_was(event: Any) -> None:
    assert same(decode_event(*encode_event(event)), event)


@given(st.lists(decisions(), max_size=3))
def test_decisions_come_back_as_they_were(made: list[Decision]) -> None:
    assert same(decode_decisions(encode_decisions(made)), made)


@given(json_values())
def test_every_value_comes_back_and_its_text_is_strict_json(value: Any) -> None:
    text = dumps(value)
    assert same(loads(text), value)

    def refuse(name: str) -> None:
        raise AssertionError(f"a bare {name}")

    json.loads(text, parse_constant=refuse)
    text.encode("ascii")


def test_every_class_of_event_has_a_code_and_codes_are_fixed() -> None:
    assert set(KINDS.values()) == set(get_args(ev.Event))
    assert {kind: cls.__name__ for kind, cls in KINDS.items()} == {
        1: "ExperimentStarted",
        2: "SpecChanged",
        3: "Suggested",
        4: "SearchExhausted",
        5: "AttemptStarted",
        6: "Reported",
        7: "CheckpointSaved",
        8: "Explored",
        9: "AttemptEnded",
        10: "TimerFired",
        11: "CapacityChanged",
        12: "UserAction",
        13: "StopRequested",
        14: "SaveSkipped",
        15: "Reopened",
    }


def test_the_layout_of_rows() -> None:
    assert encode_event(ev.Reported(2, 1, 7, {"a/b": 0.5, "n": 3, "s": "x"}, at=1.0)) == (
        6,
        1.0,
        2,
        1,
        7,
        ("a/b", "n", "s"),
        '[0.5, 3, "x"]',
    )
    assert encode_event(ev.Reported(2, 1, 7, {"a": 1}, "2/c", None, ("img",), 1.0))[-1] == '[1, "2/c", null, ["img"]]'
    assert encode_event(ev.Reported(2, 1, 7, {"a": 1}, "2/c", None, ("img",), 1.0, 512))[-1] == '[1, "2/c", null, ["img"], 512]'
    assert encode_event(ev.CheckpointSaved(2, 1, 7, "2/c", 1.0)) == (7, 1.0, 2, 1, 7, None, '["2/c"]')
    assert encode_event(ev.CheckpointSaved(2, 1, 7, "2/c", 1.0, 512))[-1] == '["2/c", 512]'
    assert encode_event(ev.SaveSkipped(2, 1, 7, "no room", 1.0)) == (14, 1.0, 2, 1, 7, None, '["no room"]')
    reopened = ev.Reopened(2, 1, "errored", {"x": 1}, None, 7, 7.0, {"a": 1}, 7, [["2/c", 7, 7.0, None]], ["2/c", 7, 7.0, None], 1.0)
    body = '["errored", {"x": 1}, null, 7.0, {"a": 1}, 7, [["2/c", 7, 7.0, null]], ["2/c", 7, 7.0, null]]'
    assert encode_event(reopened) == (15, 1.0, 2, 1, 7, None, body)
    assert encode_event(ev.ExperimentStarted({}, 1, 1.0))[-1] == "[{}, 1, 0.0]"
    assert encode_event(ev.ExperimentStarted({}, 1, 1.0, only=()))[-1] == '[{}, 1, 0.0, {"$t": []}]'
    assert encode_event(ev.UserAction("stop", 4, 1.0)) == (12, 1.0, 4, None, None, None, '["stop"]')
    assert encode_event(ev.CapacityChanged({"gpu": 2.0}, 3, 1.0)) == (11, 1.0, None, None, None, None, '[{"gpu": 2.0}, 3]')
    assert encode_event(ev.CapacityChanged({"gpu": 2.0}, at=1.0, out=(1,)))[-1] == '[{"gpu": 2.0}, null, {"$t": [1]}]'
    assert encode_event(ev.CapacityChanged({"gpu": 2.0}, at=1.0, warm=7))[-1] == '[{"gpu": 2.0}, null, {"$t": []}, 7]'
    assert encode_event(ev.TimerFired("t", 1.0)) == (10, 1.0, None, None, None, None, '["t"]')
    assert encode_decisions([]) is None
    assert encode_decisions([Decision("stop", 3, "slow")]) == '[["stop", 3, "slow", {}]]'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, '{"$f": "nan"}'),
        (-math.inf, '{"$f": "-inf"}'),
        ({"$f": "nan"}, '{"$d": [["$f", "nan"]]}'),
        ({"$mine": 1}, '{"$d": [["$mine", 1]]}'),
        ({"$f": "nan", "b": 1}, '{"$f": "nan", "b": 1}'),
        ({1: "a", None: "b"}, '{"$d": [[1, "a"], [null, "b"]]}'),
        ((1, (2,)), '{"$t": [1, {"$t": [2]}]}'),
        ('{"$f": "nan"}', '"{\\"$f\\": \\"nan\\"}"'),
        (True, "true"),
        (-0.0, "-0.0"),
        (10**30, "1" + "0" * 30),
    ],
)
def test_how_values_are_written(value: Any, text: str) -> None:
    assert dumps(value) == text
    assert same(loads(text), value)


def test_integers_beyond_the_interpreters_limit_for_text() -> None:
    for value in (10**5000, -(10**5000)):
        assert loads(dumps([value])) == [value]
        row = encode_event(ev.Reported(0, 0, 1, {"n": value}))
        found = decode_event(*row)
        assert isinstance(found, ev.Reported)
        assert found.metrics == {"n": value}


class Colour(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Size(enum.IntEnum):
    BIG = 3


def test_derived_values_are_recorded_as_the_plain_type() -> None:
    value = [Colour.RED, Size.BIG, np.float64(0.1), np.float64("nan"), OrderedDict(a=1), Point(1, 2), type("L", (list,), {})([1])]
    assert same(loads(dumps(value)), ["red", 3, 0.1, math.nan, {"a": 1}, (1, 2), [1]])


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, np.float32(1.0)])
def test_other_values_are_refused_by_name_of_their_type(value: Any) -> None:
    with pytest.raises(SerializationError, match=f"{type(value).__qualname__} cannot be recorded.*Convert"):
        dumps({"a": [value]})


def test_a_refusal_names_the_event() -> None:
    with pytest.raises(SerializationError, match=r"report 4 of trial 2: .*object"):
        encode_event(ev.Reported(2, 0, 4, {"loss": object()}))
    with pytest.raises(SerializationError, match=r"AttemptStarted of trial 2: .*object"):
        encode_event(ev.AttemptStarted(2, 0, {"a": object()}))


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(SerializationError, match="contains itself"):
        dumps(value)


def test_an_unknown_kind_names_the_version() -> None:
    with pytest.raises(JournalCorrupt, match=r"kind 99.*format 1, kinds 1 to 15.*newer version"):
        decode_event(99, 0.0, None, None, None, None, "[]")


@pytest.mark.parametrize(
    ("kind", "keys", "body"),
    [
        (3, None, "[{}"),
        (3, None, "[] x"),
        (3, None, "[]"),
        (3, None, '[{"$x": 1}]'),
        (10, None, '[{"$f": "1.5"}]'),
        (10, None, "[NaN]"),
        (10, None, "[" * 100_000),
        (6, ("a", "b"), "[1]"),
        (6, None, "[1]"),
        (6, ("a",), '[1, "c"]'),
    ],
)
def test_a_damaged_body_is_named(kind: int, keys: Any, body: str) -> None:
    with pytest.raises(JournalCorrupt, match=rf"kind {kind} \({KINDS[kind].__name__}\) is damaged"):
        decode_event(kind, 0.0, 1, 0, 0, keys, body)


def test_damaged_decisions_are_named() -> None:
    for text in ("[[", '[["a", "b"', "[1]"):
        with pytest.raises(JournalCorrupt, match="decisions of a record are damaged"):
            decode_decisions(text)


def test_bodies_without_a_later_field_decode_with_its_default() -> None:
    assert decode_event(13, 1.0, None, None, None, None, '["enough"]') == ev.StopRequested("enough", False, 1.0)
    assert decode_event(3, 1.0, 5, None, None, None, '[{"a": 1}, "grid"]') == ev.Suggested(5, {"a": 1}, "grid", at=1.0)


def test_extras_are_the_only_field_that_is_not_encoded() -> None:
    for cls in KINDS.values():
        left_out = [field.name for field in fields(cls) if not field.compare]
        assert left_out == (["extras"] if cls is ev.Reported else [])
