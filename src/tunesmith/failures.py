"""What went wrong, deduplicated: groups of trials that ended in ERROR alike, each with one traceback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nsmallest

from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.core.trial import ERROR

__all__ = ["FailureGroup", "FailureLog"]

_SHOWN = 3


@dataclass(slots=True)
class FailureGroup:
    """Trials that failed alike.

    Args:
        key: what is alike in them: the outcome, and type and place of the error.
        outcome: class of the failure.
        text: ``KeyError: 'lr' at train.py:42``, or why it was ended.
        traceback: of the first of them; "" if there is none.
        trials: the lowest few numbers; ``count``: of all.
    """

    key: tuple[str, str]
    outcome: str
    text: str
    traceback: str = ""
    trials: list[int] = field(default_factory=list)
    count: int = 0


class FailureLog:
    """An observer that groups the trials that ended in ERROR.

    Attributes:
        culprit: the trial whose failure ended the newest session (``fail_fast``, the circuit breaker); None: none did.

    Example:
        >>> from tunesmith.core.commands import Decision
        >>> log = FailureLog()
        >>> ended = ev.AttemptEnded(4, 0, "user_error", {"type": "KeyError", "message": "'lr'", "where": "train.py:42"})
        >>> end = Decision("end", 4, "KeyError: 'lr' at train.py:42", {"status": "ERROR", "outcome": "user_error"})
        >>> log.committed([Record(ended, [end])])
        >>> log.first, log.count(), log.groups[0].text
        (4, 1, "KeyError: 'lr' at train.py:42")
        >>> log.forget(4)
        >>> log.first, log.count()
        (None, 0)
    """

    def __init__(self) -> None:
        self.culprit: int | None = None
        self._groups: dict[tuple[str, str], FailureGroup] = {}
        self._failed: dict[int, tuple[str, str]] = {}  # trial -> its group, in order of the journal

    @property
    def first(self) -> int | None:
        """The trial of the first ERROR end in order of the journal; None if no trial failed."""
        return next(iter(self._failed), None)

    @property
    def groups(self) -> list[FailureGroup]:
        """Largest group first."""
        members: dict[tuple[str, str], list[int]] = {key: [] for key in self._groups}
        for trial, key in self._failed.items():
            members[key].append(trial)
        for key, trials in members.items():
            self._groups[key].trials = nsmallest(_SHOWN, trials)
        return sorted(self._groups.values(), key=lambda group: -group.count)

    def count(self, *, but: Sequence[str] = ()) -> int:
        """Trials that ended in ERROR, those of the outcomes ``but`` excepted."""
        return sum(group.count for group in self._groups.values() if group.outcome not in but)

    def committed(self, records: Sequence[Record]) -> None:
        """Take in the ends among these records, and the trials that go on after all."""
        for record in records:
            if not record.handled:
                continue
            if type(record.event) is ev.ExperimentStarted:
                self.culprit = None
            elif type(record.event) is ev.Reopened:
                self.forget(record.event.trial)
            failed: int | None = None
            for decision in record.decisions:
                if decision.do == "end" and decision.data["status"] == ERROR and decision.trial is not None:
                    failed = decision.trial
                    self._add(record.event, failed, decision.data["outcome"], decision.reason)
                elif decision.do == "halt" and decision.data.get("kind") in ("breaker", "fail_fast"):
                    self.culprit = failed  # the end that it follows from stands before it

    def forget(self, trial: int) -> None:
        """The trial is to go on after all: take its failure back. Nothing happens if it has not failed."""
        key = self._failed.pop(trial, None)
        if key is None:
            return
        self._groups[key].count -= 1
        if not self._groups[key].count:
            del self._groups[key]

    def close(self) -> None:
        """Nothing is queued."""

    def _add(self, event: ev.Event, trial: int, outcome: str, reason: str) -> None:
        self.forget(trial)
        error = event.error if isinstance(event, ev.AttemptEnded) and event.trial == trial else None
        key = (outcome, f"{error.get('type')} {error.get('where')}" if error else reason.partition(" at iteration")[0])
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = FailureGroup(key, outcome, reason, error.get("traceback", "") if error else "")
        group.count += 1
        self._failed[trial] = group.key  # one object for all of them
