"""Ax: Gaussian processes of Meta's Ax and BoTorch, through ``ax.Client``."""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from tunesmith.errors import SpecError
from tunesmith.hints import refuse_unknown
from tunesmith.optional import load
from tunesmith.search.adapting import Axis, axes_of, quiet, squarable, unheard
from tunesmith.search.ax_space import ordered_of, parameter_of, space_of
from tunesmith.search.base import Exhausted, SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.problem import INFEASIBLE, Observation

__all__ = ["AxSearch"]

_OPTIONS = (
    "method", "initialization_budget", "min_observed_initialization_trials", "initialize_with_center", "torch_device",
    "simplify_parameter_changes",
)  # fmt: skip
_MODEL_ASKS = 3
"""So many suggestions that break a constraint are taken from the model, before one is drawn at random: each takes seconds."""

_LISTED = 10_000
"""Whole numbers of so many values at most are such in Ax, too, which lists all of them; with more they are real numbers, rounded."""

_WORKING = threading.Lock()


class AxSearch(ForeignSearcher):
    """Bayesian optimisation with Ax and BoTorch (package ``ax-platform``, 1.3).

    For expensive trials with up to some tens of parameters; several metrics and bounds on others are modelled, too. It begins with the
    middle of the space and a Sobol design; then each configuration takes some seconds. Parameters of options that are not taken are in
    the middle of their ranges for the model. Trials that failed are abandoned in Ax, which looks elsewhere; nothing stays open.

    Needs ``pip install "tunesmith[ax]"``.

    Args:
        space: None: the domains of the config. Else: a list of Ax's ``RangeParameterConfig`` and ``ChoiceParameterConfig``, or of dicts
            as the old AxClient took them; or a dict of domains.
        metric: name of the metric to optimise, or several; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first, in this order; what is missing in one is drawn at random.
        parameter_constraints: linear inequalities between parameters, as in ["x1 + 2*x2 <= 3"]; none with a logarithm. For all others
            write ``require`` into the config.
        outcome_constraints: bounds on what trials report, as in ["latency <= 20"].
        ax_client: an ``ax.Client`` of your own with its experiment and optimization configured. It proposes, and has all trials
            afterwards; its metrics are read from the trials' results. An experiment that is resumed needs one without trials, and may go
            on differently than it would have.
        evaluated_rewards: what the first of ``points_to_evaluate`` are known to have; these are not run again.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.
        seed: of this searcher; None: the experiment's.
        **ax_kwargs: options of ``Client.configure_generation_strategy``: ``method`` ("fast", "quality" or "random_search"),
            ``initialization_budget`` (trials before there is a model, start points included: 5), ``min_observed_initialization_trials``
            (half of these), ``initialize_with_center`` (true), ``torch_device``, ``simplify_parameter_changes``.

    Raises:
        SpecError: the package is missing, an argument is wrong, or Ax refuses it.
        SpaceError: ``space`` has a parameter that cannot be.

    Example::

        tuner = Tuner(train, param_space={"lr": loguniform(1e-5, 1e-1), "layers": randint(1, 6)},
                      tune_config=TuneConfig(search_alg=AxSearch(metric="loss", mode="min"), num_samples=30))
    """

    package = "ax"
    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, multi_objective=True, batch=True)

    def __init__(
        self,
        space: Sequence[Any] | Mapping[str, Any] | None = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        parameter_constraints: Sequence[str] | None = None,
        outcome_constraints: Sequence[str] | None = None,
        ax_client: Any = None,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        max_concurrent: int | None = None,
        seed: int | None = None,
        **ax_kwargs: Any,
    ) -> None:
        refuse_unknown("AxSearch", ax_kwargs, _OPTIONS)
        self.parameter_constraints = _texts("parameter_constraints", parameter_constraints)
        self.ax_client = ax_client
        self.ax_kwargs = ax_kwargs
        self._ordered: dict[str, bool] = {}
        self._indices: dict[int, int] = {}
        if ax_client is not None:
            if space is not None or parameter_constraints or outcome_constraints or ax_kwargs:
                raise SpecError("AxSearch: ax_client has a space, constraints and options of its own; configure all of them there.")
            space, outcome_constraints = space_of(ax_client), [f"{name} >= 0" for name in _other_metrics(ax_client)]
        elif isinstance(space, list | tuple):
            self._ordered = {name: bool(ordered) for name, ordered in map(ordered_of, space) if ordered is not None}
            space = dict(map(parameter_of, space))
        with unheard("ax.storage.sqa_store.with_db_settings_base"):  # one line, at the first import
            super().__init__(
                space, metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
                outcome_constraints=outcome_constraints or (), max_concurrent=max_concurrent, seed=seed,
            )  # fmt: skip

    # ---- what the base asks for

    def begin(self) -> None:
        """See the base."""
        axes = axes_of(self.problem.space)
        self._axes = {f"p{number}": axis for number, axis in enumerate(axes)}
        self._observed = 0
        if self.ax_client is not None:
            self._client = self.ax_client
            self._check_metrics()
            return
        self._client = self._configured() if axes else None
        self._first = self._configured() if axes else None
        self._design: list[Mapping[str, Any]] = []
        if self._first is not None:
            with quiet("ax"):
                self._first.configure_generation_strategy(
                    method="random_search", initialization_random_seed=self.seed_for(-1),
                    initialize_with_center=self.ax_kwargs.get("initialize_with_center", True),
                )  # fmt: skip

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """See the base."""
        seed = self.seed_for(trial, attempt)
        if self.ax_client is not None:
            return self._asked_client(seed)
        found: Mapping[str, Any] | None = None
        if self._axes and attempt < _MODEL_ASKS:
            budget = self.ax_kwargs.get("initialization_budget", 5)
            least = self.ax_kwargs.get("min_observed_initialization_trials", max(1, budget // 2))
            if trial >= budget and self._observed >= least and self.ax_kwargs.get("method") != "random_search":
                found = self._of_model(seed)
            elif attempt == 0:
                found = self._of_design(trial)
        if found is None:
            return Guess(self.problem.space.draw(random.Random(seed)))
        return Guess({axis.name: axis.value(found[name]) for name, axis in self._axes.items()})

    def refuse(self, token: Any) -> None:
        """See the base."""
        if token is not None:
            with quiet("ax"):
                self._client.mark_trial_abandoned(token)

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """See the base."""
        if self._client is None:
            return None
        with quiet("ax"):
            if self.ax_client is None:
                return self._client.attach_trial({name: _place(axis, point) for name, axis in self._axes.items()})
            if trial not in self._indices:  # else a state was restored, and the client has it
                self._indices[trial] = self._client.attach_trial(self.problem.space.resolve(point)) if token is None else token
        return self._indices[trial]

    def tell(self, handle: Any, observation: Observation) -> None:
        """See the base."""
        if handle is None or self._client._experiment.trials[handle].status.is_terminal:
            return
        possible = observation.losses is not None and all(map(math.isfinite, observation.excess))
        with quiet("ax"):
            if possible:
                self._client.complete_trial(handle, self._data(observation))
                self._observed += 1
            elif observation.outcome in INFEASIBLE or observation.losses is not None:
                self._client.mark_trial_abandoned(handle)
            else:  # it says nothing about this configuration, which may be tried again
                self._client.mark_trial_failed(handle)

    # ---- a client of our own

    def _configured(self) -> Any:
        """A client with the space, the metrics and the constraints. All names are ours: Ax does arithmetic with theirs."""
        client = self.library.Client()
        objectives = ", ".join(f"-m{number}" for number in range(len(self.problem.metrics)))
        limits = [f"c{number} <= 0" for number in range(len(self.problem.bounds))]
        with _refusals(), quiet("ax"):
            client.configure_experiment([self._converted(*item) for item in self._axes.items()], self._inequalities())
            client.configure_optimization(objectives, limits or None)
        return client

    def _converted(self, name: str, axis: Axis) -> Any:
        if axis.kind == "option":
            ordered = self._ordered.get(axis.name, axis.ordered)
            configs = load("AxSearch", "ax.api.configs", "ax")
            return configs.ChoiceParameterConfig(name, list(range(int(axis.upper) + 1)), "int", is_ordered=ordered)
        scaling, kind = "log" if axis.log else "linear", "int" if _listed(axis) else "float"
        ends = (axis.lower, axis.upper) if _listed(axis) else (float(axis.lower), float(axis.upper))
        return load("AxSearch", "ax.api.configs", "ax").RangeParameterConfig(name, ends, kind, scaling=scaling)

    def _inequalities(self) -> list[str] | None:
        """The user's, with names and units of the library's parameters."""
        numbers = {name: axis for name, axis in self._axes.items() if axis.kind != "option"}
        ours = {axis.name: name if axis.step == 1 else f"{axis.step!r}*{name}" for name, axis in numbers.items()}
        names = "|".join(re.escape(name) for name in sorted(ours, key=len, reverse=True))
        found = []
        for text in self.parameter_constraints:
            replaced = re.sub(rf"(?<![\w/])({names})(?![\w/])", lambda match: ours[match[1]], text) if names else text
            unknown = set(re.findall(r"[A-Za-z_][\w/]*", re.sub(r"\d+(\.\d*)?[eE][+-]?\d+", "0", replaced))) - set(self._axes)
            if unknown:
                raise SpecError(
                    f"AxSearch: parameter_constraints: {text!r} has {', '.join(sorted(unknown))}, which is no numerical parameter. "
                    f"There are: {', '.join(sorted(ours)) or 'none'}."
                )
            found.append(replaced)
        return found or None

    def _of_design(self, trial: int) -> Mapping[str, Any] | None:
        """None: the space has not much more than so many configurations, and Ax would look very long for those that are left."""
        assert self._first is not None
        room = math.prod(math.inf if axis.kind == "float" else axis.upper - axis.lower + 1 for axis in self._axes.values())
        if trial >= room / 2:
            return None
        with quiet("ax"):
            while len(self._design) <= trial:
                self._design += self._first.get_next_trials(1).values()
        return self._design[trial]

    def _of_model(self, seed: int) -> Mapping[str, Any] | None:
        """What a fresh strategy proposes, without a trace in the client: so a resumed search goes on exactly.

        None: all was tried, or the model wants nothing else than what was.
        """
        exhausted = load("AxSearch", "ax.exceptions.core", "ax").SearchSpaceExhausted
        repeated = load("AxSearch", "ax.exceptions.generation_strategy", "ax").GenerationStrategyRepeatedPoints
        of_model = ("method", "torch_device", "simplify_parameter_changes")
        options = {name: value for name, value in self.ax_kwargs.items() if name in of_model}
        client = self._client
        with quiet("ax"), _alone(seed):
            client.configure_generation_strategy(initialization_budget=0, initialize_with_center=False, **options)
            strategy = client._generation_strategy_or_choose()
            for node in strategy.nodes_by_name.values():
                node.fallback_specs = {}  # else, after five repetitions: a Sobol sequence that goes on through all searches of the process
            try:
                ((run,),) = strategy.gen(experiment=client._experiment, n=1, num_trials=1)
            except (exhausted, repeated):
                return None
        found: Mapping[str, Any] = run.arms[0].parameters
        return found

    # ---- a client of the user's

    def _asked_client(self, seed: int) -> Guess | Exhausted | None:
        errors = load("AxSearch", "ax.exceptions.core", "ax")
        full = load("AxSearch", "ax.exceptions.generation_strategy", "ax").MaxParallelismReachedException
        with quiet("ax"), _alone(seed):
            try:
                found = self._client.get_next_trials(1)
            except errors.SearchSpaceExhausted as error:
                return Exhausted(f"AxSearch: {error}")
            except (full, errors.DataRequiredError):
                return None
        return next((Guess(self.problem.space.values_from(dict(each)), index) for index, each in found.items()), None)

    def _check_metrics(self) -> None:
        """It has to optimise what the experiment does."""
        objectives = set(self._client._experiment.optimization_config.objective.metric_names)
        if objectives != set(self.problem.metrics):
            raise SpecError(
                f"AxSearch: ax_client optimises {', '.join(sorted(objectives))}, the experiment {', '.join(self.problem.metrics)}; give "
                "metric and mode as in configure_optimization."
            )

    def _data(self, observation: Observation) -> dict[str, float]:
        problem, excess = self.problem, observation.excess
        assert observation.losses is not None
        if self.ax_client is None:
            data = {f"m{number}": squarable(loss) for number, loss in enumerate(observation.losses)}
            return data | {f"c{number}": squarable(value) for number, value in enumerate(excess)}
        data = {metric: squarable(loss) * sign for metric, loss, sign in zip(problem.metrics, observation.losses, problem.signs)}
        return data | {bound.metric: -squarable(value) for bound, value in zip(problem.bounds, excess)}


def _other_metrics(client: Any) -> list[str]:
    """What a client of the user's wants to know besides its objectives."""
    optimised = client._maybe_experiment.optimization_config
    return sorted(set(optimised.metric_names) - set(optimised.objective.metric_names))


def _listed(axis: Axis) -> bool:
    return axis.kind == "int" and axis.upper - axis.lower < _LISTED


def _place(axis: Axis, point: Mapping[str, Any]) -> float:
    if axis.kind == "option" or _listed(axis):
        return int(axis.place(point[axis.name])) if axis.name in point else int(axis.middle)
    place = float(axis.place(point[axis.name])) if axis.name in point else float(axis.middle)
    return min(max(place, float(axis.lower)), float(axis.upper))


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """Torch's generator and its number of threads are the process's, so one search works at a time.

    On one thread, as trials have the other cores: threads that wait for each other's turn took more than four times as long.
    """
    torch = load("AxSearch", "torch", "ax")
    with _WORKING:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with load("AxSearch", "ax.utils.common.random", "ax").with_rng_seed(seed):
                yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _refusals() -> Iterator[None]:
    """What Ax does not take is the user's to change."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        raise SpecError(f"AxSearch: Ax refuses the space or a constraint: {error}") from error


def _texts(what: str, given: Sequence[str] | None) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str) or not all(isinstance(text, str) for text in given):
        raise SpecError(f"AxSearch: {what} must be a list of texts, got {given!r}.")
    return list(given)
