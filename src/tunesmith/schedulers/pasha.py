"""PASHA: successive halving that trains longer only while longer training still changes who is best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from tunesmith.core.commands import Decision
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.schedulers.arguments import number
from tunesmith.schedulers.asha import Answer, AsyncHyperBandScheduler
from tunesmith.schedulers.base import Names
from tunesmith.schedulers.ranking import ScalarRanking, Score
from tunesmith.schedulers.rungs import Rung

__all__ = ["PASHAScheduler"]


class PASHAScheduler(AsyncHyperBandScheduler):
    """Asynchronous successive halving with a ceiling that rises: promotes to a further rung only while the ranking is not stable.

    It begins with two rungs, and promotes among them as :class:`AsyncHyperBandScheduler` does in its form "promote". Whenever a trial comes
    to the top one, those that are there are ranked twice: by what they had there, and by what they had one rung below. If the rankings
    agree, who is best is known, and training longer would only cost time; if not, the ceiling rises by one rung. It never falls.

    Rankings agree softly: at each place the two trials may differ by at most epsilon in what they had at the lower rung. Epsilon is how
    much is noise: of the pairs of trials at the top rung whose curves have crossed at least twice (one led, then the other, and at last
    the first again), the 90th percentile of how far apart they were at last. Until there is such a pair under this ceiling that of the
    last one stands; at first it is 0. Several metrics have an epsilon each, and rankings as in
    :class:`~tunesmith.schedulers.pareto.ParetoRanking`.

    A search ends with its best trials trained to the ceiling, which may be far below ``max_t``: train the winner on, from its checkpoint.
    A trial of which a report jumped over the lower rung cannot be ranked there, so the ceiling rises for it.

    Cost: a report appends to a curve; a trial that comes as the m-th to the top rung is compared with the m others, report by report.
    Curves are kept of live trials and of those at the top.

    Args:
        time_attr, metric, mode, max_t, grace_period, stop_last_trials: as for :class:`AsyncHyperBandScheduler`.
        reduction_factor: > 1; 3, as in the paper.
        epsilon: how far apart trials are still alike, in units of the metric, >= 0 (of several metrics: of each); 0 compares rankings
            strictly; None: estimated.
        percentile: of those distances, 0 to 100.

    Raises:
        SpecError: names the argument, what was given and what is allowed.

    Differs from the paper: epsilon is taken from trials at the top rung, at the last report that both have (by number of reports, so it
    works with any ``time_attr``), and rankings are compared when a trial comes there, as nothing else changes them.

    Paper: Bohdal et al., "PASHA: Efficient HPO and NAS with Progressive Resource Allocation" (ICLR 2023), section 4.

    Example:
        >>> import tempfile
        >>> from tunesmith import grid_search, report, run
        >>> def train(config):
        ...     for step in range(1, 82):
        ...         report(loss=config["x"] + 1 / step)
        >>> pasha = PASHAScheduler(max_t=81)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = run(train, config={"x": grid_search([x / 9 for x in range(9)])}, metric="loss", mode="min", scheduler=pasha,
        ...                    executor="inline", storage_path=folder, verbose=0)
        ...     print([trial.iteration for trial in analysis])
        [3, 3, 3, 1, 1, 1, 1, 1, 1]
    """

    def __init__(
        self,
        time_attr: str = "training_iteration",
        metric: Names = None,
        mode: Names = None,
        max_t: float = 100,
        grace_period: float = 1,
        reduction_factor: float = 3,
        stop_last_trials: bool = True,
        epsilon: float | None = None,
        percentile: float = 90.0,
    ) -> None:
        super().__init__(time_attr, metric, mode, max_t, grace_period, reduction_factor, 1, stop_last_trials, None, "promote")
        owner = type(self).__name__
        if epsilon is not None:
            number(owner, "epsilon", epsilon, least=0)
        self.epsilon = epsilon
        self.percentile = number(owner, "percentile", percentile, least=0, most=100)
        self._top = 1  # the ceiling; as many as there are stages: there is none
        self._limits: list[float] = []  # the epsilon of each metric
        self._noise: list[ScalarRanking] = []  # for each metric: how far pairs at the top that have crossed twice are apart
        self._curves: dict[int, dict[int, Score]] = {}  # trial -> report -> score

    def start(self, settings: Settings) -> None:
        """See the base."""
        super().start(settings)
        self._limits = [self.epsilon or 0.0 for _ in self.objective.metrics]
        self._noise = [ScalarRanking() for _ in self.objective.metrics]

    # -- hooks -----------------------------------------------------------------------------------------------------------

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        """See the base."""
        if self.epsilon is None and (score := self.objective.score(result)) is not None:
            self._curves.setdefault(trial.number, {})[trial.iteration] = score
        return super().on_result(trial, result)

    def on_trial_end(self, trial: TrialView, outcome: str) -> list[Decision]:
        """See the base."""
        decisions = super().on_trial_end(trial, outcome)
        if not self._at_top(trial.number):
            self._curves.pop(trial.number, None)
        return decisions

    # -- the ceiling -----------------------------------------------------------------------------------------------------

    def _quota(self, bracket: int, level: int) -> int:
        return super()._quota(bracket, level) if level < self._top else 0

    def _short(self, rung: Rung, quota: int) -> str:
        stages = self._ladders[0].stages
        if self._top < len(stages) and rung is stages[self._top].rung:
            return f"need not go on while the rankings here and at {stages[self._top - 1].rung.milestone:g} agree:"
        return super()._short(rung, quota)

    def _record(self, trial: int, bracket: int, level: int, score: Score) -> bool:
        new = super()._record(trial, bracket, level, score)
        if new and level >= self._top:
            self._look(trial, level)
        return new

    def _at_top(self, trial: int) -> bool:
        stages = self._ladders[0].stages
        return self._top < len(stages) and trial in stages[self._top].rung

    def _look(self, trial: int, level: int) -> None:
        """A trial has come to the top rung, or beyond (its reports skip some, or a person resumed it): the ceiling rises, or not."""
        stages = self._ladders[0].stages
        above, below = stages[level].rung, stages[level - 1].rung
        if trial in below:
            if level > self._top:
                return
            if self.epsilon is None:
                self._measure(trial, above)
            if self._agree(above, below):
                return
        self._rise(level + 1)

    def _rise(self, level: int) -> None:
        self._top = level
        self._noise = [ScalarRanking() for _ in self.objective.metrics]
        self._curves = {trial: curve for trial, curve in self._curves.items() if trial in self._live or self._at_top(trial)}

    def _agree(self, above: Rung, below: Rung) -> bool:
        """Whether those at the top are ranked alike by their scores there and by those one rung below."""
        both = [trial for trial in above.ranking.best(len(above)) if trial in below]
        pairs = zip(self._ranked(above, both), self._ranked(below, both))
        return all(self._alike(_parts(below.ranking.score(one)), _parts(below.ranking.score(other))) for one, other in pairs)

    def _ranked(self, rung: Rung, trials: Sequence[int]) -> list[int]:
        ranking = self.objective.ranking()
        for trial in trials:
            ranking.add(trial, rung.ranking.score(trial))
        return ranking.best(len(trials))

    def _alike(self, one: Sequence[float], other: Sequence[float]) -> bool:
        return all(a == b or abs(a - b) <= limit for a, b, limit in zip(one, other, self._limits))

    def _measure(self, trial: int, above: Rung) -> None:
        """Compare a trial's curve with those of the others at the top."""
        own = self._curves.get(trial, {})
        for other in above.ranking.best(len(above)):
            theirs = self._curves.get(other, {}) if other != trial else {}
            shared = sorted(own.keys() & theirs.keys())
            for part, noise in enumerate(self._noise):
                gap = _noise([_parts(own[report])[part] - _parts(theirs[report])[part] for report in shared])
                if gap is not None:
                    noise.add(len(noise), gap)
        self._limits = [noise.quantile(self.percentile / 100) if len(noise) else old for noise, old in zip(self._noise, self._limits)]


def _parts(score: Score) -> tuple[float, ...]:
    return score if isinstance(score, tuple) else (score,)


def _noise(differences: Sequence[float]) -> float | None:
    """How far apart two curves are at last, if they have crossed at least twice; else None.

    Example:
        >>> _noise([0.3, -0.1, 0.2]), _noise([0.3, 0.0, -0.1])
        (0.2, None)
    """
    known = [gap for gap in differences if math.isfinite(gap) and gap]
    crossings = sum((before > 0) != (after > 0) for before, after in pairwise(known))
    return abs(known[-1]) if crossings >= 2 else None
