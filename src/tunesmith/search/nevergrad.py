"""Nevergrad's optimizers as a searcher. Needs the package ``nevergrad``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Exhausted, SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.foreign_parts import nested_entries
from tunesmith.search.nevergrad_space import Converter, NativeConverter
from tunesmith.search.problem import Observation

__all__ = ["NevergradSearch"]

_BUDGET = 100
_WORKERS = 2


class NevergradSearch(ForeignSearcher):
    """Searches with an optimizer of Nevergrad's: evolution strategies, differential evolution, particle swarms and many more.

    Conditional spaces (a ``choice`` of dicts) become ``ng.p.Choice`` of dicts. A configuration whose failure may be its own doing counts as
    the worst result so far; other failures, and what never reported, are nothing to the optimizer.

    Args:
        optimizer: a class or a configured family of ``ng.optimizers``, the name of one, or an optimizer object, whose parametrization is
            the space then; None: NGOpt, which picks one by space, budget and workers.
        optimizer_kwargs: for making it. ``budget`` is the experiment's number of trials if that is known, else 100; ``num_workers`` the
            number of trials at a time, at least 2 (1 for optimizers that work one after the other only).
        space: instead of domains in the config: a parametrization of ``ng.p``, a dict of such, or a dict of our domains. With an optimizer
            object: names for the elements of an array or for positional arguments.
        metric: name of the metric to optimise, or several; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first; what is missing in one is drawn at random.
        evaluated_rewards: values of the metric that the first of these points are known to have; these are not run.
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.
        seed: None: the experiment's.

    Raises:
        SpecError: nevergrad is not installed, there is no such optimizer, or it cannot work on the space.

    Example:
        >>> from tunesmith.space import Space, loguniform
        >>> searcher = NevergradSearch("OnePlusOne", metric="loss", mode="min")
        >>> searcher.bind(Space.parse({"lr": loguniform(1e-4, 1)}), seed=1)
        >>> 1e-4 <= searcher.propose(0, "a").values["lr"] <= 1
        True
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, multi_objective=True, batch=True)
    package = "nevergrad"
    asks_again = True

    def __init__(
        self,
        optimizer: Any = None,
        optimizer_kwargs: Mapping[str, Any] | None = None,
        space: Any = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        *,
        evaluated_rewards: Sequence[Any] | None = None,
        max_concurrent: int | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            space, metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            max_concurrent=max_concurrent, seed=seed,
        )  # fmt: skip
        self.optimizer = "NGOpt" if optimizer is None else optimizer
        self.optimizer_kwargs = dict(optimizer_kwargs or {})
        self._names: list[str] = []
        self._check()

    def _check(self) -> None:
        ng, optimizer, space = self.library, self.optimizer, self._given
        if isinstance(optimizer, str) and optimizer not in ng.optimizers.registry:
            raise SpecError(f"NevergradSearch: nevergrad has no optimizer {optimizer!r}; sorted(ng.optimizers.registry) has all names.")
        if not isinstance(optimizer, str | ng.optimizers.base.Optimizer) and not callable(optimizer):
            raise SpecError(f"NevergradSearch: optimizer must be a class, a name or an optimizer of nevergrad's, got {optimizer!r}.")
        if isinstance(optimizer, ng.optimizers.base.Optimizer):
            if self.optimizer_kwargs:
                raise SpecError("NevergradSearch: optimizer_kwargs are for making an optimizer, but an optimizer object was given.")
            names = [] if space is None else space
            if self._own is not None or not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
                raise SpecError("NevergradSearch: an optimizer object has its own space; space may only give names, as a list.")
            self._names, self._given = list(names), optimizer.parametrization
        elif isinstance(space, Mapping):
            self._given = ng.p.Dict(**space)
        elif space is not None and not isinstance(space, ng.p.Parameter):
            raise SpecError(
                "NevergradSearch: space must be a parametrization of ng.p, a dict of these or a dict of domains; a list of names only "
                f"beside an optimizer object. Got {type(space).__name__} {space!r}."
            )

    # ---- beginning

    def begin(self) -> None:
        """See the base."""
        ng = self.library
        _let_meta_models_work(ng)
        self._worst: list[float] = []
        if isinstance(self.optimizer, ng.optimizers.base.Optimizer):
            self._optimizer = copy.deepcopy(self.optimizer)
            self._converter: Any = NativeConverter(ng.p, self._optimizer.parametrization, self._names)
        else:
            self._converter = self._made_converter(ng.p)
            self._optimizer = self._made(ng)
        if self.native is not None:
            self._converter.config(self._optimizer.parametrization.value)  # says what has no name
        # one generator is shared by everything that is made of the parametrization from here on
        self._random = self.library.optimizers.base.np.random.RandomState(self.seed_for(-1))
        self._optimizer.parametrization.random_state = self._random

    def _made_converter(self, p: Any) -> Converter | NativeConverter:
        if self.native is None:
            return Converter(p, self.problem.space)
        return NativeConverter(p, self.native.copy())

    def _made(self, ng: Any) -> Any:
        make = ng.optimizers.registry[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer
        workers = 1 if getattr(make, "no_parallelization", False) else max(self.problem.concurrency or 0, _WORKERS)
        given = {"budget": self.problem.budget or _BUDGET, "num_workers": workers, **self.optimizer_kwargs}
        try:
            return make(parametrization=self._converter.parametrization, **given)
        except (TypeError, ValueError, NotImplementedError) as error:
            name = self.optimizer if isinstance(self.optimizer, str) else getattr(make, "__name__", repr(make))
            raise SpecError(f"NevergradSearch: {name} cannot be made for this space with {given}: {error}") from error

    # ---- proposing

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """See the base."""
        self._random.seed(self.seed_for(trial, attempt))
        try:
            candidate = self._optimizer.ask()
        except self.library.errors.NevergradEarlyStopping as error:
            return Exhausted(f"NevergradSearch: {self._optimizer.name} has nothing more to propose ({error})")
        if self.native is None:
            return Guess(self._converter.values(candidate.value), candidate)
        return Guess(self._converter.config(candidate.value), candidate)

    def native_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        """See the base."""
        self._random.seed(self.seed_for(trial))
        parametrization = self._optimizer.parametrization
        value = self._converter.value(nested_entries(point), start=parametrization.sample().value)
        candidate = self._candidate(value)
        return Guess(self._converter.config(candidate.value), candidate)

    def _candidate(self, value: Any) -> Any:
        try:
            return self._optimizer.parametrization.spawn_child(new_value=value)
        except Exception as error:  # whatever its parameters raise for values that are not theirs
            raise SpaceError(f"NevergradSearch: {value!r} is not in the parametrization ({error}).") from None

    # ---- learning

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """See the base."""
        if token is not None:
            return token
        self._random.seed(self.seed_for(trial))
        return self._candidate(self._converter.value(point))

    def tell(self, handle: Any, observation: Observation) -> None:
        """See the base."""
        if observation.losses is not None:
            losses = list(observation.losses)
            self._worst = [max(pair) for pair in zip(self._worst, losses)] if self._worst else losses
        elif observation.feasible or not self._worst:
            return
        else:
            losses = self._worst
        try:
            self._optimizer.tell(handle, losses if len(losses) > 1 else losses[0])
        except self.library.errors.TellNotAskedNotSupportedError:
            pass  # such an optimizer goes on without what it has not proposed itself


def _let_meta_models_work(ng: Any) -> None:
    """Meta-models, one of which NGOpt takes for most continuous spaces, make a float of an array with one element; numpy 2.4 refuses that.

    The exception would leave a thread waiting for ever, so that the process could not end. One name in one module of Nevergrad's is
    given a function that does what was meant, with any numpy.
    """
    ng.optimization.metamodel.float = _as_float


def _as_float(value: Any) -> float:
    return float(value.item() if hasattr(value, "item") else value)
