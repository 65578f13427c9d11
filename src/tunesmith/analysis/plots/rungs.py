"""Rungs: which trial got how far with which value, and where the scheduler drew the line."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Given, Material
from tunesmith.analysis.plots.theme import BLUE, GREEN, GREY, ORANGE, VERMILION, number, panels, scale, short, show_metric
from tunesmith.core.trial import ERROR, RUNNING, TERMINATED
from tunesmith.errors import SpecError
from tunesmith.journal.projections import Curve
from tunesmith.schedulers.rungs import milestones

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Visit", "plot_rungs", "visits"]

_PLACE = re.compile(r" at (?P<time>\S+) (?P<milestone>[-+.\de]+)(?P<rest>[ ;].*)?\(.*?bracket (?P<bracket>\d+)\)")
_LAST = re.compile(r"^(?P<time>\S+) \S+ is max_t=(?P<max_t>[-+.\de]+) or beyond \(bracket (?P<bracket>\d+)\)")
_CUT = re.compile(r"(?:the cut of|down to) (?P<cut>[-+.\de]+)")
_FATES = {"goes on": (GREEN, "triangle-up"), "cut": (ORANGE, "diamond"), "waits": (GREY, "diamond-open"), "done": (BLUE, "circle")}
_NO_CUT = ("goes on", "need not go on")
_PANELS = 6
_LINES = 300


@dataclass(slots=True)
class Visit:
    """A trial at a rung.

    Args:
        trial: its number; bracket, milestone: which rung.
        value: of the metric at its first report there.
        fate: "goes on", "cut", "waits" (for others, or for a free slot), or "done": it came no further, but was not cut (it was at the top,
            ended by itself, or failed).
        reason: the scheduler's words, if it said something there.
    """

    trial: int
    bracket: int
    milestone: float
    value: float
    fate: str = "waits"
    reason: str = ""


@dataclass(slots=True)
class _Course:
    """What the decisions say of one trial: bracket, and milestone -> words; ``top``: it ran to ``max_t``."""

    bracket: int = 0
    said: dict[float, str] = field(default_factory=dict)
    top: float = math.nan


def visits(material: Material, metric: str) -> tuple[list[Visit], dict[tuple[int, float], list[float]]]:
    """All trials at all rungs they have reached; and (bracket, milestone) -> the cut values that were named there, in order.

    Which rungs there are is what the decisions' reasons name, and for asynchronous halving what the scheduler's settings say.
    """
    courses: dict[int, _Course] = {}
    cuts: dict[tuple[int, float], list[float]] = {}
    for decision in material.decisions:
        if decision["trial"] is not None and decision["reason"] and "bracket" in decision["reason"]:
            _take(courses.setdefault(decision["trial"], _Course()), decision["reason"], cuts)
    rungs = _rungs(material.spec, courses.values())
    if not rungs:
        return [], {}
    times = material.curves(material.spec.get("scheduler_options", {}).get("time_attr", "training_iteration"))
    values = material.curves(metric)
    brackets = sorted(rungs)
    found: list[Visit] = []
    for trial in material.trials:
        course = courses.get(trial.number, _Course(brackets[0]))
        if trial.number in values and trial.number in times:
            reached = _reached(rungs.get(course.bracket, []), times[trial.number], values[trial.number])
            found += _path(trial.number, course, reached, trial.status)
    return found, cuts


def _take(course: _Course, reason: str, cuts: dict[tuple[int, float], list[float]]) -> None:
    last = _LAST.search(reason)
    if last is not None:
        course.bracket, course.top = int(last["bracket"]), float(last["max_t"])
        return
    place = _PLACE.search(reason)
    if place is None:
        return
    milestone = float(place["milestone"])
    course.bracket = int(place["bracket"])
    known = course.said.get(milestone)
    course.said[milestone] = reason
    cut = _CUT.search(reason)
    if cut is not None and reason != known:
        cuts.setdefault((course.bracket, milestone), []).append(float(cut["cut"]))


def _rungs(spec: Mapping[str, Any], courses: Iterable[_Course]) -> dict[int, list[float]]:
    """Bracket -> its milestones, ascending."""
    found: dict[int, set[float]] = {}
    for course in courses:
        own = found.setdefault(course.bracket, set())
        own.update(course.said)
        if not math.isnan(course.top):
            own.add(course.top)
    options = spec.get("scheduler_options") or {}
    if {"max_t", "grace_period", "reduction_factor"} <= options.keys():
        for bracket in range(options.get("brackets", 1)):
            ladder = milestones(options["grace_period"], options["max_t"], options["reduction_factor"])[bracket:]
            found.setdefault(bracket, set()).update([*ladder, *([options["max_t"]] if options.get("stop_last_trials") else [])])
    return {bracket: sorted(own) for bracket, own in found.items() if own}


def _reached(rungs: Sequence[float], times: Curve, values: Curve) -> list[tuple[float, float]]:
    """(milestone, value) of the rungs that a trial has come to, at its first report at or beyond each."""
    found = []
    for milestone in rungs:
        at = next((place for place, time in zip(times.iterations, times.values) if time >= milestone), None)
        if at is None:
            break
        index = bisect_left(values.iterations, at)
        if index < len(values.iterations):
            found.append((milestone, values.values[index]))
    return found


def _path(number: int, course: _Course, reached: Sequence[tuple[float, float]], status: str) -> list[Visit]:
    """A trial's visits, and what became of it at each: whoever has come further went on."""
    found = [Visit(number, course.bracket, at, value, "goes on", course.said.get(at, "")) for at, value in reached]
    if found:
        last = found[-1]
        if status in (TERMINATED, ERROR):
            last.fate = "done" if not last.reason or any(words in last.reason for words in _NO_CUT) else "cut"
        elif status != RUNNING:
            last.fate = "waits"
    return found


def plot_rungs(given: Given, metric: str | None = None, mode: str | None = None) -> Figure:
    """Which trial reached which rung with which value, who went on from there, and where the scheduler drew the line.

    One panel for each bracket. For schedulers of the halving family: ASHA, HyperBand, successive halving, BOHB, PASHA.
    Horizontal strokes are the cut values that the scheduler named in its decisions, the newest of each rung in full colour.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing; or the run's scheduler has no rungs.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     for step in range(1, 10):
        ...         tune.report({"loss": config["x"] / step})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(train, config={"x": tune.grid_search([1.0, 2.0, 3.0])}, metric="loss", mode="min",
        ...                         scheduler=tune.schedulers.ASHAScheduler(max_t=9, reduction_factor=3), storage_path=folder,
        ...                         verbose=0, executor="inline")
        ...     {trace.name: len(trace.x) for trace in plot_rungs(analysis).data if trace.mode == "markers" and trace.showlegend}
        {'goes on': 2, 'cut': 2, 'done': 1, 'cut value': 1}
    """
    material = Material.of(given)
    metric, mode = material.objective("plot_rungs", metric, mode)
    material.scored(metric, mode)
    found, cuts = visits(material, metric)
    if not found:
        scheduler = material.spec.get("scheduler") or "unknown"
        raise SpecError(f"plot_rungs(): no trial of experiment {material.name!r} has reached a rung. Its scheduler ({scheduler}) has none, "
                        "or has decided nothing yet.")  # fmt: skip
    brackets = sorted({visit.bracket for visit in found})
    shown = brackets[:_PANELS]
    about = f"{len({visit.trial for visit in found})} trials"
    if len(brackets) > len(shown):
        about += f"; the first {len(shown)} of {len(brackets)} brackets"
    titles = [f"bracket {bracket}" for bracket in shown] if len(brackets) > 1 else None
    made = panels("Rungs", 1, len(shown), about=about, height=500, shared_yaxes=True, horizontal_spacing=0.02, subplot_titles=titles)
    named: set[str] = set()
    for column, bracket in enumerate(shown, 1):
        own = [visit for visit in found if visit.bracket == bracket and math.isfinite(visit.value)]
        _add_bracket(made, material, own, cuts, metric, column, named)
    time = material.spec.get("scheduler_options", {}).get("time_attr", "training_iteration")
    made.update_xaxes(title_text=f"rung ({time})", type="category")
    made.update_yaxes(**scale(visit.value for visit in found)).update_layout(margin_t=110 if titles else 90)
    return made.update_yaxes(title_text=f"{show_metric(metric, mode)} at the rung", col=1)


def _add_bracket(
    made: Any, material: Material, own: Sequence[Visit], cuts: Mapping[tuple[int, float], Sequence[float]], metric: str, column: int,
    named: set[str],
) -> None:  # fmt: skip
    rungs = sorted({visit.milestone for visit in own})
    counts = {rung: sum(visit.milestone == rung for visit in own) for rung in rungs}
    labels = {rung: f"{rung:g}<br>{counts[rung]} trial{'s' if counts[rung] != 1 else ''}" for rung in rungs}
    _add_paths(made, own, labels, column)
    for fate, (colour, symbol) in _FATES.items():
        chosen = [visit for visit in own if visit.fate == fate]
        if chosen:
            text = [
                f"{material.hover(visit.trial)}<br>{short(metric)} = {number(visit.value)} at {visit.milestone:g}, {fate}"
                + (f"<br>{short(visit.reason, 160)}" if visit.reason else "")
                for visit in chosen
            ]
            made.add_scatter(
                x=[labels[visit.milestone] for visit in chosen], y=[visit.value for visit in chosen], mode="markers", name=fate,
                legendgroup=fate, showlegend=fate not in named, text=text, hovertemplate="%{text}<extra></extra>",
                marker={"color": colour, "symbol": symbol, "size": 9, "opacity": 0.85}, row=1, col=column,
            )  # fmt: skip
            named.add(fate)
    _add_cuts(made, cuts, own[0].bracket if own else -1, labels, column, named)
    made.update_xaxes(categoryorder="array", categoryarray=[labels[rung] for rung in rungs], row=1, col=column)


def _add_paths(made: Any, own: Sequence[Visit], labels: Mapping[float, str], column: int) -> None:
    """The trials' ways from rung to rung; of very many those that came furthest."""
    paths: dict[int, list[Visit]] = {}
    for visit in own:
        paths.setdefault(visit.trial, []).append(visit)
    longest = sorted((path for path in paths.values() if len(path) > 1), key=len, reverse=True)[:_LINES]
    x = [place for path in longest for place in [*(labels[visit.milestone] for visit in path), None]]
    y = [value for path in longest for value in [*(visit.value for visit in path), None]]
    line = {"color": GREY, "width": 1}
    made.add_scatter(x=x, y=y, mode="lines", line=line, opacity=0.5, showlegend=False, hoverinfo="skip", row=1, col=column)


def _add_cuts(
    made: Any, cuts: Mapping[tuple[int, float], Sequence[float]], bracket: int, labels: Mapping[float, str], column: int, named: set[str]
) -> None:
    for name, opacity, pick in (("earlier cut values", 0.25, slice(0, -1)), ("cut value", 1.0, slice(-1, None))):
        points = [(labels[rung], cut) for rung in labels for cut in list(cuts.get((bracket, rung), []))[pick]]
        if points:
            made.add_scatter(
                x=[rung for rung, _ in points], y=[cut for _, cut in points], mode="markers", name=name, legendgroup=name,
                showlegend=name not in named and name == "cut value", opacity=opacity,
                marker={"symbol": "line-ew", "size": 34, "line": {"color": VERMILION, "width": 3 if opacity == 1 else 1.5}},
                hovertemplate=f"{name}: %{{y:.6g}}<extra></extra>", row=1, col=column,
            )  # fmt: skip
            named.add(name)
