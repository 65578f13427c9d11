"""The journal of a simulation: it keeps what the result shows, and not the records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.ports import Header, Record
from tunesmith.journal.memory import MemoryJournal
from tunesmith.journal.projections import Curves
from tunesmith.journal.trials import TrialBook

__all__ = ["Incumbents", "Ledger"]


class Incumbents:
    """The best so far, each time it changed.

    Args:
        metric, mode: what is best.

    Attributes:
        any_time: (second, value, trial), where every report counts; last: where a trial counts once it is over, with its last report.
    """

    def __init__(self, metric: str, mode: str) -> None:
        self.metric = metric
        self._least = mode == "min"
        self.any_time: list[tuple[float, float, int]] = []
        self.last: list[tuple[float, float, int]] = []

    def reported(self, event: ev.Reported) -> None:
        """Take in a report."""
        self._offer(self.any_time, event.at, event.metrics.get(self.metric), event.trial)

    def ended(self, at: float, trial: int, metrics: Mapping[str, Any]) -> None:
        """Take in the end of a trial, whose newest report had these metrics."""
        self._offer(self.last, at, metrics.get(self.metric), trial)

    def forget(self, trial: int) -> None:
        """It turned out infeasible: it is no result, whatever it reported."""
        self.any_time = [entry for entry in self.any_time if entry[2] != trial]

    def _offer(self, found: list[tuple[float, float, int]], at: float, value: Any, trial: int) -> None:
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return
        if not found or (value < found[-1][1] if self._least else value > found[-1][1]):
            if found and found[-1][0] == at:
                found.pop()
            found.append((at, float(value), trial))


class Ledger:
    """Takes records in as a journal does, folds them into what a result shows, and forgets them.

    Args:
        header: of the journal.
        objectives: (metric, mode) pairs.
        resolve: drawn values -> config, for views.
        keep: keep the records as well, in :attr:`records`.

    Attributes:
        book: all trials; curves, incumbents: by metric; decided: at, trial, do, reason and seq of all decisions.
    """

    def __init__(
        self, header: Header, objectives: Sequence[tuple[str, str]], resolve: Callable[..., dict[str, Any]], *, keep: bool = False
    ) -> None:
        self.header = header
        self.book = TrialBook(header, resolve=resolve)
        self.curves = {metric: Curves(metric) for metric, _ in objectives}
        self.incumbents = {metric: Incumbents(metric, mode) for metric, mode in objectives}
        self._objectives = [(self.curves[metric], self.incumbents[metric]) for metric, _ in objectives]
        self.decided: list[tuple[float, int | None, str, str, int]] = []
        self.records = MemoryJournal(header) if keep else None
        self._last = 0

    def append(self, records: Sequence[Record], *, durable: bool = False) -> int:
        """Take in ``records``; returns the number of the last."""
        book, objectives = self.book, self._objectives
        for record in records:
            self._last += 1
            record.seq = self._last
            if not record.handled:
                continue
            book.apply(record)
            event = record.event
            if type(event) is ev.Reported:
                for curves, incumbents in objectives:
                    curves.apply(record)
                    incumbents.reported(event)
            if record.decisions:
                for decision in record.decisions:
                    self.decided.append((event.at, decision.trial, decision.do, decision.reason, self._last))
                    if decision.do == "end" and decision.trial is not None:
                        self._ended(event.at, decision.trial, decision.data["outcome"])
        if self.records is not None:
            self.records.append(records)
        return self._last

    def _ended(self, at: float, trial: int, outcome: str) -> None:
        for incumbents in self.incumbents.values():
            if outcome == "infeasible":
                incumbents.forget(trial)
            else:
                incumbents.ended(at, trial, self.book.get(trial).metrics)

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        """Records, if they are kept; else none."""
        return iter(()) if self.records is None else self.records.read(after, limit, trial)

    def last(self) -> int:
        """Number of the last record."""
        return self._last

    def waiting(self) -> float | None:
        """Nothing ever waits."""
        return None

    def sync(self) -> None:
        """There is no disk."""

    def close(self) -> None:
        """Nothing is held."""
