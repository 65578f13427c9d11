"""Running one recorded trial again, here and now, where a debugger can follow. Nothing of it is recorded."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunesmith.core.events import AttemptEnded, CheckpointSaved, Reported, SaveSkipped
from tunesmith.core.flat import ResultDict
from tunesmith.core.rng import trial_seed
from tunesmith.core.trial import ERROR
from tunesmith.errors import JournalError
from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.trainable.session import GO_ON, Answer

if TYPE_CHECKING:
    from tunesmith.stopper import Stopper
    from tunesmith.trainable.attempt import AttemptRunner

__all__ = ["rerun"]


def rerun(path: str, trial_id: str, show: Callable[[str], None] = print) -> tuple[AttemptEnded, BaseException | None]:
    """Run a trial of the experiment at ``path`` again from its beginning, in this thread, with its recorded config and seed.

    It ends by itself, where the stop criteria end it, or after as many reports as it had made (if it had not failed).

    Args:
        path: the experiment's directory.
        trial_id: as in file names, e.g. ``4f2a1_00003``.
        show: is given one line per report.

    Returns:
        How it ended, and what its code raised, if it did.

    Raises:
        TuneError: there is no such experiment or trial, or what is needed of it cannot be loaded here.
    """
    from tunesmith.analysis import open_experiment
    from tunesmith.executors.base import Assignment
    from tunesmith.restore import recorded
    from tunesmith.specfile import fingerprint, load
    from tunesmith.trainable.attempt import AttemptRunner
    from tunesmith.trainable.seeding import borrow
    from tunesmith.versions import Versions

    analysis = open_experiment(path)
    trial = analysis.get_trial(trial_id)
    header, description = recorded(analysis.experiment_path)
    stored = load(analysis.experiment_path)
    spaces = trial.experiment.spaces
    space = stored.spaces.get(fingerprint(spaces[trial.space]))
    if space is not None and space.blocks:
        show(f"without config[{space.blocks[0]!r}]: it is secret, and was not stored")
    config = Versions(spaces, stored, without_blocks=True).resolve(trial.values, trial.space)
    channel = _Channel(trial.trial_id, trial.iteration if trial.status != ERROR else 0, _stop(stored), show)
    runner: AttemptRunner = AttemptRunner(stored.get("trainable"))
    seed = trial_seed(description["seed"], trial.number)
    with tempfile.TemporaryDirectory(prefix="tunesmith_rerun_") as folder:
        assignment = Assignment(
            trial.number, 0, trial.trial_id, trial.trial_name, header.name, config, folder, resources=trial.resources, seed=seed
        )
        give_back = borrow(seed)
        try:
            ended = runner.run(assignment, channel)
        finally:
            give_back()
            runner.close()
    return ended, runner.error


class _Channel:
    """Shows reports instead of recording them."""

    def __init__(self, trial_id: str, limit: int, stop: Stopper | None, show: Callable[[str], None]) -> None:
        self._trial_id, self._limit, self._stop, self._show = trial_id, limit, stop, show

    def ask(self, event: Reported) -> Answer:
        """Show the report; the answer is that of the stop criteria."""
        own = ", ".join(f"{name}={value!r}" for name, value in event.metrics.items() if name not in AUTO_KEYS)
        self._show(f"report {event.iteration}: {own}")
        verdict = self._stop.verdict(self._trial_id, ResultDict(event.metrics, trial_id=self._trial_id)) if self._stop else None
        if verdict is None and event.iteration == self._limit:
            verdict = f"it had made {self._limit} reports"
        if verdict is None:
            return GO_ON
        self._show(f"stopped: {verdict}")
        return Answer("stop")

    def send(self, event: CheckpointSaved | SaveSkipped) -> None:
        """A checkpoint goes with the temporary directory."""


def _stop(stored: Any) -> Stopper | None:
    try:
        return stored.get("stop")  # type: ignore[no-any-return]
    except JournalError as error:
        logging.getLogger("tunesmith").warning("%s The trial runs without it.", error)
        return None
