"""Read models: tables, curves, histories, decisions and utilisation, each folded from the journal by cursor.

A projection keeps where it has read to, so ``update`` on a live run costs only what is new: the console, the command line and the
dashboard follow a run with the same objects that an analysis uses afterwards. Reading never unpickles anything.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol, Self

from tunesmith.core import events as ev
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Header, Record
from tunesmith.journal.experiment import Experiment
from tunesmith.journal.lean import fold_pages, fold_sums
from tunesmith.journal.scores import better, check_mode, check_scope, score
from tunesmith.journal.trials import TrialBook
from tunesmith.journal.views import TrialInfo

__all__ = [
    "Best",
    "Curve",
    "Curves",
    "Decisions",
    "Histories",
    "Projection",
    "Reader",
    "TrialTable",
    "Utilisation",
    "best",
    "counts",
    "curves",
    "decisions",
    "trial_table",
    "utilisation",
]


class Reader(Protocol):
    """What a projection needs of a journal: any :class:`~tunesmith.core.ports.Journal` will do, or a read-only view of one."""

    header: Header

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterable[Record]: ...


class Projection:
    """Base: folds the records after its cursor."""

    def __init__(self) -> None:
        self.cursor = 0

    def update(self, journal: Reader) -> Self:
        """Take in what is new since the last call."""
        return self.fold(journal.read(self.cursor))

    def fold(self, records: Iterable[Record]) -> Self:
        """Take in these records, which follow those taken in before; unhandled ones are skipped."""
        for record in records:
            self.cursor = record.seq
            if record.handled:
                self.apply(record)
        return self

    def apply(self, record: Record) -> None:
        """Take in one handled record."""
        raise NotImplementedError


class TrialTable(Projection):
    """All trials, and a table of them.

    Args:
        header: of the journal.
        path: the experiment's directory as it is now.
        book: to be used instead of a new one.
    """

    def __init__(self, header: Header, path: str = "", book: TrialBook | None = None) -> None:
        super().__init__()
        self.book = book or TrialBook(header, path)

    def update(self, journal: Reader) -> Self:
        if not hasattr(journal, "read_pages") or not self.book.keep_finished:
            return super().update(journal)
        if hasattr(journal, "read_sums"):
            stretches, keysets = journal.read_sums(self.cursor)
            if stretches is not None:
                self.cursor = fold_sums(self.book, stretches, keysets, self.cursor)
        self.cursor = fold_pages(self.book, journal.read_pages(self.cursor), self.cursor)
        return self

    def apply(self, record: Record) -> None:
        self.book.apply(record)

    def rows(self) -> list[dict[str, Any]]:
        """One row per trial: ``number``, ``trial_id``, ``status``, ``attempt``, ``iteration``, ``time_total_s``, ``reason``,
        ``error`` (one line), ``config`` (flat values drawn) and ``metrics`` (of the newest report)."""
        return [_table_row(trial) for trial in self.book.trials]


def _table_row(trial: TrialInfo) -> dict[str, Any]:
    error = trial.error
    return {
        "number": trial.number,
        "trial_id": trial.trial_id,
        "name": trial.trial_name,
        "status": trial.status,
        "attempt": trial.attempt,
        "iteration": trial.iteration,
        "time_total_s": trial.metrics.get("time_total_s"),
        "config": dict(trial.values),
        "metrics": dict(trial.metrics),
        "reason": trial.reason,
        "error": f"{error.get('type', 'error')}: {error.get('message', '')}" if error else None,
        "path": trial.path,
    }


class Curve(NamedTuple):
    """One trial's values of a metric: parallel arrays, iterations ascending."""

    iterations: array[int]
    values: array[float]


class Curves(Projection):
    """Values of one metric over the iterations of each trial that reported it as a number.

    After a rewind (a retry from a checkpoint, an exploit) the newest attempt's reports stand: from the first iteration that it
    reports on, what older attempts had reported is gone.

    Attributes:
        by_trial: trial number -> :class:`Curve`, in order of first report.
        names: all metrics that were reported, for messages.
    """

    def __init__(self, metric: str) -> None:
        super().__init__()
        self.metric = metric
        self.by_trial: dict[int, Curve] = {}
        self.names: set[str] = set()

    def update(self, journal: Reader) -> Self:
        columns = getattr(journal, "read_columns", None)
        if columns is None:
            return super().update(journal)
        names: set[tuple[str, ...]] = set()
        for seq, _, trial, _, iteration, keys, values in columns(self.cursor):
            self.cursor = seq
            names.add(keys)
            self._add(trial, iteration, values[keys.index(self.metric)] if self.metric in keys else None)
        self.names.update(*names)
        return self

    def apply(self, record: Record) -> None:
        event = record.event
        if type(event) is ev.Reported:
            self.names.update(event.metrics)
            self._add(event.trial, event.iteration, event.metrics.get(self.metric))

    def _add(self, trial: int, iteration: int, value: object) -> None:
        curve = self.by_trial.get(trial)
        if curve is not None and curve.iterations and iteration <= curve.iterations[-1]:
            cut = bisect_left(curve.iterations, iteration)
            del curve.iterations[cut:], curve.values[cut:]
        if not isinstance(value, (int, float)):
            return
        if curve is None:
            curve = self.by_trial[trial] = Curve(array("q"), array("d"))
        curve.iterations.append(iteration)
        try:
            curve.values.append(value)
        except OverflowError:  # an integer beyond all floats
            curve.values.append(math.inf if value > 0 else -math.inf)

    def steps(self, mode: str) -> dict[int, int]:
        """Trial number -> iteration of its best report with a finite value, in order of trials."""
        check_mode(mode)
        found = {}
        for number in sorted(self.by_trial):
            curve = self.by_trial[number]
            scored = score(curve.values, mode, "all")
            if scored is not None:
                found[number] = curve.iterations[scored.position]
        return found

    def best(self, mode: str, scope: str = "last", filter_nan_and_inf: bool = True) -> Best | None:
        """The best trial, the first of equally good ones; None if there is nothing to compare.

        Raises:
            SpecError: unknown mode or scope.
        """
        check_mode(mode)
        check_scope(scope)
        found: Best | None = None
        for number in sorted(self.by_trial):
            curve = self.by_trial[number]
            scored = score(curve.values, mode, scope, filter_nan_and_inf)
            if scored is not None and (found is None or better(scored.value, found.value, mode)):
                found = Best(number, scored.value, curve.iterations[scored.position])
        return found


class Best(NamedTuple):
    """The best trial's number, its score, and the iteration of the report that the score stands for (means: its newest)."""

    trial: int
    value: float
    iteration: int


class Histories(Projection):
    """Every result of every trial as people see it, and the checkpoints that belong to it.

    Args:
        experiment: see :class:`~tunesmith.journal.experiment.Experiment`.
        keep: trial number -> the one iteration whose row is wanted; None: all rows of all trials.
        book: an empty one, to be used instead of a new one.

    Attributes:
        rows: trial number -> iteration -> result, ascending; rewound like :class:`Curves`.
        checkpoints: trial number -> iteration -> checkpoint id, ascending. After an exploit those of the source's past stand in.
    """

    def __init__(self, experiment: Experiment, keep: Mapping[int, int] | None = None, book: TrialBook | None = None) -> None:
        super().__init__()
        self.book = book or TrialBook.of(experiment)
        self.keep = keep
        self.rows: dict[int, dict[int, ResultDict]] = {}
        self.checkpoints: dict[int, dict[int, str]] = {}
        self._loaded: dict[int, str] = {}

    def apply(self, record: Record) -> None:
        event = record.event
        trial = self.book.apply(record)
        if trial is not None and isinstance(event, ev.Reported):
            self._reported(trial, event)
        elif trial is not None and isinstance(event, ev.CheckpointSaved):
            self.checkpoints.setdefault(event.trial, {})[event.iteration] = event.checkpoint
        for decision in record.decisions:
            number = decision.trial
            if number is None:
                continue
            if decision.do in ("stop", "end"):
                self._refresh(number)
            elif decision.do == "exploited" and "checkpoint" in decision.data:
                self._loaded[number] = decision.data["checkpoint"]

    def _reported(self, trial: TrialInfo, event: ev.Reported) -> None:
        rows = self.rows.setdefault(trial.number, {})
        checkpoints = self.checkpoints.setdefault(trial.number, {})
        _rewind(rows, event.iteration)
        _rewind(checkpoints, event.iteration)
        loaded = self._loaded.pop(trial.number, None)
        if loaded is not None:
            checkpoints[event.iteration - 1] = loaded
        if event.checkpoint is not None:
            checkpoints[event.iteration] = event.checkpoint
        if self.keep is None or self.keep.get(trial.number) == event.iteration:
            rows[event.iteration] = trial.last_result

    def _refresh(self, number: int) -> None:
        """The trial was stopped or ended: its last row says ``done`` now."""
        rows = self.rows.get(number)
        trial = self.book.held(number)
        if rows and trial is not None and trial.iteration in rows:
            rows[trial.iteration] = trial.last_result


def _rewind(entries: dict[int, Any], iteration: int) -> None:
    while entries:
        last = next(reversed(entries))
        if last < iteration:
            return
        del entries[last]


class Decisions(Projection):
    """Every recorded decision in order: dicts of ``at`` (seconds of the experiment's clock), ``trial``, ``do``, ``reason``, ``seq``."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[dict[str, Any]] = []

    def apply(self, record: Record) -> None:
        at = record.event.at
        self.entries += [
            {"at": at, "trial": decision.trial, "do": decision.do, "reason": decision.reason, "seq": record.seq}
            for decision in record.decisions
        ]


class Utilisation(Projection):
    """How many attempts ran at once over time: a step function.

    Attributes:
        at: seconds of the experiment's clock at which the number changed; ``busy``: the number from then on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at = array("d", [0.0])
        self.busy = array("q", [0])
        self._running: set[int] = set()

    def apply(self, record: Record) -> None:
        event = record.event
        if isinstance(event, ev.AttemptStarted):
            self._running.add(event.trial)
        elif isinstance(event, ev.AttemptEnded):
            self._running.discard(event.trial)
        else:
            return
        if event.at > self.at[-1]:
            self.at.append(event.at)
            self.busy.append(len(self._running))
        else:
            self.busy[-1] = len(self._running)

    def mean(self, until: float | None = None) -> float:
        """Mean number of busy slots from the first attempt to ``until`` (None: the last change).

        Example:
            >>> use = Utilisation()
            >>> _ = use.fold([Record(ev.AttemptStarted(0, 0, at=0.0)), Record(ev.AttemptEnded(0, 0, "finished", at=5.0))])
            >>> use.mean(), use.mean(until=10.0)
            (1.0, 0.5)
        """
        ends = [*self.at[1:], self.at[-1] if until is None else until]
        spans = [max(0.0, end - start) for start, end in zip(self.at, ends, strict=True)]
        total = sum(spans)
        return sum(span * busy for span, busy in zip(spans, self.busy, strict=True)) / total if total else 0.0


# -- in one call ---------------------------------------------------------------------------------------------------------


def trial_table(journal: Reader, path: str = "") -> list[dict[str, Any]]:
    """See :meth:`TrialTable.rows`."""
    return TrialTable(journal.header, path).update(journal).rows()


def curves(journal: Reader, metric: str) -> dict[int, Curve]:
    """Trial number -> (iterations, values) of ``metric``; see :class:`Curves`."""
    return Curves(metric).update(journal).by_trial


def best(journal: Reader, metric: str, mode: str, scope: str = "last", filter_nan_and_inf: bool = True) -> Best | None:
    """See :meth:`Curves.best`."""
    return Curves(metric).update(journal).best(mode, scope, filter_nan_and_inf)


def decisions(journal: Reader) -> list[dict[str, Any]]:
    """See :class:`Decisions`."""
    return Decisions().update(journal).entries


def utilisation(journal: Reader) -> Utilisation:
    """See :class:`Utilisation`."""
    return Utilisation().update(journal)


def counts(journal: Reader) -> dict[str, int]:
    """Status -> number of trials."""
    return TrialTable(journal.header).update(journal).book.counts
