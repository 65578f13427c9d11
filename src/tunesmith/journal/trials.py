"""All trials of an experiment, folded from its records one by one: what observers, reporters and analyses share."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, overload

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.errors import JournalError
from tunesmith.journal.experiment import Experiment, Resolve, trial_id_of
from tunesmith.journal.views import TrialInfo

__all__ = ["TrialBook", "TrialInfo", "TrialList", "trial_id_of"]

_LASTING = frozenset({"stop", "end", "exploit", "exploited", "skip", "resize"})
"""Decisions that show in a finished trial's view."""


class TrialBook:
    """Folds records into :class:`TrialInfo` views.

    Args:
        header: of the journal.
        experiment_path: the experiment's directory, as it is now.
        trainable_name: None: as recorded in the journal.
        resolve: see :class:`~tunesmith.journal.experiment.Experiment`.
        keep_finished: false: a finished trial leaves memory; who asks for it later gets it read from the journal again.
        reader: the journal's ``read`` method, for finished trials and histories; None: the journal at ``experiment_path``.

    Example:
        >>> book = TrialBook(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0), "/runs/demo", "train")
        >>> book.apply(Record(ev.Suggested(trial=0, values={"lr": 0.1})))
        <Trial 3f2a9_00000 PENDING>
        >>> str(book.trials[0]), book.trials[0].experiment_tag, book.counts["PENDING"]
        ('train_3f2a9_00000', '0_lr=0.1', 1)
    """

    def __init__(
        self,
        header: Header,
        experiment_path: str = "",
        trainable_name: str | None = None,
        resolve: Resolve | None = None,
        *,
        keep_finished: bool = True,
        reader: Callable[..., Iterable[Record]] | None = None,
    ) -> None:
        self.experiment = Experiment(header, experiment_path, trainable_name, resolve, reader)
        self.keep_finished = keep_finished
        self.cursor = 0
        self.at = 0.0
        self.count = 0
        self.counts = dict.fromkeys((PENDING, RUNNING, PAUSED, TERMINATED, ERROR), 0)
        self._held: dict[int, TrialInfo] = {}
        self._queued: dict[int, dict[str, Any]] = {}  # values that a trial goes on with once its exploit is complete
        self._warm: set[int] = set()  # paused in memory: a launch goes on without a new attempt
        self._launched: set[int] = set()  # an attempt is on its way, but does not run yet
        self._reading: ExitStack | None = None
        # Where finished trials that left memory are found again: first record, number of records, ``decided_at``.
        self._first = array("q")
        self._lengths = array("l")
        self._elsewhere: dict[int, tuple[int, ...]] = {}

    @classmethod
    def of(cls, experiment: Experiment) -> TrialBook:
        """A book of its own over the same experiment."""
        book = cls(experiment.header)
        book.experiment = experiment
        return book

    # -- reading ---------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> TrialList:
        """All trials in order of their numbers: a sequence that is always up to date and holds nothing itself."""
        return TrialList(self)

    def live(self) -> list[TrialInfo]:
        """The trials that are not over, in order of their numbers."""
        return [trial for trial in self._held.values() if not trial.is_finished()]

    def get(self, number: int) -> TrialInfo:
        """Trial ``number``; a finished one may be read from the journal again.

        Raises:
            IndexError: there is no such trial.
        """
        trial = self._held.get(number)
        if trial is not None:
            return trial
        if not 0 <= number < self.count:
            raise IndexError(f"there is no trial {number}: the experiment has {self.count} so far")
        return self._reread(number)

    def held(self, number: int) -> TrialInfo | None:
        """Trial ``number`` if it is in memory."""
        return self._held.get(number)

    def find(self, trial_id: str) -> TrialInfo:
        """The trial with that ``trial_id``.

        Raises:
            KeyError: there is no such trial.
        """
        number = trial_id.rpartition("_")[2]
        if number.isdigit() and int(number) < self.count and trial_id_of(self.experiment.header, int(number)) == trial_id:
            return self.get(int(number))
        raise KeyError(trial_id)

    def _reread(self, number: int) -> TrialInfo:
        book = TrialBook.of(self.experiment)
        for record in self.experiment.records(number, self._first[number] - 1, self._lengths[number], self._elsewhere.get(number, ())):
            book.apply(record)
        trial = book.held(number)
        if trial is None:
            raise JournalError(f"trial {number} of experiment {self.experiment.header.name!r} cannot be read from its journal again.")
        return trial

    # -- folding ---------------------------------------------------------------------------------------------------------

    def apply(self, record: Record) -> TrialInfo | None:
        """Take one record in; returns the trial whose event it is (none for events of the experiment, and for unhandled ones).

        Records must come in order of ``seq``, each once.
        """
        self.cursor = record.seq
        event = record.event
        if self._reading is not None and type(event) is not ev.Reopened:
            self._reading.close()
            self._reading = None
        number: int | None = getattr(event, "trial", None)
        trial = None if number is None else self._held.get(number)
        if trial is not None:
            trial.record_count += 1
        if not record.handled:
            return None
        self.at = event.at
        handler = _EVENTS.get(type(event))
        if trial is not None and handler is not None:
            handler(self, trial, event)
        elif isinstance(event, ev.Suggested):
            trial = self._suggested(event, record.seq)
        elif isinstance(event, ev.Reopened):
            trial = self._reopened(event)
        elif isinstance(event, ev.ExperimentStarted):
            self.experiment.begun(event.at, event.wall)
            self._described(event.spec, None if event.session or self.experiment.spaces else 0)
        elif isinstance(event, ev.SpecChanged):
            self._described(event.changes, record.seq)
        for decision in record.decisions:
            if decision.trial is not None:
                self._decide(decision, event.at, record.seq if decision.trial != number else 0)
        return trial

    def _described(self, spec: dict[str, Any], seq: int | None) -> None:
        """What is new in the experiment's description, ``space`` from record ``seq`` on."""
        self.experiment.spec = {**self.experiment.spec, **spec}
        if "space" in spec and seq is not None:
            self.experiment.new_space(spec["space"], seq)

    def _suggested(self, event: ev.Suggested, seq: int) -> TrialInfo:
        number = event.trial
        trial = TrialInfo(self.experiment, number, event.values, event.source, event.resources, event.name, event.dirname)
        trial.space = self.experiment.version(seq)
        trial.first_seq = seq
        trial.record_count = 1
        self._held[number] = trial
        self.count = max(self.count, number + 1)
        self.counts[PENDING] += 1
        return trial

    def _started(self, trial: TrialInfo, event: ev.AttemptStarted) -> None:
        trial.settle()
        trial.attempt = event.attempt
        trial.info = event.info
        if trial.started_at is None:
            trial.started_at = event.at
        self._launched.discard(trial.number)
        self._move(trial, RUNNING)

    def _reported(self, trial: TrialInfo, event: ev.Reported) -> None:
        seconds = event.metrics.get("time_this_iter_s")
        if not isinstance(seconds, (int, float)):  # users may report their own
            seconds = 0.0
        if trial.report is None or trial.report.attempt != event.attempt:
            trial.time_since_restore = seconds
            trial.iterations_since_restore = 1
        else:
            trial.time_since_restore += seconds
            trial.iterations_since_restore += 1
        trial.report = event
        trial.forget_row()
        if event.checkpoint is not None:
            trial.checkpoint_id = event.checkpoint
        trial.stopped = event.verdict is not None
        if event.verdict is not None:
            trial.reason = event.verdict

    def _saved(self, trial: TrialInfo, event: ev.CheckpointSaved) -> None:
        trial.checkpoint_id = event.checkpoint

    def _explored(self, trial: TrialInfo, event: ev.Explored) -> None:
        self._queued[trial.number] = event.values

    def _reopened(self, event: ev.Reopened) -> TrialInfo:
        """A trial that was over goes on."""
        trial = self._of_old(event)
        if event.trial not in self._held:
            self._held[event.trial] = trial
            trial.record_count += 1
        self._move(trial, PENDING)
        trial.go_on(event)
        return trial

    def _of_old(self, event: ev.Reopened) -> TrialInfo:
        """The trial as it was when it ended; it may have left memory since. Many may come in a row: the journal stays open meanwhile."""
        if event.trial not in self._held and self._reading is None:
            self._reading = ExitStack()
            self._reading.enter_context(self.experiment.opened())
        return self.get(event.trial)

    def _ended(self, trial: TrialInfo, event: ev.AttemptEnded) -> None:
        trial.error = event.error
        if trial.status == RUNNING:
            self._move(trial, PENDING)  # unless the decisions of this record say otherwise
        self._warm.discard(trial.number)
        self._launched.discard(trial.number)

    # -- decisions -------------------------------------------------------------------------------------------------------

    def _decide(self, decision: Decision, at: float, elsewhere: int) -> None:
        trial = self._held.get(-1 if decision.trial is None else decision.trial)
        if trial is None:
            return
        do, data = decision.do, decision.data
        if elsewhere and do in _LASTING:
            trial.decided_at = (*trial.decided_at, elsewhere)
        if do == "launch":
            warm = trial.number in self._warm
            self._warm.discard(trial.number)
            if not warm:
                self._launched.add(trial.number)
            self._move(trial, RUNNING if warm else PENDING)
        elif do == "pause":
            # an attempt that is to end first (cold, rerun) is what it is until it is gone: "paused"
            warm = data.get("mode") == "warm"
            if warm:
                self._warm.add(trial.number)
            if warm or (trial.status == PENDING and trial.number not in self._launched):
                self._move(trial, PAUSED)
        elif do in ("paused", "retry"):
            if data.get("charge"):
                trial.fail(data["outcome"], decision.reason)
            self._move(trial, PAUSED if do == "paused" else PENDING)
            trial.change_resources(data.get("resources"))
        elif do == "resize":
            if "save" not in data:  # else an attempt ends first
                trial.change_resources(data["resources"])
        elif do == "stop":
            if data.get("then", "end") == "end":
                trial.reason = decision.reason or trial.reason
                trial.stop()
        elif do == "end":
            self._end(trial, decision, at)
        else:
            self._exploit(trial, decision)

    def _exploit(self, trial: TrialInfo, decision: Decision) -> None:
        if decision.do == "exploit":
            values = decision.data.get("values")
            if values is not None:
                self._queued[trial.number] = values
            if trial.status == PAUSED and trial.number not in self._warm:
                self._move(trial, PENDING)
        elif decision.do == "exploited":
            values = self._queued.pop(trial.number, None)
            if values is not None:
                trial.settle()
                trial.change_values(values, decision.data.get("space", trial.space))
            trial.checkpoint_id = decision.data.get("checkpoint", trial.checkpoint_id)
        elif decision.do == "skip":
            self._queued.pop(trial.number, None)

    def _end(self, trial: TrialInfo, decision: Decision, at: float) -> None:
        self._move(trial, decision.data["status"])
        trial.outcome = decision.data.get("outcome", "")
        trial.reason = decision.reason or trial.reason
        trial.ended_at = at
        if trial.status == TERMINATED:
            trial.stop()
            trial.error = None
        else:
            trial.fail(trial.outcome, trial.reason)
        self._queued.pop(trial.number, None)
        self._warm.discard(trial.number)
        self._launched.discard(trial.number)
        if not self.keep_finished:
            self._retire(trial)

    def _retire(self, trial: TrialInfo) -> None:
        """Let go of a finished trial, but for where to find it again."""
        missing = trial.number + 1 - len(self._first)
        if missing > 0:
            self._first.extend([0] * missing)
            self._lengths.extend([0] * missing)
        self._first[trial.number] = trial.first_seq
        self._lengths[trial.number] = trial.record_count
        del self._held[trial.number]
        if trial.decided_at:
            self._elsewhere[trial.number] = trial.decided_at

    def _move(self, trial: TrialInfo, status: str) -> None:
        self.counts[trial.status] -= 1
        self.counts[status] += 1
        trial.status = status


_EVENTS: dict[type, Callable[[TrialBook, TrialInfo, Any], None]] = {
    ev.AttemptStarted: TrialBook._started,
    ev.Reported: TrialBook._reported,
    ev.CheckpointSaved: TrialBook._saved,
    ev.Explored: TrialBook._explored,
    ev.AttemptEnded: TrialBook._ended,
}


class TrialList(Sequence[TrialInfo]):
    """All trials of a :class:`TrialBook`, as a list that reads what it has not at hand."""

    def __init__(self, book: TrialBook) -> None:
        self._book = book

    def __len__(self) -> int:
        return self._book.count

    @overload
    def __getitem__(self, index: int) -> TrialInfo: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrialInfo]: ...
    def __getitem__(self, index: int | slice) -> TrialInfo | list[TrialInfo]:
        if isinstance(index, slice):
            return [self._book.get(number) for number in range(*index.indices(len(self)))]
        if not hasattr(index, "__index__"):
            raise TypeError(
                f"trials are found by their number, as in [0], or by a slice, not by {index!r}. For a table with a column for each metric "
                "call dataframe() of an analysis, or get_dataframe() of a ResultGrid."
            )
        return self._book.get(index + len(self) if index < 0 else index)

    def __iter__(self) -> Iterator[TrialInfo]:
        book = self._book
        if len(book._held) == book.count:
            yield from [book.get(number) for number in range(book.count)]
            return
        with book.experiment.opened():
            for number in range(book.count):
                yield book.get(number)

    def __repr__(self) -> str:
        return f"<{len(self)} trials>"
