"""Optuna's samplers as a searcher. Needs the package ``optuna``."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from tunesmith.errors import SpaceError, SpecError
from tunesmith.search.base import Exhausted, SearcherCapabilities
from tunesmith.search.foreign import ForeignSearcher, Guess
from tunesmith.search.foreign_parts import flat_entries, nested_entries
from tunesmith.search.optuna_space import Converter
from tunesmith.search.problem import Observation
from tunesmith.space.nodes import SCALARS

__all__ = ["OptunaSearch"]

_OURS = "tunesmith"
"""Under this user attribute a trial of the study has the search's seed and its number here."""
_ANNOUNCING = ("optuna.study.study", "optuna.storages._in_memory", "optuna.storages._rdb.storage")


class OptunaSearch(ForeignSearcher):
    """Searches with a sampler of Optuna's; by default with the one that Optuna itself takes (TPE).

    Conditional spaces are asked for as a define-by-run function would. Trials are never pruned by Optuna: that is the scheduler's work. In
    the study a trial is COMPLETE with the last values that it reported, PRUNED if it never reported any, and FAIL if it failed or they were
    no finite numbers.

    A sampler of your own is seeded anew for every trial, where it keeps its generators as Optuna's do, so that a resumed experiment goes on
    as it would have: what counts is ``seed`` here, or the run's, and not the seed that the sampler was made with. With
    ``storage`` the study outlives the experiment: a study of that name is gone on with, its trials count.

    Args:
        space: instead of domains in the config: a dict of Optuna's distributions; or a function that is given an Optuna trial, calls its
            ``suggest_...`` methods, and returns None or a dict of constants for the config; or a dict of our domains.
        metric: name of the metric to optimise, or several; None: the experiment's.
        mode: "min" or "max", one for each metric; None: the experiment's.
        points_to_evaluate: configurations to try first. What is missing in one is drawn at random; for a space of Optuna's by the sampler.
        sampler: an ``optuna.samplers`` object; None: TPE.
        study_name: name of the study; None: one that Optuna makes up.
        storage: where it is: an ``optuna.storages`` object or a URL; None: in memory.
        seed: of the sampler; None: the experiment's.
        evaluated_rewards: values of the metric that the first of ``points_to_evaluate`` are known to have; these are not run.
        outcome_constraints: bounds on what trials report, as in ["latency <= 20"]; handed to the sampler (``Trial.set_constraint``).
        max_concurrent: at most so many trials at once; None or 0: no bound of its own.

    Raises:
        SpecError: optuna is not installed, or an argument is of the wrong kind.

    Example:
        >>> def space(trial):
        ...     if trial.suggest_categorical("model", ["net", "tree"]) == "net":
        ...         trial.suggest_float("lr", 1e-4, 1, log=True)
        ...     return {"epochs": 10}
        >>> from tunesmith.space import Space
        >>> searcher = OptunaSearch(space, metric="loss", mode="min")
        >>> searcher.bind(Space.parse({}), seed=1)
        >>> searcher.propose(0, "a").values["epochs"]
        10
    """

    capabilities: ClassVar[SearcherCapabilities] = SearcherCapabilities(conditional=True, multi_objective=True, batch=True, fidelity=True)
    package = "optuna"
    follows_reports = True

    def __init__(
        self,
        space: Any = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: Sequence[Mapping[str, Any]] | None = None,
        sampler: Any = None,
        study_name: str | None = None,
        storage: Any = None,
        seed: int | None = None,
        evaluated_rewards: Sequence[Any] | None = None,
        *,
        outcome_constraints: Sequence[str] = (),
        max_concurrent: int | None = None,
    ) -> None:
        super().__init__(
            space, metric, mode, points_to_evaluate=points_to_evaluate, evaluated_rewards=evaluated_rewards,
            outcome_constraints=outcome_constraints, max_concurrent=max_concurrent, seed=seed,
        )  # fmt: skip
        samplers = self.library.samplers
        if sampler is not None and not isinstance(sampler, samplers.BaseSampler):
            raise SpecError(f"OptunaSearch: sampler must be an object of optuna.samplers, got {type(sampler).__name__} {sampler!r}.")
        self.sampler = sampler
        self.study_name = study_name
        self.storage = storage
        _check_space(self.library, self._given)

    # ---- beginning

    def begin(self) -> None:
        """See the base."""
        optuna, problem = self.library, self.problem
        sampler = optuna.samplers.TPESampler() if self.sampler is None else copy.deepcopy(self.sampler)  # they note which study they serve
        with _quiet():
            self._study = optuna.create_study(
                storage=self.storage, sampler=sampler, pruner=optuna.pruners.NopPruner(), study_name=self.study_name,
                directions=["maximize" if sign < 0 else "minimize" for sign in problem.signs], load_if_exists=True,
            )  # fmt: skip
        if len(self._study.directions) != len(problem.signs) or any(
            (direction.name == "MAXIMIZE") != (sign < 0) for direction, sign in zip(self._study.directions, problem.signs)
        ):
            raise SpecError(
                f"OptunaSearch: the study {self._study.study_name!r} has the directions {[each.name for each in self._study.directions]}, "
                f"which are not those of {', '.join(problem.metrics)}. Give another study_name."
            )
        self._converter = Converter(problem.space)
        # these need nothing but configurations and results, and can be told without being asked
        self._remembers = not isinstance(sampler, optuna.samplers.TPESampler | optuna.samplers.GPSampler | optuna.samplers.RandomSampler)
        self._left = self.storage is not None  # whether there may be trials that an earlier session left running
        self._stopped = False
        self._steps: dict[int, float] = {}  # last step that was reported; infinite: the study has all of it already

    @property
    def study(self) -> Any:
        """Optuna's study, with all that it has been told; there is one once the experiment has begun."""
        return self._study

    # ---- proposing

    def ask(self, trial: int, attempt: int) -> Guess | Exhausted | None:
        """See the base."""
        if self._stopped:
            return Exhausted(f"OptunaSearch: {type(self._study.sampler).__name__} has nothing more to propose")
        self._end_left()
        return self._suggested(trial, attempt, {})

    def _end_left(self) -> None:
        """Trials that were proposed and never recorded, when an earlier session ended, are not waited for."""
        if not self._left:
            return
        self._left = False
        live = {one.handle.number for one in self._live.values() if one.known}
        for frozen in self._study.get_trials(deepcopy=False, states=[self.library.trial.TrialState.RUNNING]):
            mark = frozen.user_attrs.get(_OURS)
            if mark is not None and mark[0] == self.problem.seed and frozen.number not in live:
                self._study.tell(frozen.number, state=self.library.trial.TrialState.FAIL)

    def _suggested(self, trial: int, attempt: int, params: Mapping[str, Any], *, all_given: bool = False) -> Guess:
        """A new trial of the study's, of which ``params`` are given."""
        if params:
            self._study.enqueue_trial(dict(params))
        _reseed(self._study.sampler, self.seed_for(trial, attempt))
        distributions = self.native if isinstance(self.native, Mapping) else None
        handle = self._study.ask()
        handle.set_user_attr(_OURS, [self.problem.seed, trial])
        if all_given and self._remembers:
            _ = handle.relative_params  # the sampler notes what it would have proposed, as it did when it was asked
        if self.native is None:
            return Guess(self._converter.values(handle), handle)
        if distributions is not None:
            for name, distribution in distributions.items():
                _suggest(handle, name, distribution)
            return Guess(dict(handle.params), handle)
        constants = self.native(handle)
        if constants is not None and not isinstance(constants, Mapping):
            raise SpecError(f"OptunaSearch: the function that is the space must return a dict of constants or None, got {constants!r}.")
        return Guess(nested_entries({**handle.params, **dict(flat_entries(constants or {}))}), handle)

    def native_point(self, trial: int, point: Mapping[str, Any]) -> Guess:
        """See the base."""
        return self._suggested(trial, 0, dict(flat_entries(point)))

    def refuse(self, token: Any) -> None:
        """See the base."""
        self._end(token, None, self.library.trial.TrialState.FAIL)

    # ---- learning

    def enter(self, trial: int, point: Mapping[str, Any], token: Any) -> Any:
        """See the base."""
        if token is not None:
            return token
        if self.native is None:
            params = self._converter.params(point)
        else:
            params = {name: value for name, value in flat_entries(point) if type(value) in SCALARS}
        if self.storage is not None and (stored := self._stored(trial, params)) is not None:
            return stored
        try:
            return self._suggested(trial, 0, params, all_given=True).token
        except ValueError as error:
            raise SpaceError(f"OptunaSearch: {error}") from None

    def _stored(self, trial: int, params: Mapping[str, Any]) -> Any:
        """The trial that an earlier session has put into the study."""
        for frozen in reversed(self._study.get_trials(deepcopy=False)):
            if frozen.user_attrs.get(_OURS) == [self.problem.seed, trial] and frozen.params.items() <= params.items():
                last = math.inf if frozen.state.is_finished() else frozen.last_step
                self._steps[frozen.number] = -1 if last is None else last
                return self.library.trial.Trial(self._study, frozen._trial_id)
        return None

    def report(self, handle: Any, step: float, losses: tuple[float, ...]) -> None:
        """See the base."""
        if len(losses) == 1 and step > self._steps.get(handle.number, -1):
            self._steps[handle.number] = int(step)
            handle.report(losses[0] * self.problem.signs[0], int(step))

    def tell(self, handle: Any, observation: Observation) -> None:
        """See the base."""
        states = self.library.trial.TrialState
        if self._steps.pop(handle.number, -1) == math.inf:
            return
        if observation.losses is None:
            unknown = observation.outcome in ("finished", "stopped") and len(self.problem.signs) == 1
            self._end(handle, None, states.PRUNED if unknown else states.FAIL)
            return
        for bound, excess in zip(self.problem.bounds, observation.excess):
            handle.set_constraint(" ".join(map(str, bound)), excess)
        if observation.outcome == "stopped" and observation.step > 0:
            self._end(handle, None, states.PRUNED)
        else:
            self._end(handle, [loss * sign for loss, sign in zip(observation.losses, self.problem.signs)], states.COMPLETE)

    def _end(self, handle: Any, values: list[float] | None, state: Any) -> None:
        try:
            with _quiet():
                self._study.tell(handle, values, state, skip_if_finished=True)
        except RuntimeError as error:
            # A sampler that has tried everything stops the study, which Optuna allows inside of study.optimize only. The trial is told.
            if "Study.stop" not in str(error):
                raise
            self._stopped = True


def _suggest(trial: Any, name: str, distribution: Any) -> Any:
    """The value of a parameter that is given by its distribution."""
    kind = type(distribution).__name__
    if kind == "CategoricalDistribution":
        return trial.suggest_categorical(name, distribution.choices)
    if kind == "IntDistribution":
        return trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _check_space(library: Any, space: Any) -> None:
    if space is None or callable(space):
        return
    kinds = (library.distributions.FloatDistribution, library.distributions.IntDistribution, library.distributions.CategoricalDistribution)
    if not isinstance(space, Mapping) or not space:
        raise SpecError(
            "OptunaSearch: space must be a dict of optuna.distributions, a function of an Optuna trial, or a dict of domains, "
            f"got {type(space).__name__} {space!r}."
        )
    for name, distribution in space.items():
        if not isinstance(name, str) or not isinstance(distribution, kinds):
            raise SpecError(
                f"OptunaSearch: space[{name!r}] must be a FloatDistribution, IntDistribution or CategoricalDistribution, got "
                f"{type(distribution).__name__} {distribution!r}. Constants belong into the experiment's config."
            )


def _reseed(sampler: Any, seed: int) -> None:
    """Seed all generators of a sampler's and of those inside of it. Its own ``reseed_rng`` takes the seed from the system."""
    for name, part in sorted(vars(sampler).items()):
        if hasattr(part, "sample_relative"):
            _reseed(part, seed)
        elif not name.startswith("__") and hasattr(getattr(part, "rng", None), "seed"):
            part.rng.seed(seed)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's lines about what we do, and about nothing that others do meanwhile."""
    here = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != here or record.levelno > logging.INFO

    loggers: list[logging.Logger] = [logging.getLogger(name) for name in _ANNOUNCING]
    keep: Callable[[logging.LogRecord], bool] = others
    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)
