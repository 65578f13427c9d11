"""A stopper that ends the experiment after a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.stopper._values import number
from tunesmith.stopper.base import Stopper

__all__ = ["TimeoutStopper"]


class TimeoutStopper(Stopper):
    """Ends the experiment ``timeout`` after it was first asked.

    Pickled and loaded again it goes on with what was left, and the time in between does not count.

    Args:
        timeout: seconds, or a ``timedelta``; >= 0.
        clock: gives seconds; monotonic.

    Raises:
        SpecError: ``timeout`` is no duration, or is negative.

    Example:
        >>> TimeoutStopper(3600).stop_all()
        False
    """

    def __init__(self, timeout: float | timedelta, clock: Callable[[], float] = time.monotonic) -> None:
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
            raise SpecError(f"TimeoutStopper: timeout must be seconds or a timedelta, not negative; got {timeout!r}.")
        self.timeout = float(seconds)
        self._clock = clock
        self._left = self.timeout
        self._since: float | None = None

    def __call__(self, trial_id: str, result: Mapping[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.remaining() <= 0

    def reason(self) -> str:
        return f"the time budget of {number(self.timeout)} s is used up"

    def remaining(self) -> float:
        """Seconds left; the first call starts the clock."""
        if self._since is None:
            self._since = self._clock()
        return max(0.0, self._left - (self._clock() - self._since))

    def describe(self) -> Any:
        return {"stopper": "TimeoutStopper", "timeout": self.timeout}

    def __getstate__(self) -> dict[str, Any]:
        left = self._left if self._since is None else self.remaining()
        return {**self.__dict__, "_left": left, "_since": None}
