"""From the loose arguments of ``simulate`` to one checked :class:`Plan`."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Mapping
from typing import Any

from tunesmith import checks
from tunesmith.build import scheduler_from
from tunesmith.config import FailureConfig
from tunesmith.core.rng import fresh_seed
from tunesmith.create import create_searcher
from tunesmith.errors import SpecError
from tunesmith.executors.fault_plan import Delays, Faults
from tunesmith.objectives import agree
from tunesmith.resources import amounts, resource_request, whole_cards
from tunesmith.search.base import Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.simulation.recorded import objectives_of
from tunesmith.simulation.session import Plan
from tunesmith.simulation.sources import FunctionSource, Played, TableSource
from tunesmith.simulation.table import CurveTable
from tunesmith.space import Space
from tunesmith.stopper import CombinedStopper, Stopper, TimeoutStopper, stopper_from

__all__ = ["planned"]

_PAUSES = ("warm", "cold", "rerun")


def planned(source: Any, **given: Any) -> Plan:
    """The plan of a simulation.

    Args:
        source, given: all arguments of :func:`tunesmith.simulate`.

    Raises:
        SpecError: one is wrong.
        JournalError: the experiment cannot be read.
    """
    for name, choices in (("lookup", ("nearest", "exact")), ("pauses", _PAUSES)):
        if given[name] not in choices:
            raise SpecError(f"simulate: {name} must be one of {', '.join(choices)}, got {given[name]!r}.")
    scheduler, searcher = copy.deepcopy(scheduler_from(given["scheduler"])), copy.deepcopy(_searcher(given["search_alg"]))
    table, metric, mode = _table(source, given["metric"], given["mode"], scheduler, searcher)
    metrics, modes = agree(metric, mode, scheduler, searcher)
    _check_metric(scheduler, metrics)
    stopper, budget = _stopper(given["stop"]), checks.seconds("time_budget_s", given["time_budget_s"])
    max_t = checks.whole("max_t", given["max_t"], least=1)
    length = _length(source, table, max_t, scheduler, ends=stopper is not None or budget is not None)
    limited = max_t is not None or stopper is not None
    config, samples, searcher = _search(table, given["config"], searcher, given["num_samples"], chosen=given["search_alg"] is not None)
    prepare = getattr(scheduler, "prepare_space", None)  # one of the user's own need not derive from ours
    space = Space.parse(prepare(config) if prepare is not None else config)
    failure = _failure(given["failure_config"], given["max_failures"])
    workers = checks.whole("workers", given["workers"], least=1) or 1
    return Plan(
        source=_played(source, table, length, exact=given["lookup"] == "exact", limited=limited),
        space=space,
        searcher=searcher,
        scheduler=scheduler,
        metrics=metrics,
        modes=modes,
        num_samples=samples,
        seed=_seed(given["seed"]),
        workers=workers,
        resources=_resources(given["resources_per_trial"]),
        totals=_totals(given["resources"]),
        stop=stopper,
        max_concurrent=checks.whole("max_concurrent_trials", given["max_concurrent_trials"], least=1),
        time_budget_s=budget,
        max_trial_s=checks.seconds("max_trial_s", given["max_trial_s"]),
        max_silence_s=checks.seconds("max_silence_s", given["max_silence_s"]),
        retries=failure.retries,
        identical=failure.circuit_breaker,
        nan_policy=failure.nan,
        fail_fast=bool(failure.fail_fast),
        delays=_instance("delays", Delays, given["delays"]),
        faults=_faults(given["faults"], workers),
        pauses=given["pauses"],
        checkpoint_freq=checks.whole("checkpoint_freq", given["checkpoint_freq"], least=0) or 0,
        num_to_keep=checks.whole("keep_checkpoints_num", given["keep_checkpoints_num"], least=1),
        charge=_charge(given["charge_search_time"]),
        speeds=_speeds(given["worker_speeds"], workers),
        keep_records=checks.flag("keep_records", given["keep_records"]),
    )


# -- what is played ------------------------------------------------------------------------------------------------------


def _table(source: Any, metric: Any, mode: Any, scheduler: Any, searcher: Any) -> tuple[CurveTable | None, Any, Any]:
    """The table behind the source, None for a function; and metric and mode, an experiment's own where nobody gives any."""
    if isinstance(source, CurveTable):
        return source, metric, mode
    if not isinstance(source, (str, os.PathLike)):
        if not callable(source) or isinstance(source, type):
            raise SpecError(
                "simulate: the source must be a function of (config, iteration), a CurveTable, or the path of an experiment or of a "
                f"table; got {source!r}."
            )
        return None, metric, mode
    path = os.path.expanduser(os.fspath(source))
    if os.path.isfile(path) and path.endswith(".npz"):
        return CurveTable.load(path), metric, mode
    table = CurveTable.from_experiment(path)
    if metric is None and mode is None and all(getattr(part, "metric", None) is None for part in (scheduler, searcher)):
        metrics, modes = objectives_of(path)
        return table, metrics or None, modes or None
    return table, metric, mode


def _played(source: Any, table: CurveTable | None, max_t: int | None, *, exact: bool, limited: bool) -> Played:
    if table is not None:
        return TableSource(table, exact=exact, max_t=max_t, limited=limited)
    if exact:
        raise SpecError("simulate: lookup='exact' is for tables and experiments; a function has a curve for every configuration.")
    return FunctionSource(source, max_t)


def _length(source: Any, table: CurveTable | None, max_t: int | None, scheduler: Any, *, ends: bool) -> int | None:
    """Iterations of a trial that nobody stops."""
    if max_t is not None or table is not None:
        return max_t
    own = getattr(scheduler, "max_t", None)
    if isinstance(own, (int, float)) and own < math.inf and getattr(scheduler, "time_attr", None) == "training_iteration":
        return math.ceil(own)
    if not ends:
        raise SpecError(
            f"simulate: nothing ends the trials of {getattr(source, '__name__', source)!r}; give max_t=, the number of iterations, or "
            "stop= or time_budget_s=."
        )
    return None


# -- what is searched ----------------------------------------------------------------------------------------------------


class _InOrder(Searcher):
    """Each row of a table once."""

    capabilities = SearcherCapabilities(multi_objective=True, batch=True, deterministic=True, cheap=True)

    def __init__(self, key: str, rows: int) -> None:
        super().__init__()
        self._key = key
        self._rows = rows

    def propose(self, trial: int, trial_id: str) -> Proposal | Exhausted | None:
        del trial_id
        return Proposal({self._key: trial}, "row") if trial < self._rows else Exhausted(f"all {self._rows} rows of the table were proposed")

    def total_samples(self, num_samples: int | None) -> int | None:
        return self._rows


def _search(
    table: CurveTable | None, config: Any, searcher: Searcher, num_samples: Any, *, chosen: bool
) -> tuple[Mapping[Any, Any], int | None, Searcher]:
    """What to draw from, how many trials, and by whom. ``chosen``: the searcher is the caller's own."""
    if config is not None and not isinstance(config, Mapping):
        raise SpecError(f"config must be a dict (name -> value or domain), got {type(config).__name__} {config!r}.")
    if config is not None or table is None:
        return config or {}, checks.num_samples(1 if num_samples is None else num_samples), searcher
    if chosen:
        known = table.drawn_from is not None
        samples = len(table) if num_samples is None else checks.num_samples(num_samples)
        return table.space("domains" if known else "rows"), samples, searcher
    if num_samples is None:
        return table.space(), None, _InOrder(table.key, len(table))
    return table.space(), checks.num_samples(num_samples), searcher


def _searcher(given: Any) -> Searcher:
    if given is None or isinstance(given, str):
        return create_searcher("random" if given is None else given)
    return checks.instance("search_alg", given, ("suggest", "bind"))  # type: ignore[no-any-return]


# -- everything else -----------------------------------------------------------------------------------------------------


def _stopper(stop: Any) -> Stopper | None:
    stopper = copy.deepcopy(stopper_from(stop))
    parts = stopper.stoppers if isinstance(stopper, CombinedStopper) else () if stopper is None else (stopper,)
    for part in parts:
        if part.remaining() is not None and type(part) is not TimeoutStopper:
            raise SpecError(f"simulate: {type(part).__name__} looks at the real clock; give time_budget_s=, which is virtual time.")
    return stopper


def _resources(given: Any) -> Mapping[str, float]:
    if given is None:
        return {"cpu": 1.0}
    request = resource_request(given)
    if callable(request):
        raise SpecError("simulate: resources_per_trial must be a dict; a function of the config is not simulated.")
    return request


def _totals(given: Any) -> dict[str, float]:
    totals = whole_cards(amounts(given or {}, "resources"), "resources")
    if "cpu" in totals:
        raise SpecError(f"resources={given!r}: 'cpu' is said by workers, which have one each; leave it out.")
    return totals


def _failure(config: Any, max_failures: Any) -> FailureConfig:
    if config is None:
        return FailureConfig(max_failures=max_failures)
    if not isinstance(config, FailureConfig) or max_failures:
        raise SpecError("simulate: failure_config must be a FailureConfig, and max_failures goes into it if both are given.")
    return config


def _seed(given: Any) -> int:
    seed = checks.whole("seed", given)
    return fresh_seed() if seed is None else seed


def _speeds(given: Any, workers: int) -> tuple[float, ...]:
    if given is None:
        return ()
    speeds = tuple(given)
    if len(speeds) != workers or not all(isinstance(speed, (int, float)) and 0 < speed < math.inf for speed in speeds):
        raise SpecError(f"simulate: worker_speeds must be {workers} numbers > 0, one for each worker; got {given!r}.")
    return tuple(map(float, speeds))


def _instance(name: str, cls: type[Any], given: Any) -> Any:
    if given is not None and not isinstance(given, cls):
        raise SpecError(f"simulate: {name} must be a tune.simulation.{cls.__name__}, got {given!r}.")
    return cls() if given is None else given


def _faults(given: Any, workers: int) -> Faults:
    faults: Faults = _instance("faults", Faults, given)
    for at, worker in faults.lost_at:
        if worker >= workers:
            raise SpecError(f"Faults: lost_at names worker {worker} (at {at:g} s); there are {workers}, from 0.")
    return faults


def _charge(given: Any) -> bool | float:
    if isinstance(given, bool):
        return given
    if not isinstance(given, (int, float)) or not 0 <= given < math.inf:
        raise SpecError(f"simulate: charge_search_time must be True, False or seconds >= 0, got {given!r}.")
    return float(given)


def _check_metric(scheduler: Any, metrics: tuple[str, ...]) -> None:
    name, capabilities = type(scheduler).__name__, scheduler.capabilities
    if not metrics and capabilities.needs_metric:
        raise SpecError(f"the scheduler {name} needs a metric and a mode; give metric=... and mode='min' or 'max'.")
    if len(metrics) > 1 and capabilities.needs_metric and not capabilities.multi_objective:
        raise SpecError(f"the scheduler {name} ranks by one metric; the simulation has {list(metrics)}.")
