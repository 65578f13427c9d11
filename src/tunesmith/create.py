"""Schedulers, searchers and executors by name, as in ``run(scheduler="fifo")``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean, refuse_unknown

if TYPE_CHECKING:
    from tunesmith.executors.base import Executor
    from tunesmith.schedulers.base import Scheduler
    from tunesmith.search.base import Searcher
    from tunesmith.space import Space

__all__ = ["EXECUTORS", "SCHEDULERS", "SEARCHERS", "create_executor", "create_scheduler", "create_searcher", "usual_searcher"]

EXECUTORS: Mapping[str, str] = {
    "inline": "tunesmith.executors.inline:InlineExecutor",
    "local": "tunesmith.executors.local:LocalExecutor",
    "ray": "tunesmith.executors.ray_cluster:RayExecutor",
}
SCHEDULERS: Mapping[str, str] = {
    "asha": "tunesmith.schedulers:ASHAScheduler",
    "async_hyperband": "tunesmith.schedulers:AsyncHyperBandScheduler",
    "asynchyperband": "tunesmith.schedulers:AsyncHyperBandScheduler",
    "fifo": "tunesmith.schedulers:FIFOScheduler",
    "fixed_cut": "tunesmith.schedulers:FixedCutScheduler",
    "hb_bohb": "tunesmith.schedulers:HyperBandForBOHB",
    "hyperband": "tunesmith.schedulers:HyperBandScheduler",
    "median_stopping_rule": "tunesmith.schedulers:MedianStoppingRule",
    "medianstopping": "tunesmith.schedulers:MedianStoppingRule",
    "pasha": "tunesmith.schedulers:PASHAScheduler",
    "patience": "tunesmith.schedulers:PatienceScheduler",
    "pb2": "tunesmith.schedulers:PB2",
    "pbt": "tunesmith.schedulers:PopulationBasedTraining",
    "pbt_replay": "tunesmith.schedulers:PopulationBasedTrainingReplay",
    "percentile": "tunesmith.schedulers:PercentileStoppingRule",
    "resource_changing": "tunesmith.schedulers:ResourceChangingScheduler",
    "successive_halving": "tunesmith.schedulers:SuccessiveHalvingScheduler",
}
SEARCHERS: Mapping[str, str] = {
    "auto": "tunesmith.search:AutoSearch",
    "ax": "tunesmith.search:AxSearch",
    "bayesopt": "tunesmith.search:BayesOptSearch",
    "bohb": "tunesmith.search:BOHBSearch",
    "cmaes": "tunesmith.search:CMAESSearch",
    "gp": "tunesmith.search:GPSearch",
    "hyperopt": "tunesmith.search:HyperOptSearch",
    "nevergrad": "tunesmith.search:NevergradSearch",
    "nsga2": "tunesmith.search:NSGA2Search",
    "optuna": "tunesmith.search:OptunaSearch",
    "random": "tunesmith.search:BasicVariantGenerator",
    "smac": "tunesmith.search:SMACSearch",
    "sobol": "tunesmith.search:QuasiRandomSearch",
    "tpe": "tunesmith.search:TPESearch",
    "variant_generator": "tunesmith.search:BasicVariantGenerator",
}


def create_scheduler(scheduler: str, **options: Any) -> Scheduler:
    """The scheduler of that name, made with ``options``.

    Args:
        scheduler: one of :data:`SCHEDULERS`.
        options: keyword arguments of its constructor.

    Raises:
        SpecError: no such scheduler, no such option, one that must be given is missing, or one is out of its range.

    Example:
        >>> type(create_scheduler("median_stopping_rule", grace_period=5)).__name__
        'MedianStoppingRule'
        >>> create_scheduler("patience", patiense=5)
        Traceback (most recent call last):
        ...
        tunesmith.errors.SpecError: scheduler 'patience' (PatienceScheduler) has no argument 'patiense'. Did you mean 'patience'?
    """
    return _create("scheduler", SCHEDULERS, scheduler, options)  # type: ignore[no-any-return]


def create_searcher(search_alg: str, **options: Any) -> Searcher:
    """The searcher of that name, made with ``options``.

    Args:
        search_alg: one of :data:`SEARCHERS`.
        options: keyword arguments of its constructor.

    Raises:
        SpecError: no such searcher, or no such option.

    Example:
        >>> type(create_searcher("random")).__name__
        'BasicVariantGenerator'
    """
    return _create("search_alg", SEARCHERS, search_alg, options)  # type: ignore[no-any-return]


def usual_searcher(space: Space, metrics: Sequence[str], *, exploits: bool = False) -> Searcher:
    """The searcher of those who name none: one that learns, where there is something to learn from and to learn about.

    Args:
        space: what is searched.
        metrics: what is optimised.
        exploits: whether the scheduler changes configurations as trials go on, so that results are not those of what was proposed.
    """
    walked = space.has_grid or space.computes  # a function may return a grid
    learns = metrics and not space.is_empty and not walked and not exploits
    return create_searcher("auto" if learns else "random")


def create_executor(executor: str) -> Executor:
    """The executor of that name.

    Args:
        executor: one of :data:`EXECUTORS`.

    Raises:
        SpecError: no such executor.

    Example:
        >>> type(create_executor("inline")).__name__
        'InlineExecutor'
    """
    return _create("executor", EXECUTORS, executor, {})  # type: ignore[no-any-return]


def _create(what: str, table: Mapping[str, str], name: str, options: Mapping[str, Any]) -> Any:
    target = table.get(name.lower()) if isinstance(name, str) else None
    if target is None:
        raise SpecError(f"{what}={name!r} is not known.{did_you_mean(str(name), table)} Known names: {', '.join(sorted(table))}.")
    module, _, attribute = target.partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    import inspect

    owner = f"{what} {name!r} ({cls.__name__})"
    parameters = inspect.signature(cls).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        refuse_unknown(owner, options, [parameter.name for parameter in parameters])
    named = [parameter for parameter in parameters if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)]
    missing = [parameter.name for parameter in named if parameter.default is parameter.empty and parameter.name not in options]
    if missing:
        call = ", ".join(f"{parameter}=..." for parameter in missing)
        raise SpecError(f"{owner} cannot be made without {' and '.join(missing)}; give {what}={cls.__name__}({call}).")
    return cls(**options)
