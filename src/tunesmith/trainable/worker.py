"""One attempt, seen from inside: it counts and stores what is reported, hands it to the driver, and obeys the answer."""

from __future__ import annotations

import contextlib
import copy
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.checkpoints.room import DiskLow
from tunesmith.checkpoints.store import Kept, LocalStore
from tunesmith.core.events import CheckpointSaved, Reported, SaveSkipped
from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.trainable.blocks import Blocks
from tunesmith.trainable.metrics import Counters, filled, flatten_metrics
from tunesmith.trainable.place import Place

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment

__all__ = ["GO_ON", "Answer", "Channel", "Session", "not_a_checkpoint"]


class Answer(NamedTuple):
    """The driver's decision on a report.

    ``action``: continue, stop or pause; ``mode`` of a pause: cold or rerun (a warm one is a channel that has not answered yet);
    ``save``: first write a checkpoint, if the trainable can; ``outcome``: how the attempt ends if it does.
    """

    action: str = "continue"
    mode: str = ""
    save: bool = False
    outcome: str = "stopped"


GO_ON = Answer()


class Channel(Protocol):
    """From the worker to the driver."""

    def ask(self, event: Reported) -> Answer:
        """Hand over a report; blocks until it is decided on. Prefer the constant ``GO_ON`` for a plain "continue"."""

    def send(self, event: CheckpointSaved | SaveSkipped) -> None:
        """Hand over an event that needs no answer."""


class Session:
    """One attempt, seen from inside.

    Args:
        assignment: what is run.
        channel: to the driver.
        store: for its checkpoints; None: one for the trial's directory, made when first needed.
        min_free: bytes that saves leave free on its disk; None: what suits the disk; 0: as few as there are.

    Attributes:
        ended: the decision that ends the attempt, once there is one. Every later report raises TrialStopped again.
        size: of the newest checkpoint, bytes: the next one is likely to need as much.
        place: of this process, where several run the trial together.

    Raises:
        UserCodeError: the checkpoint to start from is not there.
    """

    place = Place()

    def __init__(self, assignment: Assignment, channel: Channel, store: LocalStore | None = None, min_free: int | None = None) -> None:
        self.assignment = assignment
        self.ended: Answer | None = None
        self.save_asked = False
        self.saved_at = -1  # iteration of the newest checkpoint
        self.checkpoint: Checkpoint | None = None
        self.checkpoint_read = False  # the trial's code has asked for it
        self.owner = threading.get_ident()
        self._channel = channel
        self._store = store
        self._min_free = min_free
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._asking = False
        self._closed = False
        self._at_end: list[Callable[[], None]] = []
        self._written: str | None = None  # by checkpoint_dir(), not yet part of a report
        self._blocks = Blocks()
        self.size = 0
        if assignment.checkpoint is None:
            self.counters = Counters(assignment.iteration, assignment.time_total)
        else:
            if not os.path.isdir(assignment.checkpoint):
                raise UserCodeError(
                    f"Trial {assignment.trial_id} was to go on from its checkpoint {assignment.checkpoint_id}, and the directory "
                    f"{assignment.checkpoint} is not there: was it deleted by hand? Put it back and continue with resume='AUTO+ERRORED', "
                    f"or let the trial begin anew with resume='AUTO+RESTART_ERRORED'."
                )
            self.checkpoint = Checkpoint(assignment.checkpoint)
            noted = self.notes()
            self.counters = Counters.resumed(assignment.iteration, assignment.time_total, noted)
            self._blocks, self.size = Blocks(noted.get("blocks", "")), noted.get("bytes", 0)
        self._resumed = perf_counter()

    def report(self, metrics: Mapping[Any, Any], checkpoint: Any = None, notes: Mapping[str, Any] | None = None) -> None:
        """See :func:`tunesmith.trainable.session.report`; ``notes`` are kept beside the checkpoint."""
        entered = perf_counter()
        if os.getpid() != self._pid:
            raise UserCodeError(
                f"report() was called in process {os.getpid()}, a child of trial {self.assignment.trial_id} (process {self._pid}). "
                f"Only the trial itself can report: send the values to it, over a queue for instance."
            )
        with self._lock:
            self._check()
            elapsed = entered - self._resumed
            flat, others = flatten_metrics(metrics)
            counters = self.counters
            saved = None
            if checkpoint is None and self._written is None:
                counters.fill(flat, elapsed if elapsed > 0.0 else 0.0)
            else:
                saved = self._fill_and_save(flat, max(elapsed, 0.0), checkpoint, notes)
            assignment = self.assignment
            event = Reported(assignment.trial, assignment.attempt, counters.iteration, flat)
            if saved is not None:
                event.checkpoint, event.bytes = saved
            if others:
                event.named, event.extras = tuple(others), others
            self._asking = True
            try:
                answer = self._channel.ask(event)
            finally:
                self._asking = False
                self._resumed = perf_counter()
            if answer is not GO_ON or "done" in flat:
                self._obey(answer, bool(flat.get("done")))

    def conclude(self, metrics: Mapping[Any, Any]) -> None:
        """Report what the user's code returned: told to stop now, it has finished all the same."""
        self._check()
        try:
            self.report(metrics)
        except TrialStopped:
            if self.ended is not None and self.ended.action == "stop" and self.ended.outcome == "stopped":
                self.ended = self.ended._replace(outcome="finished")
            raise

    def preview(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """``result`` with the keys that reporting it now would fill in."""
        return filled(result, copy.copy(self.counters), perf_counter() - self._resumed)

    def save(self, source: Any, notes: Mapping[str, Any] | None = None) -> None:
        """Store the trial's present state, and say so in an event of its own; or that there is no room for it."""
        with self._lock:
            self.save_asked = False
            try:
                saved = self._stored(source, notes)
            except DiskLow as low:
                self.skip(low)
                return
            trial, attempt, iteration = self.assignment.trial, self.assignment.attempt, self.counters.iteration
            self._channel.send(CheckpointSaved(trial, attempt, iteration, saved.id, bytes=saved.bytes))

    def skip(self, why: DiskLow, ahead: int = 0) -> None:
        """Say that the state could not be saved, for lack of room; the trial goes on. ``ahead``: 1 for that of the report to come."""
        with self._lock:
            self.save_asked = False
            iteration = self.counters.iteration + ahead
            self._channel.send(SaveSkipped(self.assignment.trial, self.assignment.attempt, iteration, str(why)))

    def close(self) -> None:
        """The user's code has returned: hand over what ``checkpoint_dir`` still holds; reports from stray threads unwind them."""
        with self._lock:
            if self._written is not None:
                self._flush()
            self._closed = True
        while self._at_end:
            self._at_end.pop(0)()

    def at_end(self, then: Callable[[], None]) -> None:
        """Have something done when the attempt's code is over; it must not raise."""
        self._at_end.append(then)

    def notes(self) -> dict[str, Any]:
        """What was kept beside the checkpoint that the attempt starts from; empty without one."""
        return LocalStore.notes_in(self.checkpoint.path) if self.checkpoint is not None else {}

    @contextlib.contextmanager
    def writing(self, had_room: bool = True) -> Iterator[str]:
        """A new directory to write a checkpoint into; it is removed if that fails.

        Args:
            had_room: there was room before, so if there is none when it fails, then that is why it does.

        Raises:
            DiskLow: there was no room for what was to be written.
        """
        folder = self.store.stage(self.assignment.trial)
        try:
            yield folder
        except BaseException as error:
            low = self.store.room.lacked(error, had_room) if isinstance(error, Exception) else None
            self.store.discard(folder)
            if low is None:
                raise
            raise low from error

    @property
    def store(self) -> LocalStore:
        """Where the attempt's checkpoints go."""
        if self._store is None:
            self._store = LocalStore.of_trial(self.assignment.trial_dir, self._min_free)
        return self._store

    @contextlib.contextmanager
    def checkpoint_dir(self, step: Any) -> Iterator[str]:
        """See :func:`tunesmith.trainable.session.checkpoint_dir`."""
        reports = self.counters.iteration
        before = self._blocks.stand_before(step, reports, fresh=reports == self.assignment.iteration)
        entered = False
        try:
            with self.writing(self.store.room.is_there()) as folder:
                entered = True
                yield folder
        except DiskLow as low:
            if not entered:  # not even for an empty directory: the block gets one elsewhere
                with tempfile.TemporaryDirectory(prefix="tunesmith_checkpoint_") as folder:
                    yield folder
            self.skip(low)
            return
        with self._lock:
            if self._written is not None:
                self._flush()
            if before:
                self._written = folder
            else:
                self.save(folder)

    def _check(self) -> None:
        if self.ended is not None or self._closed:
            raise TrialStopped(f"trial {self.assignment.trial_id} was told to stop")
        if self._asking:
            raise UserCodeError(
                f"report() was called while a report of trial {self.assignment.trial_id} is being decided on, in the same thread: "
                f"from a callback, a stop function or a signal handler. Only the trial's own code can report."
            )

    def _obey(self, answer: Answer, done: bool) -> None:
        if answer.save:
            self.save_asked = True
        if answer.action == "continue" and not done:
            return
        if done and answer.outcome == "stopped":
            answer = answer._replace(action="stop", outcome="finished")
        self.ended = answer
        raise TrialStopped(f"trial {self.assignment.trial_id} was told to stop")

    def _fill_and_save(self, flat: dict[str, Any], elapsed: float, checkpoint: Any, notes: Mapping[str, Any] | None) -> Kept | None:
        """Count the report and store what came with it; a save that fails is not counted. Without room the report goes on alone."""
        if checkpoint is not None and self._written is not None:
            self._flush()
        before = copy.copy(self.counters)
        self.counters.fill(flat, elapsed)
        try:
            source, self._written = (self._written, None) if checkpoint is None else (checkpoint, self._written)
            return self._stored(source, notes)
        except DiskLow as low:
            self.skip(low)
            return None
        except BaseException:
            self.counters = before
            raise

    def _flush(self) -> None:
        source, self._written = self._written, None
        self.save(source)

    def _stored(self, source: Any, notes: Mapping[str, Any] | None) -> Kept:
        if not isinstance(source, str | os.PathLike | Mapping):
            raise UserCodeError(not_a_checkpoint(self.assignment.trial_id, source))
        beside = {**self.counters.notes(), "blocks": self._blocks.noted, **(notes or {})}
        last = self.assignment.checkpoint_id
        saved = self.store.save(self.assignment.trial, source, self.counters.iteration, beside, after=last)
        self.checkpoint = self.store.open(saved.id)
        self.saved_at, self.size = self.counters.iteration, saved.bytes
        return saved


def not_a_checkpoint(trial_id: str, given: Any) -> str:
    """The message for somebody who has reported ``given`` as one."""
    return (
        f"report(checkpoint=...) of trial {trial_id} got a {type(given).__name__}. Expected a tune.Checkpoint, the path of a directory, or "
        "a dict. A metric can't be named 'checkpoint'."
    )
