"""The exceptions that trials ended with, for an experiment that is to raise one of them again."""

from __future__ import annotations

from tunesmith.core.events import AttemptEnded

__all__ = ["KeptErrors"]


class KeptErrors:
    """Keeps the exception of each trial's newest failed attempt.

    Args:
        keep: whether anybody will ask. If not, none is kept: an exception holds on to all that was in use where it was raised.

    Example:
        >>> errors = KeptErrors(keep=True)
        >>> errors.heard(AttemptEnded(3, 0, "user_error"), ValueError("mine"))
        >>> errors.heard(AttemptEnded(3, 1, "finished"))
        >>> errors.of(3)
        ValueError('mine')
    """

    def __init__(self, keep: bool = False) -> None:
        self._keep = keep
        self._errors: dict[int, BaseException] = {}

    def heard(self, event: AttemptEnded, error: BaseException | None = None) -> None:
        """An attempt has ended, with this exception, or with none that is at hand."""
        if self._keep and event.outcome not in ("finished", "stopped"):
            self._errors.pop(event.trial, None)
            if error is not None:
                self._errors[event.trial] = error

    def of(self, trial: int) -> BaseException | None:
        """That of the trial's newest failed attempt; None: it had none that could be kept."""
        return self._errors.get(trial)
