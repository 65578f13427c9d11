"""What went wrong, deduplicated: groups of trials that ended in ERROR alike, each with one traceback."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.core.trial import ERROR

__all__ = ["FailureGroup", "FailureLog"]

_SHOWN = 3


@dataclass(slots=True)
class FailureGroup:
    """Trials that failed alike.

    Args:
        outcome: class of the failure.
        text: ``KeyError: 'lr' at train.py:42``, or why it was ended.
        traceback: of the first of them; "" if there is none.
        trials: the lowest few numbers; ``count``: of all.
    """

    outcome: str
    text: str
    traceback: str = ""
    trials: list[int] = field(default_factory=list)
    count: int = 0


class FailureLog:
    """An observer that groups failures; its size does not grow with their number."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], FailureGroup] = {}

    @property
    def groups(self) -> list[FailureGroup]:
        """Largest group first."""
        return sorted(self._groups.values(), key=lambda group: -group.count)

    def count(self, *, but: Sequence[str] = ()) -> int:
        """Trials that ended in ERROR, those of the outcomes ``but`` excepted."""
        return sum(group.count for group in self._groups.values() if group.outcome not in but)

    def committed(self, records: Sequence[Record]) -> None:
        for record in records:
            for decision in record.decisions:
                if decision.do == "end" and decision.data["status"] == ERROR and decision.trial is not None and record.handled:
                    self._add(record.event, decision.trial, decision.data["outcome"], decision.reason)

    def close(self) -> None:
        """Nothing is queued."""

    def _add(self, event: ev.Event, trial: int, outcome: str, reason: str) -> None:
        error = event.error if isinstance(event, ev.AttemptEnded) and event.trial == trial else None
        key = (outcome, f"{error.get('type')} {error.get('where')}" if error else reason.partition(" at iteration")[0])
        group = self._groups.get(key)
        if group is None:
            group = FailureGroup(outcome, reason, error.get("traceback", "") if error else "")
            self._groups[key] = group
        group.count += 1
        insort(group.trials, trial)
        del group.trials[_SHOWN:]
