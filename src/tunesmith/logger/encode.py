"""Values as text for files: JSON of configs and results, and what to do with what JSON cannot hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii
from typing import Any

__all__ = ["JSON_TEXTS", "SCALARS", "by_line", "config_text", "digits", "digits_of", "entries", "json_holds", "one_line", "scalars"]

SCALARS = frozenset({float, int, str, bool, type(None)})
_STRING = frozenset({str})


def json_holds(value: Any) -> bool:
    """Whether JSON gives ``value`` back: scalars, lists, and dicts with string keys of these (a tuple passes as a list).

    Example:
        >>> json_holds({"lr": 0.1, "layers": [64, 64]}), json_holds({"activation": print}), json_holds({1: "one"})
        (True, False, False)
    """
    try:
        return _holds(value)
    except RecursionError:  # it holds itself
        return False


def one_line(value: Any) -> str:
    """``value`` as JSON on one line. NaN and infinities are Python's literals; what JSON lacks becomes a number, a list or a string."""
    simple = JSON_TEXTS.get(type(value))
    if simple is not None:
        return simple(value)
    try:
        return _ENCODER.encode(value)
    except (TypeError, ValueError):  # keys that are no strings; dicts that hold themselves
        return _ENCODER.encode(_with_string_keys(value, ()))


def config_text(config: Mapping[str, Any]) -> str:
    """A config as JSON for people: one line per top-level entry.

    Example:
        >>> print(config_text({"lr": 0.1, "layers": [64, 64]}))
        {
          "lr": 0.1,
          "layers": [64, 64]
        }
    """
    return by_line(entries(config))


def entries(config: Mapping[str, Any]) -> list[str]:
    """The top-level entries of a config as JSON. Joined by ", " they are what :func:`one_line` makes of a config that JSON holds."""
    return [f"{encode_basestring_ascii(str(key))}: {one_line(value)}" for key, value in config.items()] if config else []


def by_line(entries: Iterable[str]) -> str:
    """A JSON object with each of its entries on a line of its own."""
    lines = ",\n  ".join(entries)
    return f"{{\n  {lines}\n}}" if lines else "{}"


def scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """What rows of files hold: scalars and strings. The config is written apart; arrays and objects are other loggers' business."""
    return {key: value for key, value in row.items() if type(value) in SCALARS}


def _holds(value: Any) -> bool:
    kind = type(value)
    if kind in SCALARS:
        return True
    if kind is dict:
        inner = value.values()
        return _STRING.issuperset(map(type, value)) and (SCALARS.issuperset(map(type, inner)) or all(map(_holds, inner)))
    return kind in (list, tuple) and all(map(_holds, value))


def _plain(value: Any) -> Any:
    """For ``json``: numpy scalars and arrays, tensors, sets, types and functions; anything else by ``str``."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if isinstance(name, str) and hasattr(value, "__module__") else str(value)


def _with_string_keys(value: Any, parents: tuple[int, ...]) -> Any:
    if id(value) in parents:
        return "..."
    inside = (*parents, id(value))
    if isinstance(value, Mapping):
        return {str(key): _with_string_keys(inner, inside) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_string_keys(inner, inside) for inner in value]
    return value


_ENCODER = json.JSONEncoder(default=_plain)
_MANY = 64
_digits = lru_cache(maxsize=_MANY)(float.__repr__)
_newest: dict[float, tuple[tuple[float, ...], list[str]]] = {}


def digits(number: float) -> str:
    """``repr(number)``. To find the digits takes long, and most numbers are written into more than one file: the newest are kept."""
    return _digits(number) if number else repr(number)  # 0.0 and -0.0 are equal


def digits_of(numbers: tuple[float, ...]) -> list[str]:
    """:func:`digits` of some that are finite."""
    known = _newest.get(numbers[-1])
    if known is not None and known[0] == numbers:
        return known[1]
    texts = list(map(repr, numbers))
    if 0.0 not in numbers:
        if len(_newest) >= _MANY:
            _newest.clear()
        _newest[numbers[-1]] = numbers, texts
    return texts


def _json_float(number: float) -> str:
    if math.isfinite(number):
        return _digits(number) if number else repr(number)
    return _ENCODER.encode(number)


JSON_TEXTS: dict[type, Callable[[Any], str]] = {
    float: _json_float,
    int: repr,
    str: encode_basestring_ascii,
    bool: {True: "true", False: "false"}.__getitem__,
    type(None): {None: "null"}.__getitem__,
}
"""What the encoder makes of scalars and strings; far quicker than asking it for one at a time."""
