"""What a simulation came to: how good it was when, how busy the workers were, and why everything was decided."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.objective import unranked
from tunesmith.core.trial import ERROR
from tunesmith.errors import MetricError, SpecError
from tunesmith.simulation.sources import TableSource

if TYPE_CHECKING:
    from tunesmith.analysis import ExperimentAnalysis
    from tunesmith.journal.projections import Curve
    from tunesmith.journal.views import TrialInfo
    from tunesmith.simulation.session import Session

__all__ = ["Simulation"]


class Simulation:
    """The result of :func:`tunesmith.simulate`. Times are seconds of virtual time since the beginning.

    Attributes:
        seconds: when it was over.
        workers: how many there were.
        utilisation: share of the workers' time until the end for which they had an attempt, from 0 to 1.
        work_s: seconds of all iterations that were reported, on all workers, those that were done again included.
        kind, reason: why it ended, as of any experiment ("" and "all 40 trials have ended", "budget", "breaker", ...).
        counts: status -> number of trials.
        unobserved: trial number -> the last iteration that there is of it, of those that were to go on beyond their curve.
        approximated: trial number -> distance, of those that played the curve of the nearest configuration.
        seed: of everything that was drawn.
        name: scheduler and workers, for people.

    Example:
        >>> from tunesmith.simulation import simulate
        >>> from tunesmith.space import uniform
        >>> sim = simulate(lambda config, step: {"loss": config["x"] / step}, config={"x": uniform(0, 1)}, num_samples=6, workers=3,
        ...                max_t=10, metric="loss", mode="min", seed=1)
        >>> sim.seconds, sim.utilisation, len(sim.trials), sim.time_to(sim.best_value) <= 20
        (20.0, 1.0, 6, True)
    """

    def __init__(self, session: Session) -> None:
        plan, executor, state = session.plan, session.executor, session.drive.controller.state
        self._ledger = session.ledger
        self._objectives = dict(zip(plan.metrics, plan.modes, strict=True))
        self._table = plan.source.table if isinstance(plan.source, TableSource) else None
        self._shown = session.shown
        self.seed = plan.seed
        self.workers = plan.workers
        self.name = f"{type(plan.scheduler).__name__} on {plan.workers} workers"
        self.seconds = executor.clock.now()
        self.work_s = executor.work_s
        self.utilisation = min(executor.workers.busy_s / (plan.workers * self.seconds), 1.0) if self.seconds else 0.0
        self.kind, self.reason = state.kind, state.stopping or state.finished
        self.counts = dict(state.counts)
        self.unobserved = dict(sorted(plan.source.unobserved.items()))
        self.approximated = dict(sorted(plan.source.approximated.items()))

    # -- trials ----------------------------------------------------------------------------------------------------------

    @property
    def trials(self) -> Sequence[TrialInfo]:
        """Views of all trials in order of their numbers, as in an :class:`~tunesmith.ExperimentAnalysis`."""
        return self._ledger.book.trials

    def decisions(self) -> list[dict[str, Any]]:
        """Everything that was decided: dicts of ``at`` (seconds), ``trial`` (number), ``do``, ``reason`` and ``seq``, in order."""
        names = ("at", "trial", "do", "reason", "seq")
        return [dict(zip(names, decided, strict=True)) for decided in self._ledger.decided]

    def curves(self, metric: str | None = None) -> dict[int, Curve]:
        """Trial number -> iterations and values of an objective; see :class:`~tunesmith.journal.projections.Curve`."""
        return dict(sorted(self._ledger.curves[self._metric(metric)].by_trial.items()))

    def analysis(self) -> ExperimentAnalysis:
        """The whole simulation as an experiment that can be analysed.

        Raises:
            SpecError: it was run without ``keep_records=True``.
        """
        from tunesmith.analysis import ExperimentAnalysis

        if self._ledger.records is None:
            raise SpecError("analysis() needs every record: call simulate(..., keep_records=True).")
        return ExperimentAnalysis(self._ledger.records, resolve=self._shown)

    # -- how good, and when ----------------------------------------------------------------------------------------------

    def incumbents(self, scope: str = "all", metric: str | None = None) -> list[tuple[float, float, int]]:
        """The best so far, each time it changed: (seconds, value, trial).

        Args:
            scope: "all": every report counts; "last": a trial counts once it is over, with its last report.
            metric: of several objectives the one that is meant.

        Raises:
            SpecError: another scope, or it was run without a metric, or with several and none is named.
        """
        if scope not in ("all", "last"):
            raise SpecError(f"scope must be 'all' or 'last', got {scope!r}.")
        found = self._ledger.incumbents[self._metric(metric)]
        return list(found.any_time if scope == "all" else found.last)

    def best(self, scope: str = "all", metric: str | None = None) -> tuple[float, float, int]:
        """The last of the :meth:`incumbents`: (seconds when it was found, value, trial).

        Raises:
            MetricError: there is none.
        """
        found = self.incumbents(scope, metric)
        if not found:
            raise self._unranked(self._metric(metric))
        return found[-1]

    @property
    def best_value(self) -> float:
        """The best value that any report had."""
        return self.best()[1]

    @property
    def best_trial(self) -> TrialInfo:
        """Whose it was."""
        return self.trials[self.best()[2]]

    @property
    def best_config(self) -> dict[str, Any]:
        """With what."""
        return self.best_trial.config

    def best_at(self, seconds: float, scope: str = "all", metric: str | None = None) -> float:
        """The best value until then; NaN if there was none."""
        found = self.incumbents(scope, metric)
        place = bisect_right([at for at, _, _ in found], seconds)
        return found[place - 1][1] if place else math.nan

    def time_to(self, value: float, scope: str = "all", metric: str | None = None) -> float:
        """When the best was first at least as good as ``value``; infinite if it never was."""
        sign = 1.0 if self._objectives[self._metric(metric)] == "min" else -1.0
        return next((at for at, best, _ in self.incumbents(scope, metric) if sign * best <= sign * value), math.inf)

    def regret(self, at: float | None = None, *, optimum: float | None = None, scope: str = "all", metric: str | None = None) -> float:
        """How far the best was from the best that there is, >= 0 (NaN before the first report).

        Args:
            at: when; None: at the end.
            optimum: the best that there is; None: that of the table.

        Raises:
            SpecError: it is not known.
        """
        metric = self._metric(metric)
        if optimum is None:
            if self._table is None:
                raise SpecError("regret: of a function the best value is not known; give optimum=...")
            optimum = self._table.best(metric, self._objectives[metric], scope)
        return abs(self.best_at(math.inf if at is None else at, scope, metric) - optimum)

    def speedup_over(self, other: Simulation, value: float | None = None) -> float:
        """How many times sooner than ``other`` this one was at least as good as ``value``.

        Args:
            value: None: the best last result of the other one, which it had when that trial was over.

        Returns:
            0.0: this one never was as good; infinite: only the other one never was.
        """
        target = other.best("last")[1] if value is None else value
        own = self.time_to(target)
        theirs = other.time_to(target, "last" if value is None else "all")
        return 0.0 if own == math.inf else theirs / own if own else math.inf

    def _metric(self, metric: str | None) -> str:
        if metric is None and len(self._objectives) == 1:
            return next(iter(self._objectives))
        if metric not in self._objectives or metric is None:
            known = ", ".join(self._objectives) or "none: give simulate() a metric and a mode"
            raise SpecError(f"metric={metric!r}: name one of the simulation's objectives ({known}).")
        return metric

    def _unranked(self, metric: str) -> MetricError:
        curves = self._ledger.curves[metric]
        error = next((trial.error for trial in self.trials if trial.error is not None), None)
        more = f" The first failure: {error['type']}: {error['message']}" if error is not None else ""
        return MetricError(f"{unranked(metric, curves, self.trials)}{more}")

    # -- for people ------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Simulation: {self.name}, {len(self.trials)} trials, {self.seconds:.6g} s>"

    def __str__(self) -> str:
        failed = self.counts[ERROR]
        lines = [f"{self.name}: {len(self.trials)} trials in {self.seconds:.6g} s; {self.utilisation:.0%} of the workers' time in use"]
        for metric in self._objectives:
            if self.incumbents(metric=metric):
                at, value, number = self.best(metric=metric)
                lines.append(f"best {metric}: {value:.6g} (trial {number}, after {at:.6g} s)")
        if failed:
            lines.append(f"{failed} trials failed")
        if self.unobserved:
            lines.append(f"{len(self.unobserved)} trials were to go on beyond what was observed, and ended there")
        if self.approximated:
            lines.append(f"{len(self.approximated)} trials played the curve of the nearest configuration")
        if self.kind:
            lines.append(f"ended early: {self.reason}")
        return "\n".join(lines)
