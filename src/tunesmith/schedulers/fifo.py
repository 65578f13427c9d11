"""First in, first out: every trial runs to its own end."""

from __future__ import annotations

from tunesmith.schedulers.base import Scheduler

__all__ = ["FIFOScheduler"]


class FIFOScheduler(Scheduler):
    """Runs trials in the order of their numbers and stops none. Takes no options.

    Example:
        >>> FIFOScheduler().capabilities.pauses
        False
    """

    def __init__(self) -> None:
        super().__init__()
