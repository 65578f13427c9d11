"""The functions that users call in a running trial: ``report``, ``get_checkpoint``, ``get_context`` and their older names.

This module is also the ``session`` namespace of scripts that say ``session.report(...)``.

A session is found through a context variable, so two runs in two threads don't meet; threads that the trial starts, which have a
context of their own, find the only session there is. A program that a trial has started (:mod:`tunesmith.trainable.command`) joins that
trial at its first call. Outside a run every function warns once per process and does nothing.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from tunesmith.errors import UserCodeError
from tunesmith.trainable.metrics import as_metrics
from tunesmith.trainable.place import Place
from tunesmith.trainable.worker import GO_ON, Answer, Channel, Session

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint
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

_current: ContextVar[Session | None] = ContextVar("tunesmith_session", default=None)
_active: list[Session] = []
_warned: list[str] = []  # the function that was called outside a run first


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
    if session is None and not _active and "TUNESMITH_RELAY" in os.environ:
        from tunesmith.trainable.outpost import joined

        return joined()
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
    if not _warned:
        _warned.append(name)
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
        _outside("report")
        return
    if metrics is None:
        session.report(named, checkpoint)
        return
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
    """The newest checkpoint of the running trial: reported by it, or the one it was started from; None if there is none.

    Example:
        >>> def train(config):
        ...     saved = get_checkpoint()  # a retried or resumed trial goes on from here
        ...     first = saved.to_dict()["step"] + 1 if saved else 0
    """
    session = current()
    if session is None:
        _outside("get_checkpoint")
        return None
    session.checkpoint_read = True
    return session.checkpoint


@contextlib.contextmanager
def checkpoint_dir(step: int | None = None) -> Iterator[str]:
    """A directory to write the trial's state into: ``with tune.checkpoint_dir(step=epoch) as folder:``.

    The block may stand before the report that its state belongs to or after it, in one script always at the same place; by the step of
    the first one it is known which. Before: it becomes part of the next report (at the latest, it is saved when the trial ends). After: it
    is saved at the end of the block, as the state of the last report. It may stay empty. With too little free space on the disk it is not
    saved, which is said, and the trial goes on. Prefer ``report(metrics, checkpoint=...)``, which ties a checkpoint to its report.

    Args:
        step: required: the number of the epoch or step, counted from 0 or 1 as the script does. It has no effect on names or counters.

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
        raise UserCodeError(f"checkpoint_dir() of trial {session.assignment.trial_id} needs a step: tune.checkpoint_dir(step=epoch).")
    with session.checkpoint_dir(step) as folder:
        yield folder


class TuneContext:
    """What a running trial can know of itself. Outside a run every answer is None.

    Attributes:
        seed: the trial's own seed (32 bits): the same for every attempt, different for every trial.
    """

    def __init__(self, assignment: Assignment | None, place: Place = Place()) -> None:  # noqa: B008 - it is a constant
        self._assignment = assignment
        self._place = place
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

    def get_world_size(self) -> int | None:
        """How many processes run the trial together; 1 for a usual one."""
        return self._place.world_size if self._assignment is not None else None

    def get_world_rank(self) -> int | None:
        """Number of this process among them, from 0 on. What rank 0 reports counts."""
        return self._place.rank if self._assignment is not None else None

    def get_local_rank(self) -> int | None:
        """Number of this process among those of them on this machine."""
        return self._place.local_rank if self._assignment is not None else None

    def get_local_world_size(self) -> int | None:
        """How many of them there are on this machine."""
        return self._place.local_world_size if self._assignment is not None else None


def get_context() -> TuneContext:
    """The running trial's :class:`TuneContext`.

    Example:
        >>> def train(config):
        ...     context = get_context()
        ...     print(context.get_trial_id(), context.seed)
    """
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
    return TuneContext(session.assignment, session.place)


def is_session_enabled() -> bool:
    """Whether the calling code runs inside a trial. Never warns."""
    return current() is not None
