"""Trials whose curves are bit for bit the same though their configurations differ: a parameter without effect, a cache, a fixed seed."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.analysis.objective import unranked
from tunesmith.journal.projections import Curve, Curves
from tunesmith.journal.trials import TrialInfo

if TYPE_CHECKING:
    from tunesmith.analysis.objective import Objectives

__all__ = ["LEAST", "AlikeReadings", "IdenticalCurves", "identical"]

LEAST = 3
"""Reports that a curve must have to count: a value or two may well be the same by chance."""


@dataclass(frozen=True, slots=True)
class IdenticalCurves:
    """Trials that reported exactly the same values of a metric, at the same iterations, as far as each of them got.

    Args:
        metric: its name.
        trials: two at least, in order of their numbers.
        differ: parameters (paths joined by "/") in which their configurations differ, sorted.
        reports: of the longest of the curves.
    """

    metric: str
    trials: tuple[TrialInfo, ...]
    differ: tuple[str, ...]
    reports: int

    def __str__(self) -> str:
        names = [trial.trial_id for trial in self.trials]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        return f"{shown}: the same {self.metric} in all of up to {self.reports} reports, with different {', '.join(self.differ)}"


class AlikeReadings:
    """Part of :class:`~tunesmith.analysis.ExperimentAnalysis`."""

    if TYPE_CHECKING:

        @property
        def _objectives(self) -> Objectives: ...
        @property
        def _views(self) -> Sequence[TrialInfo]: ...
        def _curves_of(self, metric: str) -> Curves: ...

    def identical_curves(self, metric: str | None = None) -> list[IdenticalCurves]:
        """Trials that reported bit for bit the same values of a metric though their configurations differ.

        Such a group is a sign that a parameter has no effect, that results come from a cache, or that a seed is fixed. A curve counts if
        it has three reports and two different finite values; one that was stopped earlier belongs to a longer one that begins with it.
        The best is never asked for without this being looked at: the first such group is told in the log, once.

        Args:
            metric: None: the run's own.

        Returns:
            :class:`IdenticalCurves` with ``trials``, ``differ`` (parameters) and ``reports``; none: an empty list.

        Raises:
            SpecError: no metric is given, and the run has none or several.
            MetricError: no trial reported it.

        Example:
            >>> from tunesmith.analysis import ExperimentAnalysis
            >>> from tunesmith.core.events import Reported, Suggested
            >>> from tunesmith.core.ports import Header, Record
            >>> from tunesmith.journal import MemoryJournal
            >>> journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
            >>> for number, lr in enumerate([0.1, 0.01]):
            ...     _ = journal.append([Record(Suggested(number, {"lr": lr}))])
            ...     _ = journal.append([Record(Reported(number, 0, step, {"loss": 1 / step})) for step in (1, 2, 3)])
            >>> for group in ExperimentAnalysis(journal).identical_curves("loss"):
            ...     print(group)
            3f2a9_00000, 3f2a9_00001: the same loss in all of up to 3 reports, with different lr
        """
        metric = metric if metric is not None else self._objectives.of_one("identical_curves", "identical_curves(metric='loss')")
        curves = self._curves_of(metric)
        if metric not in curves.names:
            raise unranked(metric, curves, self._views)
        return identical(curves, self._views)


def identical(curves: Curves, trials: Sequence[TrialInfo]) -> list[IdenticalCurves]:
    """The groups of trials with one curve under different configurations, by the number of their first trial.

    A curve counts that has :data:`LEAST` reports, and two different finite values among them. One that ends earlier belongs to a longer one
    that begins with it: schedulers stop trials at different lengths.
    """
    groups: dict[bytes, list[list[int]]] = {}
    by_length = sorted(curves.by_trial, key=lambda number: (-len(curves.by_trial[number].values), number))
    for number in by_length:
        curve = curves.by_trial[number]
        if not _counts(curve):
            continue
        begin = curve.values[:LEAST].tobytes()
        for group in groups.setdefault(begin, []):
            if _begins(curves.by_trial[group[0]], curve):
                group.append(number)
                break
        else:
            groups[begin].append([number])
    found = []
    for group in (group for alike in groups.values() for group in alike if len(group) > 1):
        members = tuple(trials[number] for number in sorted(group))
        differ = _differ(members)
        if differ:
            found.append(IdenticalCurves(curves.metric, members, differ, len(curves.by_trial[group[0]].values)))
    return sorted(found, key=lambda group: group.trials[0].number)


def _counts(curve: Curve) -> bool:
    if len(curve.values) < LEAST:
        return False
    finite = (value for value in curve.values if math.isfinite(value))
    first = next(finite, None)
    return any(value != first for value in finite)


def _begins(longer: Curve, curve: Curve) -> bool:
    count = len(curve.values)
    return longer.iterations[:count] == curve.iterations and longer.values[:count].tobytes() == curve.values.tobytes()


def _differ(trials: Sequence[TrialInfo]) -> tuple[str, ...]:
    names = {name for trial in trials for name in trial.values}
    missing = object()
    return tuple(sorted(name for name in names if len({_text(trial.values.get(name, missing)) for trial in trials}) > 1))


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=repr)
