"""Who gets how much: functions that :class:`~tunesmith.schedulers.ResourceChangingScheduler` asks, and what they are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core.flat import ResultDict
from tunesmith.core.placement import UNIT
from tunesmith.core.trial import PAUSED
from tunesmith.errors import SpecError
from tunesmith.resources import PlacementGroupFactory, amounts
from tunesmith.schedulers import arguments

__all__ = ["Allocations", "DistributeResources", "DistributeResourcesToTopJob", "LiveTrial", "Request"]

_Units = dict[str, int]
"""Amounts in 1/10,000, so that tenths add up."""


class _Amounts(dict[str, float]):
    """Amounts that also answer to Ray's names of CPUs and GPUs."""

    def __getitem__(self, name: str) -> float:
        return super().__getitem__(_NAMES.get(name, name))

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(_NAMES.get(name, name), default)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(_NAMES.get(name, name))  # type: ignore[call-overload]


_NAMES = {"CPU": "cpu", "GPU": "gpu"}


class Request(PlacementGroupFactory):
    """A request whose ``required_resources`` answer to ``"CPU"`` and ``"GPU"`` as well as to ``"cpu"`` and ``"gpu"``.

    Example:
        >>> Request([{"cpu": 2}]).required_resources.get("CPU", 0)
        2.0
    """

    @property
    def required_resources(self) -> dict[str, float]:
        """The sum over all bundles."""
        return _Amounts(super().required_resources)


@dataclass(frozen=True, slots=True)
class LiveTrial:
    """A trial that is not over, read-only.

    Args:
        number: 0, 1, 2 ...
        status: PENDING, RUNNING or PAUSED.
        values: what was drawn, flat.
        iteration: of its newest report, 0: none.
        metrics: of its newest report, flat.
        resources: what it takes, or if it is about to be given something else, that.
        base: what it began with.
    """

    number: int
    status: str
    values: Mapping[str, Any]
    iteration: int
    metrics: Mapping[str, Any]
    resources: Mapping[str, float]
    base: Mapping[str, float]

    @property
    def trial_id(self) -> str:
        """The end of its id: five digits."""
        return f"{self.number:05d}"

    @property
    def last_result(self) -> ResultDict:
        """The same as ``metrics``; ``["a"]`` also finds the dict of all ``"a/..."``."""
        return ResultDict(self.metrics)

    @property
    def placement_group_factory(self) -> Request:
        """The same as ``resources``."""
        return Request([dict(self.resources)])

    def is_finished(self) -> bool:
        """Always False: trials that are over are not kept."""
        return False


@dataclass(frozen=True, slots=True)
class Allocations:
    """Who has what, and what is left: the first argument of allocation functions, in the place of Ray's controller. Read-only.

    Args:
        total: all that there is, e.g. ``{"cpu": 8.0, "gpu": 2.0}``.
        free: what is left of it by trials that run, or wait to.
        max_concurrent: trials at once; None: as many as fit.
        to_come: trials that are still to be drawn; None: any number.
        trials: those that are not over, by number.
        nodes: on a cluster, what a trial can have at most: one dict for each kind of machine that no other exceeds.
    """

    total: Mapping[str, float]
    free: Mapping[str, float]
    max_concurrent: int | None = None
    to_come: int | None = None
    trials: tuple[LiveTrial, ...] = field(default=(), repr=False)
    nodes: tuple[Mapping[str, float], ...] = ()

    def one_holds(self, resources: Mapping[str, float]) -> bool:
        """Whether some machine has so much, if it had nothing else to do."""
        return not self.nodes or any(all(amount <= node.get(name, amount) for name, amount in resources.items()) for node in self.nodes)

    def get_live_trials(self) -> list[LiveTrial]:
        """The trials that are not over, by number."""
        return list(self.trials)

    def get_trials(self) -> list[LiveTrial]:
        """The same: trials that are over are not kept."""
        return list(self.trials)

    def get_num_cpus(self) -> float:
        """All CPUs."""
        return self.total.get("cpu", 0.0)

    def get_num_gpus(self) -> float:
        """All GPUs."""
        return self.total.get("gpu", 0.0)

    @property
    def _resource_updater(self) -> Allocations:
        """Scripts reach through this for the numbers of CPUs and GPUs."""
        return self


class DistributeResources:
    """Shares what there is equally among the trials: whoever ends leaves room for the others to grow.

    A trial never takes less than it began with, and never more than is free, or than one machine of a cluster has, so it need not wait for
    its new share. It grows by whole
    units: by ``increase_by``; by default by 1 GPU if it began with GPUs (by as much again if it began with a part of one), else by 1 CPU.

    Nothing is given away that trials still to be drawn will need, and paused trials count among those that share. If there is less than
    was given out (the machine shrank), trials shrink at their next reports.

    Differs from Ray Tune: that gives away what the next trial is about to need, so that trials grow and shrink with each that ends and
    begins, each time at the cost of a restart; and all its trials must begin with the same.

    Args:
        add_bundles: True: a unit is all that the trial began with, again.
        increase_by: a unit, e.g. ``{"cpu": 2}``, each amount > 0.
        increase_by_times: at most so many units, if ``increase_by`` is given; below 1: no bound.
        reserve_resources: what is never given away, e.g. ``{"cpu": 1}``.

    Raises:
        SpecError: an argument is none of that, or ``increase_by_times`` comes without ``increase_by``.

    Example:
        >>> trials = tuple(LiveTrial(number, "RUNNING", {}, 1, {}, {"cpu": 1.0}, {"cpu": 1.0}) for number in range(3))
        >>> there = Allocations({"cpu": 8.0}, {"cpu": 5.0}, to_come=0, trials=trials)
        >>> [DistributeResources()(there, trial, {}, None).required_resources for trial in trials]
        [{'cpu': 3.0}, {'cpu': 3.0}, {'cpu': 2.0}]
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
    ) -> None:
        owner = type(self).__name__
        self.add_bundles = arguments.flag(owner, "add_bundles", add_bundles)
        self.increase_by = amounts(increase_by, f"{owner}: increase_by") if increase_by is not None else {}
        if increase_by is not None and not (self.increase_by and all(_units(self.increase_by).values())):
            raise SpecError(f"{owner}: increase_by must be a dict of amounts above 0 such as {{'cpu': 2}}, got {increase_by!r}.")
        self.increase_by_times = arguments.whole(owner, "increase_by_times", increase_by_times, least=-1)
        if increase_by_times > 0 and not self.increase_by:
            raise SpecError(f"{owner}: increase_by_times={increase_by_times} bounds increase_by, which is not given. Give both or neither.")
        self.reserve_resources = amounts(reserve_resources or {}, f"{owner}: reserve_resources")

    def __call__(
        self, controller: Allocations, trial: LiveTrial, result: Mapping[str, Any], scheduler: Any
    ) -> PlacementGroupFactory | None:
        """What the trial is to take, or None: what it takes now."""
        base, now, unit = _units(trial.base), _units(trial.resources), self._unit(trial)
        times = self._share(controller, trial, base, unit)
        grows = any(_step(base, unit, times, name) > now.get(name, 0) for name in unit)
        free = _less(_units(controller.free), _units(self.reserve_resources))
        while times and not (_valid(controller, base, unit, times) and _within(base, unit, times, now, free)):
            times -= 1
        return self._answer(trial, base, now, unit, times, grows=grows)

    def _answer(
        self, trial: LiveTrial, base: _Units, now: _Units, unit: _Units, times: int, *, grows: bool
    ) -> PlacementGroupFactory | None:
        """The request of so many units, if it is another one. ``grows``: it is not to be less."""
        names = base.keys() | unit.keys() | now.keys()
        steps = [_step(base, unit, times, name) - now.get(name, 0) for name in names]
        if not any(steps) or (grows and any(step < 0 for step in steps)):
            return None
        bundle = {name: amount / UNIT for name, amount in unit.items()}
        if self.add_bundles:
            return PlacementGroupFactory([dict(trial.base), *([bundle] * times)])
        return PlacementGroupFactory([{name: _step(base, unit, times, name) / UNIT for name in sorted(names)}])

    def _share(self, controller: Allocations, trial: LiveTrial, base: _Units, unit: _Units) -> int:
        """Units for this trial if all begin anew."""
        running = [one for one in controller.trials if one.status != PAUSED]
        count = self._sharing(controller, base)
        if count == math.inf:
            return 0
        spare = self._available(controller)
        for one in running[: int(count)]:
            spare = _less(spare, _units(one.base))
        missing = max(0, int(count) - len(running))
        spare = _less(spare, {name: missing * amount for name, amount in base.items()})
        each, rest = divmod(max(0, _times(spare, unit)), int(count))
        rank = next((place for place, one in enumerate(running) if one.number == trial.number), 0)
        return self._bounded(each + (rank < rest))

    def _sharing(self, controller: Allocations, base: _Units) -> float:
        """How many trials run at once, or will."""
        many = math.inf if controller.to_come is None else len(controller.trials) + controller.to_come
        limit = math.inf if controller.max_concurrent is None else controller.max_concurrent
        takes = {name: amount for name, amount in base.items() if amount}
        places = max(1, _times(self._available(controller), takes)) if takes else math.inf
        return max(1, min(many, limit, places))

    def _available(self, controller: Allocations) -> _Units:
        return _less(_units(controller.total), _units(self.reserve_resources))

    def _unit(self, trial: LiveTrial) -> _Units:
        base = {name: amount for name, amount in _units(trial.base).items() if amount}
        if self.increase_by:
            return _units(self.increase_by)
        if self.add_bundles and base:
            return base
        return {"gpu": min(UNIT, base["gpu"])} if "gpu" in base else {"cpu": UNIT}

    def _bounded(self, times: int) -> int:
        return min(times, self.increase_by_times) if self.increase_by_times > 0 else times

    def __repr__(self) -> str:
        told = {
            "add_bundles": self.add_bundles, "increase_by": self.increase_by, "increase_by_times": max(self.increase_by_times, 0),
            "reserve_resources": self.reserve_resources,
        }  # fmt: skip
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told.items() if value)})"


class DistributeResourcesToTopJob(DistributeResources):
    """Gives all that is free to the best trial.

    Who was the best before keeps what it got. As with :class:`DistributeResources` a trial never takes less than it began with, and nothing
    is given away that trials still to be drawn will need.

    Args:
        add_bundles, increase_by, increase_by_times, reserve_resources: as there. If the best trial has ``increase_by_times`` units
            already, the next best one grows.
        metric: name of what the best is best in, by the newest reports; None: the run's, of several the first. A trial without it, or with
            nan, is the worst. Of equal ones the one with the smaller number is the better.
        mode: "min" or "max"; None: the run's.

    Raises:
        SpecError: as there; or only one of metric and mode is given.

    Example:
        >>> trials = tuple(LiveTrial(number, "RUNNING", {}, 1, {"acc": number}, {"cpu": 1.0}, {"cpu": 1.0}) for number in range(3))
        >>> there = Allocations({"cpu": 8.0}, {"cpu": 5.0}, to_come=0, trials=trials)
        >>> give = DistributeResourcesToTopJob(metric="acc", mode="max")
        >>> give(there, trials[0], {}, None), give(there, trials[2], {}, None).required_resources
        (None, {'cpu': 6.0})
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: Mapping[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: Mapping[str, float] | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        owner = type(self).__name__
        if (metric is None) != (mode is None):
            raise SpecError(f"{owner}: give metric and mode, or neither for the run's; got metric={metric!r}, mode={mode!r}.")
        self.metric = None if metric is None else arguments.key(owner, "metric", metric)
        self.mode = None if mode is None else arguments.one_of(owner, "mode", mode, ("min", "max"))

    def __call__(
        self, controller: Allocations, trial: LiveTrial, result: Mapping[str, Any], scheduler: Any
    ) -> PlacementGroupFactory | None:
        """What the trial is to take, or None: what it takes now."""
        base, now, unit = _units(trial.base), _units(trial.resources), self._unit(trial)
        free = self._given_away(controller, trial, base)
        held = _times(_less(now, base), unit)
        if any(free.get(name, 0) < 0 for name in unit):
            times = max(0, held + _times(free, unit))
        elif self._best(controller, scheduler) == trial.number:
            times = self._bounded(held + _times(free, unit))
        else:
            return None
        while times > held and not _valid(controller, base, unit, times):
            times -= 1
        return self._answer(trial, base, now, unit, times, grows=times > held)

    @property
    def needs_metric(self) -> bool:
        """Whether the run has to have a metric."""
        return self.metric is None

    def _given_away(self, controller: Allocations, trial: LiveTrial, base: _Units) -> _Units:
        """What is free, less what is kept back."""
        free = _less(_units(controller.free), _units(self.reserve_resources))
        running = sum(one.status != PAUSED for one in controller.trials)
        count = self._sharing(controller, base)
        missing = max(0.0, count - running)
        if missing == math.inf:
            return dict.fromkeys(free, 0)
        least = {name: min(free.get(name, 0), 0) for name in free}  # who is still to come takes nothing away from those who run
        left = _less(free, {name: int(missing) * amount for name, amount in base.items()})
        return {name: max(amount, least.get(name, 0)) for name, amount in left.items()}

    def _best(self, controller: Allocations, scheduler: Any) -> int:
        """Number of the best trial that may grow."""
        metric, mode = (self.metric, self.mode) if self.metric is not None else scheduler.ranks_by

        def score(trial: LiveTrial) -> float:
            value = trial.metrics.get(metric)
            if not isinstance(value, (int, float)) or math.isnan(value):
                return -math.inf
            return value if mode == "max" else -value

        ranked = sorted((one for one in controller.trials if one.status != PAUSED), key=lambda one: (-score(one), one.number))
        may = (one for one in ranked if not self._full(one))
        return next(may, ranked[0]).number

    def _full(self, trial: LiveTrial) -> bool:
        held = _times(_less(_units(trial.resources), _units(trial.base)), self._unit(trial))
        return self._bounded(held + 1) <= held

    def __repr__(self) -> str:
        plain = super().__repr__()
        if self.metric is None:
            return plain
        inner = plain.partition("(")[2][:-1]
        return f"{type(self).__name__}({inner}{', ' if inner else ''}metric={self.metric!r}, mode={self.mode!r})"


def _units(given: Mapping[str, float]) -> _Units:
    return {name: round(amount * UNIT) for name, amount in given.items()}


def _less(given: _Units, taken: _Units) -> _Units:
    return {name: given.get(name, 0) - taken.get(name, 0) for name in given.keys() | taken.keys()}


def _step(base: _Units, unit: _Units, times: int, name: str) -> int:
    return base.get(name, 0) + times * unit.get(name, 0)


def _times(spare: _Units, unit: _Units) -> int:
    """How often the unit is in it; less than 0: how often it has to be given back."""
    return min(spare.get(name, 0) // amount for name, amount in unit.items())


def _valid(controller: Allocations, base: _Units, unit: _Units, times: int) -> bool:
    """Whether it can be had: a part of one card, or whole cards; and on one machine."""
    gpus = _step(base, unit, times, "gpu")
    whole = gpus <= UNIT or gpus % UNIT == 0
    return whole and controller.one_holds({name: _step(base, unit, times, name) / UNIT for name in base.keys() | unit.keys()})


def _within(base: _Units, unit: _Units, times: int, now: _Units, free: _Units) -> bool:
    """Whether it is free, beside what the trial has."""
    return all(_step(base, unit, times, name) - now.get(name, 0) <= max(0, free.get(name, 0)) for name in unit)
