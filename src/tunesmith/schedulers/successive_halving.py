"""Successive halving: one kind of synchronous bracket, again and again."""

from __future__ import annotations

import math
from fractions import Fraction

from tunesmith.schedulers.arguments import whole
from tunesmith.schedulers.base import Names
from tunesmith.schedulers.brackets import Plan
from tunesmith.schedulers.hyperband import BracketScheduler
from tunesmith.schedulers.rungs import check_halving, milestones

__all__ = ["SuccessiveHalvingScheduler"]


class SuccessiveHalvingScheduler(BracketScheduler):
    """Successive halving: ``n`` trials run to ``grace_period``, the best to ``reduction_factor`` times that, and so on to ``max_t``.

    Jamieson, Talwalkar: Non-stochastic Best Arm Identification and Hyperparameter Optimization, AISTATS 2016, section 3 (there with a
    reduction factor of 2 and a budget that fixes the milestones; here with the milestones of the rest of the family).

    When ``n`` trials have been drawn the next bracket begins; brackets run side by side. Rounds, places of trials that die, ties, pauses
    and resumes with a higher ``max_t`` are as for :class:`HyperBandScheduler`. Ray Tune has no such scheduler.

    Args:
        time_attr: the key of a report that says how far a trial is; it grows from report to report.
        metric: what to rank by; None: the run's, which may be several.
        mode: "min" or "max"; None: the run's.
        max_t: in units of ``time_attr``, > 0: as far as a trial runs at most.
        grace_period: the first milestone, 0 < ``grace_period`` <= ``max_t``.
        reduction_factor: > 1.
        n: members of a bracket, >= 1; None: as many as leave one at ``max_t``. Where fewer are drawn the first cuts stop fewer, or none.
        stop_last_trials: stop a trial at ``max_t``; False: the winners of each bracket run on until they end by themselves.

    Raises:
        SpecError: names the argument, what was given and what is allowed.

    Example:
        >>> SuccessiveHalvingScheduler(metric="loss", mode="min", max_t=27).plans()
        [Plan(places=27, milestones=(1, 3, 9, 27))]
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Names = None,
        mode: Names = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 3,
        n: int | None = None,
        stop_last_trials: bool = True,
    ) -> None:
        super().__init__(time_attr, metric, mode, max_t, reduction_factor, stop_last_trials)
        check_halving(type(self).__name__, max_t, grace_period, reduction_factor)
        self.grace_period = grace_period
        self.n = None if n is None else whole(type(self).__name__, "n", n, least=1)

    def plans(self) -> list[Plan]:
        """The one bracket."""
        waits = [wait for wait in milestones(self.grace_period, self.max_t, self.reduction_factor) if wait < self.max_t]
        places = 1
        for _ in waits:  # from the last one back: the most of whom so many go on
            places = math.floor(places * Fraction(self.reduction_factor))
        return [Plan(places if self.n is None else self.n, (*waits, self.max_t))]
