"""BOHB: TPE that compares losses at equal budgets, for trials that a scheduler pauses, promotes or stops on rungs."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tunesmith.core.rng import stream
from tunesmith.errors import SpecError
from tunesmith.search.base import Proposal, SearcherCapabilities
from tunesmith.search.fronts import violation
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked
from tunesmith.search.tpe.sampler import TPESampler
from tunesmith.search.tpe.search import at_least
from tunesmith.search.tpe.tree import Level, Rows

__all__ = ["BOHBSampler", "BOHBSearch", "TuneBOHB"]

Losses = tuple[float, ...]
_Report = tuple[int, int, Mapping[str, Any], float, Losses]


@dataclass(slots=True)
class _Curve:
    """What is known of one trial.

    Args:
        rows: its configuration.
        steps, losses: its reports, steps ascending.
        broken: by how much it broke bounds in the end; infinite: it failed.
        over: whether it is.
        learned: whether it is part of the model.
    """

    rows: Rows
    steps: list[float] = field(default_factory=list)
    losses: list[Losses] = field(default_factory=list)
    broken: float = 0.0
    over: bool = False
    learned: bool = False

    def at(self, budget: float) -> Losses | None:
        """The first losses there or beyond."""
        place = bisect_left(self.steps, budget)
        return self.losses[place] if place < len(self.steps) else None


class BOHBSampler(TPESampler):
    """See :class:`BOHBSearch`.

    Args:
        problem: what is to be solved.
        min_points_in_model, random_fraction, n_candidates: see there; checked there.

    Attributes:
        budget: the step at which losses are compared now; None: there are too few.
        reports: all that was heard of running trials: number of observations before it, trial, values, step, losses.
    """

    follows_reports = True

    def __init__(
        self, problem: Problem, *, min_points_in_model: int | None = None, random_fraction: float = 1 / 3, n_candidates: int = 24
    ) -> None:
        self._curves: dict[int, _Curve] = {}
        self._reached: list[float] = []
        self._known = self._over = 0
        self.budget: float | None = None
        self.reports: list[_Report] = []
        super().__init__(problem, n_candidates=n_candidates)
        self._initial = _depth(self._root) + 3 if min_points_in_model is None else min_points_in_model + 2
        self._random_fraction = random_fraction

    # ---- learning

    def report(self, trial: int, values: Mapping[str, Any], step: float, losses: Losses) -> None:
        """See the base."""
        self.reports.append((self._over, trial, values, step, losses))
        curve = self._curve(trial, values)
        if curve.steps and step <= curve.steps[-1]:
            return  # it was resumed from an older checkpoint: its first result counts
        if curve.steps:
            del self._reached[bisect_left(self._reached, curve.steps[-1])]
        insort(self._reached, step)
        curve.steps.append(step)
        curve.losses.append(losses)
        self._update(curve)

    def observe(self, observation: Observation) -> None:
        """See the base. Points that users know already, without a step, count at any budget."""
        self._over += 1
        self._pending_rows.pop(observation.trial, None)
        curve = self._curve(observation.trial, observation.values)
        curve.over = True
        broken = violation(observation, self.problem.bounds)
        if broken > 0:
            curve.broken = broken
            if curve.steps and not math.isfinite(broken):
                del self._reached[bisect_left(self._reached, curve.steps[-1])]
            if curve.learned:
                self.budget = None  # it counted as one that keeps everything
        elif observation.losses is not None and not curve.steps:
            curve.steps, curve.losses = [observation.step or math.inf], [observation.losses]
            if observation.step:
                insort(self._reached, observation.step)
            else:
                self._known += 1
        self._update(curve)

    def _curve(self, trial: int, values: Mapping[str, Any]) -> _Curve:
        if trial not in self._curves:
            self._curves[trial] = _Curve(self._root.encode(values))
        return self._curves[trial]

    def _update(self, changed: _Curve) -> None:
        """Bring the model up to date; another budget is another model."""
        reached = self._reached
        if len(reached) >= self._initial:
            budget: float | None = reached[-self._initial]
        else:
            budget = (reached[0] if reached else 0.0) if len(reached) + self._known >= self._initial else None
        if budget == self.budget:
            self._take(changed)
            return
        self.budget = budget
        self._forget()
        for curve in self._curves.values():
            curve.learned = False
            self._take(curve)

    def _take(self, curve: _Curve) -> None:
        if self.budget is None or curve.learned:
            return
        losses = curve.at(self.budget)
        if losses is not None and math.isfinite(curve.broken):
            self._learn(curve.rows, losses, curve.broken)
        elif curve.over and (curve.steps or curve.broken > 0):
            self._learn(curve.rows, None, math.inf)  # it never came so far
        else:
            return
        curve.learned = True

    # ---- proposing

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base."""
        if self.budget is not None and stream(self.problem.seed, "bohb", asked.trial).random() < self._random_fraction:
            return None
        return super().propose(asked)

    def _pending(self, asked: Asked) -> list[Rows]:
        """Only those of which nothing was heard yet: others are known by what they reported, or wait to be promoted."""
        silent = {trial: values for trial, values in asked.pending.items() if trial not in self._curves}
        return self._rows_of(silent)


class BOHBSearch(NativeSearcher):
    """BOHB: Bayesian optimisation over rungs. TPE whose good and bad configurations are told apart at equal budgets.

    For trials of which most are paused or stopped early: with :class:`tunesmith.schedulers.HyperBandForBOHB`, any other scheduler with
    rungs, or none. All reports are kept; the model is of the largest step ("training_iteration") that enough trials have reached, and
    compares each one's first loss there or beyond. So it begins with the first rung and moves up with the trials. A part of the
    configurations is random.

    Paper: Falkner, Klein and Hutter, BOHB: Robust and Efficient Hyperparameter Optimization at Scale, ICML 2018. Where it differs:

    - The model is that of :class:`tunesmith.search.TPESearch`, its bandwidths and its treatment of conditional spaces included.
    - Budgets are whatever trials report at, so it needs to know nothing of the scheduler, and the scheduler nothing of it.
    - Trials that ended before the model's budget count as bad, and so do those that have not reported yet, until they report.
    - How far a trial came decides nothing else: a trial that waits for its promotion counts as soon as its budget is the model's.

    ``TuneBOHB`` is another name of it.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, seed, duplicates: see
            :class:`tunesmith.search.native.NativeSearcher`.
        max_concurrent: at most so many trials at once; 0 or None: no bound of its own.
        min_points_in_model: so many trials, and two more, must have come as far as the budget of a model, >= 1. None: number of
            parameters that a configuration has at most, and one.
        random_fraction: part of the configurations that are random once there is a model, in [0, 1].
        n_candidates: so many are compared for a suggestion, >= 1.

    Raises:
        SpecError: an argument is of the wrong kind; names it.

    Example:
        >>> from tunesmith.space import Space, uniform
        >>> searcher = BOHBSearch("loss", "min", min_points_in_model=3)
        >>> searcher.bind(Space.parse({"x": uniform(-1, 1)}), seed=1)
        >>> for number in range(8):
        ...     x = searcher.propose(number, str(number)).values["x"]
        ...     for step in range(1, 10 if number < 5 else 3):
        ...         searcher.on_trial_result(str(number), {"loss": x * x + 1 / step, "training_iteration": step})
        >>> searcher.sampler.budget
        9.0
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(
        conditional=True, constraints=True, multi_objective=True, batch=True, fidelity=True
    )  # fmt: skip

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
        seed: int | None = None,
        duplicates: bool = False,
        min_points_in_model: int | None = None,
        random_fraction: float = 1 / 3,
        n_candidates: int = 24,
    ) -> None:
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent or None, seed=seed, duplicates=duplicates,
        )  # fmt: skip
        if min_points_in_model is not None:
            at_least("BOHBSearch", "min_points_in_model", min_points_in_model, 1)
        at_least("BOHBSearch", "n_candidates", n_candidates, 1)
        if isinstance(random_fraction, bool) or not isinstance(random_fraction, int | float) or not 0 <= random_fraction <= 1:
            raise SpecError(f"BOHBSearch: random_fraction must be a number in [0, 1], got {random_fraction!r}.")
        self._options: dict[str, Any] = {
            "min_points_in_model": min_points_in_model, "random_fraction": random_fraction, "n_candidates": n_candidates,
        }  # fmt: skip

    def make_sampler(self, problem: Problem) -> BOHBSampler:
        """See the base."""
        return BOHBSampler(problem, **self._options)

    def get_state(self) -> dict[str, Any]:
        """What was observed and reported, and what is under way."""
        return {**super().get_state(), "_reports": self.sampler.reports if isinstance(self.sampler, BOHBSampler) else []}

    def set_state(self, state: dict[str, Any]) -> None:
        """See the base; reports and ends of trials come in the order in which they came."""
        if self._problem is None:
            super().set_state(state)
            return
        rest = {name: value for name, value in state.items() if name not in ("_reports", "_observations")}
        super().set_state(rest)
        reports: list[_Report] = list(state.get("_reports", []))[::-1]
        for number, observation in enumerate([*state.get("_observations", []), None]):
            while reports and reports[-1][0] <= number:
                self.sampler.report(*reports.pop()[1:])
            if observation is not None:
                self._learn(observation)


TuneBOHB = BOHBSearch


def _depth(level: Level) -> int:
    """How many parameters a configuration has at most."""
    return len(level.columns) + sum(max(map(_depth, levels)) for _, levels in level.below)
