"""A member of a population: where it stands, and whose turn it is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Member"]


@dataclass(slots=True)
class Member:
    """What is known of a live trial.

    Args:
        time: how far it was at the newest result that counted; since: at its newest perturbation.
        waits: it was added and not started, or was paused.
        saved: it has a checkpoint that it could go on from; fresh: it was among the best at its newest look, so its state was kept.
        wanted: somebody waits for its checkpoint.
        own: time and since as they were before an exploit that is under way.
        turn: of all turns that were taken so far, its newest.
    """

    time: float = 0.0
    since: float = 0.0
    waits: bool = True
    saved: bool = False
    fresh: bool = False
    wanted: bool = False
    own: tuple[float, float] | None = None
    turn: int = 0
