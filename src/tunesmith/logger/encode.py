"""Values as text for files: JSON of configs and results, and what to do with what JSON cannot hold."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["config_text", "json_holds", "one_line", "scalars"]

_SCALARS = frozenset({float, int, str, bool, type(None)})


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
    if not config:
        return "{}"
    if all(type(key) is str and type(value) in _SCALARS for key, value in config.items()):
        return f"{{\n  {_BY_LINE.encode(config)[1:-1]}\n}}"
    entries = ",\n".join(f"  {one_line(str(key))}: {one_line(value)}" for key, value in config.items())
    return f"{{\n{entries}\n}}"


def scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """What rows of files hold: scalars and strings. The config is written apart; arrays and objects are other loggers' business."""
    return {key: value for key, value in row.items() if type(value) in _SCALARS}


def _holds(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        return all(type(key) is str and _holds(inner) for key, inner in value.items())
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
_BY_LINE = json.JSONEncoder(separators=(",\n  ", ": "))
