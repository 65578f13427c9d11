"""Small helpers of the stoppers: looking results up, checking arguments, showing numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["MISSING", "lookup", "number", "whole"]

MISSING = object()


def lookup(result: Any, key: str) -> Any:
    value = result.get(key, MISSING)
    if value is MISSING and "/" in key:
        value = result
        for part in key.split("/"):
            value = value.get(part, MISSING) if isinstance(value, Mapping) else MISSING
    return value


def whole(owner: str, name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise SpecError(f"{owner}: {name} must be a whole number >= {least}, got {value!r}.")
    return int(value)


def number(value: Any) -> str:
    return str(value) if isinstance(value, (bool, int)) else f"{float(value):.6g}"
