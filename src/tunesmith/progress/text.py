"""Words and numbers for one line of console output."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.journal.rows import AUTO_KEYS

__all__ = ["cut", "duration", "joined", "listed", "number", "numbers", "pairs", "plain", "plural", "stamp"]

_LONGEST = 40


def number(value: Any, longest: int = _LONGEST) -> str:
    """``0.0123457``; texts are one line without control characters, cut to ``longest`` characters."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return cut(plain(str(value)), longest)


def plain(text: str) -> str:
    """One line, and nothing in it that a terminal would obey."""
    text = " ".join(text.split())
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)


def cut(text: str, longest: int) -> str:
    """At most ``longest`` characters, the last of them dots if something is missing."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - 3]}..." if longest > 3 else text[:longest]


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


def joined(text: str, more: str) -> str:
    """Both on one line: ``more`` after a semicolon, or behind a text with a full stop as a sentence of its own.

    Example:
        >>> joined("the time is up", "all is kept"), joined("Did you mean 'loss'?", "all is kept")
        ('the time is up; all is kept', "Did you mean 'loss'? All is kept.")
    """
    return f"{text} {more[0].upper()}{more[1:]}." if text.endswith((".", "?", "!")) else f"{text}; {more}"


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


def stamp(seconds: float) -> str:
    """``0:07``, ``12:05``, ``2:10:00``: a time that is shown growing.

    Example:
        >>> stamp(7.9), stamp(725), stamp(7800)
        ('0:07', '12:05', '2:10:00')
    """
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def listed(counts: Mapping[str, int]) -> str:
    """``4 RUNNING, 1 ERROR``: what there is any of."""
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)
