"""The curves of an experiment, read from its journal: as far as they were observed, and what is known of what came after."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tunesmith.analysis.source import Source
from tunesmith.core import events as ev
from tunesmith.core.policy import FREE
from tunesmith.core.ports import Record
from tunesmith.errors import SpecError
from tunesmith.journal.projections import Projection, Reader
from tunesmith.journal.tags import expanded, is_scalar
from tunesmith.journal.trials import TrialBook
from tunesmith.simulation.table import CUT, LIMIT, CurveTable

__all__ = ["objectives_of", "recorded"]

_OURS = ("time_this_iter_s", "time_total_s", "timesteps_since_restore")
_MACHINE = FREE | {"worker_lost", "node_lost", "timeout", "silent", "unplaceable", "stopped"}
"""Outcomes that say nothing about the configuration: elsewhere, or with other limits, the trial would have gone on."""


@dataclass(slots=True)
class _Curve:
    """One trial: what it was drawn as, its reports by iteration, and how it ended."""

    drawn: dict[str, Any]
    steps: dict[int, tuple[dict[str, float], float]] = field(default_factory=dict)
    end: str = CUT
    exploited: bool = False


class _Recorder(Projection):
    """Folds records into curves."""

    def __init__(self, reader: Reader, path: str) -> None:
        super().__init__()
        self.book = TrialBook(reader.header, path)
        self.curves: dict[int, _Curve] = {}

    def apply(self, record: Record) -> None:
        event = record.event
        trial = self.book.apply(record)
        if isinstance(event, ev.Suggested) and trial is not None:
            shown = self.book.experiment.shown(trial.values, trial.space)
            drawn = expanded(trial.values, shown)
            self.curves[trial.number] = _Curve({name: value if is_scalar(value) else str(value) for name, value in drawn.items()})
        elif isinstance(event, ev.Reported):
            self._reported(self.curves[event.trial], event)
        elif isinstance(event, ev.Reopened):
            self.curves[event.trial].end = CUT
        for decision in record.decisions:
            if decision.trial is None:
                continue
            if decision.do == "exploited":
                self.curves[decision.trial].exploited = True
            elif decision.do == "end":
                self.curves[decision.trial].end = _end(decision.data)

    @staticmethod
    def _reported(curve: _Curve, event: ev.Reported) -> None:
        if curve.exploited:
            return
        for iteration in [known for known in curve.steps if known >= event.iteration]:  # a new attempt reports them again
            del curve.steps[iteration]
        metrics = {name: float(value) for name, value in event.metrics.items() if name not in _OURS and isinstance(value, (int, float))}
        if metrics.get("training_iteration") == event.iteration:
            del metrics["training_iteration"]
        seconds = event.metrics.get("time_this_iter_s")
        known = isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds >= 0
        curve.steps[event.iteration] = metrics, float(seconds) if known else 0.0  # type: ignore[arg-type]


def _end(data: Mapping[str, Any]) -> str:
    if data.get("by") in ("criterion", "bound"):
        return LIMIT
    outcome = data.get("outcome", "stopped")
    return CUT if outcome in _MACHINE else str(outcome)


def recorded(path: str | os.PathLike[str]) -> CurveTable:
    """See :meth:`CurveTable.from_experiment`."""
    source = Source(path)
    with source.reader() as reader:
        recorder = _Recorder(reader, source.path).fold(reader.read())
        name = reader.header.name
    curves = [recorder.curves[number] for number in sorted(recorder.curves)]
    if not any(curve.steps for curve in curves):
        raise SpecError(f"nothing was reported in {source.path}, so there are no curves to simulate with.")
    lengths = [_length(curve.steps) for curve in curves]
    names = list(dict.fromkeys(key for curve in curves for metrics, _ in curve.steps.values() for key in metrics)) or ["training_iteration"]
    shape = len(curves), max(lengths)
    metrics, seconds = np.full((len(names), *shape), np.nan), np.zeros(shape)
    missing = np.zeros((len(names), *shape), bool)
    for row, curve in enumerate(curves):
        for step in range(lengths[row]):
            reported, seconds[row, step] = curve.steps[step + 1]
            for place, key in enumerate(names):
                if key in reported:
                    metrics[place, row, step] = reported[key]
                else:
                    missing[place, row, step] = True
    space = recorder.book.experiment.spaces
    ends = [CUT if curve.exploited else curve.end for curve in curves]
    table = CurveTable.from_arrays(
        [curve.drawn or {"trial": row} for row, curve in enumerate(curves)], dict(zip(names, metrics, strict=True)), seconds,
        lengths=lengths, ends=ends, missing=dict(zip(names, missing, strict=True)) if missing.any() else None,
        about=f"recorded from {name}",
    )  # fmt: skip
    table.drawn_from = space[-1] if space else None
    return table


def _length(steps: Mapping[int, Any]) -> int:
    """Iterations from the first one on without a gap."""
    count = 0
    while count + 1 in steps:
        count += 1
    return count


def objectives_of(path: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Metrics and modes of the experiment at ``path``, empty if it had none."""
    source = Source(path)
    with source.reader() as reader:
        for record in reader.read(0, 1):
            if isinstance(record.event, ev.ExperimentStarted):
                return list(record.event.spec.get("metrics") or ()), list(record.event.spec.get("modes") or ())
    return [], []
