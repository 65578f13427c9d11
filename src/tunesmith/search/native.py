"""What all native searchers share: start points, what users know already, constraints, duplicates, failures, and resuming."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.core.rng import stream
from tunesmith.errors import BugError, SpaceError
from tunesmith.search.base import Exhausted, Proposal, SearcherCapabilities
from tunesmith.search.posed import PosedSearcher
from tunesmith.search.problem import Observation, Problem, losses_of
from tunesmith.search.sampler import Asked, Sampler

__all__ = ["NativeSearcher"]

ATTEMPTS = 8
"""So often a sampler is asked for one trial, before it is drawn at random."""
DRAWS = 100
"""So often it is drawn, before a configuration that was tried is tried again."""

_Key = tuple[tuple[str, Any], ...]


class NativeSearcher(PosedSearcher):
    """A searcher whose proposals come from a :class:`~tunesmith.search.sampler.Sampler`, which a subclass makes.

    Trials whose configuration may itself be to blame for their failure are told to the sampler as infeasible: near them it proposes
    less. Their results, and results that are no finite numbers, are not used. A trial that a scheduler stopped counts with the last
    result that it had.

    Args:
        metric: name of the metric to optimise, or several where the searcher can; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn at random. Your usual
            configuration is a good one.
        evaluated_rewards: what the first of these points are known to have: as many values of the metric (of several metrics: tuples).
            Those points are not run again.
        outcome_constraints: bounds on what trials report, as in ["latency <= 20", "accuracy >= 0.9"]. Configurations are sought that keep
            them.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.
        seed: of this searcher; None: the experiment's.
        duplicates: let a configuration be proposed that was tried before; false: only where no other is found.

    Raises:
        SpecError: an argument is of the wrong kind; names it.
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, constraints=True, batch=True)

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
    ) -> None:
        super().__init__(metric, mode, points_to_evaluate, evaluated_rewards, outcome_constraints, max_concurrent, seed)
        self.duplicates = duplicates
        self._told: list[tuple[Any, ...]] = []  # what users added, before there was a space to understand it with
        self._sampler: Sampler | None = None

    @abstractmethod
    def make_sampler(self, problem: Problem) -> Sampler:
        """The sampler for ``problem``. Called when the space is known, and anew whenever a state is restored.

        Raises:
            SpecError: it cannot work on this space; says why, and what can.
        """

    # ---- beginning

    def set_search_properties(
        self, metric: str | list[str] | None, mode: str | list[str] | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """See the base."""
        super().set_search_properties(metric, mode, config, **spec)
        self._problem = self.pose(spec["space"], spec)
        points = [self._inside(f"points_to_evaluate[{number}]", point) for number, point in enumerate(self._points)]
        self._open = points[len(self._rewards) :]
        self._begin()
        if self._kept:
            self._go_on_from(self._kept)
        else:
            for point, reward in zip(points, self._rewards):
                self._add(point, reward)
        for told in self._told:
            self._add_evaluated(*told)
        return True

    def _begin(self) -> None:
        self._sampler = self.make_sampler(self.problem)
        self._observations: list[Observation] = []
        self._pending: dict[int, dict[str, Any]] = {}
        self._steps: dict[int, float] = {}
        self._numbers: dict[str, int] = {}
        self._failed: dict[str, str] = {}
        self._seen: set[_Key] = set()
        self._next = 0  # number of the first trial that has not been proposed
        self._shift = 0

    @property
    def sampler(self) -> Sampler:
        """What proposes."""
        if self._sampler is None:
            raise BugError(f"{type(self).__name__} was asked before it was bound to a space; call bind(space, ...) first.")
        return self._sampler

    def _inside(self, what: str, config: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self.problem.space.values_from(config)
        except SpaceError as error:
            raise SpaceError(f"{what}: {error}") from None

    def begin_version(self, first: int, inside: Sequence[Mapping[str, Any]]) -> None:
        """See the base: points that were tried are not tried again."""
        for values in inside:
            self._close(values)

    # ---- what users know

    def add_evaluated_point(
        self,
        parameters: Mapping[str, Any],
        value: Any,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: Sequence[float] | None = None,
    ) -> None:
        """See the base. A value of nan, or none, counts as no result."""
        if self._sampler is None:
            self._told.append((parameters, value, error, pruned, intermediate_values))
        else:
            self._add_evaluated(parameters, value, error, pruned, intermediate_values)

    def _add_evaluated(self, parameters: Any, value: Any, error: bool, pruned: bool, curve: Sequence[float] | None) -> None:
        values = self._inside("add_evaluated_point", parameters)
        if value is None and curve:
            value = curve[-1]
        self._add(values, value, "failed" if error else "stopped" if pruned else "finished", float(len(curve or ())))

    def _add(self, values: dict[str, Any], value: Any, outcome: str = "finished", step: float = 0.0) -> None:
        problem = self.problem
        rewards = self.values_of(value, outcome == "failed")
        trial = -1 - sum(observation.trial < 0 for observation in self._observations)
        values = self.known_values(values, trial)
        losses = losses_of(dict(zip(problem.metrics, rewards)), problem.metrics, problem.signs) if outcome != "failed" else None
        self._learn(Observation(trial, values, losses, outcome, step, tuple(0.0 for _ in problem.bounds)))
        self._seen.add(_key(values))

    # ---- proposing

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        """See the base."""
        trial += self._shift
        space, seed = self.problem.space, self.problem.seed
        if self._open:
            rng = stream(seed, "search", trial)
            point = Proposal(space.draw(rng, fixed=self._open[0]), "start point")
            self._started(trial, trial_id, point.values)
            return point
        proposal = self._from_sampler(trial) or self._at_random(trial)
        self._started(trial, trial_id, proposal.values)
        return proposal

    def _from_sampler(self, trial: int) -> Proposal | None:
        space, seed = self.problem.space, self.problem.seed
        if trial == 0 and (found := self.sampler.opening()) is not None:
            found.values = space.complete(found.values, stream(seed, "complete", trial))
            if not self._refused(found.values):
                return found
        import numpy as np  # here: a first trial that needs no randomness should not wait for it

        for attempt in range(ATTEMPTS):
            key = stream(seed, f"search {attempt}", trial).getrandbits(64)
            asked = Asked(trial, attempt, np.random.Generator(np.random.PCG64(key)), self._pending, self._refused)
            if (found := self.sampler.propose(asked)) is None:
                return None
            found.values = space.complete(found.values, stream(seed, f"complete {attempt}", trial))
            if not self._refused(found.values):
                return found
        return None

    def _at_random(self, trial: int) -> Proposal:
        rng = stream(self.problem.seed, "search", trial)
        for _ in range(DRAWS):
            values = self.problem.space.draw(rng)
            if self.duplicates or _key(values) not in self._seen:
                break
        return Proposal(values, "random")

    def _refused(self, values: Mapping[str, Any]) -> bool:
        if not self.duplicates and _key(values) in self._seen:
            return True
        space = self.problem.space
        return bool(space.constraints) and space.broken_constraint(values) is not None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See the base; trials are numbered in the order in which they are asked for."""
        answer = self.propose(self._next - self._shift, trial_id)
        return self.problem.space.resolve(answer.values) if isinstance(answer, Proposal) else None

    # ---- learning

    def _started(self, trial: int, trial_id: str, values: dict[str, Any]) -> None:
        self._next = max(self._next, trial + 1)
        self._numbers[trial_id] = trial
        self._pending[trial] = values
        self._seen.add(_key(values))
        self._close(values)

    def _close(self, values: Mapping[str, Any]) -> None:
        """A point that users wanted to be tried has been."""
        for number, point in enumerate(self._open):
            if all(name in values and values[name] == value for name, value in point.items()):
                del self._open[number]
                return

    def on_replayed(self, trial: int, trial_id: str, values: Mapping[str, Any]) -> None:
        """See the base."""
        self._started(trial + self._shift, trial_id, dict(values))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See the base."""
        trial = self._numbers.get(trial_id)
        if trial not in self._pending:
            return
        step = result.get("training_iteration")
        self._steps[trial] = float(step) if isinstance(step, int | float) else self._steps.get(trial, 0.0) + 1.0
        if self.sampler.follows_reports:
            problem = self.problem
            if (losses := losses_of(result, problem.metrics, problem.signs)) is not None:
                self.sampler.report(trial, self._pending[trial], self._steps[trial], losses)

    def on_trial_failed(self, trial_id: str, outcome: str) -> None:
        """See the base."""
        self._failed[trial_id] = outcome

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See the base. One that was never proposed, or is over already, is ignored."""
        outcome = self._failed.pop(trial_id, "failed" if error else "finished")
        trial = self._numbers.pop(trial_id, None)
        if trial is None:
            return
        problem, values = self.problem, self._pending.pop(trial)
        losses = None if error else losses_of(result, problem.metrics, problem.signs)
        if losses is None and not error and result is not None:
            outcome = "nan"
        excess = tuple(bound.excess(result or {}) for bound in problem.bounds) if not error else ()
        self._learn(Observation(trial, values, losses, outcome, self._steps.pop(trial, 0.0), excess))

    def _learn(self, observation: Observation) -> None:
        self._observations.append(observation)
        self.sampler.observe(observation)

    # ---- state

    def get_state(self) -> dict[str, Any]:
        """What was observed, and what is under way."""
        names = ("_observations", "_pending", "_steps", "_numbers", "_failed", "_seen", "_open", "_next", "_shift")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def set_state(self, state: dict[str, Any]) -> None:
        """See the base."""
        if self._problem is None:
            self._kept = state
            return
        self._begin()
        observations = state.get("_observations", [])
        vars(self).update({**state, "_observations": []})
        for observation in observations:
            self._learn(observation)

    def __getstate__(self) -> dict[str, Any]:
        """Without the sampler, whose models cannot always be pickled: it is told everything again."""
        return {"own": {**vars(self), "_sampler": None}, "found": None if self._sampler is None else self.get_state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state["own"])
        if state["found"] is not None:
            self.set_state(state["found"])

    def _go_on_from(self, state: dict[str, Any]) -> None:
        """What an earlier experiment found is known here; trials that were not over there are forgotten."""
        for observation in state["_observations"]:
            self.still_there(observation.values)
        lost = {_key(values) for values in state["_pending"].values()}
        self.set_state({**state, "_pending": {}, "_steps": {}, "_numbers": {}, "_failed": {}, "_seen": state["_seen"] - lost})
        self._shift = self._next


def _key(values: Mapping[str, Any]) -> _Key:
    """What is equal for equal configurations only, numbers that look alike (1, 1.0, True) apart."""
    return tuple(sorted((name, repr(value)) for name, value in values.items()))
