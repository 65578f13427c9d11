"""``error.txt``: every failed attempt of a trial with its traceback."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.events import AttemptEnded
from tunesmith.logger.base import LoggerCallback

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["ErrorFileCallback"]


class ErrorFileCallback(LoggerCallback):
    """Adds "Failure # n (occurred at DATE)" and the traceback to the trial's ``error.txt``, for retried failures too."""

    reads_only: ClassVar[bool] = True

    def on_trial_recover(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self._write(trial)

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        if failed:
            self._write(trial)

    def _write(self, trial: TrialInfo) -> None:
        if trial.error is None and not trial.outcome:
            return  # the driver was lost, not the trial
        path = os.path.join(trial.path, "error.txt")
        head = f"Failure # {max(trial.num_failures, 1)} (occurred at "
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                if any(line.startswith(head) for line in file):
                    return  # written before a crash, told again after it
        os.makedirs(trial.path, exist_ok=True)
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            date = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(trial.experiment.wall(_ended_at(trial))))
            file.write(f"{head}{date})\n{(trial.error_msg or trial.reason or trial.outcome).rstrip()}\n")


def _ended_at(trial: TrialInfo) -> float:
    """When the newest attempt ended, seconds of the experiment's clock: by the journal, so that the file can be written again."""
    if trial.ended_at is not None:
        return trial.ended_at
    ends = [record.event.at for record in trial.records() if isinstance(record.event, AttemptEnded)]
    return ends[-1] if ends else trial.started_at or 0.0
