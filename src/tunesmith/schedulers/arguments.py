"""Checks of constructor arguments that schedulers share."""

from __future__ import annotations

import math
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["flag", "key", "number", "one_of", "whole"]


def number(owner: str, name: str, value: Any, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf) -> float:
    """The value, if it is a finite number of the right size.

    Args:
        owner: the class, for messages.
        least, most: bounds that it may have; ``above``: one that it must not have.

    Raises:
        SpecError: names class, argument, value and what is allowed.

    Example:
        >>> number("PatienceScheduler", "patience", -1, above=0)
        Traceback (most recent call last):
        ...
        tunesmith.errors.SpecError: PatienceScheduler: patience must be a number above 0, got -1.
    """
    real = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if real and value >= least and value > above and value <= most:
        return value  # type: ignore[no-any-return]
    bounds = [f"above {above:g}"] * (above > -math.inf) + [f"at least {least:g}"] * (least > -math.inf)
    bounds += [f"at most {most:g}"] * (most < math.inf)
    raise SpecError(f"{owner}: {name} must be a {' '.join(['number', ' and '.join(bounds)]).rstrip()}, got {value!r}.")


def whole(owner: str, name: str, value: Any, *, least: int) -> int:
    """The value, if it is a whole number and not too small.

    Raises:
        SpecError: names class, argument, value and what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SpecError(f"{owner}: {name} must be a whole number, at least {least}, got {value!r}.")
    return value


def one_of(owner: str, name: str, value: Any, known: tuple[str, ...]) -> str:
    """The value, if it is one of the known words.

    Raises:
        SpecError: names class, argument, value and what is allowed.
    """
    if value not in known:
        raise SpecError(f"{owner}: {name} must be {' or '.join(map(repr, known))}, got {value!r}.")
    return str(value)


def flag(owner: str, name: str, value: Any) -> bool:
    """The value, if it is True or False.

    Raises:
        SpecError: names class, argument and value.
    """
    if not isinstance(value, bool):
        raise SpecError(f"{owner}: {name} must be True or False, got {value!r}.")
    return value


def key(owner: str, name: str, value: Any) -> str:
    """The value, if it can be the name of something that trials report.

    Raises:
        SpecError: names class, argument and value.
    """
    if not isinstance(value, str) or not value:
        raise SpecError(f"{owner}: {name} must be the name of what trials report, such as 'training_iteration', got {value!r}.")
    return value
