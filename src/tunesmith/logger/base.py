"""Base classes of loggers: ``LoggerCallback`` for all trials, and ``Logger``, one object per trial, as Ray Tune had them first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.callback import Callback

if TYPE_CHECKING:
    from tunesmith.journal.trials import TrialInfo

__all__ = ["Logger", "LoggerCallback"]


class LoggerCallback(Callback):
    """A callback that writes results somewhere. Subclass it, define what you need of the ``log_*`` methods, give it to ``callbacks=[...]``.

    Unlike plain callbacks, loggers run in one background thread, behind the loop: a slow one slows no trial down. They get the
    same records in the same order, from the journal if they fall behind, and ``run()`` waits for them at the end.

    Example:
        >>> class Printer(LoggerCallback):
        ...     def log_trial_result(self, iteration, trial, result):
        ...         print(trial.trial_id, result["loss"])
    """

    behind: ClassVar[bool] = True
    """Runs in the loggers' thread and not in the loop."""

    def log_trial_start(self, trial: TrialInfo) -> None:
        """The first attempt of the trial, or a later one, starts."""

    def log_trial_restore(self, trial: TrialInfo) -> None:
        """The attempt that is about to start goes on from a checkpoint."""

    def log_trial_save(self, trial: TrialInfo) -> None:
        """A checkpoint of the trial is stored."""

    def log_trial_result(self, iteration: int, trial: TrialInfo, result: dict[str, Any]) -> None:
        """The trial reported. Its ``log_trial_start`` came before, or else in an earlier session of a resumed run."""

    def log_trial_end(self, trial: TrialInfo, failed: bool = False) -> None:
        """The trial is over; ``failed``: with an error and no retry left."""

    def flush(self) -> None:
        """Nothing more is waiting for the moment: bring what is buffered out."""

    def on_trial_start(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self.log_trial_start(trial)

    def on_trial_restore(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self.log_trial_restore(trial)

    def on_trial_save(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self.log_trial_save(trial)

    def on_trial_result(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, result: dict[str, Any], **info: Any) -> None:
        self.log_trial_result(iteration, trial, result)

    def on_trial_complete(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self.log_trial_end(trial, failed=False)

    def on_trial_error(self, iteration: int, trials: Sequence[TrialInfo], trial: TrialInfo, **info: Any) -> None:
        self.log_trial_end(trial, failed=True)


class Logger:
    """One object per trial; the older of the two interfaces. Give classes to ``loggers=DEFAULT_LOGGERS + (Mine,)``.

    Args:
        config: the trial's configuration.
        logdir: the trial's directory.
        trial: its read-only view.
    """

    def __init__(self, config: dict[str, Any], logdir: str, trial: TrialInfo | None = None) -> None:
        self.config = config
        self.logdir = logdir
        self.trial = trial
        self._init()

    def _init(self) -> None:
        """Open what you need."""

    def on_result(self, result: dict[str, Any]) -> None:
        """The trial reported."""
        raise NotImplementedError(f"{type(self).__name__} must define on_result(self, result)")

    def update_config(self, config: dict[str, Any]) -> None:
        """The trial goes on with another configuration."""
        self.config = config

    def flush(self) -> None:
        """Bring out what is buffered."""

    def close(self) -> None:
        """The trial is over, or paused."""
