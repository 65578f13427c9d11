"""HyperBand: brackets of successive halving, from those that trust late results only to those that trust early ones.

:class:`BracketScheduler` fills brackets one after the other and runs them side by side. HyperBand, HyperBand for BOHB and successive
halving are that with brackets of their own.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, cast

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers import arguments
from tunesmith.schedulers.base import Names, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.brackets import Bracket, Cut, Plan, hyperband_plans
from tunesmith.schedulers.ranking import Objective
from tunesmith.schedulers.rungs import check_halving, ordinal, time_of

__all__ = ["BracketScheduler", "HyperBandScheduler"]


class BracketScheduler(Scheduler):
    """Base of the synchronous halving family: a subclass says which brackets there are, by :meth:`plans`.

    Args:
        time_attr: the key of a report that says how far a trial is.
        metric, mode: what to rank by; None: the run's.
        max_t: in units of ``time_attr``, > 0: who is there is done.
        reduction_factor: > 1; of the members of a round that part goes on, rounded up.
        stop_last_trials: stop a trial at ``max_t``; else the winners of a bracket go on until they end by themselves.

    Raises:
        SpecError: names the argument, what was given and what is allowed.
    """

    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities(pauses=True, multi_objective=True, needs_metric=True)
    changeable: ClassVar[tuple[str, ...]] = ("max_t",)

    def __init__(
        self, time_attr: str, metric: Names, mode: Names, max_t: float, reduction_factor: float, stop_last_trials: bool
    ) -> None:
        super().__init__(metric, mode)
        name = type(self).__name__
        if not isinstance(time_attr, str) or not time_attr:
            raise SpecError(f"{name}: time_attr must be the name of what reports count their progress by, got {time_attr!r}.")
        arguments.number(name, "max_t", max_t, above=0)
        check_halving(name, max_t, max_t, reduction_factor)
        self.time_attr = time_attr
        self.max_t = max_t
        self.reduction_factor = reduction_factor
        self.stop_last_trials = arguments.flag(name, "stop_last_trials", stop_last_trials)
        self._brackets: list[Bracket] = []
        self._firsts: list[int] = []  # the first trial of each: numbers ascend, so they say whose member a trial is
        self._turn = 0
        self._drawn = False
        self._resting = 0  # trials that wait, or were paused and are promoted
        self._queue: list[tuple[int, int]] = []  # (cuts to come, index) of the brackets with promoted trials, in order

    def plans(self) -> list[Plan]:
        """The brackets, in the order in which they are filled; then it begins anew."""
        raise NotImplementedError(f"{type(self).__name__} does not say what its brackets are")

    def change(self, options: Mapping[str, Any]) -> None:
        """Another ``max_t``: brackets that have ended sooner go on with further rounds, and a new band begins."""
        before = self.max_t
        super().change(options)
        if self.max_t != before:
            self._turn = 0
            for bracket in self._brackets:
                bracket.extend(self.max_t, self.reduction_factor)
            self._queue = sorted((bracket.left, bracket.index) for bracket in self._brackets if bracket.promoted)

    # -- hooks -----------------------------------------------------------------------------------------------------------

    def start(self, settings: Settings) -> None:
        """See the base."""
        super().start(settings)
        self.objective = Objective.of(settings.metrics, settings.modes)

    def on_trial_add(self, trial: TrialView) -> None:
        """It takes a place in the bracket that is being filled."""
        self._drawn = False
        if not self._brackets or not self._brackets[-1].open:
            plans = self.plans()
            plan = plans[self._turn % len(plans)]
            self._turn += 1
            self._brackets.append(Bracket.begin(len(self._brackets), plan, self.objective))
            self._firsts.append(trial.number)
        self._brackets[-1].join(trial.number)

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> str | Decision | list[Decision]:
        """Go on, wait at the milestone, or (the last one to get there) decide the round."""
        time, score = time_of(result, self.time_attr), self.objective.score(result)
        if time is None or score is None:
            return self.CONTINUE
        number, bracket = trial.number, self._bracket(trial.number)
        self._resumed(bracket, number)
        if self.stop_last_trials and time >= self.max_t:
            reason = f"{self.time_attr} {time:g} is max_t={self.max_t:g} or beyond (bracket {bracket.index})"
            return self.stop(reason, bound=("max_t", self.max_t))
        if number not in bracket.waiting:  # else a person has resumed it: its first result there stands
            if not bracket.reach(number, time, score):
                return self.CONTINUE
            self._resting += 1
        return self._settle(bracket, number)

    def on_trial_end(self, trial: TrialView, outcome: str) -> list[Decision]:
        """The others need not wait for it. An infeasible one leaves its place to another, as it counts for no sample."""
        number, bracket = trial.number, self._bracket(trial.number)
        self._resumed(bracket, number)
        waited = number in bracket.waiting
        if not bracket.leave(number):
            return []
        self._resting -= waited
        if outcome == "infeasible" and bracket is self._brackets[-1]:
            bracket.vacant += 1
            self._drawn = False  # another one comes, or on_search_end does
        return self._settle(bracket)

    def on_trial_reopen(self, trial: TrialView) -> None:
        """It takes part in the round that its bracket is in now."""
        self._bracket(trial.number).going[trial.number] = None

    def on_search_end(self) -> list[Decision]:
        """The bracket that is being filled has all members that it will have."""
        self._drawn = True
        return self._settle(self._brackets[-1]) if self._brackets else []

    def choose(self, runnable: Runnable) -> TrialView | Decision | None:
        """Promoted trials, those with the fewest cuts before them first; then waiting ones; then rather new ones."""
        for _, index in self._queue:
            bracket = self._brackets[index]
            for number, why in bracket.promoted.items():
                if (view := runnable.get(number)) is not None:
                    self._resumed(bracket, number)
                    return self.launch(view, why)
        paused = cast("Collection[int]", runnable.paused)
        if len(paused) > self._resting:  # somebody else has paused one: a person, in this session or an earlier one
            for number in paused:
                if number not in self._bracket(number).waiting and (view := runnable.get(number)) is not None:
                    return view
        return runnable.pending[0] if runnable.pending else None

    # -- rounds ----------------------------------------------------------------------------------------------------------

    def _bracket(self, number: int) -> Bracket:
        return self._brackets[bisect_right(self._firsts, number) - 1]

    def _resumed(self, bracket: Bracket, number: int) -> None:
        """A promoted trial runs again, or is over."""
        if number in bracket.promoted:
            del bracket.promoted[number]
            self._resting -= 1
            if not bracket.promoted:
                self._queue.remove((bracket.left, bracket.index))

    def _settle(self, bracket: Bracket, hand: int = -1) -> list[Decision]:
        """Decide the round if all are there, and the next one if all are beyond its milestone, too. ``hand``: who has reported."""
        decisions: list[Decision] = []
        cut = own = None
        before, listed = bracket.resting, (bracket.left, bracket.index)
        while bracket.complete(self._drawn, self.reduction_factor):
            if cut is None and bracket.promoted:
                self._queue.remove(listed)
            cut = bracket.halve(self.reduction_factor)
            for place, number in enumerate(cut.order[: cut.keep]):
                if number in bracket.promoted:
                    bracket.promoted[number] = self._verdict(bracket, cut, place)
            own = cut if hand in bracket.promoted and own is None else own
            decisions += [self.stop(self._verdict(bracket, cut, place), cut.order[place]) for place in range(cut.keep, len(cut.order))]
        if hand in bracket.waiting:
            decisions.append(self.pause(self._patience(bracket, hand)))
        if cut is None:
            return decisions
        if own is not None and hand in bracket.promoted:
            del bracket.promoted[hand]
            decisions.append(Decision("continue", hand, self._verdict(bracket, own, own.order.index(hand))))
        if bracket.promoted:
            insort(self._queue, (bracket.left, bracket.index))
        self._resting += bracket.resting - before
        return decisions

    def _verdict(self, bracket: Bracket, cut: Cut, place: int) -> str:
        """Why it goes on, or not."""
        score = f"{self.objective.show(cut.scores[place])} at {self.time_attr} {cut.milestone:g}"
        if cut.keep == len(cut.order):
            return f"{score}; goes on to {bracket.milestone:g}, as there is a place for all that are left (bracket {bracket.index})"
        last = self.objective.show(cut.scores[cut.keep - 1])
        where = f"{ordinal(place + 1)} of {len(cut.order)}"
        return f"{score} is {where}; the best {cut.keep} go on to {bracket.milestone:g}, down to {last} (bracket {bracket.index})"

    def _patience(self, bracket: Bracket, number: int) -> str:
        """What a trial waits for."""
        others = len(bracket.going) + (bracket.vacant if bracket.open and not self._drawn else 0)
        score = self.objective.show(bracket.ranking.score(number))
        return f"{score} at {self.time_attr} {bracket.milestone:g}; waits for {others} others (bracket {bracket.index})"


class HyperBandScheduler(BracketScheduler):
    """HyperBand: how far trials may run before the first of them are given up is hedged over several kinds of brackets.

    Li, Jamieson, DeSalvo, Rostamizadeh, Talwalkar: Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, JMLR 18 (2018),
    section 3 and algorithm 1.

    New trials fill one bracket after the other. Each member of a bracket runs to its milestone and is paused there until the round can
    be decided: the bracket is full (or nobody is left to be drawn) and every member is there or over. Then one in ``reduction_factor``
    goes on to the next milestone, the others are stopped; at ``max_t`` trials are done. With the defaults::

        5 trials to 81 | 8 to 27, 3 to 81 | 15 to 9, 5 to 27, 2 to 81 | 34 to 3, 12 to 9, 4 to 27, 2 to 81 | 81 to 1, 27 to 3, ... 1 to 81

    and then the same again. Brackets run side by side: slots that one does not use are the next one's. What is promoted is resumed before
    new trials are begun, first in the bracket with the fewest cuts to come.

    Of equal scores the smaller trial number counts as the better one; nan is worse than all else. With several metrics trials are ranked by
    non-dominated fronts. Reports without ``time_attr`` or the metric count for nothing. A trial that jumps over milestones waits at the
    first one, and its result there counts at those that it is already beyond, too.

    Each round has as many places as if nobody failed. Members that fail, finish early or are stopped from outside are not waited for, and
    leave their places to the next best; likewise those that are never drawn, as the search ends before the bracket is full. While there
    is a place for everybody who is left nobody waits. An infeasible trial is replaced as long as its bracket is being filled. A trial
    that was over and goes on in a later session takes part in the round that its bracket is in then.

    A resume may raise ``max_t``: what was a bracket's end becomes one more cut, and trials that had ended there go on if they survive it.
    They are ranked by their next report, so it costs each of them one step. New brackets have the new sizes.

    Pausing needs nothing of the training function: a paused one is held in ``report``, else goes on from its checkpoint, else runs again.

    Differs from Ray Tune, on purpose:

    - Sizes and milestones are exact: (729, 3) has its bracket of 729, which Ray loses to a rounding error. Each bracket ends at
      ``max_t``; Ray truncates again at every step, so that with (100, 3) some end at 81 or 99. Milestones that fall on the same whole
      number are one.
    - A round is not decided before its bracket is full. Ray halves whenever all trials added so far are there, so with few slots the
      first ones compete with nobody.
    - Rounds close by themselves whoever dies, and whenever; in Ray a bracket may hang if a member dies after the first halving, or if
      one has jumped over the next milestone.
    - New trials never take the places of dead members in a bracket that was full.
    - Where nobody would be stopped nobody is paused; trials at ``max_t`` are stopped at once, and do not wait for others.
    - Everything survives a crash of the driver.

    Differs from the paper: brackets are filled from the least aggressive one on, as in Ray. In simulations neither order won throughout,
    but with less than a band of trials (the usual case) this one found better configurations. And of n members ``ceil(n / eta)`` go on,
    as in Ray, not ``floor``.

    Args:
        time_attr: the key of a report that says how far a trial is; it grows from report to report.
        metric: what to rank by; None: the run's, which may be several.
        mode: "min" or "max"; None: the run's.
        max_t: in units of ``time_attr``, > 0: as far as a trial runs at most. At least ``reduction_factor``, or there is nothing to cut.
        reduction_factor: eta, > 1.
        stop_last_trials: stop a trial at ``max_t``; False: the winners of each bracket run on until they end by themselves.

    Raises:
        SpecError: names the argument, what was given and what is allowed.

    Example:
        >>> scheduler = HyperBandScheduler(metric="loss", mode="min", max_t=9)
        >>> [(plan.places, plan.milestones) for plan in scheduler.plans()]
        [(3, (9,)), (5, (3, 9)), (9, (1, 3, 9))]
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Names = None,
        mode: Names = None,
        max_t: float = 81,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
    ) -> None:
        super().__init__(time_attr, metric, mode, max_t, reduction_factor, stop_last_trials)

    def plans(self) -> list[Plan]:
        """The brackets of a band, the least aggressive first."""
        return hyperband_plans(self.max_t, self.reduction_factor)
