"""What is said to the worker of an attempt and what it says, the same wherever it is: answers, reports, late checkpoints, the end."""

from __future__ import annotations

from typing import Any

from tunesmith.blame import describe
from tunesmith.core.events import AttemptEnded, Event
from tunesmith.errors import UserCodeError
from tunesmith.executors.base import CONTINUE, Assignment
from tunesmith.executors.deaths import Autopsy
from tunesmith.executors.endings import Endings
from tunesmith.executors.kept_errors import KeptErrors
from tunesmith.executors.process import Process
from tunesmith.executors.wire import LIMIT, Kind, ended, reported, saved, unsaved
from tunesmith.trainable.base import TrainableSpec
from tunesmith.trainable.class_api import can_save
from tunesmith.trainable.parcel import pack_config

__all__ = ["Talk"]


class Talk:
    """Speaks with workers, and keeps what they have yet to do: a report to be answered, a checkpoint to be saved, an end to come to.

    Args:
        trainable: what they run.
        endings: told who is on its way out.
        errors: told what attempts ended with.
        autopsy: rebuilds exceptions.
    """

    def __init__(self, trainable: TrainableSpec, endings: Endings, errors: KeptErrors, autopsy: Autopsy) -> None:
        self._saves = trainable.kind == "class" and can_save(trainable.target)
        self._endings, self._errors, self._autopsy = endings, errors, autopsy

    def packed(self, assignment: Assignment) -> bytes | AttemptEnded:
        """The configuration as it is sent; or, where it can't be, the end of the attempt."""
        try:
            config = pack_config(assignment.config)
            if len(config) > LIMIT // 2:
                raise UserCodeError(
                    f"the configuration of trial {assignment.trial_id} has {len(config):,} bytes when pickled, more than {LIMIT // 2:,}. "
                    f"Hand large data to all trials once: tune.with_parameters(train, data=data)."
                )
        except Exception as error:
            event = AttemptEnded(assignment.trial, assignment.attempt, "user_error", describe(error))
            self._errors.heard(event, error)
            return event
        return config

    def answer(self, worker: Process, trial: int, attempt: int, action: str, mode: str, save: bool) -> None:
        """Send the decision, to the report that waits for it or the next one."""
        asked = worker.asked
        worker.asked = False
        worker.send(Kind.ANSWER, trial, attempt, action, mode, save)
        if action == CONTINUE:
            return
        worker.save_due = self._saves and (save or mode == "cold") and not (asked and worker.kept)
        if not asked:
            worker.told_to_end = True
        elif not worker.save_due:
            self._endings.unwinding(worker)

    def heard(self, worker: Process, kind: Kind, fields: tuple[Any, ...]) -> Event:
        """A report, or a checkpoint that came (or did not) without one."""
        if kind is Kind.REPORT:
            event = reported(fields)
            worker.asked, worker.kept = not worker.told_to_end, event.checkpoint is not None
            worker.save_due = worker.save_due and not worker.kept
            if worker.told_to_end and not worker.save_due:
                self._endings.unwinding(worker)
            worker.told_to_end = False
            return event
        if worker.save_due and not worker.told_to_end:  # else it is on its way to the report at which it hears of it
            worker.save_due = False
            self._endings.unwinding(worker)
        return saved(fields) if kind is Kind.SAVED else unsaved(fields)

    def ended(self, worker: Process, fields: tuple[Any, ...]) -> tuple[AttemptEnded, str, list[str]]:
        """The trial's code is through: its end, why no other trial should run there ("" if one may), what it was the first to import."""
        event = ended(fields)
        blob, spent, imported = fields[4:]
        error = self._autopsy.exception(blob)
        if error is not None and event.error and event.error["traceback"]:
            error.add_note(f"In the trial's process:\n{event.error['traceback']}")
        self._endings.judge(worker, event)
        self._errors.heard(event, error)
        return event, spent, imported
