"""BayesOpt: Gaussian processes of the package bayesian-optimization, 1.4 and 3."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpaceError, SpecError
from tunesmith.hints import refuse_unknown
from tunesmith.search.adapting import axes_of, quiet, squarable
from tunesmith.search.base import Exhausted, SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.problem import INFEASIBLE, Observation, losses_of
from tunesmith.space import uniform
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["BayesOptSearch"]

_log = logging.getLogger("tunesmith")

_Place = tuple[float, ...]
_UTILITY: Mapping[str, Any] = {"kind": "ucb", "kappa": 2.576, "xi": 0.0, "kappa_decay": 1.0, "kappa_decay_delay": 0}
_MODEL_ASKS = 5
"""So many suggestions that break a constraint are taken from the model, before one is drawn at random."""
_PATIENCE = 5
"""So often the library is asked for something new where there is no patience to lose."""


class BayesOptSearch(ForeignSearcher):
    """Bayesian optimisation with a Gaussian process and an upper confidence bound (package ``bayesian-optimization``).

    For a handful of numbers and some tens of trials. Logarithms, steps, whole numbers and normal distributions are laid out evenly for
    the model; a choice has no distances that it could use, so ``choice`` of more than one option is refused. Trials under way count as
    average until they end; those that failed, and may themselves be to blame, as the worst that was seen.

    Needs ``pip install "tunesmith[bayes_opt]"``.

    Args:
        space: None: the domains of the config. Else: name -> (lower, upper), or a dict of domains.
        metric: name of the metric to optimise; None: the experiment's.
        mode: "min" or "max"; None: the experiment's.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn at random.
        utility_kwargs: how the model's promise is weighed: ``kind`` "ucb", "ei" or "poi"; ``kappa`` >= 0 for "ucb" (2.576; more explores
            more), multiplied by ``kappa_decay`` (1.0) with each result after the first ``kappa_decay_delay`` (0); ``xi`` >= 0 for the
            other two (0.0).
        random_state: seed of this searcher; None: the experiment's.
        random_search_steps: so many results, >= 1, from random configurations before there is a model.
        verbose: 2: log a line for each result; 1: for each that is the best so far; 0: none.
        patience: end the search when the model insists on what was tried already more often than this in a row; None: try
            something random then.
        skip_duplicate: never try a configuration twice while there are others; false: the model may ask for it, ``patience`` times.
        analysis: an earlier experiment to learn from: anything with ``trials`` that have ``config`` and ``last_result``. Trials that lie
            outside of this space, or have no result, are left out.
        evaluated_rewards: what the first of ``points_to_evaluate`` are known to have; these are not run again.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.

    Raises:
        SpecError: the package is missing, an argument is wrong, or (when bound) the space has a choice.

    Example::

        tuner = Tuner(train, param_space={"lr": loguniform(1e-5, 1e-1), "momentum": uniform(0, 1)},
                      tune_config=TuneConfig(search_alg=BayesOptSearch(metric="loss", mode="min"), num_samples=40))
    """

    package = "bayes_opt"
    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(batch=True)

    def __init__(
        self,
        space: Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        utility_kwargs: Mapping[str, Any] | None = None,
        random_state: int | None = None,
        random_search_steps: int = 10,
        verbose: int = 0,
        patience: int | None = 5,
        skip_duplicate: bool = True,
        analysis: Any = None,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        super().__init__(
            _domains(space), metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            max_concurrent=max_concurrent, seed=random_state,
        )  # fmt: skip
        refuse_unknown("BayesOptSearch: utility_kwargs", dict(utility_kwargs or {}), list(_UTILITY))
        self.utility = {**_UTILITY, **(utility_kwargs or {})}
        if self.utility["kind"] not in ("ucb", "ei", "poi"):
            raise SpecError(f'BayesOptSearch: utility_kwargs["kind"] must be "ucb", "ei" or "poi", got {self.utility["kind"]!r}.')
        for name in ("kappa", "xi", "kappa_decay", "kappa_decay_delay"):
            if not isinstance(self.utility[name], int | float) or not self.utility[name] >= 0:
                raise SpecError(f'BayesOptSearch: utility_kwargs["{name}"] must be a number >= 0, got {self.utility[name]!r}.')
        self.random_search_steps = _whole("random_search_steps", random_search_steps, least=1)
        self.verbose = _whole("verbose", verbose, least=0)
        self.patience = None if patience is None else _whole("patience", patience, least=0)
        self.skip_duplicate = skip_duplicate
        self.analysis = analysis
        if analysis is not None and not hasattr(analysis, "trials"):
            raise SpecError(f"BayesOptSearch: analysis must have trials, as an ExperimentAnalysis has, got {type(analysis).__name__}.")

    # ---- what the base asks for

    def begin(self) -> None:
        """See the base."""
        self._axes = axes_of(self.problem.space)
        for axis in self._axes:
            if axis.kind == "option":
                raise SpecError(
                    f"BayesOptSearch: {axis.name} is a choice, and this searcher knows numbers only. Use TPESearch, GPSearch, AxSearch or "
                    "SMACSearch; or write the options as numbers: randint, quniform, loguniform."
                )
        self._losses_at: dict[_Place, list[float]] = {}
        self._bad: set[_Place] = set()
        self._pending: dict[int, _Place] = {}
        self._refused: list[_Place] = []
        self._results = 0
        for number, (point, losses) in enumerate(self._earlier(), start=1):
            self.tell(self.enter(-number, point, None), Observation(-number, point, losses))

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """See the base."""
        seed = self.seed_for(trial, attempt)
        if self._results < self.random_search_steps or not self._axes or attempt >= _MODEL_ASKS:
            return Guess(self.problem.space.draw(random.Random(seed)))
        tried = {place: self._count(place) for place in (*self._losses_at, *self._bad, *self._pending.values())}
        allowed = 0 if self.skip_duplicate else _PATIENCE if self.patience is None else self.patience
        insisted: list[_Place] = []
        for _ in range(1 + (_PATIENCE if self.patience is None else self.patience)):
            values = self._suggestion(seed, [*self._refused, *insisted])
            place = self._place(values)
            if tried.get(place, 0) <= allowed:
                return Guess(values, place)
            insisted.append(place)
        if self.patience is None:
            return Guess(self.problem.space.draw(random.Random(seed)))
        return Exhausted(
            f"BayesOptSearch: the model proposed what was tried already {len(insisted)} times in a row (patience={self.patience}); for it "
            "there is nothing better to find. patience=None goes on at random"
        )

    def refuse(self, token: Any) -> None:
        """See the base."""
        if token is not None:
            self._refused.append(token)

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """See the base."""
        self._refused = []
        self._pending[trial] = self._place(point)
        return trial

    def tell(self, handle: Any, observation: Observation) -> None:
        """See the base."""
        place = self._pending.pop(handle)
        if observation.losses is not None:
            best = min(map(min, self._losses_at.values()), default=float("inf"))
            self._losses_at.setdefault(place, []).append(squarable(observation.loss))
            self._results += 1
            better = observation.loss < best
            if self.verbose > 1 or (self.verbose and better):
                told = observation.loss * self.problem.signs[0]
                _log.info("BayesOptSearch: trial %d: %g%s", observation.trial, told, ", the best so far" if better else "")
        elif observation.outcome in INFEASIBLE:
            self._bad.add(place)

    # ---- the model

    def _suggestion(self, seed: int, avoid: Sequence[_Place]) -> dict[str, Any]:
        """What a model of all that is known proposes; a fresh one each time, so that a resumed search goes on exactly."""
        targets = {place: -sum(losses) / len(losses) for place, losses in self._losses_at.items()}
        worst, average = min(targets.values()), sum(targets.values()) / len(targets)
        for place in self._pending.values():
            targets.setdefault(place, average)
        for place in (*self._bad, *avoid):
            targets[place] = worst
        names = [f"x{number:04}" for number in range(len(self._axes))]
        with quiet():
            optimizer, arguments = self._optimizer(dict.fromkeys(names, (0.0, 1.0)), seed)
            for place in sorted(targets):
                optimizer.register(params=dict(zip(names, place)), target=targets[place])
            found = optimizer.suggest(*arguments)
        return {axis.name: from_unit(axis.leaf.domain, float(found[name])) for name, axis in zip(names, self._axes)}

    def _optimizer(self, bounds: dict[str, tuple[float, float]], seed: int) -> tuple[Any, tuple[Any, ...]]:
        """The library's, and what its ``suggest`` takes: the utility up to version 1, nothing since."""
        library, utility = self.library, self.utility
        kappa = utility["kappa"] * utility["kappa_decay"] ** max(0, self._results - utility["kappa_decay_delay"])
        options = {"f": None, "pbounds": bounds, "random_state": seed, "verbose": 0}
        if hasattr(library, "UtilityFunction"):
            return library.BayesianOptimization(**options), (library.UtilityFunction(utility["kind"], kappa=kappa, xi=utility["xi"]),)
        kinds = library.acquisition
        if utility["kind"] == "ucb":
            acquisition = kinds.UpperConfidenceBound(kappa=kappa)
        else:
            acquisition = (kinds.ExpectedImprovement if utility["kind"] == "ei" else kinds.ProbabilityOfImprovement)(xi=utility["xi"])
        return library.BayesianOptimization(acquisition_function=acquisition, **options), ()

    def _place(self, values: Mapping[str, Any]) -> _Place:
        return tuple(to_unit(axis.leaf.domain, values[axis.name]) for axis in self._axes)

    def _count(self, place: _Place) -> int:
        return len(self._losses_at.get(place, ())) + (place in self._bad) + list(self._pending.values()).count(place)

    def _earlier(self) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
        """Points and losses of the earlier experiment that can be used here."""
        problem, found = self.problem, []
        for trial in () if self.analysis is None else self.analysis.trials:
            losses = losses_of(trial.last_result, problem.metrics, problem.signs)
            try:
                values = problem.space.values_from(trial.config, strict=False)
            except SpaceError:
                continue
            if losses is not None and all(axis.name in values for axis in self._axes):
                found.append((values, losses))
        return found


def _domains(space: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Pairs of bounds as domains; what is none is left as it is."""
    if space is None:
        return None
    if not isinstance(space, Mapping):
        raise SpecError(f"BayesOptSearch: space must be a dict of name -> (lower, upper), got {space!r}.")
    found = {}
    for name, bounds in space.items():
        pair = isinstance(bounds, tuple | list) and len(bounds) == 2 and all(isinstance(end, int | float) for end in bounds)
        found[name] = uniform(*bounds) if pair else bounds
    return found


def _whole(what: str, given: Any, *, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < least:
        raise SpecError(f"BayesOptSearch: {what} must be a whole number >= {least}, got {given!r}.")
    return given
