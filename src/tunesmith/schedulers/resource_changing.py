"""Resources that change while trials run, beside any other scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunesmith.core.commands import Decision
from tunesmith.core.controller import Runnable
from tunesmith.core.placement import UNIT, request_of, worded
from tunesmith.core.ports import TrialView
from tunesmith.core.settings import Settings
from tunesmith.core.trial import PAUSED
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Answer, Names, Scheduler, SchedulerCapabilities
from tunesmith.schedulers.distribute import Allocations, DistributeResources, DistributeResourcesToTopJob, LiveTrial, Request
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.schedulers.hooks import check_hooks

__all__ = ["Allocations", "DistributeResources", "DistributeResourcesToTopJob", "LiveTrial", "ResourceChangingScheduler"]

AllocationFunction = Callable[[Allocations, LiveTrial, Mapping[str, Any], "ResourceChangingScheduler"], Any]

_EQUAL_SHARES = DistributeResources()
_NO_CHECKPOINT = (
    "resources are changed only where a trial can go on from a checkpoint of that moment, and it reports without any. Report checkpoints, "
    "report(metrics, checkpoint=...), and begin at get_checkpoint(); in a class, define save_checkpoint() and load_checkpoint()"
)


class ResourceChangingScheduler(Scheduler):
    """Gives trials other resources while they run; what else becomes of them another scheduler decides.

    After each result with which ``base_scheduler`` lets its trial go on, ``resources_allocation_function`` is asked what the trial is to
    take from now on. If that is something else than now, its attempt saves and ends, and the next one begins where it was, with the new
    resources: threads and cards are a process's own from its beginning. No work is lost, and no failure is counted. The trial reads its
    new size from ``tune.get_context().get_trial_resources()``; a class also gets it in ``update_resources``, before it is restored.

    So trials have to be able to go on from a checkpoint: a class with ``save_checkpoint`` always can; a function is resized at reports that
    come with a checkpoint. If it writes none it keeps what it takes, which is said once.

    A trial on its way to other resources takes them before new trials begin, and if what it is to get is not free it waits for it. If it
    can no longer be placed with what it was given, since the machine became smaller, it goes back to what it began with.

    The function is called as ``function(allocations, trial, result, scheduler)``:

    - ``allocations``: who has what (:class:`Allocations`), where Ray passes its controller. It has ``total``, ``free``, ``max_concurrent``,
      ``to_come``, ``nodes``; ``get_live_trials()`` and ``get_trials()`` (both: those that are not over); and
      ``_resource_updater.get_num_cpus()``.
    - ``trial``: the :class:`LiveTrial` that has reported: ``number``, ``status``, ``values``, ``iteration``, ``metrics``, ``resources``,
      ``base``, and as in Ray ``last_result``, ``placement_group_factory``, ``trial_id``.
    - ``result``: what it reported, flat.
    - ``scheduler``: this object; ``base_trial_resources`` is what the first trial began with.

    It returns a dict or a :class:`~tunesmith.PlacementGroupFactory`, or None for no change. It runs inside the fold, again with each
    replay: the same arguments must give the same answer, so no clock, no files, no randomness and no state of its own.

    Args:
        base_scheduler: whatever it decides stands; None: first in, first out.
        resources_allocation_function: by default all trials share equally, see :class:`DistributeResources`. None: nothing is ever changed,
            and a warning says so.

    Differs from Ray Tune: trials may begin with different resources; one that reports without a checkpoint is left alone rather than begun
    anew; for a request that this machine, or every single one of a cluster, can never meet nothing happens (said once), where Ray's trial
    waits for ever. As in Ray it is not to be combined with ``reuse_actors=True``.

    Raises:
        SpecError: the first argument is no scheduler, or the second cannot be called; later, the function returned what is no request.

    Example:
        >>> from tunesmith.schedulers import ASHAScheduler
        >>> scheduler = ResourceChangingScheduler(ASHAScheduler(max_t=81), DistributeResources(increase_by={"cpu": 2}))
        >>> def half_of_it_for_the_first(allocations, trial, result, scheduler):
        ...     return {"cpu": allocations.total["cpu"] // 2} if trial.number == 0 else None
        >>> scheduler = ResourceChangingScheduler(resources_allocation_function=half_of_it_for_the_first)
        >>> scheduler.capabilities.resizes
        True
    """

    def __init__(
        self, base_scheduler: Scheduler | None = None, resources_allocation_function: AllocationFunction | None = _EQUAL_SHARES
    ) -> None:
        if base_scheduler is not None and not hasattr(base_scheduler, "on_result"):
            raise SpecError(f"ResourceChangingScheduler: base_scheduler must be a scheduler, got {base_scheduler!r}.")
        if base_scheduler is not None:
            check_hooks(base_scheduler)
        if isinstance(resources_allocation_function, type) or not (
            resources_allocation_function is None or callable(resources_allocation_function)
        ):
            raise SpecError(
                f"ResourceChangingScheduler: resources_allocation_function must be a function or an object that can be called, such as "
                f"DistributeResources(); got {resources_allocation_function!r}."
            )
        if resources_allocation_function is None:
            warnings.warn(
                "ResourceChangingScheduler: resources_allocation_function=None changes no resources at any time. Leave it out for equal "
                "shares, or use the base scheduler alone.",
                stacklevel=2,
            )
        self._base = base_scheduler or FIFOScheduler()
        self._function = resources_allocation_function
        self._forget()

    def _forget(self) -> None:
        self._live: dict[int, TrialView] = {}
        self._first: dict[int, dict[str, float]] = {}  # what each began with
        self._promised: dict[int, dict[str, float]] = {}  # told to the core, and not taken yet
        self._base_resources: dict[str, float] | None = None
        self._totals: dict[str, float] = {}
        self._nodes: tuple[dict[str, float], ...] = ()
        self._added = 0
        self._all_drawn = False
        self._told: list[str] = []

    # -- the base scheduler's --------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # and while it is unpickled there is no base yet
            raise AttributeError(name)
        return getattr(self._base, name)

    @property
    def metric(self) -> Any:
        """The base scheduler's."""
        return self._base.metric

    @metric.setter
    def metric(self, metric: Any) -> None:
        self._base.metric = metric

    @property
    def mode(self) -> Any:
        """The base scheduler's."""
        return self._base.mode

    @mode.setter
    def mode(self, mode: Any) -> None:
        self._base.mode = mode

    @property
    def capabilities(self) -> SchedulerCapabilities:  # type: ignore[override]
        """The base scheduler's, and that it resizes; it needs a metric if the function does."""
        of_base = self._base.capabilities
        ranks = getattr(self._function, "needs_metric", False)
        return replace(of_base, resizes=self._function is not None, needs_metric=of_base.needs_metric or ranks)

    @property
    def changeable(self) -> tuple[str, ...]:  # type: ignore[override]
        """The base scheduler's."""
        return self._base.changeable

    def set_search_properties(self, metric: Names, mode: Names, **spec: Any) -> bool:
        """Take what is missing from the run: the base scheduler does."""
        return self._base.set_search_properties(metric, mode, **spec)

    def options(self) -> dict[str, Any]:
        """Those of the base scheduler, and what it and the function are called."""
        return {
            **self._base.options(), "base_scheduler": type(self._base).__name__,
            "resources_allocation_function": None if self._function is None else self._called,
        }  # fmt: skip

    def change(self, options: Mapping[str, Any]) -> None:
        """Take over recorded options: they are the base scheduler's."""
        own = ("base_scheduler", "resources_allocation_function")
        self._base.change({name: value for name, value in options.items() if name not in own})

    def prepare_space(self, config: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """As the base scheduler needs it."""
        return self._base.prepare_space(config)

    def choose(self, runnable: Runnable) -> TrialView | Decision | None:
        """As the base scheduler chooses."""
        return self._base.choose(runnable)

    def on_exploit_end(self, trial: TrialView, source: int, done: bool) -> None:
        """The base scheduler hears of it."""
        self._base.on_exploit_end(trial, source, done)

    # -- what happens ----------------------------------------------------------------------------------------------------

    def start(self, settings: Settings) -> None:
        """Begin anew, and so does the base scheduler."""
        self._forget()
        self._samples, self._max_concurrent, self._can_save = settings.num_samples, settings.max_concurrent, settings.can_save
        self.ranks_by = (settings.metrics[0], settings.modes[0]) if settings.metrics else (None, "min")
        self._base.start(settings)

    def on_capacity(self, totals: Mapping[str, float], nodes: Sequence[Mapping[str, float]] = ()) -> None:
        """There is something else to give away."""
        self._totals, self._nodes = dict(totals), tuple(map(dict, nodes))
        self._base.on_capacity(totals, nodes)

    def on_trial_add(self, trial: TrialView) -> Answer:
        """One more to share with."""
        self._added += 1
        self._all_drawn = False
        self._meet(trial)
        return self._base.on_trial_add(trial)

    def on_trial_reopen(self, trial: TrialView) -> None:
        """One more to share with."""
        self._meet(trial)
        self._base.on_trial_reopen(trial)

    def _meet(self, trial: TrialView) -> None:
        self._live[trial.number] = trial
        self._first[trial.number] = dict(trial.resources)
        if self._base_resources is None:
            self._base_resources = dict(trial.resources)

    def on_trial_end(self, trial: TrialView, outcome: str) -> Answer:
        """One less to share with."""
        for known in (self._live, self._first, self._promised):
            known.pop(trial.number, None)
        return self._base.on_trial_end(trial, outcome)

    def on_search_end(self) -> Answer:
        """Nobody else is to come."""
        self._all_drawn = True
        return self._base.on_search_end()

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Answer:
        """What the base scheduler decides; if the trial goes on, with what."""
        self._promised.pop(trial.number, None)  # it has it by now, or it could not be
        answer = self._base.on_result(trial, result)
        if self._function is None or answer in (self.STOP, self.PAUSE):
            return answer
        others = [answer] if isinstance(answer, Decision) else list(answer) if answer and not isinstance(answer, str) else []
        if any(one.trial in (None, trial.number) and one.do in ("stop", "pause", "exploit", "resize") for one in others):
            return others
        wish = self._wish(trial, result)
        return others if wish is None else [*others, *wish]

    # -- who takes what --------------------------------------------------------------------------------------------------

    @property
    def base_trial_resources(self) -> Request | None:
        """What the first trial began with; None: there has been none."""
        return None if self._base_resources is None else Request([self._base_resources])

    @property
    def _called(self) -> str:
        """The function, for people and for comparing."""
        function = self._function
        return getattr(function, "__qualname__", None) or repr(function).partition(" at 0x")[0]

    def _wish(self, trial: TrialView, result: Mapping[str, Any]) -> list[Decision] | None:
        """The decision for other resources, if the function wants any."""
        assert self._function is not None
        there = self._allocations()
        answer = self._function(there, self._shown(trial.number, trial), result, self)
        if answer is None:
            return None
        decision = self.resize(answer, "", trial.number)
        size = decision.data["resources"]
        if request_of(size) == request_of(trial.resources):
            return None
        if any(amount > self._totals.get(name, 0.0) for name, amount in size.items()):
            return self._tell(trial, "impossible", f"{self._called} asks for {worded(size)}, and there is {worded(self._totals)} in all")
        if not there.one_holds(size):
            nodes = " or ".join(map(worded, self._nodes))
            return self._tell(trial, "node", f"{self._called} asks for {worded(size)}, and no machine of the cluster has more than {nodes}")
        if trial.checkpoint is None and not self._can_save and trial.iteration > 1:
            return self._tell(trial, "checkpoint", _NO_CHECKPOINT)
        self._promised[trial.number] = size
        count = len(there.trials)
        among = f"{count} trials are live" if count > 1 else "no other trial is live"
        reason = f"{worded(size)} instead of {worded(trial.resources)}, says {self._called}: {among}, there is {worded(self._totals)}"
        return [replace(decision, reason=reason)]

    def _tell(self, trial: TrialView, what: str, why: str) -> list[Decision] | None:
        """Once, why a trial keeps what it takes."""
        if what in self._told:
            return None
        self._told.append(what)
        return [self.notice(f"trial {trial.number} keeps {worded(trial.resources)}: {why}", trial.number)]

    def _allocations(self) -> Allocations:
        trials = tuple(self._shown(number, trial) for number, trial in sorted(self._live.items()))
        left = {name: round(amount * UNIT) for name, amount in self._totals.items()}
        for number, trial in self._live.items():
            if trial.status != PAUSED:
                promised = self._promised.get(number, {})
                for name in trial.resources.keys() | promised.keys():
                    amount = max(trial.resources.get(name, 0.0), promised.get(name, 0.0))
                    left[name] = left.get(name, 0) - round(amount * UNIT)
        free = {name: amount / UNIT for name, amount in sorted(left.items())}
        return Allocations(dict(self._totals), free, self._max_concurrent, self._to_come(), trials, self._nodes)

    def _to_come(self) -> int | None:
        if self._all_drawn:
            return 0
        return self._samples - self._added if self._samples is not None and self._samples > self._added else None

    def _shown(self, number: int, trial: TrialView) -> LiveTrial:
        resources = self._promised.get(number) or dict(trial.resources)
        return LiveTrial(number, trial.status, trial.values, trial.iteration, trial.metrics, resources, self._first.get(number, resources))

    def state(self) -> Any:
        """Plain data that all later decisions depend on, but for what the core knows of the trials."""
        own = (sorted(self._first.items()), sorted(self._promised.items()), sorted(self._totals.items()), self._nodes, self._added)
        return (self._base.state(), own, self._all_drawn, self._told, sorted(self._live))
