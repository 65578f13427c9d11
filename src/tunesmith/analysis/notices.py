"""What an analysis says of checkpoints that are not what one would take them for, each thing once."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tunesmith.analysis.steps import Step, retains
from tunesmith.journal.trials import TrialInfo

__all__ = ["Notices"]


class Notices:
    """The lines of one analysis and of all results that come from it. Picklable: a copy does not say again what was said."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def handed_out(self, step: Step) -> None:
        """The checkpoint of ``step`` is handed out: say so if it is of an earlier step, or is gone."""
        if step.checkpoint is None:
            if step.saved_id:
                self._gone(step.trial, step.saved_id)
        elif step.saved_at != step.iteration:
            self._once(
                "earlier",
                f"trial {step.trial.trial_name}: the result is of step {step.iteration}, its checkpoint of step {step.saved_at}: step "
                f"{step.iteration} has none. checkpoint_freq=1 (for classes) or report(metrics, checkpoint=...) at each step gives every "
                "step one. Result.checkpoint_iteration and Result.checkpoint_metrics tell which step a checkpoint is of. (Said once.)",
            )

    def looked(self, trial: TrialInfo, there: Sequence[Step]) -> None:
        """These are all the checkpoints of ``trial`` that are left: say so if it has written some and there are none."""
        if not there and trial.checkpoint_id is not None:
            self._gone(trial, trial.checkpoint_id)

    def _gone(self, trial: TrialInfo, identity: str) -> None:
        who = "the run, to keep fewer of them, or by somebody else" if retains(trial) else "somebody else than the run"
        self._once(
            "gone",
            f"trial {trial.trial_name}: checkpoint {identity} is not in {trial.experiment.path} any more: it was deleted by {who}. "
            "So there is none for this result; Result.best_checkpoints has those that are left. (Said once.)",
        )

    def _once(self, what: str, line: str) -> None:
        if what not in self._said:
            self._said.add(what)
            logging.getLogger("tunesmith").warning("%s", line)
