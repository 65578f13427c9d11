"""What an analysis tells of a population: who copied whom, and the schedule that the best one has gone through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith.journal.experiment import Experiment
from tunesmith.journal.exploits import ExploitRecord, Exploits, plain_config

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tunesmith.journal.projections import Best, Reader
    from tunesmith.journal.trials import TrialBook

__all__ = ["PopulationReadings"]


class PopulationReadings:
    """Part of :class:`~tunesmith.analysis.ExperimentAnalysis`."""

    if TYPE_CHECKING:

        @property
        def _book(self) -> TrialBook: ...

        def _reader(self) -> AbstractContextManager[Reader]: ...
        def _pick(self, call: str, metric: str | None, mode: str | None, scope: str, finite: bool) -> Best: ...

    def exploits(self) -> list[dict[str, Any]]:
        """Every exploit of population-based training that was completed, in order.

        Returns:
            dicts of ``at`` (seconds), ``trial`` (number), ``iteration`` (how far it was), ``source`` (whom it copied),
            ``source_iteration`` and ``checkpoint`` (id) that it went on from, ``old_config`` (the source's), ``config`` (the new one),
            ``changes`` (path -> [before, now, what was done: "x1.2", "resample", "shift left" ...]) and ``reason``.
        """
        with self._reader() as reader:
            entries = Exploits().update(reader).entries
        return [_told(entry, self._book.experiment) for entry in entries]

    def best_schedule(
        self, metric: str | None = None, mode: str | None = None, scope: str = "last", filter_nan_and_inf: bool = True
    ) -> list[tuple[int, dict[str, Any]]]:
        """The configurations that the best trial's state has gone through, over all that it copied, each with the iteration from which on.

        Ready for ``json.dump`` and for :class:`~tunesmith.schedulers.PopulationBasedTrainingReplay`. Secrets are left out; what JSON cannot
        hold stands there by its label. Arguments and errors as in :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_step`.

        Returns:
            (iteration, config), ascending, the first at 0; one entry for a trial that never copied anything.

        Example:
            >>> from tunesmith.analysis import ExperimentAnalysis
            >>> from tunesmith.core.events import Reported, Suggested
            >>> from tunesmith.core.ports import Header, Record
            >>> from tunesmith.journal import MemoryJournal
            >>> journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
            >>> _ = journal.append([Record(Suggested(0, {"lr": 0.1})), Record(Reported(0, 0, 1, {"loss": 0.5}))])
            >>> ExperimentAnalysis(journal).best_schedule("loss", "min")
            [(0, {'lr': 0.1})]
        """
        best = self._pick("best_schedule", metric, mode, scope, filter_nan_and_inf)
        with self._reader() as reader:
            past = Exploits(until=(best.trial, best.iteration)).update(reader).past
        return [(stretch.iteration, plain_config(stretch, self._book.experiment)) for stretch in past]


def _told(entry: ExploitRecord, experiment: Experiment) -> dict[str, Any]:
    return {
        "at": entry.at,
        "trial": entry.trial,
        "iteration": entry.iteration,
        "source": entry.source,
        "source_iteration": entry.source_iteration,
        "checkpoint": entry.checkpoint,
        "old_config": experiment.config(entry.old.values, entry.old.space),
        "config": experiment.config(entry.new.values, entry.new.space),
        "changes": entry.changes,
        "reason": entry.reason,
    }
