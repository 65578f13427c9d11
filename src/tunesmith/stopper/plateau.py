"""Stoppers that see when nothing changes any more."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.stopper._values import MISSING, lookup, number, plain, whole
from tunesmith.stopper.base import Stopper

__all__ = ["EarlyStopping", "ExperimentPlateauStopper", "TrialPlateauStopper"]


class TrialPlateauStopper(Stopper):
    """Ends a trial when its metric has stopped changing: standard deviation of the last reports below ``std``.

    Args:
        metric: result key.
        std: population standard deviation below which (strictly) the trial is on a plateau, in units of the metric.
        num_results: over how many of the trial's last reports it is taken.
        grace_period: no stop before so many reports.
        metric_threshold: a plateau counts only while the metric is at least this good; needs ``mode``.
        mode: ``"min"`` or ``"max"``; what good means for ``metric_threshold``.

    Unlike in Ray a threshold of 0 works as any other, and a report without the metric is passed over.

    Raises:
        SpecError: ``metric_threshold`` without a valid mode, or counts below 1.

    Example:
        >>> stop = TrialPlateauStopper("loss", num_results=3, grace_period=3)
        >>> [stop("a", {"loss": loss}) for loss in (0.5, 0.4, 0.401, 0.399)]
        [False, False, False, True]
    """

    def __init__(
        self,
        metric: str,
        std: float = 0.01,
        num_results: int = 4,
        grace_period: int = 4,
        metric_threshold: float | None = None,
        mode: str | None = None,
    ) -> None:
        if metric_threshold is not None and mode not in ("min", "max"):
            raise SpecError(f"TrialPlateauStopper: metric_threshold needs mode='min' or mode='max', got mode={mode!r}.")
        self.metric, self.std, self.mode, self.metric_threshold = metric, std, mode, metric_threshold
        self.num_results = whole("TrialPlateauStopper", "num_results", num_results, 1)
        self.grace_period = whole("TrialPlateauStopper", "grace_period", grace_period, 0)
        self._seen: dict[str, tuple[int, deque[float]]] = {}

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        value = lookup(result, self.metric)
        if value is MISSING or value is None:
            return False
        count, window = self._seen.get(trial_id) or (0, deque(maxlen=self.num_results))
        window.append(float(value))
        self._seen[trial_id] = (count + 1, window)
        if count + 1 < self.grace_period or len(window) < self.num_results:
            return False
        if self.metric_threshold is not None and (value > self.metric_threshold if self.mode == "min" else value < self.metric_threshold):
            return False
        return _std(window) < self.std

    def compares(self) -> Iterable[str]:
        return [self.metric]

    def reason(self) -> str:
        return f"{self.metric} has been on a plateau for {self.num_results} reports (standard deviation below {number(self.std)})"

    def forget(self, trial_id: str) -> None:
        self._seen.pop(trial_id, None)

    def describe(self) -> Any:
        names = ("metric", "std", "num_results", "grace_period", "metric_threshold", "mode")
        return {"stopper": "TrialPlateauStopper", **{name: plain(getattr(self, name)) for name in names}}


class ExperimentPlateauStopper(Stopper):
    """Ends the experiment when its best results no longer differ: standard deviation of the ``top`` best values <= ``std``.

    Args:
        metric: result key.
        std: population standard deviation, in units of the metric; > 0.
        top: how many of the best values, over all reports of all trials; > 1.
        mode: ``"min"`` or ``"max"``: which values are the best.
        patience: so many consecutive reports must find the plateau, after the first one; >= 0.

    Unlike in Ray a report without the metric, or with NaN, is passed over.

    Raises:
        SpecError: an argument is outside its range.

    Example:
        >>> stop = ExperimentPlateauStopper("loss", top=2, mode="min")
        >>> [stop(trial, {"loss": loss}) for trial, loss in (("a", 0.5), ("b", 0.3), ("c", 0.3))]
        [False, False, True]
    """

    def __init__(self, metric: str, std: float = 0.001, top: int = 10, mode: str = "min", patience: int = 0) -> None:
        if mode not in ("min", "max"):
            raise SpecError(f"ExperimentPlateauStopper: mode must be 'min' or 'max', got {mode!r}.")
        if isinstance(std, bool) or not isinstance(std, (int, float)) or not std > 0:
            raise SpecError(f"ExperimentPlateauStopper: std must be a number > 0, got {std!r}.")
        self.metric, self.std, self.mode = metric, std, mode
        self.top = whole("ExperimentPlateauStopper", "top", top, 2)
        self.patience = whole("ExperimentPlateauStopper", "patience", patience, 0)
        self._best: list[float] = []  # costs (the metric, negated for mode="max"), ascending
        self._in_a_row = 0

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        value = lookup(result, self.metric)
        if value is MISSING or value is None or math.isnan(value):
            return self.stop_all()
        insort(self._best, float(value) if self.mode == "min" else -float(value))
        del self._best[self.top :]
        self._in_a_row = self._in_a_row + 1 if self._on_plateau() else 0
        return self.stop_all()

    def stop_all(self) -> bool:
        return self._in_a_row > 0 and self._in_a_row >= self.patience

    def compares(self) -> Iterable[str]:
        return [self.metric]

    def reason(self) -> str:
        return f"the {self.top} best values of {self.metric} no longer differ (standard deviation at most {number(self.std)})"

    def describe(self) -> Any:
        names = ("metric", "std", "top", "mode", "patience")
        return {"stopper": "ExperimentPlateauStopper", **{name: plain(getattr(self, name)) for name in names}}

    def _on_plateau(self) -> bool:
        return len(self._best) == self.top and _std(self._best) <= self.std


EarlyStopping = ExperimentPlateauStopper
"""Its name in old releases of Ray Tune."""


def _std(values: Iterable[float]) -> float:
    values = list(values)
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
