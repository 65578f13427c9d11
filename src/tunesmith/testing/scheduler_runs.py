"""The part of the scheduler kit that goes through the shell: the same experiments in virtual time, and in real runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith.core.invariants import check
from tunesmith.core.ports import Record
from tunesmith.core.rng import stream
from tunesmith.schedulers.base import Scheduler

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller
    from tunesmith.simulation import Simulation

__all__ = ["METRIC", "SchedulerRuns", "loss"]

METRIC = "loss"


def loss(values: Mapping[str, Any], iteration: int) -> dict[str, Any]:
    """Falls with the iterations; where to depends on ``x``, and curves cross."""
    x = values.get("x", 0.5)
    return {METRIC: x + (1.5 - x) / iteration + 0.1 * stream(0, "noise", iteration + round(1e6 * x)).random()}


def length(x: float, reports: tuple[int, int]) -> int:
    """How often a trial with this ``x`` reports if nobody stops it."""
    return stream(0, "reports", round(1e6 * x)).randint(*reports)


class _Invariants:
    """Checks the controller after each turn."""

    def __init__(self, controller: Controller, takes_pending: bool, shrinks: bool) -> None:
        self.controller, self.takes_pending, self.shrinks = controller, takes_pending, shrinks

    def committed(self, records: Sequence[Record]) -> None:
        check(self.controller, shrunk=self.shrinks, takes_pending=self.takes_pending)

    def close(self) -> None:
        """Nothing is queued."""


class SchedulerRuns:
    """Tests that every scheduler passes; see :class:`~tunesmith.testing.scheduler_kit.SchedulerKit`, which has them."""

    reports: ClassVar[tuple[int, int]]
    num_samples: ClassVar[int]
    takes_pending: ClassVar[bool]

    def make(self, metric: str, mode: str) -> Scheduler:
        """See the kit."""
        raise NotImplementedError

    def simulated(self, **options: Any) -> Simulation:
        """The scheduler in virtual time, its invariants checked after each turn. ``options``: as of :func:`tunesmith.simulate`."""
        import inspect

        from tunesmith.simulation import Simulation, simulate
        from tunesmith.simulation.planning import planned
        from tunesmith.simulation.session import Session
        from tunesmith.space import uniform

        def curve(config: dict[str, Any], iteration: int) -> Any:
            x = config["x"]
            return None if iteration > length(x, self.reports) else (loss(config, iteration), 1.0 + x)

        given = {name: parameter.default for name, parameter in inspect.signature(simulate).parameters.items()}
        given |= {
            "source": curve, "config": {"x": uniform(0, 1)}, "num_samples": self.num_samples, "workers": 4, "max_t": self.reports[1],
            "seed": 0, "scheduler": self.make(METRIC, "min"), "metric": METRIC, "mode": "min", **options,
        }  # fmt: skip
        session = Session(planned(**given))
        session.drive.observers.append(_Invariants(session.drive.controller, self.takes_pending, session.plan.faults.shrinks))
        failed: list[str] = []
        session.drive.warn = failed.append  # an observer that raises is told of, and dropped
        session.run()
        assert not failed, failed[0]
        return Simulation(session)

    def _over(self, counts: Mapping[str, int]) -> None:
        left = {status: count for status, count in counts.items() if count and status not in ("TERMINATED", "ERROR")}
        assert not left, f"trials are left: {left}"
        assert sum(counts.values()) == self.num_samples

    def test_in_virtual_time_every_experiment_ends(self) -> None:
        """However trials are paused, and whether there is one worker or more of them than trials."""
        for pauses in ("warm", "cold", "rerun"):
            self._over(self.simulated(pauses=pauses).counts)
        for workers in (1, 2 * self.num_samples):
            self._over(self.simulated(workers=workers, seed=workers).counts)

    def test_in_virtual_time_with_workers_and_messages_that_are_lost(self) -> None:
        from tunesmith.simulation import Delays, Faults

        faults = Faults([(3.0, 1)], lost_every_s=40, down_s=5, slow_share=0.3, slowdown=3, lost_messages=0.02, repeated_messages=0.2)
        for pauses in ("warm", "cold"):
            sim = self.simulated(faults=faults, pauses=pauses, checkpoint_freq=2, delays=Delays(0.5, 0.1, 0.2, 0.3, 0.1), max_silence_s=20)
            self._over(sim.counts)

    def test_in_virtual_time_equal_seeds_are_decided_alike(self) -> None:
        first, second = self.simulated(seed=3), self.simulated(seed=3)
        assert first.decisions() == second.decisions(), "the same simulation twice, and it decides otherwise"

    def executor(self) -> Any:
        """What the real runs run on, as for ``run(executor=...)``; asked anew for each."""
        return "inline"

    def test_in_a_real_run_every_experiment_ends(self, tmp_path: Path) -> None:
        """A function that never saves, and a class that does when it is asked."""
        from tunesmith import report, run, uniform
        from tunesmith.trainable import Trainable

        reports = self.reports

        def function(config: dict[str, Any]) -> None:
            for iteration in range(1, length(config["x"], reports) + 1):
                report(loss(config, iteration))

        class Steps(Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                self.count = 0

            def step(self) -> dict[str, Any]:
                self.count += 1
                return {**loss(self.config, self.count), "done": self.count >= length(self.config["x"], reports)}

            def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
                return {"count": self.count}

            def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
                self.count = checkpoint["count"]

        for trainable in (function, Steps):
            analysis = run(
                trainable, config={"x": uniform(0, 1)}, num_samples=self.num_samples, scheduler=self.make(METRIC, "min"), metric=METRIC,
                mode="min", seed=0, executor=self.executor(), storage_path=tmp_path, verbose=0, loggers=(),
            )  # fmt: skip
            counts: dict[str, int] = {}
            for trial in analysis.trials:
                counts[trial.status] = counts.get(trial.status, 0) + 1
            self._over(counts)
