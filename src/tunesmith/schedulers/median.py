"""The median stopping rule, and its relatives: a trial that is worse than what most others had shown by then is given up."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.schedulers.arguments import flag, key, number, one_of, whole
from tunesmith.schedulers.base import Answer, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.ranking import Objective
from tunesmith.schedulers.rungs import ordinal, time_of
from tunesmith.schedulers.timeline import Timeline, is_below, quantile

__all__ = ["MedianStoppingRule", "PercentileStoppingRule"]


@dataclass(slots=True)
class _Curve:
    """What is known of one trial.

    Args:
        best: its best score of all.
        last: the newest time that counts; None: none does yet.
        value: what it has on the timeline since then; None: nothing finite.
        count, total, shift: so many scores, whose sum is ``total / 2 ** shift``; exact, so that a mean of equal scores is that score.
        paused: the time at which it last made room for others.
    """

    best: float = -math.inf
    last: float | None = None
    value: float | None = None
    count: int = 0
    total: int = 0
    shift: int = 0
    paused: float = -math.inf

    def mean_with(self, score: float) -> float | None:
        """The running mean with one more score; None from the first on that is not finite."""
        if not math.isfinite(score) or self.count < 0:
            self.count = -1
            return None
        top, bottom = score.as_integer_ratio()
        shift = bottom.bit_length() - 1
        if shift > self.shift:
            self.total, self.shift = self.total << shift - self.shift, shift
        self.total += top << self.shift - shift
        self.count += 1
        return self.total / (self.count << self.shift)


class PercentileStoppingRule(Scheduler):
    """Stops a trial whose best score so far is worse than that of the given percentage of others at the same time.

    With ``compare="mean"`` the others are judged by the means of what they had reported up to then (of results from ``grace_period``
    on): with ``percentile=50`` this is the :class:`MedianStoppingRule`. With ``compare="value"`` they are judged by their values at that
    time, as in Optuna's ``PercentilePruner``; there only trials that have ended count, and only with a result at the very same step,
    while here all count that have come as far, whatever they do now, with the newest result that they had by then.

    The rule is kept to exactly, and the work for a report hardly grows with the number of trials: see
    :class:`~tunesmith.schedulers.timeline.Timeline`. A time that is less than an earlier one of that trial (it has started anew, on a
    faster machine) counts as that one.

    Args:
        time_attr: result key that says how far a trial is; it should not decrease.
        metric, mode: what is compared; None: the run's. One metric only.
        grace_period: no trial is stopped before this time, and results before it do not count for others; units of ``time_attr``, >= 0.
        min_samples_required: so many others must have come as far before anybody is stopped, >= 1.
        min_time_slice: a trial that has too few others to be compared with makes room (is paused) if some trial waits for its first
            start or has made room before; but only if it has run for more than so long since it last did. Units of ``time_attr``, >= 0.
        hard_stop: False: trials are paused instead of stopped. They go on, in the order in which they were paused and for good, when
            all trials are drawn and there is nobody else who waits.
        percentile: the share of trials that is good enough, in percent: 25 stops all but the best quarter; above 0, at most 100.
        compare: "mean" or "value".

    nan is worse than everything. A trial exactly at the cut goes on (means are exact, up to one rounding at their end). A mean (or value)
    that is not finite does not count for others.

    Paper: Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (KDD 2017), section 3.2.2, for the rule by running means.

    Raises:
        SpecError: an argument is out of its range.

    Example:
        >>> from tunesmith.core.settings import Settings
        >>> rule = PercentileStoppingRule("training_iteration", "loss", "min", grace_period=1, percentile=25, compare="value")
        >>> rule.options()["percentile"], rule.capabilities.pauses
        (25, True)
    """

    capabilities = SchedulerCapabilities(pauses=True, needs_metric=True)

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: float = 0.0,
        hard_stop: bool = True,
        percentile: float = 50.0,
        compare: str = "mean",
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        self.time_attr = key(owner, "time_attr", time_attr)
        self.grace_period = number(owner, "grace_period", grace_period, least=0)
        self.min_samples_required = whole(owner, "min_samples_required", min_samples_required, least=1)
        self.min_time_slice = number(owner, "min_time_slice", min_time_slice, least=0)
        self.hard_stop = flag(owner, "hard_stop", hard_stop)
        self.percentile = number(owner, "percentile", percentile, above=0, most=100)
        self.compare = one_of(owner, "compare", compare, ("mean", "value"))
        self._share = 1 - percentile / 100  # counted from the worst
        self._timeline = Timeline()
        self._curves: dict[int, _Curve] = {}
        self._unstarted: dict[int, None] = {}
        self._yielding: dict[int, None] = {}  # paused to make room
        self._resting: dict[int, None] = {}  # paused instead of stopped, and not yet resumed
        self._judged: dict[int, None] = {}  # once paused instead of stopped, never looked at again
        self._drawn = False

    def start(self, settings: Settings) -> None:
        super().start(settings)
        self.objective = Objective.of(settings.metrics, settings.modes)

    # -- hooks -----------------------------------------------------------------------------------------------------------

    def on_trial_add(self, trial: TrialView) -> Answer:
        self._unstarted[trial.number] = None
        self._drawn = False
        return None

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        self._runs(trial.number)
        time, score = time_of(result, self.time_attr), self.objective.score(result)
        if time is None or not isinstance(score, float) or trial.number in self._judged:
            return self.CONTINUE
        curve = self._curves.setdefault(trial.number, _Curve())
        curve.best = max(curve.best, score)
        if time < self.grace_period:
            return self.CONTINUE
        now = time
        if curve.last is not None:
            now = max(time, curve.last)
            if curve.value is not None:
                self._timeline.leave(curve.last, now, curve.value)
        answer = self._judge(trial.number, curve, time, now)
        curve.last, curve.value = now, self._value(curve, score)
        if curve.value is not None:
            self._timeline.arrive(now, curve.value)
        return answer

    def on_trial_end(self, trial: TrialView, outcome: str) -> Answer:
        self._runs(trial.number)
        self._judged.pop(trial.number, None)
        return None

    def on_trial_reopen(self, trial: TrialView) -> None:
        self._unstarted[trial.number] = None

    def on_search_end(self) -> Answer:
        self._drawn = True
        return None

    def choose(self, runnable: Runnable) -> TrialView | None:
        """Who waits for a start; then who has made room, oldest pause first; at last, when all are drawn, who was paused as a loser."""
        if runnable.pending:
            chosen: TrialView | None = runnable.pending[0]
        else:
            views = (runnable.get(number) for number in runnable.paused if number not in self._resting)
            chosen = next((view for view in views if view is not None), None)
            if chosen is None and self._drawn:
                chosen = runnable.first_paused()
        if chosen is not None:
            self._runs(chosen.number)
        return chosen

    # -- the rule --------------------------------------------------------------------------------------------------------

    def _runs(self, trial: int) -> None:
        """It waits for nothing any more."""
        for waiting in (self._unstarted, self._yielding, self._resting):
            if waiting:
                waiting.pop(trial, None)

    def _value(self, curve: _Curve, score: float) -> float | None:
        if self.compare == "mean":
            return curve.mean_with(score)
        return score if math.isfinite(score) else None

    def _judge(self, trial: int, curve: _Curve, time: float, now: float) -> Answer:
        others = self._timeline.at(now)
        count = sum(map(len, others))
        if count < self.min_samples_required:
            return self._make_room(trial, curve, time, count)
        if not is_below(curve.best, others, self._share):
            return self.CONTINUE
        show = self.objective.show
        better = count - sum(bisect_right(part, curve.best) for part in others)
        reason = (
            f"its best so far, {show(curve.best)}, is worse than {self._cut_name()} of {show(quantile(others, self._share))} "
            f"at {self.time_attr} {time:g} ({ordinal(better + 1)} of {count + 1})"
        )
        if self.hard_stop:
            return self.stop(reason)
        self._judged[trial] = self._resting[trial] = None
        return self.pause(reason)

    def _cut_name(self) -> str:
        rank = "median" if self.percentile == 50 else f"cut at the best {self.percentile:g} %"
        return f"the {rank} of {'running means' if self.compare == 'mean' else 'values'}"

    def _make_room(self, trial: int, curve: _Curve, time: float, count: int) -> Decision | str:
        """Too few to compare with: the trial makes room for those that would be."""
        if not (self._unstarted or self._yielding) or time - curve.paused <= self.min_time_slice:
            return self.CONTINUE
        curve.paused = time
        self._yielding[trial] = None
        have = f"{count} of {self.min_samples_required} trials needed have come to {self.time_attr} {time:g}"
        return self.pause(f"makes room for others: {have}")


class MedianStoppingRule(PercentileStoppingRule):
    """Stops a trial whose best score so far is strictly worse than the median of the others' running means at the same time.

    The others are all trials that have come as far (running, paused or ended); the running mean of one is that of its results from
    ``grace_period`` up to that time. No curve model, nothing is asked of the curves' shape. It is
    :class:`PercentileStoppingRule` with ``percentile=50`` and ``compare="mean"``, see there for the arguments and for what is exact.

    Differs from Ray Tune: the last result of an ended trial counts once (there it is counted twice). Means are exact up to one rounding
    (there sums of floats decide about ties: of trials that all report 0.6 some are stopped). nan counts as the worst value wherever it
    stands (there it depends on the order). Only trials that wait for a start, or have made room themselves, are made room for
    (there also those that were paused as losers with ``hard_stop=False``), and these are resumed last; trials are drawn when a slot is
    free, so few ever wait.

    Paper: Golovin et al., "Google Vizier: A Service for Black-Box Optimization" (KDD 2017), section 3.2.2.

    Args:
        time_attr, metric, mode, grace_period, min_samples_required, min_time_slice, hard_stop: as for :class:`PercentileStoppingRule`.

    Raises:
        SpecError: an argument is out of its range.

    Example:
        >>> import tempfile
        >>> from tunesmith import grid_search, report, run
        >>> def train(config):
        ...     for step in range(1, 9):
        ...         report(loss=config["x"] + 1 / step)
        >>> rule = MedianStoppingRule(time_attr="training_iteration", grace_period=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, config={"x": grid_search([0.1, 0.2, 0.3, 0.9])}, metric="loss", mode="min", scheduler=rule,
        ...                    executor="inline", storage_path=folder, verbose=0)
        ...     print([trial.iteration for trial in analysis])
        [8, 8, 8, 2]
    """

    def __init__(
        self,
        time_attr: str = "time_total_s",
        metric: str | None = None,
        mode: str | None = None,
        grace_period: float = 60.0,
        min_samples_required: int = 3,
        min_time_slice: float = 0.0,
        hard_stop: bool = True,
    ) -> None:
        super().__init__(time_attr, metric, mode, grace_period, min_samples_required, min_time_slice, hard_stop)
