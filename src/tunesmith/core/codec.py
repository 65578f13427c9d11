"""Events and decisions as rows of plain columns and JSON text, and back.

A row is ``(kind, at, trial, attempt, iteration, keys, body)``: what readers filter by stands in columns of its own, the rest is one
JSON array, ``body``. A report's body is the array of its values, in the order of ``keys``, so that reports read as columns; where
it came with a checkpoint, a verdict or named metrics, those three follow the values, and after them the checkpoint's size if it is known.

The JSON is valid JSON (no bare ``NaN``). What JSON lacks is an object with one key that starts with ``$``::

    {"$f": "nan"}  {"$f": "inf"}  {"$f": "-inf"}     floats that are not finite
    {"$i": "0x..."}                                  integers beyond 2048 bits
    {"$t": [...]}                                    tuples
    {"$d": [[key, value], ...]}                      dicts with keys that are no strings, and dicts that look like one of these

Example:
    >>> from tunesmith.core.events import Reported
    >>> row = encode_event(Reported(trial=3, attempt=0, iteration=1, metrics={"loss": float("nan"), "step": 7}, at=1.5))
    >>> row
    (6, 1.5, 3, 0, 1, ('loss', 'step'), '[{"$f": "nan"}, 7]')
    >>> decode_event(*row).metrics
    {'loss': nan, 'step': 7}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from json import JSONDecoder
from json.encoder import encode_basestring_ascii as _quote
from math import isfinite
from typing import Any, NamedTuple

from tunesmith.core.commands import Decision
from tunesmith.core.events import (
    AttemptEnded,
    AttemptStarted,
    CapacityChanged,
    CheckpointSaved,
    Event,
    ExperimentStarted,
    Explored,
    Reopened,
    Reported,
    SaveSkipped,
    SearchExhausted,
    SpecChanged,
    StopRequested,
    Suggested,
    TimerFired,
    UserAction,
)
from tunesmith.errors import JournalCorrupt, SerializationError

__all__ = [
    "DESCRIBING", "FORMAT", "KINDS", "REPORTED", "Row", "decode_decisions", "decode_event", "dumps", "encode_decisions", "encode_event",
    "loads",
]  # fmt: skip

FORMAT = 1
"""Version of the encoding. It goes up when a row could no longer be read by the code before."""

Row = tuple[int, float, int | None, int | None, int | None, tuple[str, ...] | None, str]

KINDS: dict[int, type[Any]] = {
    # Codes never change their meaning and are never used again; a new event takes the next one. A field added to an event goes
    # behind the others, has a default (shorter bodies of older journals then still decode) and the metadata {"added": True}.
    1: ExperimentStarted,
    2: SpecChanged,
    3: Suggested,
    4: SearchExhausted,
    5: AttemptStarted,
    6: Reported,
    7: CheckpointSaved,
    8: Explored,
    9: AttemptEnded,
    10: TimerFired,
    11: CapacityChanged,
    12: UserAction,
    13: StopRequested,
    14: SaveSkipped,
    15: Reopened,
}
REPORTED = 6
DESCRIBING = (1, 2)
"""Kinds of the events that say what the experiment is, and what has changed of that."""

_COLUMNS = ("trial", "attempt", "iteration")
_PLAIN_NUMBERS = frozenset({float, int})
_CONSTANTS: dict[type[Any], dict[Any, str]] = {bool: {False: "false", True: "true"}, type(None): {None: "null"}}
_STRING = frozenset({str})
_MAX_BITS = 2048  # the interpreter's guard against slow int <-> text conversion can be set as low as 640 digits


class _Shape(NamedTuple):
    """How one class of events is laid out: which of the id columns it has, and the names of what goes into the body.

    ``defaults``: of the last of these, those that came later (metadata ``added``); where they have them they are left out, as of old.
    """

    kind: int
    trial: bool
    attempt: bool
    iteration: bool
    body: tuple[str, ...]
    defaults: tuple[Any, ...]


def _shape(kind: int, cls: type[Any]) -> _Shape:
    names = [field.name for field in fields(cls)]
    body = tuple(name for name in names if name not in (*_COLUMNS, "at"))
    added = [one for one in fields(cls) if one.metadata.get("added")]
    defaults = tuple(one.default if one.default_factory is MISSING else one.default_factory() for one in added)
    return _Shape(kind, "trial" in names, "attempt" in names, "iteration" in names, body, defaults)


_SHAPES = {cls: _shape(kind, cls) for kind, cls in KINDS.items()}
_BY_KIND = {kind: (cls, _SHAPES[cls]) for kind, cls in KINDS.items()}


def encode_event(event: Event) -> Row:
    """``event`` as ``(kind, at, trial, attempt, iteration, keys, body)``; columns that it does not have are None.

    ``Reported.extras`` is left out: it never leaves the process.

    Raises:
        SerializationError: a value in the event is no JSON value, tuple or dict of these.
    """
    if type(event) is Reported:
        return _encode_report(event)
    shape = _SHAPES[type(event)]
    values = [getattr(event, name) for name in shape.body]
    for default in reversed(shape.defaults):
        if values[-1] != default:
            break
        values.pop()
    try:
        body = f"[{', '.join([_repeated_text(value) if type(value) is dict else _text(value) for value in values])}]"
    except RecursionError:
        raise SerializationError(f"{type(event).__name__}: a value is nested too deeply to be recorded, or contains itself") from None
    except SerializationError as error:
        raise SerializationError(f"{type(event).__name__} of trial {getattr(event, 'trial', None)}: {error}") from None
    return (
        shape.kind,
        event.at,
        event.trial if shape.trial else None,  # type: ignore[union-attr]
        event.attempt if shape.attempt else None,  # type: ignore[union-attr]
        event.iteration if shape.iteration else None,  # type: ignore[union-attr]
        None,
        body,
    )


def _encode_report(event: Reported) -> Row:
    values = list(event.metrics.values())
    if event.checkpoint is not None or event.verdict is not None or event.named:
        values += (event.checkpoint, event.verdict, list(event.named))
        if event.bytes:
            values.append(event.bytes)
    body = ""
    if _PLAIN_NUMBERS.issuperset(map(type, values)):
        # The hot path: a list of finite floats and ints is written by repr as JSON is; nan and inf show by their "n".
        try:
            body = repr(values)
        except ValueError:
            pass
    if not body or "n" in body:
        try:
            body = dumps(values)
        except SerializationError as error:
            raise SerializationError(f"report {event.iteration} of trial {event.trial}: {error}") from None
    return REPORTED, event.at, event.trial, event.attempt, event.iteration, tuple(event.metrics), body


def decode_event(
    kind: int,
    at: float,
    trial: int | None,
    attempt: int | None,
    iteration: int | None,
    keys: Sequence[str] | None,
    body: str,
) -> Event:
    """The event that :func:`encode_event` made this row from.

    Raises:
        JournalCorrupt: the kind is unknown (a newer version of tunesmith wrote it) or the body is damaged.
    """
    try:
        if kind == REPORTED:
            return _decode_report(at, trial, attempt, iteration, keys, body)
        cls, shape = _BY_KIND[kind]
        arguments: dict[str, Any] = dict(zip(shape.body, loads(body), strict=False))
        if shape.trial:
            arguments["trial"] = trial
        if shape.attempt:
            arguments["attempt"] = attempt
        if shape.iteration:
            arguments["iteration"] = iteration
        event: Event = cls(**arguments, at=at)
        return event
    except (ValueError, TypeError, KeyError) as error:
        if kind not in _BY_KIND:
            raise JournalCorrupt(
                f"a record is of kind {kind}, which this version of tunesmith does not know (it reads format {FORMAT}, kinds 1 to "
                f"{max(KINDS)}): the journal was written by a newer version. Read it with that version, or upgrade tunesmith."
            ) from None
        raise JournalCorrupt(
            f"a record of kind {kind} ({_BY_KIND[kind][0].__name__}) is damaged: {error}; its body is {body!r:.200}"
        ) from None


def _decode_report(at: float, trial: Any, attempt: Any, iteration: Any, keys: Sequence[str] | None, body: str) -> Reported:
    values = loads(body)
    if keys is None or len(values) < len(keys):
        raise ValueError(f"it has {len(values)} values for the keys {keys}")
    metrics = dict(zip(keys, values, strict=False))
    if len(values) == len(keys):
        return Reported(trial, attempt, iteration, metrics, None, None, (), at)
    checkpoint, verdict, named, *size = values[len(keys) :][:4]
    return Reported(trial, attempt, iteration, metrics, checkpoint, verdict, tuple(named), at, *size)


def encode_decisions(decisions: Sequence[Decision]) -> str | None:
    """Decisions as JSON text; None if there are none.

    Raises:
        SerializationError: ``data`` of one holds what is no JSON value, tuple or dict of these.
    """
    if not decisions:
        return None
    try:
        entries = [
            f"[{_quote(one.do)}, {_text(one.trial)}, {_quote(one.reason)}, {_repeated_text(one.data)}]" for one in decisions
        ]
    except RecursionError:
        raise SerializationError("a decision's data is nested too deeply to be recorded, or contains itself") from None
    return f"[{', '.join(entries)}]"


def decode_decisions(text: str | None) -> list[Decision]:
    """The decisions that :func:`encode_decisions` made ``text`` from.

    Raises:
        JournalCorrupt: the text is damaged.
    """
    if text is None:
        return []
    try:
        return [Decision(*entry[:4]) for entry in loads(text)]
    except (ValueError, TypeError) as error:
        raise JournalCorrupt(f"the decisions of a record are damaged: {error}; they are {text!r:.200}") from None


def dumps(value: Any) -> str:
    """``value`` as JSON text; :func:`loads` gives back an equal value of equal types.

    Args:
        value: None, bool, int, float, str (and what derives from these, as the plain type), list, tuple, dict, nested at will.

    Raises:
        SerializationError: anything else is in it, or it contains itself.

    Example:
        >>> dumps({"betas": (0.9, float("inf"))})
        '{"betas": {"$t": [0.9, {"$f": "inf"}]}}'
    """
    try:
        return _text(value)
    except RecursionError:
        raise SerializationError("a value is nested too deeply to be recorded, or contains itself") from None


def loads(text: str) -> Any:
    """The value that :func:`dumps` made ``text`` from.

    Raises:
        ValueError: the text is not what :func:`dumps` writes.

    Example:
        >>> loads('{"betas": {"$t": [0.9, {"$f": "inf"}]}}')
        {'betas': (0.9, inf)}
    """
    try:
        value, end = _from_text(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError("there is text behind the end")
    return value


def _text(value: Any) -> str:
    """JSON text of ``value``, tagged where JSON lacks it. Written out here since values are small: the encoder's set-up would cost more."""
    kind = type(value)
    if kind is str:
        return _quote(value)
    if kind is float:
        return repr(value) if isfinite(value) else f'{{"$f": "{value}"}}'
    if kind in _CONSTANTS:
        return _CONSTANTS[kind][value]
    if kind is int:
        return repr(value) if value.bit_length() <= _MAX_BITS else f'{{"$i": "{value:#x}"}}'
    if kind is dict:
        return _dict_text(value)
    if kind is list:
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, tuple):
        return f'{{"$t": [{", ".join(map(_text, value))}]}}'
    return _derived_text(value)


_SEEN: dict[tuple[tuple[Any, Any], ...], str] = {}
_TELLABLE = frozenset({str, int})
"""Types of values that are equal only if they are written alike (1, 1.0 and True are equal, and are not)."""
_SEEN_MOST = 256


def _repeated_text(value: dict[Any, Any]) -> str:
    """The text of a dict that is likely to come again, word for word: who ran an attempt, how a trial ended."""
    if not value:
        return "{}"
    if not (_TELLABLE.issuperset(map(type, value.values())) and _STRING.issuperset(map(type, value))):
        return _dict_text(value)
    key = tuple(value.items())
    text = _SEEN.get(key)
    if text is None:
        text = _dict_text(value)
        if len(_SEEN) < _SEEN_MOST:
            _SEEN[key] = text
    return text


def _dict_text(value: Mapping[Any, Any]) -> str:
    if _STRING.issuperset(map(type, value)) and not (len(value) == 1 and next(iter(value)).startswith("$")):
        return f"{{{', '.join([f'{_quote(key)}: {_text(item)}' for key, item in value.items()])}}}"
    return f'{{"$d": [{", ".join([f"[{_text(key)}, {_text(item)}]" for key, item in value.items()])}]}}'


def _derived_text(value: Any) -> str:
    """Values of derived classes (enumerations, ``numpy.float64``, ordered dicts) are recorded as the plain type."""
    if isinstance(value, str):
        return _quote(str.__str__(value))
    if isinstance(value, float):
        return _text(float(value))
    if isinstance(value, int):
        return _text(int(value))
    if isinstance(value, list):
        return _text(list(value))
    if isinstance(value, Mapping):
        return _dict_text(value)
    raise SerializationError(
        f"{value!r:.80} of type {type(value).__module__}.{type(value).__qualname__} cannot be recorded: expected None, a bool, a number, "
        f"a string, or a list, tuple or dict of these. Convert it first, e.g. with float(...) or str(...)."
    )


def _float(text: str) -> float:
    if text not in ("nan", "inf", "-inf"):
        raise ValueError(f"unknown number {text!r}")
    return float(text)


_UNPACK: dict[str, Callable[[Any], Any]] = {"$f": _float, "$i": lambda text: int(text, 16), "$t": tuple, "$d": dict}


def _unpack(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        tag = next(iter(found))
        if tag.startswith("$"):
            if tag not in _UNPACK:
                raise ValueError(f"unknown tag {tag!r}")
            return _UNPACK[tag](found[tag])
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"a bare {name} is no JSON")


_from_text = JSONDecoder(object_hook=_unpack, parse_constant=_refuse_constant).raw_decode
