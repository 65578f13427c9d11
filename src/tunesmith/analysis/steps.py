"""Steps of a trial: result, configuration and checkpoint that belong together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith.core.flat import ResultDict
from tunesmith.core.trial import ERROR
from tunesmith.errors import UserCodeError
from tunesmith.journal.projections import Histories
from tunesmith.journal.scores import better, is_number
from tunesmith.journal.trials import TrialInfo

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["Step", "best_step", "checkpoints", "failure", "history", "step_of"]


@dataclass(frozen=True, slots=True)
class Step:
    """One report of a trial.

    Args:
        trial: whose.
        iteration: our count of its reports, from 1; 0: it has not reported.
        metrics: the result.
        config: that the report was made with.
        checkpoint: the state at this report: the checkpoint that came with it or, if there is none, the nearest earlier one of the
            same past that is still there. Never a later one.
    """

    trial: TrialInfo
    iteration: int
    metrics: ResultDict
    config: dict[str, Any]
    checkpoint: Checkpoint | None


def history(trial: TrialInfo) -> tuple[dict[int, ResultDict], dict[int, str]]:
    """Iteration -> result, and iteration -> checkpoint id, both ascending; rewound as the trial was."""
    histories = Histories(trial.experiment).fold(trial.records())
    return histories.rows.get(trial.number, {}), histories.checkpoints.get(trial.number, {})


def step_of(trial: TrialInfo, iteration: int | None = None) -> Step:
    """The step of that iteration; None: the newest."""
    newest = iteration is None or iteration == trial.iteration
    if newest and (trial.report is None or trial.checkpoint_id is None):  # nothing that only the journal knows
        return Step(trial, trial.iteration, trial.last_result, trial.last_result.get("config", trial.config), None)
    rows, saved = history(trial)
    iteration = trial.iteration if iteration is None else iteration
    row = rows.get(iteration, trial.last_result)
    for at in sorted((at for at in saved if at <= iteration), reverse=True):
        checkpoint = _open(trial, saved[at])
        if checkpoint is not None:
            break
    else:
        checkpoint = None
    return Step(trial, iteration, row, row.get("config", trial.config), checkpoint)


def checkpoints(trial: TrialInfo) -> list[Step]:
    """A step for each checkpoint of the trial's past that is still there, oldest first. Its metrics are empty if it came with no report."""
    if trial.checkpoint_id is None:
        return []
    rows, saved = history(trial)
    found = []
    for iteration, identity in saved.items():
        checkpoint = _open(trial, identity)
        if checkpoint is not None:
            row = rows.get(iteration, ResultDict())
            found.append(Step(trial, iteration, row, row.get("config", trial.config), checkpoint))
    return found


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
