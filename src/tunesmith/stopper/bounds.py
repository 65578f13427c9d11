"""Stoppers that compare with a bound: ``stop={...}``, and a number of reports."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.stopper._values import MISSING, lookup, number, plain, whole
from tunesmith.stopper.base import Stopper

__all__ = ["DictStopper", "MaximumIterationStopper"]

_log = logging.getLogger("tunesmith")
_PROGRESS_KEYS = frozenset(
    {"done", "training_iteration", "timestamp", "timesteps_total", "episodes_total", "iterations_since_restore", "timesteps_since_restore"}
)


class DictStopper(Stopper):
    """``stop={"mean_accuracy": 0.99, "training_iteration": 50}``: ends a trial when **any** key is **>=** its bound.

    A key may be nested: ``"eval/loss"``. A key that a report lacks, and a value that is no number, do not stop the trial.
    The comparison is always ``>=``, for losses too, as in Ray Tune. As ``{"loss": 0.1}`` therefore ends nearly every trial at its
    first report, a bound that the very first report of the experiment already meets is pointed out, once.

    Args:
        bounds: result key -> number (or bool, as in ``{"done": True}``).

    Raises:
        SpecError: a bound is not a number, or is NaN; or a key is not a string.

    Example:
        >>> stop = DictStopper({"mean_accuracy": 99})
        >>> stop.verdict("t", {"mean_accuracy": 61.5})
        >>> stop.verdict("t", {"mean_accuracy": 99.2})
        'stop criterion mean_accuracy >= 99 reached (99.2)'
    """

    def __init__(self, bounds: Mapping[str, Any]) -> None:
        self.bounds = {key: _bound(key, value) for key, value in bounds.items()}
        self._warn_if_met = True

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return self.verdict(trial_id, result) is not None

    def verdict(self, trial_id: str, result: Mapping[str, Any]) -> str | None:
        first, self._warn_if_met = self._warn_if_met, False
        for key, bound in self.bounds.items():
            value = lookup(result, key)
            if value is MISSING or not _reaches(value, bound):
                continue
            if first and key not in _PROGRESS_KEYS and not key.startswith("time_"):
                _log.warning(
                    "stop={%r: %s}: the first report of trial %s already meets it (%s), and ended the trial. A bound in a dict "
                    "always means >=. To stop at or below it, pass a function: stop=lambda trial_id, result: result[%r] <= %s",
                    key, number(bound), trial_id, number(value), key, number(bound),
                )  # fmt: skip
            if key == "done":
                return "the trial said that it is done"
            return f"stop criterion {key} >= {number(bound)} reached ({number(value)})"
        return None

    def compares(self) -> Iterable[str]:
        return self.bounds

    def describe(self) -> Any:
        return {key: plain(bound) for key, bound in self.bounds.items()}


class MaximumIterationStopper(Stopper):
    """Ends a trial after ``max_iter`` reports.

    Reports are counted, whatever ``training_iteration`` the user gives. Unlike in Ray, a trial that is retried from a
    checkpoint does not count its repeated reports twice: where ``training_iteration`` steps back, so does the count.

    Args:
        max_iter: how many, >= 1.

    Raises:
        SpecError: ``max_iter`` is no whole number >= 1.

    Example:
        >>> stop = MaximumIterationStopper(2)
        >>> stop("a", {"loss": 3}), stop("b", {"loss": 4}), stop("a", {"loss": 2})
        (False, False, True)
    """

    def __init__(self, max_iter: int) -> None:
        self.max_iter = whole("MaximumIterationStopper", "max_iter", max_iter, 1)
        self._seen: dict[str, tuple[int, float]] = {}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        count, last = self._seen.get(trial_id, (0, 0.0))
        iteration = result.get("training_iteration", count + 1)
        if 0 < iteration <= last:
            count = max(0, round(count * iteration / last) - 1)
        self._seen[trial_id] = (count + 1, iteration)
        return count + 1 >= self.max_iter

    def reason(self) -> str:
        return f"reached {self.max_iter} reports"

    def forget(self, trial_id: str) -> None:
        self._seen.pop(trial_id, None)

    def describe(self) -> Any:
        return {"stopper": "MaximumIterationStopper", "max_iter": self.max_iter}


def _bound(key: Any, value: Any) -> Any:
    if not isinstance(key, str):
        raise SpecError(f"stop: keys are names of result entries (strings), got {key!r}.")
    if isinstance(value, Mapping):
        inner = next(iter(value), "key")
        raise SpecError(f"stop[{key!r}]: expected a number, got a dict. Join nested keys with '/', as in stop={{'{key}/{inner}': ...}}.")
    try:
        valid = not math.isnan(value)
    except TypeError:
        valid = False
    if not valid:
        raise SpecError(f"stop[{key!r}]: expected a number (the trial ends when {key} >= it), got {value!r}.")
    return value


def _reaches(value: Any, bound: Any) -> bool:
    try:
        return bool(value >= bound)
    except (TypeError, ValueError):  # a string, None, a whole array
        return False
