"""NSGA-II: a population that breeds, for several metrics (or one) and many trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tunesmith.errors import SpecError
from tunesmith.search.base import Proposal, SearcherCapabilities
from tunesmith.search.fronts import crowding, front_ranks, violation
from tunesmith.search.native import NativeSearcher
from tunesmith.search.problem import Observation, Problem
from tunesmith.search.sampler import Asked, Sampler
from tunesmith.space.domains import Categorical, Domain, Float, Function, Integer, Normal
from tunesmith.space.nodes import Choice, Leaf
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["NSGA2Sampler", "NSGA2Search"]

Rng = np.random.Generator

_SPREAD_CROSSOVER, _SPREAD_MUTATION = 15.0, 5.0
"""Distribution indices: the larger, the nearer a child is to a parent, a mutant to what it was. The paper's 20 for mutants is for 25,000
trials; with some hundreds to thousands 5 finds more (five functions, 500 trials)."""


@dataclass(frozen=True, slots=True)
class _Member:
    """One of the population: what it is, and how good; ``violation``: see :func:`tunesmith.search.fronts.violation`."""

    values: Mapping[str, Any]
    losses: tuple[float, ...]
    violation: float


class NSGA2Sampler(Sampler):
    """See :class:`NSGA2Search`.

    Args:
        problem: what is to be solved.
        population_size, crossover, crossover_rate, mutation_rate: see there.
    """

    def __init__(
        self,
        problem: Problem,
        population_size: int = 50,
        crossover: Literal["uniform", "sbx"] = "uniform",
        crossover_rate: float = 0.9,
        mutation_rate: float | None = None,
    ) -> None:
        super().__init__(problem)
        self.population_size = population_size
        self._crossover, self._crossover_rate, self._mutation_rate = crossover, crossover_rate, mutation_rate
        nodes = problem.space.nodes
        self._genes = {name: nodes[name] for name in sorted(nodes) if not isinstance(nodes[name].domain, Function)}
        self._observed = 0
        self._members: list[_Member] = []
        self._standing: list[tuple[float, float]] | None = None

    # ---- survival

    def observe(self, observation: Observation) -> None:
        """See the base. The newcomer joins the population, and whoever is last in it then leaves."""
        broken = violation(observation, self.problem.bounds)
        if observation.losses is None and broken == 0:
            return  # lost: nobody knows how good it is
        self._observed += 1
        if observation.losses is None or broken == math.inf:
            return
        self._members.append(_Member(observation.values, observation.losses, broken))
        self._standing = None
        if len(self._members) > self.population_size:
            standing = self._standings()
            del self._members[max(range(len(standing)), key=lambda index: (standing[index], index))]
            self._standing = None

    def _standings(self) -> list[tuple[float, float]]:
        """For each member what its place is: smaller is better. First those that break no bound, by front and then by crowding."""
        if self._standing is None:
            good = [index for index, member in enumerate(self._members) if not member.violation]
            self._standing = [(math.inf, member.violation) for member in self._members]
            if good:
                losses = np.array([self._members[index].losses for index in good])
                ranks = front_ranks(losses)
                for index, rank, gap in zip(good, ranks.tolist(), crowding(losses, ranks).tolist()):
                    self._standing[index] = (float(rank), -gap)
        return self._standing

    # ---- children

    def propose(self, asked: Asked) -> Proposal | None:
        """See the base. At random, until as many trials as make a population are over."""
        if self._observed < self.population_size or len(self._members) < 2:
            return None
        rng, standing = asked.rng, self._standings()
        mother = self._tournament(rng, standing)
        child = self._genes_of(mother)
        if rng.random() < self._crossover_rate:
            child = self._cross(rng, child, self._genes_of(self._tournament(rng, standing)))
        rate = self._mutation_rate if self._mutation_rate is not None else 1.0 / max(len(child), 1)
        mutants = [name for name in child if rng.random() < rate]
        if not mutants and child and self._is_a_copy(child):
            mutants = [list(child)[rng.integers(len(child))]]
        child.update([(name, _mutated(rng, self._genes[name], child[name])) for name in mutants])
        return Proposal(child, "nsga2")

    @staticmethod
    def _tournament(rng: Rng, standing: list[tuple[float, float]]) -> int:
        """The better one of two that are picked by chance."""
        one, other = (int(index) for index in rng.integers(len(standing), size=2))
        return one if (standing[one], one) <= (standing[other], other) else other

    def _genes_of(self, index: int) -> dict[str, Any]:
        values = self._members[index].values
        return {name: values[name] for name in self._genes if name in values}

    def _is_a_copy(self, child: Mapping[str, Any]) -> bool:
        return any(all(name in member.values and member.values[name] == child[name] for name in child) for member in self._members)

    def _cross(self, rng: Rng, mother: Mapping[str, Any], father: Mapping[str, Any]) -> dict[str, Any]:
        """Genes of both. What hangs on an option comes from whoever has taken that option; the space drops what hangs on no option."""
        child: dict[str, Any] = {}
        for name, leaf in self._genes.items():
            if name not in mother or name not in father:
                if name in mother or name in father:
                    child[name] = mother[name] if name in mother else father[name]
            elif rng.random() < 0.5:
                child[name] = mother[name]
            elif self._crossover == "uniform" or isinstance(leaf.domain, Categorical) or mother[name] == father[name]:
                child[name] = father[name]
            else:
                child[name] = _between(rng, leaf.domain, mother[name], father[name])
        return child


def _between(rng: Rng, domain: Domain, one: Any, other: Any) -> Any:
    """Simulated binary crossover within bounds (Deb and Agrawal, 1995): near one of the two, or beyond it."""
    low, high = sorted((to_unit(domain, one), to_unit(domain, other)))
    if high - low < 1e-12:
        return one
    exponent, chance = 1.0 / (_SPREAD_CROSSOVER + 1.0), rng.random()
    below = rng.random() < 0.5
    room = low if below else 1.0 - high
    alpha = 2.0 - (1.0 + 2.0 * room / (high - low)) ** -(_SPREAD_CROSSOVER + 1.0)
    spread = (chance * alpha) ** exponent if chance <= 1.0 / alpha else (1.0 / (2.0 - chance * alpha)) ** exponent
    middle, half = (low + high) / 2, spread * (high - low) / 2
    return from_unit(domain, middle - half if below else middle + half)


def _mutated(rng: Rng, leaf: Leaf, value: Any) -> Any:
    """Another value: one of the other options, or a number nearby (polynomial mutation within bounds, Deb and Goyal, 1996)."""
    domain = leaf.domain
    if isinstance(domain, Categorical):
        codes = leaf.codes if isinstance(leaf, Choice) else domain.categories
        others = [code for code in codes if type(code) is not type(value) or code != value]
        return others[rng.integers(len(others))] if others else value
    unit, chance = to_unit(domain, value), rng.random()
    for side in (chance, 1.0 - chance):  # the other side, where this one is a bound
        mutant = from_unit(domain, unit + _shift(unit, side))
        if mutant != value:
            return mutant
    return _neighbour(domain, value, up=chance >= 0.5)


def _shift(unit: float, chance: float) -> float:
    """How far polynomial mutation moves a number in [0, 1]: down, if ``chance`` is below 0.5."""
    power = _SPREAD_MUTATION + 1.0
    if chance < 0.5:
        shift: float = (2.0 * chance + (1.0 - 2.0 * chance) * (1.0 - unit) ** power) ** (1.0 / power) - 1.0
    else:
        shift = 1.0 - (2.0 * (1.0 - chance) + (2.0 * chance - 1.0) * unit**power) ** (1.0 / power)
    return shift


def _neighbour(domain: Domain, value: Any, *, up: bool) -> Any:
    """The next value of a domain with steps, on this side or else on the other; without steps the same."""
    assert isinstance(domain, Integer | Float | Normal)
    step = domain.q if domain.q is not None else 1 if isinstance(domain, Integer) else None
    for sign in (1, -1) if up else (-1, 1):
        if step is not None and domain.is_valid(value + sign * step):
            return from_unit(domain, to_unit(domain, value + sign * step))
    return value


class NSGA2Search(NativeSearcher):
    """NSGA-II, a genetic algorithm for several metrics at once; with one metric a plain one. For many trials: a thousand and more.

    The best ``population_size`` configurations breed. Better is who is in an earlier front (what nothing dominates is in the first), and in
    the same front who is in a less crowded part of it, so the population spreads along the front. Who breaks bounds is behind all who do
    not, by how much; failed trials never breed. A child's parents are the winners of two tournaments between two members each; every
    parameter comes from one of them, or (``crossover="sbx"``) numbers lie near or between theirs, and some then mutate: numbers to others
    nearby, categories to any other option. Where options have parameters of their own, a child has those of the option that it takes from
    whoever has taken it; what neither parent has is drawn at random.

    **Results in any order**: there are no generations. Each result that comes joins the population at once, and whoever is then last in it
    leaves (the steady-state form: Durillo et al., 2009), so any number of trials may run at once and none is waited for. Until as many
    trials as make a population are over, configurations are random.

    Papers: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", IEEE Trans. Evolutionary Computation 6 (2002);
    Durillo et al., "On the Effect of the Steady-State Selection Scheme in Multi-Objective Genetic Algorithms" (2009). What differs from
    them: parameters are crossed over uniformly by default, and mutants are farther away (an index of 5, theirs is 20), which finds more
    with up to some thousands of trials; a child equal to a member mutates in one place at least.

    Args:
        metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed, duplicates: as for
            :class:`~tunesmith.search.native.NativeSearcher`. Evaluated points are members of the first population.
        population_size: how many breed, >= 2. With more the front is wider, and is reached later.
        crossover: "uniform": every parameter is one parent's. "sbx": numbers are crossed over as in the paper, by simulated binary
            crossover with index 15.
        crossover_rate: probability of having two parents, 0 to 1; else a child is a mutant of one.
        mutation_rate: probability with which each parameter mutates, 0 to 1; None: one divided by their number.

    Raises:
        SpecError: an argument is of the wrong kind; names it.

    Example:
        >>> from tunesmith.space import Space, choice, uniform
        >>> searcher = NSGA2Search(["error", "cost"], ["min", "min"], population_size=20)
        >>> searcher.bind(Space.parse({"x": uniform(0, 1), "kind": choice(["a", "b"])}), seed=1)
        >>> tried = [searcher.propose(n, str(n)).values for n in range(20)]
        >>> for n, values in enumerate(tried):
        ...     worse = values["kind"] == "b"
        ...     searcher.on_trial_complete(str(n), {"error": values["x"] ** 2 + worse, "cost": (values["x"] - 1) ** 2 + worse})
        >>> searcher.propose(20, "20").source
        'nsga2'
    """

    capabilities = SearcherCapabilities(conditional=True, constraints=True, multi_objective=True, batch=True)

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        *,
        population_size: int = 50,
        crossover: Literal["uniform", "sbx"] = "uniform",
        crossover_rate: float = 0.9,
        mutation_rate: float | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
        seed: int | None = None,
        duplicates: bool = False,
    ) -> None:
        super().__init__(
            metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent, seed=seed, duplicates=duplicates,
        )  # fmt: skip
        if isinstance(population_size, bool) or not isinstance(population_size, int) or population_size < 2:
            raise SpecError(f"NSGA2Search: population_size must be a whole number >= 2, got {population_size!r}.")
        if crossover not in ("uniform", "sbx"):
            raise SpecError(f'NSGA2Search: crossover must be "uniform" or "sbx", got {crossover!r}.')
        for what, rate in (("crossover_rate", crossover_rate), ("mutation_rate", mutation_rate)):
            allowed = what == "mutation_rate" and rate is None
            if not allowed and (isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1):
                raise SpecError(f"NSGA2Search: {what} must be a probability from 0 to 1, got {rate!r}.")
        self._options = (population_size, crossover, crossover_rate, mutation_rate)

    def make_sampler(self, problem: Problem) -> NSGA2Sampler:
        """See the base."""
        return NSGA2Sampler(problem, *self._options)
