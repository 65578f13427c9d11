"""Steps of a trial: result, configuration and checkpoint that belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.lineage import Lineage, results_with
from tunesmith.analysis.ray_views import book_of
from tunesmith.core.flat import ResultDict
from tunesmith.core.trial import ERROR
from tunesmith.errors import UserCodeError
from tunesmith.journal.projections import Histories
from tunesmith.journal.scores import better, is_number
from tunesmith.journal.trials import TrialInfo

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["Step", "best_step", "checkpoints", "failure", "history", "step_of"]


_RETENTION = ("num_to_keep", "keep_best", "max_checkpoint_bytes")
"""Settings by which a run deletes checkpoints itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """One report of a trial.

    Args:
        trial: whose.
        iteration: our count of its reports, from 1; 0: it has not reported.
        metrics: the result.
        config: that the report was made with.
        checkpoint: the state at this report: the checkpoint that came with it or, if none did, the nearest earlier one of the same past.
            Never a later one. What retention has deleted counts as never written; if it was deleted by somebody else, there is none.
        saved_at: iteration of the state in ``checkpoint``; None: there is none.
        saved_id: id of ``checkpoint``; if there is none, of the one that would be it, had it not been deleted; "": there was never any.
        saved_row: the result reported at ``saved_at``; None: the checkpoint is another trial's, whose result is looked up when asked for.
    """

    trial: TrialInfo
    iteration: int
    metrics: ResultDict
    config: dict[str, Any]
    checkpoint: Checkpoint | None
    saved_at: int | None = None
    saved_id: str = ""
    saved_row: ResultDict | None = None

    @property
    def saved_metrics(self) -> ResultDict:
        """The result reported at the checkpoint's own step; empty if there is no checkpoint, or it came with no report."""
        if self.checkpoint is None:
            return ResultDict()
        if self.saved_row is None:
            return results_with(self.trial, {self.saved_id}).get(self.saved_id, ResultDict())
        return self.saved_row


def history(trial: TrialInfo) -> dict[int, ResultDict]:
    """Iteration -> result, ascending; rewound as the trial was."""
    return Histories(trial.experiment, book=book_of(trial.experiment)).fold(trial.records()).rows.get(trial.number, {})


def step_of(trial: TrialInfo, iteration: int | None = None) -> Step:
    """The step of that iteration; None: the newest."""
    newest = iteration is None or iteration == trial.iteration
    if newest and (trial.report is None or trial.checkpoint_id is None):  # nothing that only the journal knows
        return Step(trial, trial.iteration, trial.last_result, trial.last_result.get("config", trial.config), None)
    lineage = Lineage.read(trial)
    iteration = trial.iteration if iteration is None else iteration
    row = lineage.rows.get(iteration, trial.last_result)
    at, identity, checkpoint = _nearest(lineage, iteration)
    config = row.get("config", trial.config)
    if checkpoint is None:
        return Step(trial, iteration, row, config, None, None, identity)
    return Step(trial, iteration, row, config, checkpoint, at, identity, lineage.result_at(at, identity))


def _nearest(lineage: Lineage, iteration: int) -> tuple[int, str, Checkpoint | None]:
    """Iteration and id of the checkpoint that belongs to a report ("": there was never any), and itself: None if it is gone."""
    missing, retention = (0, ""), retains(lineage.trial)
    for at, identity in lineage.back_from(iteration):
        checkpoint = _open(lineage.trial, identity)
        if checkpoint is not None:
            return at, identity, checkpoint
        missing = missing if missing[1] else (at, identity)
        if not retention:
            break
    return *missing, None


def retains(trial: TrialInfo) -> bool:
    """Whether the run deletes checkpoints itself, so that one that is not there need not be missed."""
    return any(trial.experiment.spec.get(name) is not None for name in _RETENTION)


def checkpoints(trial: TrialInfo) -> list[Step]:
    """A step for each checkpoint of the trial's past that is still there, oldest first. Its metrics are empty if it came with no report."""
    if trial.checkpoint_id is None:
        return []
    lineage = Lineage.read(trial)
    there = [(at, identity, found) for at, identity in lineage.checkpoints() if (found := _open(trial, identity)) is not None]
    rows = {identity: lineage.result_at(at, identity) for at, identity, _ in there}
    elsewhere = results_with(trial, {identity for identity, row in rows.items() if row is None})
    steps = []
    for at, identity, checkpoint in there:
        row = rows[identity]
        row = elsewhere.get(identity, ResultDict()) if row is None else row
        steps.append(Step(trial, at, row, row.get("config", trial.config), checkpoint, at, identity, row))
    return steps


def _open(trial: TrialInfo, identity: str) -> Checkpoint | None:
    return trial.experiment.checkpoint(identity, trial.number, trial.relative_logdir)


def best_step(steps: Sequence[Step], metric: str, mode: str) -> Step | None:
    """The first of the best steps by a finite value of ``metric``."""
    best = None
    for step in steps:
        value = step.metrics.get(metric)
        usable = is_number(value) and math.isfinite(value)
        if usable and (best is None or better(value, best.metrics[metric], mode)):
            best = step
    return best


def failure(trial: TrialInfo) -> UserCodeError | None:
    """The exception that ended a trial in ERROR, rebuilt from the record; None if none did."""
    if trial.status != ERROR:
        return None
    error = trial.error or {}
    where = f" at {error['where']}" if error.get("where") else ""
    kind, message = error.get("type") or trial.outcome, error.get("message") or trial.reason
    said = f"{kind}: {message}" if message and message != kind else kind
    traceback = f"\n{error['traceback']}" if error.get("traceback") else ""
    return UserCodeError(f"trial {trial.trial_name} ended in ERROR ({trial.outcome}): {said}{where}{traceback}")
