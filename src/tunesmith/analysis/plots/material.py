"""What plots are made of: one experiment's trials, scores, parameters and decisions, each read once, and only if a plot asks for it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from tunesmith.analysis.experiment import ExperimentAnalysis
from tunesmith.analysis.objective import unranked
from tunesmith.analysis.plots.parameters import Parameter, parameters
from tunesmith.analysis.plots.theme import MANY, ending, number, short
from tunesmith.core import events as ev
from tunesmith.core.codec import KINDS
from tunesmith.core.ports import Record
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING
from tunesmith.errors import SpecError
from tunesmith.journal.projections import Curve, Projection
from tunesmith.journal.scores import check_scope, score
from tunesmith.journal.trials import TrialInfo

if TYPE_CHECKING:
    from tunesmith.analysis.results import ResultGrid

__all__ = ["WORDS", "Attempt", "Attempts", "Given", "Material", "Scored", "running_best", "state", "texts"]

Given: TypeAlias = "ExperimentAnalysis | ResultGrid | str | os.PathLike[str] | Material"

WORDS = ("finished", "stopped early", "failed", "infeasible", "running", "paused", "waiting")
"""What a trial can be, in the order of legends."""


def state(trial: TrialInfo) -> str:
    """What became of a trial: one of :data:`WORDS`. One that met its stop criterion, or ran as far as its scheduler lets any, finished."""
    if trial.status == ERROR:
        return "failed"
    if trial.status in (RUNNING, PAUSED, PENDING):
        return {RUNNING: "running", PAUSED: "paused", PENDING: "waiting"}[trial.status]
    if trial.outcome == "stopped":
        at_the_end = " is max_t=" in trial.reason or (trial.report is not None and trial.report.verdict is not None)
        return "finished" if at_the_end else "stopped early"
    return "infeasible" if trial.outcome == "infeasible" else "finished"


@dataclass(frozen=True, slots=True)
class Scored:
    """A trial and its score: ``value`` at the trial's own ``iteration``; nan and None if it has none that counts."""

    trial: TrialInfo
    value: float
    iteration: int | None
    state: str

    @property
    def counts(self) -> bool:
        """It can be the best."""
        return math.isfinite(self.value) and self.state != "infeasible"

    @property
    def at(self) -> float:
        """When it ended, or has last reported: seconds of the experiment's clock."""
        trial = self.trial
        if trial.ended_at is not None:
            return trial.ended_at
        return trial.report.at if trial.report is not None else trial.started_at or 0.0


@dataclass(slots=True)
class Attempt:
    """One attempt: from when to when (None: it has no end in the journal), and how it ended."""

    trial: int
    number: int
    start: float
    host: str
    end: float | None = None
    outcome: str = ""


class Attempts(Projection):
    """All attempts in order of their start, and for how many there was room: (from when on, how many; None: no bound)."""

    kinds = tuple(code for code, kind in KINDS.items() if kind in (ev.AttemptStarted, ev.AttemptEnded, ev.CapacityChanged))

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Attempt] = []
        self.slots: list[tuple[float, int | None]] = []
        self._open: dict[int, Attempt] = {}

    def apply(self, record: Record) -> None:
        event = record.event
        if isinstance(event, ev.AttemptStarted):
            attempt = Attempt(event.trial, event.attempt, event.at, str(event.info.get("hostname", "")))
            self._open[event.trial] = attempt
            self.entries.append(attempt)
        elif isinstance(event, ev.AttemptEnded):
            ended = self._open.pop(event.trial, None)
            if ended is not None:
                ended.end, ended.outcome = event.at, event.outcome
        elif isinstance(event, ev.CapacityChanged):
            self.slots.append((event.at, event.slots))


class Material:
    """One experiment, for one plot or for all of a report. What was read stays as it is.

    Args:
        analysis: of the experiment.
    """

    def __init__(self, analysis: ExperimentAnalysis) -> None:
        self.analysis = analysis
        self.trials: list[TrialInfo] = analysis.trials
        self._scored: dict[tuple[str, str, str], list[Scored]] = {}

    @classmethod
    def of(cls, given: Given) -> Material:
        """From whatever a plot was given.

        Raises:
            JournalError: there is no experiment at that path.
            SpecError: it is something else.
        """
        if isinstance(given, Material):
            return given
        if isinstance(given, (str, os.PathLike)):
            return cls(ExperimentAnalysis(given))
        analysis = given if isinstance(given, ExperimentAnalysis) else getattr(given, "_analysis", None)
        if not isinstance(analysis, ExperimentAnalysis):
            raise SpecError(
                f"plots take what run() or Tuner.fit() has returned, or the path of an experiment; this is a {type(given).__name__}."
            )
        return cls(analysis)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.analysis._book.experiment.header.name

    @property
    def spec(self) -> dict[str, Any]:
        """The experiment's description."""
        return self.analysis._book.experiment.spec

    @property
    def end(self) -> float:
        """The newest moment in the journal, seconds of the experiment's clock."""
        return self.analysis._book.at

    def objective(self, call: str, metric: str | None, mode: str | None) -> tuple[str, str]:
        """Metric and mode, those that were left out filled in.

        Raises:
            SpecError: one is missing; says what to pass.
        """
        return self.analysis._objectives.complete(call, metric, mode)

    def objectives(self) -> list[tuple[str, str]]:
        """All metrics of the run (or of the analysis) with their modes."""
        known = self.analysis._objectives
        return list(zip(known.metrics, known.modes)) if len(known.metrics) == len(known.modes) else []

    def curves(self, metric: str) -> dict[int, Curve]:
        """Trial number -> its values of a metric."""
        return self.analysis._curves_of(metric).by_trial

    def scored(self, metric: str, mode: str, scope: str = "last") -> list[Scored]:
        """All trials in order of their numbers, each with its score.

        Raises:
            MetricError: there are reports, but none has that metric; says which there are.
            SpecError: an unknown scope.
        """
        check_scope(scope)
        key = (metric, mode, scope)
        if key not in self._scored:
            curves = self.analysis._curves_of(metric)
            if curves.names and metric not in curves.names:
                raise unranked(metric, curves, self.trials)
            self._scored[key] = [self._score(trial, curves.by_trial.get(trial.number), mode, scope) for trial in self.trials]
        return self._scored[key]

    @staticmethod
    def _score(trial: TrialInfo, curve: Curve | None, mode: str, scope: str) -> Scored:
        found = score(curve.values, mode, scope) if curve is not None else None
        if curve is None or found is None or not math.isfinite(found.value):
            return Scored(trial, math.nan, None, state(trial))
        return Scored(trial, found.value, curve.iterations[found.position], state(trial))

    @cached_property
    def parameters(self) -> list[Parameter]:
        """What was drawn; values in the order of :attr:`trials`."""
        return parameters(self.trials)

    @cached_property
    def positions(self) -> dict[int, int]:
        """Trial number -> position in :attr:`trials`."""
        return {trial.number: position for position, trial in enumerate(self.trials)}

    @cached_property
    def attempts(self) -> Attempts:
        """All attempts."""
        with self.analysis._reader() as reader:
            read = getattr(reader, "read_kinds", None)
            return Attempts().update(reader) if read is None else Attempts().fold(read(*Attempts.kinds))

    @cached_property
    def decisions(self) -> list[dict[str, Any]]:
        """Every decision; none of a run's own FIFO scheduler, for which a long journal need not be searched."""
        return [] if self.spec.get("scheduler") == "FIFOScheduler" else self.analysis.decisions()

    @cached_property
    def exploits(self) -> list[dict[str, Any]]:
        """Every exploit that was completed. Where none was decided the journal is not searched for them; see :attr:`decisions`."""
        return self.analysis.exploits() if any(decision["do"] == "exploited" for decision in self.decisions) else []

    @cached_property
    def hovers(self) -> list[str]:
        """What is shown of each trial under the mouse: id, what became of it, configuration."""
        return [self._hover(trial, position) for position, trial in enumerate(self.trials)]

    def _hover(self, trial: TrialInfo, position: int) -> str:
        own = [each for each in self.parameters if not math.isnan(each.values[position])]
        drawn = [f"{short(ending(each.label, 40))} = {short(each.text(position))}" for each in own]
        more = [f"... and {len(drawn) - 20} more"] if len(drawn) > 20 else []
        why = [short(trial.reason, 90)] if trial.reason and state(trial) != "finished" else []
        return "<br>".join([f"<b>{trial.trial_id}</b> {state(trial)}", *why, *drawn[:20], *more])

    def hover(self, number: int) -> str:
        """See :attr:`hovers`; of trial ``number``."""
        return self.hovers[self.positions[number]]


def texts(material: Material, scored: Sequence[Scored], metric: str) -> list[str]:
    """What is shown under the mouse for each of some trials: see :attr:`Material.hovers`, and the score. Of very many trials the
    configurations are left out, as they would make up most of the figure's size."""
    name, brief = short(metric), len(scored) > MANY
    heads = [f"<b>{one.trial.trial_id}</b> {one.state}" if brief else material.hover(one.trial.number) for one in scored]
    values = ["none that counts" if one.iteration is None else number(one.value) for one in scored]
    return [f"{head}<br>{name} = {value}" for head, value in zip(heads, values)]


def running_best(values: Iterable[float], mode: str) -> list[float]:
    """The best of each value and those before it; nan until there is one.

    Example:
        >>> running_best([3.0, float("nan"), 2.0, 5.0], "min")
        [3.0, 3.0, 2.0, 2.0]
    """
    best = math.nan
    found = []
    for value in values:
        if not math.isnan(value) and (math.isnan(best) or (value < best if mode == "min" else value > best)):
            best = value
        found.append(best)
    return found
