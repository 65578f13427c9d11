"""What an analysis says of checkpoints and curves that are not what one would take them for, each thing once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from tunesmith.analysis.alike import IdenticalCurves
from tunesmith.analysis.steps import Step, retains
from tunesmith.journal.rows import AUTO_KEYS
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

    def alike(self, metric: str, find: Callable[[], Sequence[IdenticalCurves]]) -> None:
        """Trials are compared by ``metric``: say so if some have one curve. Looked for once per metric, told once.

        What every report has without the user (``training_iteration``) is alike by nature.
        """
        if metric in AUTO_KEYS or "alike" in self._said or f"alike {metric}" in self._said:
            return
        self._said.add(f"alike {metric}")
        groups = find()
        if groups:
            more = f" ({len(groups)} such groups.)" if len(groups) > 1 else ""
            self._once(
                "alike",
                f"{groups[0]}.{more} Either these parameters have no effect, or results come from a cache, or a seed hides the difference. "
                "analysis.identical_curves() has all of them. (Said once.)",
            )

    def same_for_all_files(self, file_type: str) -> None:
        """Somebody chose the files to read from."""
        self._once("files", f"set_filetype({file_type!r}) changes nothing: results are read from the journal, whatever files there are.")

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
