"""One attempt, seen from inside: it counts and stores what is reported, hands it to the driver, and obeys the answer."""

from __future__ import annotations

import contextlib
import copy
import os
import threading
from collections.abc import Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import CheckpointSaved, Reported
from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.trainable.metrics import Counters, filled, flatten_metrics

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment

__all__ = ["GO_ON", "Answer", "Channel", "Session"]


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

    def send(self, event: CheckpointSaved) -> None:
        """Hand over an event that needs no answer."""


class Session:
    """One attempt, seen from inside.

    Args:
        assignment: what is run.
        channel: to the driver.
        store: for its checkpoints; None: one for the trial's directory, made when first needed.

    Attributes:
        ended: the decision that ends the attempt, once there is one. Every later report raises TrialStopped again.
    """

    def __init__(self, assignment: Assignment, channel: Channel, store: LocalStore | None = None) -> None:
        self.assignment = assignment
        self.ended: Answer | None = None
        self.save_asked = False
        self.saved_at = -1  # iteration of the newest checkpoint
        self.checkpoint: Checkpoint | None = None
        self.owner = threading.get_ident()
        self._channel = channel
        self._store = store
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._asking = False
        self._closed = False
        self._written: str | None = None  # by checkpoint_dir(), not yet part of a report
        if assignment.checkpoint is None:
            self.counters = Counters(assignment.iteration, assignment.time_total)
        else:
            self.checkpoint = Checkpoint(assignment.checkpoint)
            self.counters = Counters.resumed(assignment.iteration, assignment.time_total, self.notes())
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
            event = Reported(assignment.trial, assignment.attempt, counters.iteration, flat, saved)
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
        """Store the trial's present state, and say so in an event of its own."""
        with self._lock:
            self.save_asked = False
            saved = self._stored(source, notes)
            iteration = self.counters.iteration
            self._channel.send(CheckpointSaved(self.assignment.trial, self.assignment.attempt, iteration, saved))

    def close(self) -> None:
        """The user's code has returned: hand over what ``checkpoint_dir`` still holds; reports from stray threads unwind them."""
        with self._lock:
            if self._written is not None:
                self._flush()
            self._closed = True

    def notes(self) -> dict[str, Any]:
        """What was kept beside the checkpoint that the attempt starts from; empty without one."""
        return LocalStore.notes_in(self.checkpoint.path) if self.checkpoint is not None else {}

    def stage(self) -> str:
        """A new directory to write a checkpoint into."""
        return self.store.stage(self.assignment.trial)

    @property
    def store(self) -> LocalStore:
        """Where the attempt's checkpoints go."""
        if self._store is None:
            self._store = LocalStore.of_trial(self.assignment.trial_dir)
        return self._store

    @contextlib.contextmanager
    def checkpoint_dir(self) -> Iterator[str]:
        """See :func:`tunesmith.trainable.session.checkpoint_dir`."""
        folder = self.stage()
        try:
            yield folder
        except BaseException:
            self.store.discard(folder)
            raise
        with self._lock:
            if self._written is not None:
                self._flush()
            self._written = folder

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

    def _fill_and_save(self, flat: dict[str, Any], elapsed: float, checkpoint: Any, notes: Mapping[str, Any] | None) -> str:
        """Count the report and store what came with it; a save that fails is not counted."""
        if checkpoint is not None and self._written is not None:
            self._flush()
        before = copy.copy(self.counters)
        self.counters.fill(flat, elapsed)
        try:
            source, self._written = (self._written, None) if checkpoint is None else (checkpoint, self._written)
            return self._stored(source, notes)
        except BaseException:
            self.counters = before
            raise

    def _flush(self) -> None:
        source, self._written = self._written, None
        self.save(source)

    def _stored(self, source: Any, notes: Mapping[str, Any] | None) -> str:
        if not isinstance(source, str | os.PathLike | Mapping):
            raise UserCodeError(
                f"report(checkpoint=...) of trial {self.assignment.trial_id} got a {type(source).__name__}. Expected a tune.Checkpoint, "
                f"the path of a directory, or a dict. A metric can't be named 'checkpoint'."
            )
        beside = {**self.counters.notes(), **(notes or {})}
        last = self.assignment.checkpoint_id
        saved = self.store.save(self.assignment.trial, source, self.counters.iteration, beside, after=last)
        self.checkpoint = self.store.open(saved)
        self.saved_at = self.counters.iteration
        return saved
