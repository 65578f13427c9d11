"""Run one attempt of a trial in the calling thread, whatever its trainable is, and say how it ended."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tunesmith.checkpoints.store import LocalStore
from tunesmith.core.events import AttemptEnded
from tunesmith.errors import Infeasible, TrialStopped
from tunesmith.trainable import blame
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.class_api import Trainable, run_class, stop_quietly
from tunesmith.trainable.function import run_function
from tunesmith.trainable.session import Channel, Session, activate, deactivate

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment

__all__ = ["AttemptRunner", "run_attempt"]


class AttemptRunner:
    """Runs attempts of one trainable, one after the other.

    Args:
        spec: the trainable.
        reuse: keep the instance of a class for the next attempt, if its ``reset_config`` agrees.
    """

    def __init__(self, spec: TrainableSpec, reuse: bool = False) -> None:
        self._spec = spec
        self._reuse = reuse
        self._idle: Trainable | None = None

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
        session, error = None, None
        try:
            session = Session(assignment, channel, store)
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
        except BaseException as raised:
            error = raised
        return _ended(self._spec, assignment, session, error)

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


def _ended(spec: TrainableSpec, assignment: Assignment, session: Session | None, error: BaseException | None) -> AttemptEnded:
    ended = AttemptEnded(assignment.trial, assignment.attempt, "finished")
    if error is not None:
        ended.outcome = blame.outcome_of(error)
        ended.error = blame.describe(error, _defined_at(spec.target))
        if not isinstance(error, Infeasible):
            print(f"Trial {assignment.trial_name} failed:\n{ended.error['traceback']}", end="", file=sys.stderr)
    if session is not None and session.told_to_stop is not None:
        ended.outcome = session.told_to_stop.outcome  # whatever its code did after that
    return ended


def _defined_at(target: Any) -> str:
    target = getattr(target, "func", target)
    code = getattr(target, "__code__", None) or getattr(getattr(target, "step", None), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""
