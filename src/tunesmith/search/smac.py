"""SMAC: random forests or Gaussian processes of the package SMAC3, on spaces with options."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.optional import load
from tunesmith.search.adapting import Axis, axes_of, quiet, squarable
from tunesmith.search.base import Exhausted, SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.problem import INFEASIBLE, Observation
from tunesmith.space.unit import from_unit, to_unit

__all__ = ["SMACSearch"]

_FACADES: Mapping[str, tuple[str, int]] = {
    "hyperparameter_optimization": ("HyperparameterOptimizationFacade", 10),
    "blackbox": ("BlackBoxFacade", 8),
}
"""Name -> the library's class, and how many configurations for each parameter it begins with."""
_BUDGET = 100
"""Trials that are reckoned with if nothing is known; a quarter of them is spent at most before there is a model."""
_MODEL_ASKS = 5
"""So many suggestions that break a constraint are taken from the model, before one is drawn at random."""
_INTEGERS = 2**31
"""Whole numbers of so many values or more are real numbers that are rounded: the library counts with 64 bits."""
_LARGE = 1e5
"""The library adds 1e-10 to costs before it takes logarithms, which is lost beside larger ones."""
_SEED = 0
"""Of each configuration's evaluation, in the library's bookkeeping: it has one only."""


class SMACSearch(ForeignSearcher):
    """Bayesian optimisation with a random forest, or with a Gaussian process (package ``smac``, 2.4).

    Good at spaces with many choices and with parameters that exist for some options only. It begins with a Sobol design; afterwards each
    configuration comes from a model of all results so far. Trials that failed, and may themselves be to blame, and configurations that
    break a constraint count as the worst that was seen. It takes a second or so for each configuration.

    The library works in a temporary directory, which is removed; it writes nothing elsewhere.

    Needs ``pip install "tunesmith[smac]"``.

    Args:
        metric: name of the metric to optimise, or several: their mean, each scaled to what was seen of it; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn at random.
        seed: of this searcher; None: the experiment's.
        facade: "hyperparameter_optimization": a random forest; "blackbox": a Gaussian process, for few parameters, most of them numbers.
        n_initial: trials before there is a model, start points included, >= 1; None: 10 for each parameter ("blackbox": 8), but at most
            a quarter of the trials that are planned.
        evaluated_rewards: what the first of ``points_to_evaluate`` are known to have; these are not run again.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.

    Raises:
        SpecError: the package is missing, or an argument is wrong.

    Example::

        optimizer = choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam", "eps": loguniform(1e-9, 1e-5)}])
        tuner = Tuner(train, param_space={"lr": loguniform(1e-5, 1e-1), "optimizer": optimizer},
                      tune_config=TuneConfig(search_alg=SMACSearch(metric="loss", mode="min"), num_samples=60))
    """

    package = "smac"
    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, multi_objective=True, batch=True)

    def __init__(
        self,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        seed: int | None = None,
        facade: str = "hyperparameter_optimization",
        n_initial: int | None = None,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        max_concurrent: int | None = None,
    ) -> None:
        super().__init__(
            None, metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards, max_concurrent=max_concurrent,
            seed=seed,
        )  # fmt: skip
        if facade not in _FACADES:
            raise SpecError(f"SMACSearch: facade must be one of {', '.join(map(repr, _FACADES))}, got {facade!r}.")
        if n_initial is not None and (isinstance(n_initial, bool) or not isinstance(n_initial, int) or n_initial < 1):
            raise SpecError(f"SMACSearch: n_initial must be a whole number >= 1 or None, got {n_initial!r}.")
        self.facade = facade
        self.n_initial = n_initial

    # ---- what the base asks for

    def begin(self) -> None:
        """See the base."""
        self._spaces_of = load("SMACSearch", "ConfigSpace", "smac")
        self._class, per_parameter = getattr(self.library, _FACADES[self.facade][0]), _FACADES[self.facade][1]
        self._axes = {f"p{number:04}": axis for number, axis in enumerate(axes_of(self.problem.space))}
        self._names = {axis.name: name for name, axis in self._axes.items()}
        self._space = self._converted()
        planned = min(per_parameter * len(self._axes), (self.problem.budget or _BUDGET) // 4)
        self._count = max(1, planned) if self.n_initial is None else self.n_initial
        self._design: list[Any] | None = None
        self._pending: dict[int, Any] = {}
        self._losses_of: dict[Any, list[tuple[float, ...]]] = {}
        self._bad: list[Any] = []
        self._refused: list[Any] = []

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """See the base."""
        seed = self.seed_for(trial, attempt) >> 1  # the library wants 31 bits
        found = None
        if self._axes and trial < self._count and attempt == 0:
            found = self._of_design(trial)
        elif self._axes and trial >= self._count and self._losses_of and attempt < _MODEL_ASKS:
            found = self._of_model(seed)
        if found is None:
            return Guess(self.problem.space.draw(random.Random(seed)))
        return Guess({axis.name: _value(axis, found[name]) for name, axis in self._axes.items() if name in found}, found)

    def refuse(self, token: Any) -> None:
        """See the base."""
        if token is not None:
            self._refused.append(token)

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """See the base."""
        self._refused = []
        self._pending[trial] = self._configuration(point) if self._axes else None
        return trial

    def tell(self, handle: Any, observation: Observation) -> None:
        """See the base."""
        configuration = self._pending.pop(handle)
        if configuration is None:
            return
        if observation.losses is not None:
            self._losses_of.setdefault(configuration, []).append(tuple(map(squarable, observation.losses)))
        elif observation.outcome in INFEASIBLE:
            self._bad.append(configuration)

    # ---- the library

    def _converted(self) -> Any:
        """The library's space. Its parameters have names without meaning, as it gives some characters one.

        Floats are told in units of their range: the library rounds bounds to 13 digits after the point.
        """
        library, converted = self._spaces_of, []
        for name, axis in self._axes.items():
            if axis.kind == "option":
                options = range(int(axis.upper) + 1)
                kind = library.OrdinalHyperparameter(name, options) if axis.ordered else library.CategoricalHyperparameter(name, options)
            elif not _real(axis):
                kind = library.UniformIntegerHyperparameter(name, int(axis.lower), int(axis.upper), log=axis.log)
            else:
                kind = library.UniformFloatHyperparameter(name, 0.0, 1.0)
            converted.append(kind)
        space = library.ConfigurationSpace(seed=0)
        space.add(*converted)
        by_name = {kind.name: kind for kind in converted}
        for name, axis in self._axes.items():
            if axis.under is not None:
                choice, option = axis.under
                space.add(library.EqualsCondition(by_name[name], by_name[self._names[choice]], option))
        return space

    def _configuration(self, point: Mapping[str, Any]) -> Any:
        places = {name: _place(axis, point[axis.name]) for name, axis in self._axes.items() if axis.name in point}
        return self._spaces_of.Configuration(self._space, values=places)

    def _of_design(self, trial: int) -> Any:
        """A configuration of the Sobol design; None: it has fewer, as the space is small."""
        if self._design is None:
            with quiet("smac"), tempfile.TemporaryDirectory(prefix="tunesmith-smac-") as directory:
                scenario = self._scenario(directory, self.seed_for(-1) >> 1)
                self._design = self._class.get_initial_design(scenario, n_configs=self._count, max_ratio=1.0).select_configurations()
        return self._design[trial] if 0 <= trial < len(self._design) else None

    def _of_model(self, seed: int) -> Any:
        """What a model of all that is known proposes; a fresh one each time, so that a resumed search goes on exactly.

        None: there is nothing that was not tried.
        """
        library, told = self.library, self._told_costs()
        with ExitStack() as stack:
            stack.enter_context(quiet("smac"))
            # the forest's threads wait for each other longer than they work
            stack.enter_context(load("SMACSearch", "joblib", "smac").parallel_config("sequential"))
            scenario = self._scenario(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunesmith-smac-")), seed)
            kind = self._class
            smac = kind(
                scenario, None, logging_level=False, overwrite=True, config_selector=kind.get_config_selector(scenario, retrain_after=1),
                model=self._model(scenario, len(told) + len(self._pending)), acquisition_maximizer=self._maximizer(scenario),
                # none but what is told anyway: an empty design is refused
                initial_design=kind.get_initial_design(scenario, n_configs=0, additional_configs=[next(iter(told))]),
            )  # fmt: skip
            info, value, status = library.runhistory.TrialInfo, library.runhistory.TrialValue, library.runhistory.StatusType
            for configuration, costs in told.items():
                cost = list(costs) if len(costs) > 1 else costs[0]
                smac.tell(info(configuration, seed=_SEED), value(cost=cost, status=status.SUCCESS), save=False)
            for configuration in self._pending.values():
                if configuration not in told:
                    smac.runhistory.add_running_trial(info(configuration, seed=_SEED))
            try:
                return next(smac.intensifier.config_generator)
            except library.main.exceptions.ConfigurationSpaceExhaustedException:
                return None

    def _model(self, scenario: Any, trials: int) -> Any:
        """The library's, whose trees make room for a million leaves each: here for as many as trials, which they cannot exceed."""
        model = self._class.get_model(scenario)
        getattr(model, "_rf_opts", {}).update(max_leaf_nodes=max(trials, 2))  # private: another release, and "blackbox", do without it
        return model

    def _maximizer(self, scenario: Any) -> Any:
        """The library's, whose local search takes its starts out of a set, in another order in each process: here they are sorted."""
        maximizer = self._class.get_acquisition_maximizer(scenario)
        local_search = getattr(maximizer, "_local_search", None)
        starts = getattr(local_search, "_get_initial_points", None)
        if local_search is not None and starts is not None:  # private: another release may do without them
            local_search._get_initial_points = lambda *given: sorted(starts(*given), key=lambda each: each.get_array().tobytes())
        return maximizer

    def _told_costs(self) -> dict[Any, tuple[float, ...]]:
        told = {each: tuple(sum(column) / len(losses) for column in zip(*losses)) for each, losses in self._losses_of.items()}
        told = dict(zip(told, zip(*map(_scaled, zip(*told.values())))))
        worst = tuple(map(max, zip(*told.values())))
        return told | dict.fromkeys((*self._bad, *self._refused), worst)

    def _scenario(self, directory: str, seed: int) -> Any:
        names = [f"loss{number}" for number in range(len(self.problem.metrics))]
        return self.library.Scenario(
            self._space, name="search", output_directory=Path(directory), deterministic=True, n_trials=1_000_000,
            objectives=names if len(names) > 1 else names[0], seed=seed,
        )  # fmt: skip


def _real(axis: Axis) -> bool:
    """Whether it is a real number in the library, in units of its range."""
    return axis.kind == "float" or (axis.kind == "int" and axis.upper - axis.lower >= _INTEGERS)


def _place(axis: Axis, value: Any) -> float:
    return to_unit(axis.leaf.domain, value) if _real(axis) else int(axis.place(value))


def _value(axis: Axis, place: Any) -> Any:
    return from_unit(axis.leaf.domain, place) if _real(axis) else axis.value(place)


def _scaled(costs: tuple[float, ...]) -> tuple[float, ...]:
    """As they are, or from 0 to 1 where they are large."""
    low, high = min(costs), max(costs)
    if max(-low, high) <= _LARGE:
        return costs
    return tuple((cost - low) / (high - low) if high > low else 0.0 for cost in costs)
