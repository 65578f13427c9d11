"""Which of many changing numbers is the best one now, at a cost that does not depend on how many there are."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.journal.scores import is_number

__all__ = ["Leader", "latest", "rank"]

_Entry = tuple[float, int, int]


def rank(value: Any, mode: str, outcome: str = "") -> float | None:
    """A number by which the best comes first; None for what is no finite number, and for what an infeasible trial reported.

    Args:
        value: of the metric.
        mode: "max", else the lowest is the best.
        outcome: how the trial ended; "": it has not.

    Example:
        >>> rank(0.9, "max"), rank(0.9, "min"), rank(float("nan"), "min"), rank(0.9, "max", "infeasible")
        (-0.9, 0.9, None, None)
    """
    if outcome == "infeasible" or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return -value if mode == "max" else value


def latest(before: Mapping[str, Any], now: Mapping[str, Any], objectives: Iterable[str]) -> Mapping[str, Any]:
    """The metrics of a new report; objectives that it lacks stand as they were reported last, as they do where analyses look for the best.

    Example:
        >>> latest({"loss": 0.5, "step": 1}, {"step": 2}, ["loss"]), latest({}, {"step": 2}, ["loss"])
        ({'step': 2, 'loss': 0.5}, {'step': 2})
    """
    lacking = {name: before[name] for name in objectives if not is_number(now.get(name)) and name in before}
    return {**now, **lacking} if lacking else now


class Leader:
    """The newest rank of each live trial; the lowest leads, of equal ones that of the lower trial number.

    Example:
        >>> leader = Leader()
        >>> leader.put(0, -0.5), leader.put(1, -0.9), leader.best()
        (None, None, 1)
        >>> leader.put(1, -0.1), leader.best()
        (None, 0)
    """

    def __init__(self) -> None:
        self._now: dict[int, _Entry] = {}
        self._heap: list[_Entry] = []  # entries that are not in _now are stale: skipped when met, swept when they are many
        self._count = 0

    def put(self, trial: int, rank: float | None) -> None:
        """The trial's rank is now this one; None: it has none."""
        if rank is None:
            self._now.pop(trial, None)
            return
        self._count += 1
        entry = self._now[trial] = (rank, trial, self._count)
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 64 + 4 * len(self._now):
            self._heap = list(self._now.values())
            heapq.heapify(self._heap)

    def best(self) -> int | None:
        """The trial that leads; None: no trial has a rank."""
        heap = self._heap
        while heap and self._now.get(heap[0][1]) is not heap[0]:
            heapq.heappop(heap)
        return heap[0][1] if heap else None
