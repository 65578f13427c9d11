"""Constructor arguments that searchers have in common, checked alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["points_given", "several", "whole_number"]


def points_given(owner: str, given: Any) -> list[Mapping[str, Any]]:
    """The argument ``points_to_evaluate``."""
    if given is None:
        return []
    if isinstance(given, Mapping) or not isinstance(given, Sequence) or not all(isinstance(point, Mapping) for point in given):
        raise SpecError(f"{owner}: points_to_evaluate must be a list of dicts, got {given!r}.")
    return list(given)


def whole_number(owner: str, what: str, given: Any, *, least: int | None = 0) -> int | None:
    """An argument that is a whole number, at least ``least`` (None: any), or None."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or (least is not None and given < least):
        raise SpecError(f"{owner}: {what} must be a whole number{'' if least is None else f' >= {least}'} or None, got {given!r}.")
    return given


def several(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """The argument ``metric`` or ``mode``."""
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)
