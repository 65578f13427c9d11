"""``auto``: the searcher for those who do not want to choose one."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunesmith.search.base import Proposal, SearcherCapabilities
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space import Function, Space
from tunesmith.space.nodes import Choice
from tunesmith.space.unit import from_unit

__all__ = ["AutoSearch", "Plan", "Stage", "plan_for"]

SAMPLERS: Mapping[str, str] = {
    "TPE": "tunesmith.search.tpe:TPESampler",
    "GP": "tunesmith.search.gp:GPSampler",
    "NSGA-II": "tunesmith.search.nsga2:NSGA2Sampler",
}
GP_TRIALS = 250
"""A Gaussian process costs more with each trial and gains less: from here on TPE goes on with what both have seen."""
GP_PARAMETERS = 50
GP_CONCURRENCY = 50
TPE_TRIALS = 1000
"""From here on a front is better served by a population."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of a search.

    Args:
        sampler: a key of :data:`SAMPLERS`.
        trials: it proposes while fewer trials than this were observed or are under way; None: to the end.
    """

    sampler: str
    trials: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What proposes when, and why.

    Args:
        stages: in their order; the last one has no end.
        reason: for people.
    """

    stages: tuple[Stage, ...]
    reason: str

    def at(self, trials: int) -> Stage:
        """Who proposes when there are so many trials."""
        return next(stage for stage in self.stages if stage.trials is None or trials < stage.trials)

    def __str__(self) -> str:
        ends = [stage.trials for stage in self.stages if stage.trials is not None]
        names = [self.stages[0].sampler, *(f"{stage.sampler} from trial {end} on" for end, stage in zip(ends, self.stages[1:]))]
        return f"{', '.join(names)}: {self.reason}"


def plan_for(problem: Problem) -> Plan:
    """The plan for a problem: a function of its space, budget, concurrency and objectives only.

    Example:
        >>> from tunesmith.space import Space, choice, uniform
        >>> print(plan_for(Problem(Space.parse({"x": uniform(0, 1)}), budget=50)))
        GP: 1 parameter, one objective
        >>> print(plan_for(Problem(Space.parse({"x": choice([{"y": uniform(0, 1)}, 2])}), concurrency=100)))
        TPE: 100 trials at once
    """
    budget = problem.budget
    if len(problem.metrics) > 1:
        several = f"{len(problem.metrics)} objectives"
        if budget is not None and budget <= TPE_TRIALS:
            return Plan((Stage("TPE"),), several)
        return Plan((Stage("TPE", TPE_TRIALS), Stage("NSGA-II")), several)
    parameters = sum(not isinstance(domain, Function) for domain in problem.space.parameters.values())
    if parameters > GP_PARAMETERS:
        return Plan((Stage("TPE"),), _plural(parameters, "parameter"))
    if problem.concurrency is not None and problem.concurrency > GP_CONCURRENCY:
        return Plan((Stage("TPE"),), f"{problem.concurrency} trials at once")
    reason = f"{_plural(parameters, 'parameter')}, one objective"
    if budget is not None and budget <= GP_TRIALS:
        return Plan((Stage("GP"),), reason)
    return Plan((Stage("GP", GP_TRIALS), Stage("TPE")), reason)


class AutoSampler(Sampler):
    """Asks the sampler of the present stage; the next one learns all that was observed before.

    Args:
        problem: what is to be solved.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.plan = plan_for(problem)
        self._stage: Stage | None = None
        self._current: Sampler | None = None
        self._observations: list[Observation] = []

    def opening(self) -> Proposal:
        """The middle: a good guess, and no model has to be loaded before something runs."""
        return middle(self.problem.space)

    def observe(self, observation: Observation) -> None:
        """See the base."""
        self._observations.append(observation)
        if self._current is not None:
            self._current.observe(observation)

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base."""
        stage = self.plan.at(len(self._observations) + len(asked.pending))
        if stage is not self._stage or self._current is None:
            self._stage, self._current = stage, make(stage.sampler, self.problem)
            for observation in self._observations:
                self._current.observe(observation)
        return self._current.propose(asked)


def middle(space: Space) -> Proposal:
    """The middle of the space, under its own distribution: logarithms are halved as logarithms are.

    Example:
        >>> from tunesmith.space import randint, uniform
        >>> middle(Space.parse({"lr": uniform(0, 1), "n": randint(0, 10)})).values
        {'lr': 0.5, 'n': 5}
    """
    values = {}
    for name, leaf in space.nodes.items():
        if isinstance(leaf, Choice):
            values[name] = leaf.codes[len(leaf.codes) // 2]
        elif not isinstance(leaf.domain, Function):
            values[name] = from_unit(leaf.domain, 0.5)
    return Proposal(values, "middle")


def make(name: str, problem: Problem) -> Sampler:
    """The sampler of this name, with its defaults."""
    module, _, attribute = SAMPLERS[name].partition(":")
    sampler: Sampler = getattr(importlib.import_module(module), attribute)(problem)
    return sampler


class AutoSearch(NativeSearcher):
    """Picks a native searcher for the space, the budget, the concurrency and the objectives at hand.

    This is what runs search with when they are given a metric, no ``grid_search`` and no searcher (``search_alg="random"`` for plain
    random search). The choice and its reason are shown as the run begins:

    - one objective, up to 50 parameters: a Gaussian process for the first 250 trials, then TPE;
    - more parameters, or more than 50 trials at once: TPE;
    - several objectives: TPE for the first 1,000 trials, then NSGA-II.

    The first trial is the middle of the space. Your usual configuration is worth more than that: give it as ``points_to_evaluate``.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed, duplicates: as for
            :class:`~tunesmith.search.native.NativeSearcher`.

    Raises:
        SpecError: an argument is of the wrong kind; names it.

    Example:
        >>> from tunesmith.space import Space, uniform
        >>> searcher = AutoSearch("loss", "min", points_to_evaluate=[{"x": 0.5}])
        >>> searcher.bind(Space.parse({"x": uniform(0, 1)}), budget=20)
        >>> searcher.propose(0, "a").values
        {'x': 0.5}
        >>> searcher.explain()
        'GP: 1 parameter, one objective'
    """

    capabilities = SearcherCapabilities(conditional=True, constraints=True, multi_objective=True, batch=True)

    def make_sampler(self, problem: Problem) -> AutoSampler:
        """See the base."""
        return AutoSampler(problem)

    def explain(self) -> str:
        """See the base."""
        sampler: Any = self.sampler
        return str(sampler.plan)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
