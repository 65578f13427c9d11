"""Which checkpoints a trial's reports go back to: its own, and since an exploit those of another trial."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tunesmith.analysis.ray_views import book_of
from tunesmith.core import events as ev
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Record
from tunesmith.journal.projections import Histories
from tunesmith.journal.trials import TrialInfo

__all__ = ["Lineage", "Past", "results_with"]

Past = dict[int, str]
"""Iteration -> id of the checkpoint of that state. Reports of one past have only these to go back to."""


@dataclass(slots=True)
class Lineage:
    """A trial's reports and checkpoints, rewound as the trial was. With each exploit another past begins, and if it began anew.

    Args:
        trial: whose.
        rows: iteration -> result, ascending.
        pasts: in order; since an exploit with the checkpoint of the other trial as first entry.
    """

    trial: TrialInfo
    rows: dict[int, ResultDict] = field(default_factory=dict)
    pasts: list[Past] = field(default_factory=lambda: [{}])
    _of: dict[int, Past] = field(default_factory=dict)
    _loaded: str | None = None

    @classmethod
    def read(cls, trial: TrialInfo) -> Lineage:
        """From the trial's records."""
        found, histories = cls(trial), Histories(trial.experiment, book=book_of(trial.experiment))
        for record in trial.records():
            histories.fold([record])
            if record.handled:
                found._take(record)
        found.rows = histories.rows.get(trial.number, {})
        return found

    def back_from(self, iteration: int) -> Iterator[tuple[int, str]]:
        """(iteration, id) of the checkpoints of that report's past, from its own or the nearest before it backwards."""
        past = self._of.get(iteration, {})
        for at in sorted((at for at in past if at <= iteration), reverse=True):
            yield at, past[at]

    def checkpoints(self) -> list[tuple[int, str]]:
        """(iteration, id) of all of them, by iteration; of equal iterations the later past's comes later. Each id once."""
        found = {identity: at for past in self.pasts for at, identity in past.items()}
        return sorted(((at, identity) for identity, at in found.items()), key=lambda entry: entry[0])

    def result_at(self, iteration: int, identity: str) -> ResultDict | None:
        """The result reported at the very step that a checkpoint has the state of; empty if it came with no report.

        None: it is another trial's, see :func:`results_with`.
        """
        if not identity.startswith(f"{self.trial.number}/"):
            return None
        past = self._of.get(iteration)  # after an exploit the row of that iteration may be of the past before it
        return self.rows[iteration] if past is not None and past.get(iteration) == identity else ResultDict()

    def _take(self, record: Record) -> None:
        event, number = record.event, self.trial.number
        if isinstance(event, ev.Reported) and event.trial == number:
            if self._loaded is not None:
                self._begin(event.iteration - 1, self._loaded)
            for past in self.pasts:
                _rewind(past, event.iteration)
            _rewind(self._of, event.iteration)
            if event.checkpoint is not None:
                self.pasts[-1][event.iteration] = event.checkpoint
            self._of[event.iteration] = self.pasts[-1]
        elif isinstance(event, ev.CheckpointSaved) and event.trial == number:
            if self._loaded is not None:
                self._begin(event.iteration, event.checkpoint)
            past = self.pasts[-1]
            if past and next(reversed(past)) > event.iteration:  # it began anew, and has not reported since
                self.pasts.append({at: one for at, one in past.items() if at < event.iteration})
            self.pasts[-1][event.iteration] = event.checkpoint
        for decision in record.decisions:
            if decision.do == "exploited" and decision.trial == number:
                self._loaded = decision.data.get("checkpoint")

    def _begin(self, iteration: int, identity: str) -> None:
        self.pasts.append({iteration: identity})
        self._loaded = None


def _rewind(entries: dict[int, Any], iteration: int) -> None:
    """Drop what comes from that iteration on; entries ascend."""
    while entries and (last := next(reversed(entries))) >= iteration:
        del entries[last]


def results_with(trial: TrialInfo, wanted: Collection[str]) -> dict[str, ResultDict]:
    """Id -> the result that came with that checkpoint, of any trial of the experiment, even if it has been rewound since.

    Looked up in the whole journal: only a report of the saver's own attempt will do. Ids that came with no report are empty or missing.
    """
    found: dict[str, ResultDict] = {}
    if not wanted:
        return found
    book = book_of(trial.experiment)
    with trial.experiment.opened() as read:
        for record in read(0, None, None):
            event = record.event
            # what the two of the experiment change is shared with all readers, who are further on
            if not record.handled or isinstance(event, (ev.ExperimentStarted, ev.SpecChanged)):
                continue
            book.apply(record)
            if isinstance(event, (ev.Reported, ev.CheckpointSaved)) and event.checkpoint is not None and event.checkpoint in wanted:
                saver = book.get(event.trial)
                found[event.checkpoint] = saver.last_result if saver.iteration == event.iteration else ResultDict()
                if len(found) == len(wanted):
                    break
    return found
