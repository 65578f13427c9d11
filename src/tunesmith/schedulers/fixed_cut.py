"""One cut for all: train every configuration a little, and only the best few to the end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers import arguments
from tunesmith.schedulers.base import Answer, Names, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.ranking import Objective
from tunesmith.schedulers.rungs import Rung, time_of

__all__ = ["FixedCutScheduler"]


@dataclass(slots=True)
class _Group:
    """Trials that are cut together.

    Args:
        rung: who has come to the cut; before it is made, of those that are not over.
        size: how many trials were drawn for it.
        coming: how many of them have neither come to the cut nor ended.
        cut: it is made.
    """

    rung: Rung
    size: int = 0
    coming: int = 0
    cut: bool = False


class FixedCutScheduler(Scheduler):
    """Trains all trials to ``cut_at``, then the ``keep`` best of them to the end.

    The simplest use of partial training, and hard to beat: in the paper's benchmarks one epoch and a cut (1-Epoch) does as well as
    elaborate schedulers at a fraction of their cost. Where it does not fit is where curves cross after the cut.

    Synchronous: whoever comes to ``cut_at`` is paused until all trials of the experiment are drawn and have come there or ended. Then the
    best go on, best first, and the others are stopped. If a trial ends before that, the best of the rest are kept.

    Without a bound on the number of trials (``num_samples=-1``) there is no such moment, so trials are cut in groups, in the order in
    which they are drawn; ``group`` gives their size. A trial that comes to a cut after it was made (it replaces an infeasible one, had
    failed and is tried again by a resume, or ``num_samples`` was raised) goes on if it is among the ``keep`` best of all that came there.

    Args:
        time_attr: result key that says how far a trial is.
        metric, mode: what trials are ranked by; None: the run's. With several metrics by the non-dominated order.
        max_t: trials are stopped here, in units of ``time_attr``. May be raised by a resume: then those stopped by it go on.
        cut_at: where the cut is; above 0 and below ``max_t``.
        keep: so many of a group are trained to the end, >= 1.
        group: trials per cut, > ``keep``. None: all trials of the experiment; if their number is not bounded,
            ``keep * max_t / cut_at`` (rounded up), so that about as much is trained before a cut as after it.

    Equal scores: the trial with the smaller number first. nan is worse than everything. A result that jumps over ``cut_at`` counts as one
    at it; a trial that never comes as far is never cut. A result without the metric or ``time_attr`` is passed over.

    Paper: Egele, Guyon, Sun, Balaprakash, "Is One Epoch All You Need For Multi-Fidelity Hyperparameter Optimization?" (ESANN 2023).
    Ray Tune has no such scheduler.

    Raises:
        SpecError: an argument is out of its range.

    Example:
        >>> import tempfile
        >>> from tunesmith import grid_search, report, run
        >>> def train(config):
        ...     for step in range(1, 9):
        ...         report(loss=config["x"] + 1 / step)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, config={"x": grid_search([0.4, 0.1, 0.3, 0.2])}, metric="loss", mode="min",
        ...                    scheduler=FixedCutScheduler(max_t=8, cut_at=2, keep=1), executor="inline", storage_path=folder, verbose=0)
        ...     print([trial.iteration for trial in analysis])
        [2, 8, 2, 2]
    """

    capabilities = SchedulerCapabilities(pauses=True, multi_objective=True, needs_metric=True)
    changeable = ("max_t",)

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Names = None,
        mode: Names = None,
        max_t: float = 100,
        cut_at: float = 1,
        keep: int = 1,
        group: int | None = None,
    ) -> None:
        super().__init__(metric, mode)
        owner = type(self).__name__
        self.time_attr = arguments.key(owner, "time_attr", time_attr)
        self.max_t = arguments.number(owner, "max_t", max_t, above=0)
        self.cut_at = arguments.number(owner, "cut_at", cut_at, above=0)
        self.keep = arguments.whole(owner, "keep", keep, least=1)
        if group is not None:
            arguments.whole(owner, "group", group, least=self.keep + 1)
        self.group = group
        if cut_at >= max_t:
            raise SpecError(f"{owner}: cut_at={cut_at!r} must be below max_t={max_t!r}; after the cut the best are trained up to max_t.")
        self._size: int | None = group
        self._groups: list[_Group] = []
        self._open = 0  # the group that takes the next trial
        self._home: dict[int, int] = {}  # trial -> its group
        self._held: dict[int, None] = {}  # wait at a cut
        self._ready: dict[int, str] = {}  # are to go on after one, best first, and why
        self._drawn = False
        self._strangers = False  # trials may be paused that nobody here has paused

    def start(self, settings: Settings) -> None:
        super().start(settings)
        self.objective = Objective.of(settings.metrics, settings.modes)
        if self.group is None and settings.num_samples is None:
            self._size = math.ceil(self.keep * self.max_t / self.cut_at)

    # -- hooks -----------------------------------------------------------------------------------------------------------

    def on_trial_add(self, trial: TrialView) -> Answer:
        self._drawn = False
        while self._open < len(self._groups) and self._full(self._groups[self._open]):
            self._open += 1
        if self._open == len(self._groups):
            self._groups.append(_Group(Rung.at(self.cut_at, self.objective)))
        group = self._groups[self._open]
        self._home[trial.number] = self._open
        group.size += 1
        group.coming += 1
        return None

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        number = trial.number
        self._ready.pop(number, None)
        time, score = time_of(result, self.time_attr), self.objective.score(result)
        if time is None or score is None or time < self.cut_at:
            return self.CONTINUE
        if time >= self.max_t:
            return self.stop(f"it has come to max_t={self.max_t:g}", bound=("max_t", self.max_t))
        group = self._groups[self._home[number]]
        fresh = group.rung.record(number, score)
        if group.cut:
            return self._latecomer(group, number) if fresh else self.CONTINUE
        group.coming -= fresh
        self._held[number] = None
        decisions = self._close(group, number)
        if decisions:
            return decisions
        standing = f"{self.objective.show(score)}, {group.rung.standing(number)} so far"
        return self.pause(f"waits at {self.time_attr} {self.cut_at:g} for the others of the cut ({standing})")

    def on_trial_end(self, trial: TrialView, outcome: str) -> Answer:
        number = trial.number
        self._ready.pop(number, None)
        group = self._groups[self._home[number]]
        if group.cut:
            return None
        if number in group.rung:
            group.rung.ranking.remove(number)
            self._held.pop(number, None)
        else:
            group.coming -= 1
        if outcome == "infeasible":  # another one is drawn in its place
            group.size -= 1
            self._drawn = False  # or on_search_end is called again
            self._open = min(self._open, self._home[number])
        return self._close(group)

    def on_trial_reopen(self, trial: TrialView) -> None:
        group = self._groups[self._home[trial.number]]
        if not group.cut:
            group.coming += 1

    def on_search_end(self) -> Answer:
        self._drawn = True
        return [decision for group in self._groups if not group.cut for decision in self._close(group)]

    def on_capacity(self, totals: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()) -> None:
        """A session begins, or the machine has changed. Trials that a person had paused in an earlier session are everybody's now."""
        self._strangers = True

    def choose(self, runnable: Runnable) -> TrialView | Decision | None:
        """Who waits for a first start; then who has come through a cut; nobody that waits at one."""
        if runnable.pending:
            chosen: TrialView | None = runnable.pending[0]
        else:
            chosen = self._stranger(runnable) if self._strangers else None
        if chosen is not None:
            self._ready.pop(chosen.number, None)
            return chosen
        chosen = next((view for number in self._ready if (view := runnable.get(number)) is not None), None)
        return self.launch(chosen, self._ready.pop(chosen.number)) if chosen is not None else None

    # -- the cut ---------------------------------------------------------------------------------------------------------

    def _full(self, group: _Group) -> bool:
        return self._size is not None and group.size >= self._size

    def _close(self, group: _Group, in_hand: int | None = None) -> list[Decision]:
        """Make the cut, if nobody is to come any more. ``in_hand``: this one has not been paused yet."""
        if group.coming or not (self._drawn or self._full(group)):
            return []
        group.cut = True
        ranked = group.rung.ranking.best(len(group.rung))
        for one in ranked:
            self._held.pop(one, None)
        decisions = [self._lose(group, one) for one in ranked[self.keep :]]
        for one in ranked[: self.keep]:
            why = f"{self._standing(group, one)}: goes on"
            if one == in_hand:
                decisions.append(Decision("continue", one, why))
            else:
                self._ready[one] = why
        return decisions

    def _latecomer(self, group: _Group, number: int) -> Answer:
        return self.CONTINUE if group.rung.ranking.place(number) < self.keep else self._lose(group, number)

    def _lose(self, group: _Group, number: int) -> Decision:
        best = "only the best goes on" if self.keep == 1 else f"the best {self.keep} go on"
        return self.stop(f"{self._standing(group, number)}; {best}", number)

    def _standing(self, group: _Group, number: int) -> str:
        rung = group.rung
        return f"{self.objective.show(rung.ranking.score(number))} at {self.time_attr} {self.cut_at:g} is {rung.standing(number)}"

    def _stranger(self, runnable: Runnable) -> TrialView | None:
        others = [number for number in runnable.paused if number not in self._held and number not in self._ready]
        self._strangers = bool(others)
        return next((view for number in others if (view := runnable.get(number)) is not None), None)
