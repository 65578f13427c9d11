"""Asynchronous successive halving (ASHA), one bracket or several, in the form that stops and in the form that pauses and promotes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from functools import partial
from itertools import accumulate
from typing import Any, ClassVar, cast

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.rng import stream
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.arguments import one_of, whole
from tunesmith.schedulers.base import Names, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.promotion import Course, Ladder, Stage, share
from tunesmith.schedulers.ranking import Objective, ScalarRanking, Score
from tunesmith.schedulers.rungs import Rung, check_halving, milestones, time_of

__all__ = ["ASHAScheduler", "AsyncHyperBandScheduler"]

Answer = str | Decision | list[Decision]


class AsyncHyperBandScheduler(Scheduler):
    """Asynchronous successive halving, which decides on each trial the moment it reaches a rung and waits for no other.

    Rungs are at ``grace_period * reduction_factor ** k``, up to ``max_t``. In the form "stop" a trial that reaches a rung ends there if it
    is worse than the best ``1 / reduction_factor`` of those recorded at that rung before it, else it runs on; nothing is ever paused.
    In the form "promote" it pauses there, unless it is one of the best ``n / reduction_factor`` (rounded down) of the n recorded, itself
    included; whenever a slot is free, the best paused trial that has come to be one of those goes on, at the highest rung that has
    one; else a new trial is begun. "stop" needs no checkpoints and gives the first few trials to come a long run; "promote" gives nobody
    more than it has earned, and a trial that was unlucky early gets its turn once its rung has grown.

    The cut of the form "stop" is the percentile ``100 * (1 - 1 / reduction_factor)`` of the scores recorded before, interpolated linearly;
    who equals it goes on, and so does the first to come. A result that jumps over rungs is judged at the highest of them, and the trial's
    later results at the others, highest first (with ``stop_last_trials=False``, at no other). With several metrics there is nothing
    to interpolate: with n recorded before, a trial ends if more than ``(n - 1) / reduction_factor`` of them are ahead of it, which
    is what the percentile comes to where it falls on a score; "ahead" is by non-dominated fronts and, inside one, by an epsilon net.

    When all trials are drawn, who is paused and cannot be promoted any more (nobody is on the way to its rung or those below) is stopped.
    So in the form "promote" it takes ``reduction_factor ** k`` trials until one is promoted k times; with fewer, none reaches ``max_t``.

    Brackets: bracket s leaves out the s lowest rungs, and has rungs of its own. Which one a trial is in depends on the seed and its number
    alone. Bracket s is drawn with a weight of ``reduction_factor ** -s``: a trial there runs that many times as long before it is
    judged, so each bracket has about the same time before its first rungs, as in HyperBand. A bracket without rungs runs its trials to
    ``max_t``.

    Args:
        time_attr: the key of a report that says how far a trial is. Reports without it, or without a metric, are passed over.
        metric, mode: what to rank by; None: the run's, which may be several.
        max_t: in units of ``time_attr``: who is there is done. A resume may raise it: then the trials that had reached it go on, and are
            judged by what they had there.
        grace_period: the lowest rung, in units of ``time_attr``; > 0, at most ``max_t``.
        reduction_factor: > 1.
        brackets: >= 1.
        stop_last_trials: stop a trial at ``max_t``; else who has passed the top rung goes on until it ends by itself.
        seed: of the brackets; None: the run's.
        form: "stop" or "promote".

    Raises:
        SpecError: names the argument, what was given and what is allowed.

    Differs from Ray Tune, whose class of this name has the form "stop": a maximum that is a power of the factor, as (1000, 10) and
    (243, 3), has its top rung, which rounding errors cost there, and equal scores are not parted by one either. The last result of a trial
    that ends counts once: at the highest rung that it has reached, unless the trial is recorded there already. Brackets are drawn by a
    seed, and by weights that follow ``reduction_factor`` (there always e, so that with factors above 3 more time goes to the long
    brackets). nan counts as the worst score (there as none, and the trial goes on). Trials that failed keep their bracket when they are
    run again. Raising ``max_t`` judges those that had reached it.

    Differs from the paper (form "promote"): a trial that may be promoted the moment it arrives runs on at once, before others at higher
    rungs, as that spares it a pause. Where jumps of reports skip a rung it is left out, and those that came so far are compared above.

    Papers: Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), section 3, algorithm 2 for "promote"; Li et
    al., "Hyperband" (JMLR 2018), section 3, for brackets; Schmucker et al., "Multi-objective Asynchronous Successive Halving" (2021).

    Example:
        >>> import tempfile
        >>> from tunesmith import grid_search, report, run
        >>> def train(config):
        ...     for step in range(1, 10):
        ...         report(loss=config["x"] + 1 / step)
        >>> asha = AsyncHyperBandScheduler(max_t=9, reduction_factor=3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, config={"x": grid_search([0.2, 0.4, 0.1, 0.9])}, metric="loss", mode="min", scheduler=asha,
        ...                    executor="inline", storage_path=folder, verbose=0)
        ...     print([trial.iteration for trial in analysis])
        [9, 1, 9, 1]
    """

    capabilities: ClassVar[SchedulerCapabilities] = SchedulerCapabilities(pauses=True, multi_objective=True, needs_metric=True)
    changeable: ClassVar[tuple[str, ...]] = ("max_t",)

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Names = None,
        mode: Names = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 4,
        brackets: int = 1,
        stop_last_trials: bool = True,
        seed: int | None = None,
        form: str = "stop",
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        check_halving(owner, max_t, grace_period, reduction_factor)
        if not isinstance(time_attr, str) or not time_attr:
            raise SpecError(f"{owner}: time_attr must be the name of what reports count their progress by, got {time_attr!r}.")
        if not isinstance(stop_last_trials, bool):
            raise SpecError(f"{owner}: stop_last_trials must be True or False, got {stop_last_trials!r}.")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise SpecError(f"{owner}: seed must be a whole number or None, got {seed!r}.")
        self.time_attr = time_attr
        self.max_t = max_t
        self.grace_period = grace_period
        self.reduction_factor = reduction_factor
        self.brackets = whole(owner, "brackets", brackets, least=1)
        self.stop_last_trials = stop_last_trials
        self.seed = seed
        self.form = one_of(owner, "form", form, ("stop", "promote"))
        self._seed = 0
        self._shares: list[float] = []
        self._milestones: list[float] = []
        self._ladders: list[Ladder] = []
        self._order: list[tuple[int, int]] = []  # (bracket, level), the highest milestone first
        self._live: dict[int, Course] = {}
        self._unjudged: dict[int, int] = {}  # of the form "stop": who was recorded at a level as it ended, and not judged there
        self._drawn = False

    def start(self, settings: Settings) -> None:
        """See the base."""
        super().start(settings)
        self.objective = Objective.of(settings.metrics, settings.modes)
        self._seed = settings.seed if self.seed is None else self.seed
        weights = [self.reduction_factor**-bracket for bracket in range(self.brackets)]
        self._shares = [total / sum(weights) for total in accumulate(weights)][:-1]
        self._ladders = [Ladder() for _ in range(self.brackets)]
        self._build()

    def change(self, options: Mapping[str, Any]) -> None:
        """Another ``max_t``: rungs are added on top; what was recorded stays."""
        before = self.max_t
        super().change(options)
        if self._ladders and self.max_t != before:
            self._build()

    def _build(self) -> None:
        self._milestones = milestones(self.grace_period, self.max_t, self.reduction_factor)
        for bracket, ladder in enumerate(self._ladders):
            for milestone in self._milestones[bracket + len(ladder.stages) :]:
                ladder.extend(Stage.at(milestone, self.objective))
        rungs = [(stage.rung.milestone, -b, level) for b, ladder in enumerate(self._ladders) for level, stage in enumerate(ladder.stages)]
        self._order = [(-bracket, level) for _, bracket, level in sorted(rungs, reverse=True)]
        for course in self._live.values():
            course.due = -math.inf

    # -- hooks -----------------------------------------------------------------------------------------------------------

    def on_trial_add(self, trial: TrialView) -> None:
        """It begins below the first rung of its bracket."""
        bracket = self._bracket(trial.number)
        self._live[trial.number] = Course(bracket, self._due(bracket, 0))
        self._ladders[bracket].coming[0] += 1
        self._drawn = False

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        """Nothing, unless a rung or ``max_t`` is reached."""
        time, course = time_of(result, self.time_attr), self._live[trial.number]
        if time is None or time < course.due or (score := self.objective.score(result)) is None:
            return self.CONTINUE
        reached = self._reached(course, time)
        if self.stop_last_trials and time >= self.max_t:
            self._record_last(trial.number, course, reached, score)
            reason = f"{self.time_attr} {time:g} is max_t={self.max_t:g} or beyond (bracket {course.bracket})"
            return self.stop(reason, bound=("max_t", self.max_t))
        return (self._judge if self.form == "stop" else self._climb)(trial.number, course, reached, score)

    def on_trial_end(self, trial: TrialView, outcome: str) -> list[Decision]:
        """Its last result counts, if it was not shown before; and others may have nothing to wait for any more."""
        course = self._live.pop(trial.number)
        self._ladders[course.bracket].leave(trial.number, course)
        if outcome in ("finished", "stopped", "nan"):
            time, score = time_of(trial.metrics, self.time_attr), self.objective.score(trial.metrics)
            if time is not None and score is not None:
                self._record_last(trial.number, course, self._reached(course, time), score)
        return self._dismiss()

    def on_trial_reopen(self, trial: TrialView) -> None:
        """What it has at rungs stands. Where it was not judged or promoted, its next result is the time for it."""
        bracket = self._bracket(trial.number)
        self._live[trial.number] = course = Course(bracket, -math.inf)
        self._ladders[bracket].come_back(trial.number, course)

    def on_search_end(self) -> list[Decision]:
        """Who can be promoted by nobody's coming any more is stopped."""
        self._drawn = True
        return self._dismiss()

    def choose(self, runnable: Runnable) -> TrialView | Decision | None:
        """Form "promote": the best that may be promoted from the highest rung; who was paused by a person; else new trials."""
        if self.form == "stop":
            return super().choose(runnable)
        waiting = 0
        for bracket, level in self._order:
            ladder = self._ladders[bracket]
            waiting += len(ladder.stages[level].waiting)
            if (view := ladder.promotable(level, partial(self._quota, bracket), runnable.get)) is not None:
                course = self._live[view.number]
                ladder.leave(view.number, course)
                self._go_on(view.number, course, level)
                what = f"is among the best {self._quota(bracket, level)} and goes on"
                return self.launch(view, self._verdict(view.number, bracket, ladder.stages[level].rung, what))
        paused = cast("Collection[int]", runnable.paused)
        if len(paused) > waiting:
            for number in paused:
                if not self._live[number].waits and (view := runnable.get(number)) is not None:
                    return view
        return runnable.pending[0] if runnable.pending else None

    # -- both forms ------------------------------------------------------------------------------------------------------

    def _bracket(self, trial: int) -> int:
        """Its bracket, from its number alone."""
        return bisect_right(self._shares, stream(self._seed, "bracket", trial).random()) if self._shares else 0

    def _reached(self, course: Course, time: float) -> int:
        """How many stages of its bracket are at or before a time."""
        return max(0, bisect_right(self._milestones, time) - course.bracket)

    def _due(self, bracket: int, level: int) -> float:
        """When a stage is reached, or ``max_t``."""
        index = bracket + level
        milestone = self._milestones[index] if index < len(self._milestones) else math.inf
        return min(milestone, self.max_t) if self.stop_last_trials else milestone

    def _record_last(self, trial: int, course: Course, reached: int, score: Score) -> None:
        """A trial's last result is that of the highest stage it has reached, unless it has one there."""
        if reached and self._record(trial, course.bracket, reached - 1, score) and self.form == "stop":
            self._unjudged[trial] = reached - 1

    def _record(self, trial: int, bracket: int, level: int, score: Score) -> bool:
        """Record a trial at a stage; false if it was before."""
        return self._ladders[bracket].stages[level].record(trial, score)

    def _verdict(self, trial: int, bracket: int, rung: Rung, what: str) -> str:
        """Why: "0.61 is below the cut of 0.83 at training_iteration 9 (7th of 12, bracket 1)"."""
        score = self.objective.show(rung.ranking.score(trial))
        return f"{score} {what} at {self.time_attr} {rung.milestone:g} ({rung.standing(trial)}, bracket {bracket})"

    def _beyond(self, cut: float) -> str:
        return f"is {'below' if self.objective.signs[0] > 0 else 'above'} the cut of {self.objective.show(cut)}"

    # -- the form "stop" -------------------------------------------------------------------------------------------------

    def _judge(self, trial: int, course: Course, reached: int, score: Score) -> Answer:
        """At the highest stage reached where the trial has no score yet."""
        stages = self._ladders[course.bracket].stages
        if (level := self._unjudged.pop(trial, -1)) >= 0:  # it ended there, and goes on now
            rung = stages[level].rung
            before = rung.ranking.score(trial)
            rung.ranking.remove(trial)
            if (answer := self._cut(trial, course.bracket, rung, before)) != self.CONTINUE:
                return answer
        missing = [level for level in range(reached) if trial not in stages[level].rung]
        if not self.stop_last_trials:
            missing = [level for level in missing if level == reached - 1]
        answer = self._cut(trial, course.bracket, stages[missing.pop()].rung, score) if missing else self.CONTINUE
        course.due = -math.inf if missing else self._due(course.bracket, reached)
        return answer

    def _cut(self, trial: int, bracket: int, rung: Rung, score: Score) -> Answer:
        """Record a trial; it ends if it is worse than the best of those before it."""
        ranking, others = rung.ranking, len(rung)
        if isinstance(ranking, ScalarRanking):
            cut = ranking.quantile(1 - 1 / self.reduction_factor) if others else -math.inf
            ranking.add(trial, score)
            return self.CONTINUE if ranking.score(trial) >= cut else self.stop(self._verdict(trial, bracket, rung, self._beyond(cut)))
        best = share(others - 1, self.reduction_factor) + 1
        ranking.add(trial, score)
        if not others or ranking.within(trial, best, ties=True):
            return self.CONTINUE
        return self.stop(self._verdict(trial, bracket, rung, f"is not among the best {best}"))

    # -- the form "promote" ----------------------------------------------------------------------------------------------

    def _quota(self, bracket: int, level: int) -> int:
        """How many of the best at a stage may go on."""
        return share(len(self._ladders[bracket].stages[level].rung), self.reduction_factor)

    def _climb(self, trial: int, course: Course, reached: int, score: Score) -> Answer:
        """A trial is at a stage: it goes on, or waits there."""
        ladder, bracket = self._ladders[course.bracket], course.bracket
        level = max(reached - 1, ladder.highest(trial))
        if level < 0:
            course.due = self._due(bracket, 0)
            return self.CONTINUE
        stage = ladder.stages[level]
        self._record(trial, bracket, level, score)
        ladder.leave(trial, course)
        if trial in stage.promoted:
            self._go_on(trial, course, level)
            return self.CONTINUE
        quota = self._quota(bracket, level)
        if stage.rung.ranking.within(trial, quota):
            self._go_on(trial, course, level)
            reason = self._verdict(trial, bracket, stage.rung, f"is among the best {quota} and goes on")
            return [Decision("continue", trial, reason), *self._dismiss()]
        ladder.wait(trial, course, level)
        course.due = -math.inf
        out = self._dismiss()
        if any(decision.trial == trial for decision in out):
            return out
        return [self.pause(self._verdict(trial, bracket, stage.rung, self._short(stage.rung, quota)), trial), *out]

    def _go_on(self, trial: int, course: Course, level: int) -> None:
        """Promoted from a stage: on the way to the next one."""
        self._ladders[course.bracket].go_on(trial, course, level)
        course.due = self._due(course.bracket, level + 1)

    def _dismiss(self) -> list[Decision]:
        """Stop those that wait for nothing."""
        if not self._drawn or self.form == "stop":
            return []
        out = []
        for bracket, ladder in enumerate(self._ladders):
            for level, trial in ladder.losers(partial(self._quota, bracket)):
                rung = ladder.stages[level].rung
                what = self._short(rung, self._quota(bracket, level))
                out.append(self.stop(f"{self._verdict(trial, bracket, rung, what)}, and nobody can come there any more", trial))
        return out

    def _short(self, rung: Rung, quota: int) -> str:
        """What a trial lacks to be promoted from a rung."""
        if not quota:
            return "waits for others"
        ranking = rung.ranking
        return self._beyond(ranking.at(quota - 1)) if isinstance(ranking, ScalarRanking) else f"is not among the best {quota}"


ASHAScheduler = AsyncHyperBandScheduler
"""The short name."""
