"""One simulation: the pieces of any run around the loop, with virtual ones in the place of executor, clock, store and journal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller
from tunesmith.core.ports import Header
from tunesmith.drive import Drive
from tunesmith.executors.base import Assignment, ExecutorSetup
from tunesmith.executors.fault_plan import Delays, Faults
from tunesmith.executors.simulated import SimulatedExecutor
from tunesmith.resources import refuse_impossible
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.exploring import Explorer
from tunesmith.search.base import Searcher
from tunesmith.secrets import is_secret, redact
from tunesmith.simulation.host import VirtualHost
from tunesmith.simulation.ledger import Ledger
from tunesmith.simulation.sources import Played
from tunesmith.space import Space
from tunesmith.spec import DRAIN_S
from tunesmith.stopper import CombinedStopper, Stopper, TimeoutStopper

__all__ = ["Plan", "Session"]

_MANY = 1 << 40


@dataclass(slots=True)
class Plan:
    """A simulation, with every argument checked; the fields are those of :func:`tunesmith.simulate`."""

    source: Played
    space: Space
    searcher: Searcher
    scheduler: Scheduler
    metrics: tuple[str, ...]
    modes: tuple[str, ...]
    num_samples: int | None
    seed: int
    workers: int
    resources: Mapping[str, float] = field(default_factory=lambda: {"cpu": 1.0})
    totals: Mapping[str, float] = field(default_factory=dict)
    stop: Stopper | None = None
    max_concurrent: int | None = None
    time_budget_s: float | None = None
    max_trial_s: float | None = None
    max_silence_s: float | None = None
    retries: Mapping[str, int] = field(default_factory=dict)
    identical: int | None = 5
    nan_policy: str = "fail"
    fail_fast: bool = False
    delays: Delays = field(default_factory=Delays)
    faults: Faults = field(default_factory=Faults)
    pauses: str = "warm"
    checkpoint_freq: int = 0
    num_to_keep: int | None = None
    charge: bool | float = False
    speeds: Sequence[float] = ()
    keep_records: bool = False
    name: str = "simulation"


class Session:
    """Plays a plan.

    Attributes:
        drive, executor, ledger: the loop and what it drives.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.executor = SimulatedExecutor(
            plan.source, {**plan.totals, "cpu": float(plan.workers)}, delays=plan.delays, faults=plan.faults, seed=plan.seed,
            speeds=plan.speeds, pauses=plan.pauses, checkpoint_freq=plan.checkpoint_freq,
        )  # fmt: skip
        header = Header(uuid=f"{plan.seed & (1 << 128) - 1:032x}"[::-1], name=plan.name, created=0.0)
        self._prefix = f"{header.uuid[:5]}_"
        self.ledger = Ledger(header, list(zip(plan.metrics, plan.modes, strict=True)), self.shown, keep=plan.keep_records)
        clock = self.executor.clock
        host = VirtualHost(
            plan.searcher, plan.space, seed=plan.seed, metrics=plan.metrics, modes=plan.modes, trial_id=self.trial_id, clock=clock,
            charge=plan.charge, later=self.executor.wake_at, budget=plan.num_samples, concurrency=plan.max_concurrent or plan.workers,
            early=plan.scheduler.capabilities.needs_metric,
        )  # fmt: skip
        self._samples = host.total_samples(plan.num_samples)
        self.drive = Drive(
            Controller(plan.scheduler), self.ledger, self.executor, host, clock, self.executor.store, self.assign, self.trial_id,
            logging.getLogger("tunesmith").warning, stopper=_in_time(plan.stop, self.executor), resolve=self.config,
            explore=Explorer(plan.scheduler, lambda _: plan.space, plan.seed),
        )  # fmt: skip

    def run(self) -> None:
        """Play it to its end.

        Raises:
            SpecError: no trial could ever be placed.
            TuneError: what ended it.
        """
        plan, drive = self.plan, self.drive
        totals = self.executor.start(ExecutorSetup(None, drive.deliver))
        refuse_impossible(plan.resources, totals)
        try:
            drive.run([ev.ExperimentStarted(self._description()), ev.CapacityChanged(totals)])
        finally:
            drive.host.close()
            self.executor.close()

    # -- trials ----------------------------------------------------------------------------------------------------------

    def trial_id(self, number: int) -> str:
        """As of any experiment."""
        return f"{self._prefix}{number:05d}"

    def config(self, values: Mapping[str, Any], version: int = 0) -> dict[str, Any]:
        """The configuration that its source and its stop criteria are shown."""
        return self.plan.source.shown(self.plan.space.resolve(values))

    def shown(self, values: Mapping[str, Any], description: Mapping[str, Any] | None) -> dict[str, Any]:
        """The configuration, for views."""
        return self.config(values)

    def assign(self, launch: cmd.Launch) -> Assignment:
        """What the executor needs for an attempt."""
        number, trial_id = launch.trial, self.trial_id(launch.trial)
        return Assignment(
            number, launch.attempt, trial_id, trial_id, self.plan.name, self.plan.space.resolve(launch.values), "", launch.checkpoint,
            launch.checkpoint, launch.iteration, launch.time_total, launch.resources, launch.gpus,
        )  # fmt: skip

    # -- the record ------------------------------------------------------------------------------------------------------

    def _description(self) -> dict[str, Any]:
        plan = self.plan
        capabilities = self.executor.capabilities
        return {
            "seed": plan.seed,
            "metrics": list(plan.metrics),
            "modes": list(plan.modes),
            "num_samples": self._samples,
            "max_concurrent": plan.max_concurrent,
            "resources": dict(plan.resources),
            "time_budget_s": plan.time_budget_s,
            "max_trial_s": plan.max_trial_s,
            "max_silence_s": plan.max_silence_s,
            "drain_s": DRAIN_S,
            "retries": dict(plan.retries),
            "identical": plan.identical,
            "nan_policy": plan.nan_policy,
            "fail_fast": plan.fail_fast,
            "growing": capabilities.growing,
            "warm_pause": capabilities.warm_pause,
            "warm_slots": _MANY,
            "can_save": plan.pauses != "rerun",
            "num_to_keep": plan.num_to_keep,
            "name": plan.name,
            "trainable_name": plan.name,
            "searcher": type(plan.searcher).__name__,
            "scheduler": type(plan.scheduler).__name__,
            "scheduler_options": redact(plan.scheduler.options()),
            "executor": capabilities.name,
            "space": plan.space.describe(redact=is_secret),
        }


def _in_time(stopper: Stopper | None, executor: SimulatedExecutor) -> Stopper | None:
    """The same criteria, with those that look at a clock looking at the simulation's."""
    if isinstance(stopper, CombinedStopper):
        parts = [part for one in stopper.stoppers if (part := _in_time(one, executor)) is not None]
        return CombinedStopper(*parts)
    if type(stopper) is TimeoutStopper:
        return TimeoutStopper(stopper.timeout, executor.clock.now)
    return stopper
