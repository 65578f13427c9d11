"""What simulated trials play instead of code: one step after the other, each with its metrics and the seconds that it takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

__all__ = ["End", "Play", "Source", "Step"]


@dataclass(slots=True)
class Step:
    """One iteration.

    Args:
        metrics: flat scalars and strings, a dict of its own: the executor adds its keys.
        seconds: that it takes on a worker of usual speed, >= 0.
    """

    metrics: dict[str, Any]
    seconds: float


@dataclass(slots=True)
class End:
    """No further iteration.

    Args:
        outcome: one of :data:`tunesmith.core.policy.OUTCOMES`.
        error: as in :class:`~tunesmith.core.events.AttemptEnded`.
    """

    outcome: str = "finished"
    error: dict[str, str] | None = None


class Play(Protocol):
    """What one attempt plays."""

    def step(self, iteration: int, memory: dict[str, Any]) -> Step | End:
        """What comes next.

        Args:
            iteration: number of the step, from 1; goes on from the checkpoint that the attempt was launched from.
            memory: the trial's own; saved in checkpoints, empty if it begins anew.

        What it raises is the trial's failure, but for :class:`~tunesmith.errors.TuneError`, which ends the simulation.
        """


class Source(Protocol):
    """Where plays come from."""

    def play(self, trial: int, config: dict[str, Any]) -> Play:
        """For a new attempt of ``trial``; ``config`` is its own copy."""
