"""The worker's side of a running trial, and the functions that users call there: ``report``, ``get_checkpoint``, ``get_context``.

This module is also the ``session`` namespace of scripts that say ``session.report(...)``.

A session is found through a context variable, so two runs in two threads don't meet; threads that the trial starts, which have a
context of their own, find the only session there is. Outside a run every function warns once per process and does nothing.
"""

from __future__ import annotations

import contextlib
import copy
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import CheckpointSaved, Reported
from tunesmith.errors import TrialStopped, UserCodeError
from tunesmith.trainable.metrics import Counters, as_metrics, filled, flatten_metrics

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment

__all__ = [
    "GO_ON",
    "Answer",
    "Channel",
    "Session",
    "TuneContext",
    "checkpoint_dir",
    "get_checkpoint",
    "get_context",
    "get_experiment_name",
    "get_trial_dir",
    "get_trial_id",
    "get_trial_name",
    "get_trial_resources",
    "is_session_enabled",
    "report",
]


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
        self._written: str | None = None  # by checkpoint_dir(), not yet part of a report
        if assignment.checkpoint is None:
            self.counters = Counters(assignment.iteration, assignment.time_total)
        else:
            self.checkpoint = Checkpoint(assignment.checkpoint)
            self.counters = Counters.resumed(assignment.iteration, assignment.time_total, self.notes())
        self._resumed = perf_counter()

    def report(self, metrics: Mapping[Any, Any], checkpoint: Any = None, notes: Mapping[str, Any] | None = None) -> None:
        """See :func:`report`; ``notes`` are kept beside the checkpoint."""
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
            if self.ended is None:
                self.ended = Answer("stop", outcome="finished")

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
        """See :func:`checkpoint_dir`."""
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
        if self.ended is not None:
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


_current: ContextVar[Session | None] = ContextVar("tunesmith_session", default=None)
_active: list[Session] = []
_warned = False


def activate(session: Session) -> Token[Session | None]:
    """Make ``session`` the one that the functions below find; undone by :func:`deactivate`."""
    _active.append(session)
    return _current.set(session)


def deactivate(session: Session, token: Token[Session | None]) -> None:
    """The attempt's code is over."""
    _current.reset(token)
    _active.remove(session)


def current() -> Session | None:
    """The session of the calling code; None outside a run.

    Raises:
        UserCodeError: the calling thread was started by one of several trials that run here, and nothing tells by which.
    """
    session = _current.get()
    if session is None and _active:
        session = _active[-1]
        if any(other.owner != session.owner for other in _active):
            names = ", ".join(other.assignment.trial_id for other in _active)
            raise UserCodeError(
                f"A thread reported, and trials {names} run in this process at once: it is not known whose it is. "
                f"Start it with threading.Thread(target=contextvars.copy_context().run, args=(function, ...))."
            )
    return session


def _outside(name: str) -> None:
    """Warn once per process that ``name`` has nothing to act on."""
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(f"{name}() was called outside a tunesmith run: it does nothing here. (Said once.)", stacklevel=3)


def report(metrics: Any = None, *, checkpoint: Any = None, **named: Any) -> None:
    """Report metrics of the running trial, with a checkpoint if there is one; returns when it has been decided to go on.

    Args:
        metrics: a dict (it may be nested), or a single number, which goes under ``_metric``. Numbers, strings, arrays of
            one element are recorded; other values are shown by the loggers that can.
        checkpoint: the trial's state after this report: a :class:`~tunesmith.checkpoints.Checkpoint`, the path of a directory, or
            a dict. It is copied, and safe on disk before the report counts.
        **named: more metrics: ``report(loss=0.3)``.

    Raises:
        UserCodeError: ``metrics`` is neither a dict nor a number; or this is a child process of the trial.
        TrialStopped: the trial was told to stop. Not an ``Exception``: let it pass, ``finally`` blocks run.

    Example:
        >>> def train(config):
        ...     for epoch in range(10):
        ...         report({"loss": config["lr"] / (epoch + 1)})
    """
    session = _current.get() or current()
    if session is None:
        return _outside("report")
    if metrics is None:
        return session.report(named, checkpoint)
    given = metrics if type(metrics) is dict else as_metrics(metrics)
    if given is None:
        raise UserCodeError(
            f"report() of trial {session.assignment.trial_id} got a {type(metrics).__name__}: {_short(metrics)}. Expected a dict of "
            f"metrics, a number, or keywords: report({{'loss': 0.3}}) or report(loss=0.3)."
        )
    session.report({**given, **named} if named else given, checkpoint)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def get_checkpoint() -> Checkpoint | None:
    """The newest checkpoint of the running trial: reported by it, or the one it was started from; None if there is none."""
    session = current()
    return session.checkpoint if session is not None else _outside("get_checkpoint")


@contextlib.contextmanager
def checkpoint_dir(step: int | None = None) -> Iterator[str]:
    """A directory to write the trial's state into: ``with tune.checkpoint_dir(step=epoch) as folder:``.

    What is in it at the end of the block belongs to the next report, or, if none follows, to the end of the trial. It may stay
    empty. Prefer ``report(metrics, checkpoint=...)``, which ties a checkpoint to the very report it belongs to.

    Args:
        step: required, as it always was; it has no effect on names or counters.

    Yields:
        an absolute path; outside a run the current directory, with a warning.

    Raises:
        UserCodeError: ``step`` is missing.
    """
    session = current()
    if session is None:
        _outside("checkpoint_dir")
        yield "./"
        return
    if step is None:
        raise UserCodeError(
            f"checkpoint_dir() of trial {session.assignment.trial_id} needs a step: tune.checkpoint_dir(step=epoch)."
        )
    with session.checkpoint_dir() as folder:
        yield folder


class TuneContext:
    """What a running trial can know of itself. Outside a run every answer is None.

    Attributes:
        seed: the trial's own seed (32 bits): the same for every attempt, different for every trial.
    """

    def __init__(self, assignment: Assignment | None) -> None:
        self._assignment = assignment
        self.seed: int | None = assignment.seed if assignment is not None else None

    def get_experiment_name(self) -> str | None:
        """Name of the experiment."""
        return self._assignment.experiment_name if self._assignment is not None else None

    def get_trial_id(self) -> str | None:
        """Id of the trial, e.g. ``"3f2a1_00007"``."""
        return self._assignment.trial_id if self._assignment is not None else None

    def get_trial_name(self) -> str | None:
        """Name of the trial, e.g. ``"train_3f2a1_00007"``."""
        return self._assignment.trial_name if self._assignment is not None else None

    def get_trial_resources(self) -> dict[str, float] | None:
        """What the trial holds, e.g. ``{"cpu": 1.0}``."""
        return dict(self._assignment.resources) if self._assignment is not None else None

    def get_trial_dir(self) -> str | None:
        """Absolute path of the trial's directory; it is made if need be."""
        if self._assignment is None:
            return None
        os.makedirs(self._assignment.trial_dir, exist_ok=True)
        return self._assignment.trial_dir


def get_context() -> TuneContext:
    """The running trial's :class:`TuneContext`."""
    return _context("get_context")


def get_experiment_name() -> str | None:
    """See :meth:`TuneContext.get_experiment_name`."""
    return _context("get_experiment_name").get_experiment_name()


def get_trial_id() -> str | None:
    """See :meth:`TuneContext.get_trial_id`."""
    return _context("get_trial_id").get_trial_id()


def get_trial_name() -> str | None:
    """See :meth:`TuneContext.get_trial_name`."""
    return _context("get_trial_name").get_trial_name()


def get_trial_resources() -> dict[str, float] | None:
    """See :meth:`TuneContext.get_trial_resources`."""
    return _context("get_trial_resources").get_trial_resources()


def get_trial_dir() -> str | None:
    """See :meth:`TuneContext.get_trial_dir`."""
    return _context("get_trial_dir").get_trial_dir()


def _context(name: str) -> TuneContext:
    session = current()
    if session is None:
        _outside(name)
        return TuneContext(None)
    return TuneContext(session.assignment)


def is_session_enabled() -> bool:
    """Whether the calling code runs inside a trial. Never warns."""
    return current() is not None
