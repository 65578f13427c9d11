"""Frames and messages, byte by byte."""

from __future__ import annotations

import contextlib
import math
import pickle
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core.events import AttemptEnded, CheckpointSaved, Reported, SaveSkipped
from tunesmith.errors import ExecutorError
from tunesmith.executors import wire
from tunesmith.executors.wire import HEADER, LIMIT, Frames, Kind, encode, ended, report_of, reported, saved, unsaved

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=4,
)
messages = st.lists(st.tuples(st.sampled_from(list(Kind)), st.tuples(st.binary(), st.integers())), max_size=4)


def test_golden_bytes() -> None:
    """Length (4 bytes, little-endian), kind (1 byte), body: a pickled tuple, protocol 5."""
    assert encode(Kind.EXIT) == bytes.fromhex("04000000 04 8005292e")
    assert encode(Kind.SAVE, 3, 0) == bytes.fromhex("12000000 03 8005950700000000000000 4b034b0086942e")
    assert encode(Kind.FORKED, 1, 4711)[:5] == bytes.fromhex("13000000 30")


def test_kinds_have_their_numbers_for_good() -> None:
    assert {kind.name: int(kind) for kind in Kind} == {
        "LAUNCH": 1, "ANSWER": 2, "SAVE": 3, "EXIT": 4, "SIGNAL": 5, "TAKEN": 6, "REPORT": 16, "SAVED": 17, "ENDED": 18, "UNSAVED": 19,
        "HELLO": 20, "PART": 21, "LOG": 22, "WANT": 23, "FILE": 24, "TRAINABLE": 32, "PRELOAD": 33, "FORK": 34, "FORKED": 48,
        "UNFORKED": 49, "EXITED": 50, "SPOILED": 51, "IMPORTING": 52,
    }  # fmt: skip


@given(messages, st.data())
def test_any_split_gives_the_same_messages(sent: list[tuple[Kind, tuple[Any, ...]]], data: st.DataObject) -> None:
    stream = b"".join(encode(kind, *fields) for kind, fields in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    frames = Frames()
    got = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)]):
        got += frames.feed(stream[start:end])
    assert got == sent
    assert frames.feed(b"") == []


@given(plain)
def test_values_come_as_they_were(value: Any) -> None:
    ((_, (got,)),) = Frames().feed(encode(Kind.ENDED, value))
    assert got == value
    assert repr(got) == repr(value)


def test_byte_by_byte() -> None:
    stream = encode(Kind.SAVE, 3, 0) + encode(Kind.EXIT) + encode(Kind.ANSWER, 1, 2, "stop", "", False)
    frames = Frames()
    ends = [index for index in range(len(stream)) if frames.feed(stream[index : index + 1])]
    assert ends == [len(encode(Kind.SAVE, 3, 0)) - 1, len(encode(Kind.SAVE, 3, 0) + encode(Kind.EXIT)) - 1, len(stream) - 1]


@given(messages.filter(bool), st.integers(1, 4))
def test_a_truncated_message_never_comes(sent: list[tuple[Kind, tuple[Any, ...]]], cut: int) -> None:
    stream = b"".join(encode(kind, *fields) for kind, fields in sent)
    assert Frames().feed(stream[:-cut]) == sent[:-1]


@given(st.binary(min_size=5))
def test_garbage_is_refused_or_waited_for(garbage: bytes) -> None:
    """Never any other error (an unpickler's, a lack of memory), and none as long as it may be the start of a message."""
    with contextlib.suppress(ExecutorError):
        Frames().feed(garbage)


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (HEADER.pack(LIMIT + 1, Kind.EXIT), "out of step"),
        (HEADER.pack(4, 99) + b"\x80\x05).", "kind 99"),
        (HEADER.pack(4, Kind.EXIT) + b"junk", "can't be read"),
        (HEADER.pack(0, Kind.EXIT), "can't be read"),
    ],
)
def test_streams_out_of_step(stream: bytes, said: str) -> None:
    with pytest.raises(ExecutorError, match=said):
        Frames().feed(stream)


def test_an_oversized_message_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LIMIT", 100)
    assert encode(Kind.SAVE, b"x" * 50)
    with pytest.raises(ExecutorError, match=r"a SAVE message has 1.. bytes, more than 100; send large data through files"):
        encode(Kind.SAVE, b"x" * 100)


def through(event: Reported) -> Reported:
    ((kind, fields),) = Frames().feed(report_of(event))
    assert kind is Kind.REPORT
    return reported(fields)


def test_reports() -> None:
    metrics = {
        "inf": math.inf, "minus": -math.inf, "big": 1 << 200, "negative": -(1 << 70), "text": "ü\0", "none": None, "flag": True,
        "tiny": 5e-324,
    }  # fmt: skip
    event = Reported(1, 2, 3, metrics, "1/checkpoint_000000", None, (), bytes=1 << 40)
    assert through(event) == event
    assert math.isnan(through(Reported(1, 2, 3, {"nan": math.nan})).metrics["nan"])
    minus_zero = through(Reported(1, 2, 3, {"zero": -0.0})).metrics["zero"]
    assert math.copysign(1, minus_zero) == -1


class Known:
    """Can be pickled by name, as long as there is such a name."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known)

    __hash__ = None  # type: ignore[assignment]


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class Explodes:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


def test_extras_travel_one_by_one() -> None:
    extras = {"tuple": (1, (2, 3)), "list": [1, 2], "lock": threading.Lock(), "refuses": Refuses(), "explodes": Explodes()}
    got = through(Reported(1, 2, 3, {"loss": 1.0}, named=tuple(extras), extras=extras))
    assert got.extras == {"tuple": (1, (2, 3)), "list": [1, 2]}
    assert got.named == tuple(extras)
    assert got.metrics == {"loss": 1.0}


def test_extras_of_a_module_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("only_in_the_worker")
    kind = type("Kind", (), {"__module__": "only_in_the_worker"})
    module.Kind = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "only_in_the_worker", module)
    data = report_of(Reported(1, 2, 3, {}, named=("it", "other"), extras={"it": kind(), "other": [1]}))
    monkeypatch.delitem(sys.modules, "only_in_the_worker")
    ((_, fields),) = Frames().feed(data)
    assert reported(fields).extras == {"other": [1]}
    assert reported(fields).named == ("it", "other")


def test_other_events() -> None:
    ((_, fields),) = Frames().feed(encode(Kind.SAVED, 1, 2, 3, "1/checkpoint_000000", 512))
    assert saved(fields) == CheckpointSaved(1, 2, 3, "1/checkpoint_000000", bytes=512)
    ((_, fields),) = Frames().feed(encode(Kind.UNSAVED, 1, 2, 3, "no room"))
    assert unsaved(fields) == SaveSkipped(1, 2, 3, "no room")
    error = {"type": "E", "message": "m", "where": "w", "traceback": "t"}
    ((_, fields),) = Frames().feed(encode(Kind.ENDED, 1, 2, "user_error", error, None, "", []))
    assert ended(fields) == AttemptEnded(1, 2, "user_error", error)


def test_bodies_are_plain_pickles() -> None:
    assert pickle.loads(encode(Kind.PRELOAD, ["a"])[5:]) == (["a"],)
