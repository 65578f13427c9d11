"""What a table of trials shows, folded from the records: its size is that of what runs, not of what has run."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Lock
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.journal.trials import TrialBook, TrialInfo, trial_id_of
from tunesmith.progress.decisions import told
from tunesmith.progress.leader import Leader, latest, rank
from tunesmith.progress.options import TableOptions

__all__ = ["Board", "Picture", "Row", "best_of", "row_of"]

_REMEMBERED = 12
"""Decisions that a picture may show."""

_ORDER = (RUNNING, PAUSED, PENDING, TERMINATED, ERROR)

Show = Callable[[dict[str, Any], int], Mapping[str, Any]]


@dataclass(slots=True)
class Row:
    """A trial as it was at one moment."""

    trial_id: str
    status: str
    iteration: int
    values: Mapping[str, Any]
    metrics: Mapping[str, Any]
    space: int = 0


@dataclass(slots=True)
class Picture:
    """Everything that one picture of the run shows.

    Args:
        counts: status -> number of trials.
        total: trials in all, None: not known; ``over``: those that have ended; ``active``: those that hold resources.
        metrics: the run's (or the reporter's) metrics.
        rows: of the table, in order; ``failed``: newest first, (trial id, reason).
        decisions: newest last, (seconds, text).
        resources: name -> (in use, in all); ``out``: GPU cards that are quarantined.
        elapsed: seconds of the experiment's clock; ``left``: an estimate of those to come, ``budget``: what ``time_budget_s`` leaves.
        ending: why the run ends ("" while it does not); ``until``: seconds until unfinished trials are killed.
    """

    name: str
    counts: Mapping[str, int]
    total: int | None = None
    over: int = 0
    active: int = 0
    metrics: Sequence[str] = ()
    best: Row | None = None
    rows: list[Row] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    decisions: list[tuple[float, str]] = field(default_factory=list)
    resources: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    out: Sequence[int] = ()
    elapsed: float | None = None
    left: float | None = None
    budget: float | None = None
    ending: str = ""
    until: float | None = None


class Board:
    """An :class:`~tunesmith.core.ports.Observer` that keeps what :meth:`picture` needs; the two may be called in different threads.

    Args:
        header: of the journal.
        clock: seconds of the experiment's clock.
        options: what to show.
        show: drawn values and the version of the space that they belong to -> what to show of them; None: as they are.
    """

    def __init__(self, header: Header, clock: Callable[[], float], options: TableOptions | None = None, show: Show | None = None) -> None:
        self._header, self._clock, self._show = header, clock, show or _as_they_are
        self.options = options or TableOptions()
        self._lock = Lock()
        self._trials = _Trials(header)
        self._leader = Leader()
        self._champion: tuple[float, int, Row] | None = None  # of the ended ones
        self._kept: list[tuple[float, int, Row]] = []  # ended ones: the best or the newest, see _keep
        self._failed: deque[tuple[str, str]] = deque(maxlen=max(1, self.options.max_error_rows))
        self._decisions: deque[tuple[float, int, str]] = deque(maxlen=_REMEMBERED)
        self._holding: dict[int, dict[str, float]] = {}
        self._paused: set[int] = set()  # by the decisions so far: the book has gone through all of a record
        self._totals: dict[str, float] = {}
        self._out: Sequence[int] = ()
        self._metrics: tuple[str, ...] = ()
        self._mode = "max"
        self._begun = 0.0
        self._ended = 0  # trials, in this session; the newest of them also order _kept
        self._ending = ""
        self._until: float | None = None

    # -- the observer ----------------------------------------------------------------------------------------------------

    def replay(self, records: Iterable[Record]) -> None:
        """Take in records of earlier sessions."""
        for record in records:
            self.committed([record])
        self._decisions.clear()

    def committed(self, records: Sequence[Record]) -> None:
        """Take in what was committed."""
        with self._lock:
            for record in records:
                self._take(record)

    def close(self) -> None:
        """Nothing is queued."""

    def _take(self, record: Record) -> None:
        event, decisions = record.event, record.decisions
        if type(event) is ev.Reported and not decisions and record.handled:  # most records are
            reported = self._trials.apply(record)
            if reported is not None:
                self._leader.put(event.trial, self._rank(reported.metrics))
            return
        # trials leave the book as they end, so their views are taken before
        ended = [self._trials.held(decision.trial) for decision in decisions if decision.do == "end" and decision.trial is not None]
        trial = self._trials.apply(record)
        if not record.handled:
            return
        if type(event) is ev.Reported:
            if trial is not None:
                self._leader.put(event.trial, self._rank(trial.metrics))
        elif type(event) is ev.AttemptEnded:
            self._holding.pop(event.trial, None)
        elif type(event) is ev.CapacityChanged:
            self._totals, self._out = event.totals, event.out
        elif type(event) is ev.ExperimentStarted:
            self._begin(event.at)
        elif type(event) is ev.Reopened:
            self._go_on(event)
        for decision in decisions:
            self._decided(decision, event.at)
        for over in ended:
            if over is not None:
                self._over(over)

    def _begin(self, at: float) -> None:
        spec, options = self._trials.experiment.spec, self.options
        self._begun, self._ended, self._ending, self._until = at, 0, "", None
        self._holding.clear()
        self._metrics = self._trials.objectives = (options.metric,) if options.metric else tuple(spec.get("metrics") or ())
        self._mode = options.mode or next(iter(spec.get("modes") or ()), "max")

    def _go_on(self, event: ev.Reopened) -> None:
        """A trial that was over is not: what is kept of ended ones is without it."""
        trial_id = self._id(event.trial)
        self._kept = [one for one in self._kept if one[2].trial_id != trial_id]
        self._failed = deque((one for one in self._failed if one[0] != trial_id), self._failed.maxlen)
        if self._champion is not None and self._champion[1] == event.trial:
            rest = [(key, row) for _, _, row in self._kept if (key := self._rank(row.metrics)) is not None]
            best = min(rest, key=lambda one: one[0], default=None)
            self._champion = (best[0], int(best[1].trial_id.rpartition("_")[2]), best[1]) if best is not None else None
        self._leader.put(event.trial, self._rank(event.metrics))

    def _decided(self, decision: Decision, at: float) -> None:
        do, number = decision.do, decision.trial
        if number is None:
            if do == "halt":
                self._ending, self._until = decision.reason or decision.data.get("kind", ""), decision.data.get("until")
            return
        if do == "launch":
            trial = self._trials.held(number)
            if trial is not None:
                self._holding[number] = trial.resources
        elif do == "pause" and decision.data.get("mode") == "warm":
            self._holding.pop(number, None)
        text = told(decision, self._id, paused=number in self._paused, ending=bool(self._ending))
        if do in ("pause", "paused"):
            self._paused.add(number)
        elif do != "resize":
            self._paused.discard(number)
        # the end of a stopped trial says again why it was stopped
        if text is not None and not (do == "end" and any(number == other and text == same for _, other, same in self._decisions)):
            self._decisions.append((at, number, text))

    def _over(self, trial: TrialInfo) -> None:
        self._ended += 1
        self._holding.pop(trial.number, None)
        self._leader.put(trial.number, None)
        row, key = row_of(trial), self._rank(trial.metrics, trial.outcome)
        if key is not None and (self._champion is None or (key, trial.number) < self._champion[:2]):
            self._champion = (key, trial.number, row)
        if trial.status == ERROR:
            self._failed.appendleft((trial.trial_id, trial.reason))
        if not self.options.sort_by_metric:
            key = -self._trials.at
        insort(self._kept, (float("inf") if key is None else key, -self._ended, row), key=lambda one: one[:2])
        del self._kept[max(1, self.options.max_progress_rows) :]

    # -- what is shown ---------------------------------------------------------------------------------------------------

    def picture(self, rows: int | None = None) -> Picture:
        """The run as it is now, with at most ``rows`` trials; None: as many as the options say."""
        most = self.options.max_progress_rows if rows is None else min(rows, self.options.max_progress_rows)
        with self._lock:
            now = max(self._clock(), self._trials.at)
            picture = self._summary(now)
            picture.rows = self._rows(most)
            picture.best = self._best()
        for row in [*picture.rows, *([picture.best] if picture.best else [])]:
            row.values = self._show(dict(row.values), row.space)
        return picture

    def resources(self) -> dict[str, tuple[float, float]]:
        """Name -> (in use, in all)."""
        used: dict[str, float] = {}
        for held in self._holding.values():
            for name, amount in held.items():
                used[name] = used.get(name, 0.0) + amount
        return {
            name: (round(used.get(name, 0.0), 4), self._totals.get(name, 0.0))
            for name in sorted({*self._totals, *used})
            if used.get(name) or (name in ("cpu", "gpu") and self._totals.get(name))
        }

    def _summary(self, now: float) -> Picture:
        spec, counts = self._trials.experiment.spec, self._trials.counts
        over = counts[TERMINATED] + counts[ERROR]
        total = self.options.total_samples or spec.get("num_samples")
        name = str(spec.get("name", self._header.name))  # it goes with its directory
        picture = Picture(name, {status: counts[status] for status in _ORDER}, total, over, metrics=self._metrics)
        picture.elapsed = now
        if total is not None:
            picture.total = max(total, self._trials.count)
            if self._ended and now > self._begun:
                picture.left = (picture.total - over) * (now - self._begun) / self._ended
        if spec.get("time_budget_s") is not None:
            picture.budget = max(0.0, spec["time_budget_s"] - now)
        picture.ending, picture.active = self._ending, len(self._holding)
        if self._until is not None:
            picture.until = max(0.0, self._until - now)
        picture.resources, picture.out = self.resources(), self._out
        picture.decisions = [(at, f"{self._id(number)} {text}") for at, number, text in self._decisions]
        picture.failed = list(self._failed)[: self.options.max_error_rows]
        return picture

    def _rows(self, most: int) -> list[Row]:
        """Running ones, paused ones, ended ones, and at last those that wait; each status by number, as far as there is room."""
        trials = self._trials
        rows: list[Row] = []
        for status in (RUNNING, PAUSED, TERMINATED, PENDING):
            room = most - len(rows)
            if status == TERMINATED:
                rows += [_copy(row) for _, _, row in self._kept[:room]]
            else:
                rows += [row_of(trials.get(number)) for number in sorted(islice(trials.by_status[status], room))]
        return rows

    def _best(self) -> Row | None:
        number = self._leader.best()
        live = None if number is None else self._trials.held(number)
        champion = self._champion
        if live is not None:
            key = self._rank(live.metrics)
            if key is not None and (champion is None or (key, live.number) < champion[:2]):
                return row_of(live)
        return None if champion is None else _copy(champion[2])

    def _rank(self, metrics: Mapping[str, Any], outcome: str = "") -> float | None:
        """None with several metrics: none of them says alone which trial is the best."""
        return rank(metrics.get(self._metrics[0]), self._mode, outcome) if len(self._metrics) == 1 else None

    def _id(self, number: int) -> str:
        return trial_id_of(self._header, number)


class _Trials(TrialBook):
    """Live trials, also by status; of those that are over only the counts stay."""

    def __init__(self, header: Header) -> None:
        super().__init__(header, keep_finished=False)
        self.by_status: dict[str, dict[int, None]] = {PENDING: {}, RUNNING: {}, PAUSED: {}}
        self.objectives: tuple[str, ...] = ()

    def apply(self, record: Record) -> TrialInfo | None:
        """What a report lacks of the objectives stands as it was."""
        event = record.event
        if type(event) is ev.Reported and (trial := self.held(event.trial)) is not None:
            metrics = latest(trial.metrics, event.metrics, self.objectives)
            if metrics is not event.metrics:
                record = replace(record, event=replace(event, metrics=dict(metrics)))
        return super().apply(record)

    def _suggested(self, event: ev.Suggested, seq: int) -> TrialInfo:
        self.by_status[PENDING][event.trial] = None
        return super()._suggested(event, seq)

    def _move(self, trial: TrialInfo, status: str) -> None:
        self.by_status.get(trial.status, {}).pop(trial.number, None)
        if status in self.by_status:
            self.by_status[status][trial.number] = None
        super()._move(trial, status)

    def _retire(self, trial: TrialInfo) -> None:
        del self._held[trial.number]

    def _of_old(self, event: ev.Reopened) -> TrialInfo:
        trial = TrialInfo(self.experiment, event.trial, event.values, resources=event.resources)
        trial.space = event.space
        trial.status = ERROR if event.why == "errored" else TERMINATED
        if event.iteration:
            trial.report = ev.Reported(event.trial, event.attempt - 1, event.iteration, event.metrics, at=event.at)
        return trial


def row_of(trial: TrialInfo) -> Row:
    """The trial as it is now."""
    return Row(trial.trial_id, trial.status, trial.iteration, trial.values, trial.metrics, trial.space)


def best_of(rows: Iterable[Row], metric: str, mode: str) -> Row | None:
    """The row with the best ``metric``, the first of equals."""
    ranked = [(key, number, row) for number, row in enumerate(rows) if (key := rank(row.metrics.get(metric), mode)) is not None]
    return min(ranked)[2] if ranked else None


def _copy(row: Row) -> Row:
    return Row(row.trial_id, row.status, row.iteration, row.values, row.metrics, row.space)


def _as_they_are(values: dict[str, Any], space: int) -> Mapping[str, Any]:  # noqa: ARG001
    return values
