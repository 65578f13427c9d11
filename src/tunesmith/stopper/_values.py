"""Small helpers of the stoppers: looking results up, checking arguments, showing numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["MISSING", "code_digest", "lookup", "number", "plain", "whole"]

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


def plain(value: Any) -> Any:
    """``value`` if JSON has it, a number of numpy's as Python's own, else its ``repr``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.item() if hasattr(value, "item") else repr(value)


def code_digest(function: Callable[..., Any]) -> str:
    """Equal for equal functions: their code, defaults, and what they find outside as far as it is numbers and strings."""
    own = function if hasattr(function, "__code__") or hasattr(function, "__func__") else vars(type(function)).get("__call__", function)
    own = getattr(own, "__func__", own)
    code = getattr(own, "__code__", None)
    if code is None:  # written in C
        return ""
    cells = [cell.cell_contents for cell in own.__closure__ or () if _is_filled(cell)]
    outside = [own.__globals__[name] for name in code.co_names if name in own.__globals__]
    seen = [*_code_parts(code), *map(_tellable, [*(own.__defaults__ or ()), *cells, *outside])]
    return hashlib.blake2b(repr(seen).encode(), digest_size=8).hexdigest()


def _code_parts(code: CodeType) -> Iterator[Any]:
    yield code.co_code
    yield code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _code_parts(constant)
        else:
            yield repr(constant) if not isinstance(constant, frozenset) else sorted(map(repr, constant))


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # named in the code, and not defined yet
        return False
    return True


def _tellable(value: Any) -> str:
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else ""
