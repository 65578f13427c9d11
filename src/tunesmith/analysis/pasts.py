"""Every report of every trial, kept as it is stored until somebody looks at it: a million of them in seconds, and in little memory."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple, Self

from tunesmith.core.codec import encode_decisions, encode_event, loads
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Record
from tunesmith.errors import JournalCorrupt
from tunesmith.journal.lean import Keysets, Stored, fold_pages
from tunesmith.journal.projections import Projection, Reader
from tunesmith.journal.reading import Page
from tunesmith.journal.rows import date_of
from tunesmith.journal.trials import TrialBook, TrialInfo

__all__ = ["Constant", "Past", "Pasts", "Rows"]


class Constant(NamedTuple):
    """A column of equal values."""

    value: Any


class Rows(NamedTuple):
    """Neighbouring reports with the same keys, as columns.

    Args:
        lines: how many.
        columns: name -> their values, in the order of the keys in a result (see :func:`~tunesmith.journal.rows.result_row`).
        config: of all of them.
    """

    lines: int
    columns: dict[str, list[Any] | Constant]
    config: dict[str, Any]


class _Stretch(NamedTuple):
    """From report ``start`` on: the attempt's process, the configuration, the tag."""

    start: int
    info: dict[str, Any]
    values: dict[str, Any]
    space: int
    config: dict[str, Any]
    tag: str


class Past:
    """The reports of one trial that stand, in order: those that a later attempt has repeated are gone."""

    __slots__ = ("_ats", "_attempts", "_bodies", "_keys", "_stretches", "iterations", "last", "trial_id")

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.iterations = array("q")
        self.last: dict[int, bool] = {}  # iterations at which it was stopped or ended: whether that makes the report its last one
        self._ats = array("d")
        self._attempts = array("q")
        self._keys: list[tuple[str, ...]] = []
        self._bodies: list[str] = []
        self._stretches: list[_Stretch] = []

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, rows: Sequence[Stored], keysets: Keysets, trial: TrialInfo) -> None:
        """More reports, as they are stored: ``trial`` is as it was when they came."""
        iterations = [row[7] for row in rows]
        if any(after <= before for before, after in pairwise(iterations)):
            for row in rows:
                self.add([row], keysets, trial)
            return
        if self._bodies and iterations[0] <= self.iterations[-1]:
            self._rewind(iterations[0])
        newest = self._stretches[-1] if self._stretches else None
        if newest is None or newest.info is not trial.info or newest.values is not trial.values or newest.space != trial.space:
            config, tag = trial.config, trial.experiment_tag
            self._stretches.append(_Stretch(len(self._bodies), trial.info, trial.values, trial.space, config, tag))
        self.iterations.extend(iterations)
        self._ats.extend([row[4] for row in rows])
        self._attempts.extend([row[6] for row in rows])
        self._keys.extend([keysets[row[8]] for row in rows])
        self._bodies.extend([row[9] for row in rows])

    def _rewind(self, iteration: int) -> None:
        cut = bisect_left(self.iterations, iteration)
        for column in (self.iterations, self._ats, self._attempts, self._keys, self._bodies):
            del column[cut:]
        while self._stretches and self._stretches[-1].start >= cut:
            del self._stretches[-1]
        self.last = {at: last for at, last in self.last.items() if at < iteration}

    def _values(self) -> list[list[Any]]:
        """Of each report the values; behind those of its keys a checkpoint, a verdict and others may follow."""
        try:
            bodies: list[list[Any]] = loads(f"[{','.join(self._bodies)}]")
        except ValueError as error:
            raise JournalCorrupt(f"the values of a report of trial {self.trial_id} are damaged: {error}") from None
        if len(bodies) != len(self._bodies):
            raise JournalCorrupt(f"the values of the reports of trial {self.trial_id} are damaged.")
        return bodies

    def rows(self, wall: Callable[[float], float]) -> Iterator[Rows]:
        """The results as people see them; ``wall``: seconds of the experiment's clock -> wall time.

        Raises:
            JournalCorrupt: what is stored cannot be read.
        """
        bodies = self._values()
        ends = [stretch.start for stretch in self._stretches[1:]] + [len(bodies)]
        since, count, attempt = 0.0, 0, None
        for stretch, end in zip(self._stretches, ends, strict=True):
            first = stretch.start
            while first < end:
                after = self._alike(first, end)
                part = bodies[first:after]
                if self._attempts[first] != attempt:
                    since, count, attempt = 0.0, 0, self._attempts[first]
                elapsed = list(accumulate(_seconds(self._keys[first], part), initial=since))[1:]
                counts = list(range(count + 1, count + len(part) + 1))
                since, count = elapsed[-1], counts[-1]
                columns = self._columns(part, first, stretch, wall)
                columns["time_since_restore"] = elapsed
                columns["iterations_since_restore"] = counts
                columns["experiment_tag"] = Constant(stretch.tag)
                yield Rows(len(part), columns, stretch.config)
                first = after

    def _alike(self, first: int, end: int) -> int:
        """Where the reports end that have the keys and the attempt of the one at ``first``."""
        keys, attempt = self._keys[first], self._attempts[first]
        if self._keys[first:end].count(keys) == end - first and self._attempts[first:end].count(attempt) == end - first:
            return end
        return next((at for at in range(first, end) if self._keys[at] != keys or self._attempts[at] != attempt), end)

    def row(self, iteration: int, wall: Callable[[float], float]) -> ResultDict:
        """The result of that report."""
        index = bisect_left(self.iterations, iteration)
        for rows in self.rows(wall):
            if index < rows.lines:
                columns = {name: values.value if isinstance(values, Constant) else values[index] for name, values in rows.columns.items()}
                return ResultDict({**columns, "config": rows.config})
            index -= rows.lines
        raise KeyError(iteration)

    def _columns(
        self, bodies: list[list[Any]], first: int, stretch: _Stretch, wall: Callable[[float], float]
    ) -> dict[str, list[Any] | Constant]:
        keys, after = self._keys[first], first + len(bodies)
        columns: dict[str, Any] = dict(zip(keys, map(list, zip(*bodies, strict=False)), strict=False))
        seconds = [int(wall(at)) for at in self._ats[first:after]]
        columns.setdefault("timestamp", seconds)
        columns["checkpoint_dir_name"] = Constant(None)
        verdicts = [False] * len(bodies)
        if set(map(len, bodies)) != {len(keys)}:
            tails = [body[len(keys) :] for body in bodies]
            columns["checkpoint_dir_name"] = [tail[0].rpartition("/")[2] if tail and tail[0] else None for tail in tails]
            verdicts = [len(tail) > 1 and tail[1] is not None for tail in tails]
        if self.last:
            told = zip(self.iterations[first:after], verdicts, strict=True)
            verdicts = [self.last.get(at, verdict) for at, verdict in told]
        if "done" in columns:
            columns["done"] = [bool(done) or last for done, last in zip(columns["done"], verdicts, strict=True)]
        else:
            columns["done"] = verdicts if any(verdicts) else Constant(False)
        columns.setdefault("training_iteration", list(self.iterations[first:after]))
        columns["trial_id"] = Constant(self.trial_id)
        if "date" not in columns:
            columns["date"] = [date_of(second) for second in seconds]
        for name in ("pid", "hostname", "node_ip"):
            columns[name] = Constant(stretch.info.get(name))
        return columns


def _seconds(keys: tuple[str, ...], bodies: list[list[Any]]) -> list[float]:
    """What each report took; users may report their own."""
    if "time_this_iter_s" not in keys:
        return [0.0] * len(bodies)
    place = keys.index("time_this_iter_s")
    return [body[place] if isinstance(body[place], (int, float)) else 0.0 for body in bodies]


class Pasts(Projection):
    """The reports of all trials.

    Args:
        book: an empty one, over the experiment.
        whole: the book is for others to read as well.

    Attributes:
        by_trial: trial number -> :class:`Past`, in order of first report.
    """

    def __init__(self, book: TrialBook, *, whole: bool = False) -> None:
        super().__init__()
        self.book = book
        self.by_trial: dict[int, Past] = {}
        self._whole = whole

    def update(self, journal: Reader) -> Self:
        pages: Iterable[Page] = journal.read_pages(self.cursor) if hasattr(journal, "read_pages") else _pages_of(journal.read(self.cursor))
        self.cursor = fold_pages(self.book, pages, self.cursor, self, sums=self._whole)
        return self

    def reports(self, trial: TrialInfo, rows: Sequence[Stored], keysets: Keysets) -> None:
        """Keep these reports."""
        past = self.by_trial.get(trial.number)
        if past is None:
            past = self.by_trial[trial.number] = Past(trial.trial_id)
        past.add(rows, keysets, trial)

    def decided(self, record: Record) -> None:
        """Whoever was stopped has reported for the last time."""
        for decision in record.decisions:
            past = self.by_trial.get(-1 if decision.trial is None else decision.trial)
            if past and decision.do in ("stop", "end") and decision.trial is not None:
                trial = self.book.held(decision.trial)
                if trial is not None:
                    past.last[past.iterations[-1]] = trial.stopped


def _pages_of(records: Iterable[Record]) -> Iterator[Page]:
    """Of a journal that has none to give."""
    rows = [(record.seq, record.handled, encode_decisions(record.decisions), *encode_event(record.event)) for record in records]
    yield rows, {row[8]: row[8] for row in rows if row[8] is not None}
