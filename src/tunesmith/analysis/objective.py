"""Which metric and mode a question is about, and what to say when there is no answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunesmith.errors import MetricError, SpecError
from tunesmith.hints import did_you_mean
from tunesmith.journal.projections import Best, Curves
from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.journal.scores import check_mode
from tunesmith.journal.trials import TrialInfo

__all__ = ["Objectives", "best", "unranked"]


@dataclass(frozen=True, slots=True)
class Objectives:
    """Metrics with their modes, as the caller or the run gave them.

    ``modes`` has a mode for each of ``metrics``, or one alone (for whatever metric is asked for), or none.
    """

    metrics: tuple[str, ...]
    modes: tuple[str, ...]

    @classmethod
    def of(cls, metric: str | Sequence[str] | None, mode: str | Sequence[str] | None, spec: Mapping[str, Any]) -> Objectives:
        """From what the caller gave; what is missing is taken from the run's ``metrics`` and ``modes``.

        A run's mode goes with the run's metric only: another metric may want the other direction.

        Raises:
            SpecError: an unknown mode, or lists of different lengths.
        """
        of_run = dict(zip(spec.get("metrics") or (), spec.get("modes") or (), strict=False))
        metrics = tuple(spec.get("metrics") or ()) if metric is None else (metric,) if isinstance(metric, str) else tuple(metric)
        modes = (mode,) if isinstance(mode, str) else tuple(mode or ())
        for name in modes:
            check_mode(name)
        if not modes and all(name in of_run for name in metrics):
            modes = tuple(of_run[name] for name in metrics)
        if metrics and modes and len(metrics) != len(modes):
            raise SpecError(f"default_metric={list(metrics)} and default_mode={list(modes)} must have equal lengths.")
        return cls(metrics, modes)

    @property
    def default(self) -> tuple[str | None, str | None]:
        """The metric and mode that are meant when none is named; (None, None) if there is not exactly one."""
        metric = self.metrics[0] if len(self.metrics) == 1 else None
        return metric, self.modes[0] if len(self.modes) == 1 else None

    def of_one(self, call: str, example: str | None = None) -> str:
        """The one metric that is meant when none is named.

        Args:
            call: who asks; example: how to say it there, if not as metric and mode.

        Raises:
            SpecError: there is none, or there are several.
        """
        metric = self.default[0]
        if metric is None:
            several = f"; the run has several: {', '.join(self.metrics)}" if self.metrics else ""
            how = example or (f"{call}(metric={self.metrics[0]!r})" if self._paired else f"{call}(metric='loss', mode='min')")
            raise SpecError(
                f"{call}() needs a metric{several}. Say which, as in {how}, or give the run (or the analysis) one metric and mode."
            )
        return metric

    @property
    def _paired(self) -> bool:
        """Each metric has its mode."""
        return bool(self.metrics) and len(self.modes) == len(self.metrics)

    def complete(self, call: str, metric: str | None, mode: str | None) -> tuple[str, str]:
        """Fill in what the caller of ``call`` left out.

        Raises:
            SpecError: metric or mode is neither given nor known, or this is not one metric's name.
        """
        if metric is None:
            metric = self.of_one(call)
        if not isinstance(metric, str):
            raise SpecError(f"{call}(): metric is the name of one metric, as in metric='loss', got {metric!r}.")
        if mode is not None:
            return metric, check_mode(mode)
        if metric in self.metrics and self._paired:
            return metric, self.modes[self.metrics.index(metric)]
        if not self.metrics and len(self.modes) == 1:
            return metric, self.modes[0]
        raise SpecError(
            f"{call}() knows no mode for metric {metric!r}. Say mode='min' if smaller is better (a loss, an error) "
            "or mode='max' if larger is better (an accuracy, a reward)."
        )


def best(curves: Curves, trials: Sequence[TrialInfo], mode: str, scope: str, finite: bool) -> Best:
    """The best trial and its best step. A configuration that turned out not to be allowed is never it, whatever it reported before.

    Raises:
        MetricError: there is nothing to rank.
    """
    infeasible = _infeasible(trials)
    allowed = curves
    if infeasible:
        allowed = Curves(curves.metric)
        allowed.by_trial = {number: curve for number, curve in curves.by_trial.items() if number not in infeasible}
    found = allowed.best(mode, scope, finite)
    if found is None:
        raise unranked(curves.metric, curves, trials)
    return found


def _infeasible(trials: Sequence[TrialInfo]) -> set[int]:
    return {trial.number for trial in trials if trial.outcome == "infeasible"}


def unranked(metric: str, curves: Curves, trials: Sequence[TrialInfo]) -> MetricError:
    """Why no trial can be ranked by ``metric``."""
    if not trials:
        return MetricError(f"metric {metric!r}: the experiment has no trials yet.")
    if not curves.names:
        failed = sum(trial.error is not None for trial in trials)
        hint = f" {failed} of {len(trials)} trials failed; see .errors." if failed else ""
        return MetricError(f"metric {metric!r}: no trial has reported anything.{hint}")
    if curves.by_trial and _infeasible(trials).issuperset(curves.by_trial):
        return MetricError(f"metric {metric!r} was reported only by trials that ended infeasible: their configurations are not allowed.")
    if metric in curves.names:
        return MetricError(
            f"metric {metric!r} was reported, but never as a finite number that counts. "
            "filter_nan_and_inf=False lets nan and infinite values take part (nan as the worst)."
        )
    own = sorted(curves.names - AUTO_KEYS) or sorted(curves.names)
    hint = did_you_mean(metric, curves.names)
    return MetricError(f"metric {metric!r} was reported by no trial.{hint} Reported were: {', '.join(own)}.")
