"""Hypothesis strategies for the values of the package: events, decisions, records, search spaces, and whatever JSON text can hold.

Example:
    >>> from hypothesis import given
    >>> from tunesmith.core.codec import decode_event, encode_event
    >>> @given(events())
    ... def test_round_trip(event):
    ...     assert repr(decode_event(*encode_event(event))) == repr(event)
    >>> test_round_trip()
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.space import (
    choice,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    quniform,
    randint,
    uniform,
)

__all__ = ["configs", "decisions", "domains", "events", "headers", "json_scalars", "json_values", "metrics", "records"]

_names = st.text(max_size=8) | st.sampled_from(["loss", "mean_accuracy", "training_iteration", "a/b", "$f", "$t", "$d"])
_counts = st.integers(0, 2**40)


def json_scalars() -> SearchStrategy[Any]:
    """None, bools, integers of any size, floats with nan and the infinities, strings of any characters."""
    return st.none() | st.booleans() | st.integers() | st.integers(-(2**3000), 2**3000) | st.floats() | st.text(max_size=12)


def json_values(max_leaves: int = 8) -> SearchStrategy[Any]:
    """Nested lists, tuples and dicts of :func:`json_scalars`; some dicts have keys that are no strings or look like tags."""

    def grow(inner: SearchStrategy[Any]) -> SearchStrategy[Any]:
        keys = _names | st.integers() | st.tuples(st.integers(), st.text(max_size=3))
        return (
            st.lists(inner, max_size=4)
            | st.lists(inner, max_size=4).map(tuple)
            | st.dictionaries(_names, inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=3)
        )

    return st.recursive(json_scalars(), grow, max_leaves=max_leaves)


def metrics() -> SearchStrategy[dict[str, Any]]:
    """Flat metrics as :class:`~tunesmith.core.events.Reported` carries them: mostly floats, some strings, None and big integers."""
    values = st.floats() | st.floats(allow_nan=False) | st.integers() | json_scalars()
    return st.dictionaries(_names, values, max_size=5)


def _times() -> SearchStrategy[float]:
    return st.floats(0, 1e9)


def _objects() -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(_names, json_values(4), max_size=3)


def _drawn() -> SearchStrategy[dict[str, Any]]:
    return st.dictionaries(_names, json_scalars(), max_size=3)


def events(trials: SearchStrategy[int] | None = None) -> SearchStrategy[Any]:
    """One event of any class.

    Args:
        trials: trial numbers to use; None: 0 to 9.
    """
    trial = st.integers(0, 9) if trials is None else trials
    attempt, at, text = st.integers(0, 5), _times(), st.text(max_size=12)
    amounts = st.dictionaries(_names, st.floats(0, 64), max_size=3)
    checkpoints = st.builds("{}/checkpoint_{:06d}".format, trial, _counts)
    cards = st.lists(st.integers(0, 7), max_size=3).map(tuple)
    named = st.lists(_names, max_size=2).map(tuple)
    sizes = st.just(0) | st.integers(1, 2**50)
    errors = st.fixed_dictionaries({"type": text, "message": text, "where": text, "traceback": text})
    return st.one_of(
        st.builds(ev.Reported, trial, attempt, _counts, metrics(), st.none() | checkpoints, st.none() | text, named, at),
        st.builds(ev.Reported, trial, attempt, _counts, metrics(), checkpoints, st.none() | text, named, at, sizes),
        st.builds(ev.Reported, trial, attempt, _counts, metrics(), at=at),
        st.builds(ev.ExperimentStarted, _objects(), _counts, at, only=st.none() | st.lists(trial, max_size=2).map(tuple)),
        st.builds(ev.SpecChanged, _objects(), at),
        st.builds(ev.Suggested, trial, _drawn(), text, st.none() | amounts, st.none() | text, st.none() | text, at),
        st.builds(ev.SearchExhausted, text, at),
        st.builds(ev.AttemptStarted, trial, attempt, _objects(), at),
        st.builds(ev.CheckpointSaved, trial, attempt, _counts, checkpoints, at, sizes),
        st.builds(ev.SaveSkipped, trial, attempt, _counts, text, at),
        st.builds(ev.Explored, trial, _drawn(), at, _counts, st.dictionaries(_names, st.lists(json_scalars(), max_size=3), max_size=2)),
        st.builds(ev.AttemptEnded, trial, attempt, text, st.none() | errors, at),
        _reopened(trial),
        st.builds(ev.TimerFired, text, at),
        st.builds(ev.CapacityChanged, amounts, st.none() | _counts, at, cards, st.none() | _counts),
        st.builds(ev.UserAction, st.sampled_from(["stop", "pause", "resume"]), trial, at),
        st.builds(ev.StopRequested, text, st.booleans(), at),
    )


def _reopened(trial: SearchStrategy[int]) -> SearchStrategy[ev.Reopened]:
    why = st.sampled_from(["errored", "criterion", "bound", "budget"])
    saved = st.builds(lambda count, score: [f"2/checkpoint_{count:06d}", count, 1.5, score], _counts, st.none() | st.floats())
    metrics = st.dictionaries(_names, st.floats(), max_size=2)
    return st.builds(
        ev.Reopened, trial, _counts, why, metrics, st.none() | metrics, _counts, _times(), metrics, _counts, st.lists(saved, max_size=2),
        st.none() | saved, _times(), st.integers(0, 2), st.integers(0, 2),
    )  # fmt: skip


def decisions() -> SearchStrategy[Decision]:
    """One decision with a reason and any JSON data."""
    words = st.sampled_from(["launch", "pause", "stop", "exploit", "end"])
    return st.builds(Decision, words, st.none() | _counts, st.text(max_size=12), _objects())


def records(trials: SearchStrategy[int] | None = None) -> SearchStrategy[Record]:
    """One record without a number yet: an event, up to two decisions, now and then unhandled."""
    handled = st.sampled_from([True, True, True, False])
    return st.builds(Record, events(trials), st.lists(decisions(), max_size=2), handled)


def headers() -> SearchStrategy[Header]:
    """A journal's header."""
    uuids = st.uuids().map(lambda found: found.hex)
    rules = st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2)
    return st.builds(Header, uuids, st.text(max_size=12), _times(), rules=rules, library=st.text(max_size=5))


def domains() -> SearchStrategy[Any]:
    """One bounded domain: ranges from less than a millionth to more than a million wide, also far from 0; steps; a few or one value."""
    lows, widths = st.floats(-1e6, 1e6), st.floats(1e-6, 1e7)
    smalls, decades = st.floats(1e-12, 1e3), st.floats(1.001, 1e12)
    steps, spans = st.sampled_from([0.001, 0.1, 0.25, 0.3, 1.0, 7.0]), st.integers(1, 900)
    wholes, counts, strides = st.integers(-1000, 10**9), st.integers(1, 10**6), st.integers(1, 12)
    options = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-2, 2) | st.sampled_from(["a", "b", ""])
    return st.one_of(
        st.builds(lambda low, width: uniform(low, low + width), lows, widths),
        st.builds(lambda low, width: loguniform(low, low * width), smalls, decades),
        st.builds(lambda low, count, step: quniform(low * step, (low + count) * step, step), st.integers(-9, 9), spans, steps),
        st.builds(lambda low, count, step: qloguniform(low * step, (low + count) * step, step), st.integers(1, 9), spans, steps),
        st.builds(lambda low, count: randint(low, low + count), wholes, counts),
        st.builds(lambda low, count: lograndint(low, low + count), st.integers(1, 10**6), counts),
        st.builds(lambda low, count, q: qrandint(low * q, (low + count) * q, q), st.integers(-9, 9), counts, strides),
        st.builds(lambda low, count, q: qlograndint(low * q, (low + count) * q, q), st.integers(1, 9), counts, strides),
        st.lists(options, min_size=1, max_size=5).map(choice),
    )


def configs(*, conditional: bool = False) -> SearchStrategy[dict[str, Any]]:
    """A config with one to five parameters, some of them nested, beside constants.

    Args:
        conditional: there may be choices whose options have parameters of their own.
    """
    keys, leaves = st.sampled_from(["a", "lr", "x1", "Z"]), domains() | st.sampled_from([3, "constant", None])
    inner = st.dictionaries(keys, leaves, max_size=2) | st.lists(leaves, max_size=2)
    entries = leaves | inner
    if conditional:
        lists = st.lists(entries, min_size=1, max_size=3)
        named = lists.map(lambda options: choice([{"kind": at, "of": one} for at, one in enumerate(options)]))
        entries |= named  # by their kinds, options that are alike can be told apart
    return st.builds(lambda first, others: {"first": first, **others}, domains(), st.dictionaries(keys, entries, max_size=3))
