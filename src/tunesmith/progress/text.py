"""Words and numbers for one line of console output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.journal.rows import AUTO_KEYS

__all__ = ["duration", "number", "numbers", "pairs", "plural"]

_LONGEST = 40


def number(value: Any) -> str:
    """``0.0123457``; strings are cut to 40 characters."""
    text = f"{value:.6g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def pairs(values: Mapping[str, Any]) -> str:
    """``lr=0.01 momentum=0.9``."""
    return " ".join(f"{key}={number(value)}" for key, value in values.items())


def numbers(metrics: Mapping[str, Any], names: Iterable[str], most: int = 4) -> dict[str, Any]:
    """The metrics ``names``, or without any the first few numbers that the user reported."""
    chosen = {name: metrics[name] for name in names if name in metrics}
    if chosen:
        return chosen
    own = (name for name, value in metrics.items() if type(value) in (int, float) and name not in AUTO_KEYS)
    return {name: metrics[name] for name, _ in zip(own, range(most), strict=False)}


def plural(count: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def duration(seconds: float) -> str:
    """``0.42 s``, ``12.3 s``, ``3 min 5 s``, ``2 h 10 min``.

    Example:
        >>> duration(0.417), duration(12.34), duration(185), duration(7800)
        ('0.417 s', '12.3 s', '3 min 5 s', '2 h 10 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
