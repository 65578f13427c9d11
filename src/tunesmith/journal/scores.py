"""What "best" means: one number for a trial's reports of a metric, and which of two is better. Used wherever trials are ranked."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tunesmith.core.events import Reported
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError

__all__ = ["Score", "analyse", "better", "check_mode", "check_scope", "is_number", "score"]

_SCOPE = re.compile(r"last-([1-9]\d*)-avg")


class Score(NamedTuple):
    """A trial's score, and the position (in its values) of the report that it stands for."""

    value: float
    position: int


def check_mode(mode: object) -> str:
    """``mode`` if it is "min" or "max".

    Raises:
        SpecError: anything else.
    """
    if mode not in ("min", "max"):
        raise SpecError(f"mode must be 'min' (smaller is better) or 'max' (larger is better), got {mode!r}.")
    return str(mode)


def check_scope(scope: object) -> str:
    """``scope`` if it is ``last``, ``all``, ``best`` (the same as all), ``avg`` or ``last-<k>-avg`` with k >= 1.

    Raises:
        SpecError: anything else.
    """
    if isinstance(scope, str) and (scope in ("last", "all", "best", "avg") or _SCOPE.fullmatch(scope)):
        return scope
    raise SpecError(
        "scope must be 'last' (the newest report), 'all' (the best one), 'avg' (the mean) or 'last-<k>-avg' as in 'last-5-avg', "
        f"got {scope!r}."
    )


def is_number(value: object) -> bool:
    """A metric's value that can be ranked. Booleans can."""
    return isinstance(value, (int, float))


def better(a: float, b: float, mode: str) -> bool:
    """Whether ``a`` is strictly better than ``b``; nan is worse than everything else.

    Example:
        >>> better(0.5, 0.7, "min"), better(0.5, 0.5, "min"), better(0.5, float("nan"), "max")
        (True, False, True)
    """
    if a != a or b != b:
        return a == a
    return a < b if mode == "min" else a > b


def score(values: Sequence[float], mode: str, scope: str, finite: bool = True) -> Score | None:
    """One number for a trial's values.

    Args:
        values: of the metric, in order of the trial's reports.
        mode: "min" or "max".
        scope: see :func:`check_scope`.
        finite: leave nan and infinite values aside in scope ``all``; where the newest value (``last``) or the mean is not finite, there
            is no score. False: they count, nan as the worst of all.

    Returns:
        None if there is nothing to score. ``position`` is that of the report that the score stands for: of equally good ones the first; for
        means the newest.

    Example:
        >>> score([3.0, 1.0, 2.0], "min", "all"), score([3.0, 1.0, 2.0], "min", "last-2-avg")
        (Score(value=1.0, position=1), Score(value=1.5, position=2))
    """
    newest = len(values) - 1
    if newest < 0:
        return None
    if scope in ("all", "best"):
        best = None
        for index, value in enumerate(values):
            if (not finite or math.isfinite(value)) and (best is None or better(value, values[best], mode)):
                best = index
        return None if best is None else Score(values[best], best)
    if scope == "last":
        found = values[newest]
    else:
        match = _SCOPE.fullmatch(scope)
        tail = values[-int(match[1]) :] if match else values
        found = sum(tail) / len(tail)
    return None if finite and not math.isfinite(found) else Score(found, newest)


def analyse(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """Ray's ``metric_analysis``: for each numeric metric of one trial's reports max, min, avg, last, last-5-avg, last-10-avg.

    Means are over the reports that had the metric. Reports that a later attempt repeated count once.
    """
    series: dict[str, tuple[list[int], list[float]]] = {}
    newest = 0
    for record in records:
        event = record.event
        if not record.handled or not isinstance(event, Reported):
            continue
        if event.iteration <= newest:
            for iterations, values in series.values():
                cut = bisect_left(iterations, event.iteration)
                del iterations[cut:], values[cut:]
        newest = event.iteration
        for name, value in event.metrics.items():
            if isinstance(value, (int, float)):
                iterations, values = series.setdefault(name, ([], []))
                iterations.append(event.iteration)
                values.append(value)
    return {name: _summary(values) for name, (_, values) in series.items() if values}


def _summary(values: list[float]) -> dict[str, float]:
    known = [value for value in values if value == value] or values
    return {
        "max": max(known),
        "min": min(known),
        "avg": sum(values) / len(values),
        "last": values[-1],
        "last-5-avg": sum(values[-5:]) / len(values[-5:]),
        "last-10-avg": sum(values[-10:]) / len(values[-10:]),
    }
