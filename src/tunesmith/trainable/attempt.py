"""Run one attempt of a trial in the calling thread, whatever its trainable is, and say how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith import blame
from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import AttemptEnded
from tunesmith.errors import TrialStopped
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.class_api import Trainable, run_class, stop_quietly
from tunesmith.trainable.function import run_function
from tunesmith.trainable.session import activate, deactivate
from tunesmith.trainable.watched import Reads
from tunesmith.trainable.worker import Channel, Session

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment

__all__ = ["AttemptRunner", "run_attempt"]


class AttemptRunner:
    """Runs attempts of one trainable, one after the other.

    Args:
        spec: the trainable.
        reuse: keep the instance of a class for the next attempt, if its ``reset_config`` agrees.
        min_free: bytes that saves leave free on the disk; None: what suits the disk; 0: as few as there are.

    Attributes:
        error: what the newest attempt's code raised, with its traceback; None while one runs, and if it ended well.
    """

    def __init__(self, spec: TrainableSpec, reuse: bool = False, min_free: int | None = None) -> None:
        self._spec = spec
        self._reuse = reuse
        self._min_free = min_free
        self._idle: Trainable | None = None
        self.error: BaseException | None = None

    def run(self, assignment: Assignment, channel: Channel, store: LocalStore | None = None) -> AttemptEnded:
        """One attempt, to its end.

        Args:
            assignment: what to run.
            channel: takes its reports and answers them.
            store: for its checkpoints; None: one in the trial's directory.

        Returns:
            how it ended. Nothing that the user's code raises comes out, but:

        Raises:
            KeyboardInterrupt: it is the driver's.
        """
        ended = AttemptEnded(assignment.trial, assignment.attempt, "finished")
        self.error = None
        session = None
        reads = Reads() if assignment.watch else None
        try:
            if reads is not None:
                assignment.config = reads.watch(assignment.config)
            session = Session(assignment, channel, store, self._min_free)
            token = activate(session)
            try:
                self._call(session)
            finally:
                try:
                    session.close()
                finally:
                    deactivate(session, token)
        except (KeyboardInterrupt, TrialStopped) as stop:
            if isinstance(stop, KeyboardInterrupt):
                raise
        except BaseException as error:
            self.error = error
            ended.outcome = blame.outcome_of(error)
            ended.error = blame.describe(error, _defined_at(self._spec.target))
        finally:
            if reads is not None:
                reads.checkpoint = session is not None and session.checkpoint_read
                reads.save(assignment.trial_dir)
        if session is not None and session.ended is not None:
            ended.outcome = session.ended.outcome  # whatever its code did after that
        return ended

    def close(self) -> None:
        """Let go of the instance that was kept."""
        idle, self._idle = self._idle, None
        if idle is not None:
            stop_quietly(idle)

    def _call(self, session: Session) -> None:
        spec = self._spec
        if spec.kind == "function":
            run_function(spec.target, spec.form, spec.parameters, session)
            return
        idle, self._idle = self._idle, None
        trainable = run_class(spec.target, session, idle, spec.checkpoint_frequency, spec.checkpoint_at_end)
        if self._reuse:
            self._idle = trainable
        else:
            stop_quietly(trainable)


def run_attempt(spec: TrainableSpec, assignment: Assignment, channel: Channel, store: LocalStore | None = None) -> AttemptEnded:
    """One attempt of ``spec``; see :meth:`AttemptRunner.run`."""
    return AttemptRunner(spec).run(assignment, channel, store)


def _defined_at(target: Any) -> str:
    """Where the trainable is written, for errors that have no frame of the user's, such as a wrong return value."""
    target = getattr(target, "func", target)
    code = getattr(target, "__code__", None) or getattr(getattr(target, "step", None), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
