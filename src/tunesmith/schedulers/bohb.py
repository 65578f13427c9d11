"""HyperBand in the order that a model-based searcher needs."""

from __future__ import annotations

from tunesmith.schedulers.brackets import Plan
from tunesmith.schedulers.hyperband import HyperBandScheduler

__all__ = ["HyperBandForBOHB"]


class HyperBandForBOHB(HyperBandScheduler):
    """HyperBand as BOHB runs it: the most aggressive bracket comes first, so that a searcher soon has many results to learn from.

    Falkner, Klein, Hutter: BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018, section 4.

    Everything else, arguments included, is as for :class:`HyperBandScheduler`: a trial pauses until its bracket is full and all others are
    paused or over, and meanwhile new ones are drawn.

    It works with any searcher. One that learns from intermediate results is told every report of every trial as it comes, with
    ``time_attr`` in it; the budgets at which trials are compared are :attr:`budgets`, the same for all brackets. A trial's result at a
    budget is its first one there or beyond. Nothing else passes between the two.

    Differs from Ray Tune, besides what :class:`HyperBandScheduler` lists:

    - It needs no particular searcher and calls none: no ``on_pause`` and ``on_unpause``, no "hyperband_info" in results.
    - A bracket that stays unfilled goes on when no more trials will be drawn, not whenever nothing runs for a moment.

    Example:
        >>> HyperBandForBOHB(metric="loss", mode="min", max_t=9).plans()[0]
        Plan(places=9, milestones=(1, 3, 9))
        >>> HyperBandForBOHB(max_t=81).budgets
        (1, 3, 9, 27, 81)
    """

    def plans(self) -> list[Plan]:
        """The brackets of a band, the most aggressive first."""
        return super().plans()[::-1]

    @property
    def budgets(self) -> tuple[float, ...]:
        """In units of ``time_attr``, ascending: where trials are compared, and ``max_t``."""
        return tuple(sorted({milestone for plan in self.plans() for milestone in plan.milestones}))
