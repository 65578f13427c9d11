"""Populations: who went on from whose state, and the schedule of the best."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Given, Material
from tunesmith.analysis.plots.theme import (
    BLUE,
    GREY,
    MANY,
    PALETTE,
    SCALE,
    VERMILION,
    figure,
    log_like,
    note,
    number,
    packed,
    panels,
    plotly,
    scale,
    short,
    spread,
)
from tunesmith.core.flat import flatten
from tunesmith.errors import SpecError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_lineage", "plot_schedule"]

_MEMBERS = 200
_REPORTS = 20_000
"""Points at most; each trial's are spread evenly."""


def plot_lineage(given: Given, metric: str | None = None, mode: str | None = None) -> Figure:
    """Population-based training: every trial a row over its iterations, with an arrow for each exploit, from whom and to whom.

    Points are coloured by the metric, the better the warmer. The thick line is what led to the best trial's newest state, through
    everybody it copied. Of more than 200 trials those that copied or were copied are shown first; of more than 20,000 reports, a part that
    is spread evenly over each trial.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing; or no trial has gone on from another one's state.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.
    """
    material = Material.of(given)
    metric, mode = material.objective("plot_lineage", metric, mode)
    exploits = _exploits("plot_lineage", material)
    members = _members(material, exploits)
    about = f"{len(exploits)} exploits between {len(members)} trials"
    if len(members) < len(material.trials):
        about = f"{len(exploits)} exploits; {len(members)} of {len(material.trials):,} trials"
    height = max(420, 160 + 18 * len(members))
    made = figure("Lineage", "iteration", "trial", about=about, height=min(height, 2400))
    scored = [one for one in material.scored(metric, mode) if one.counts]
    best = (min if mode == "min" else max)(scored, key=lambda one: one.value) if scored else None
    _add_reports(made, material, members, metric, mode)
    _add_exploits(made, material, exploits, set(members))
    if best is not None and best.iteration is not None:
        _add_ancestry(made, _ancestry(exploits, best.trial.number, best.iteration), best.trial.trial_id)
    return made.update_yaxes(autorange="reversed", tickmode="array" if len(members) <= 40 else "auto",
                             tickvals=members if len(members) <= 40 else None, zeroline=False)  # fmt: skip


def _exploits(call: str, material: Material) -> list[dict[str, Any]]:
    found = material.exploits
    if not found:
        scheduler = material.spec.get("scheduler") or "unknown"
        raise SpecError(f"{call}(): no trial of experiment {material.name!r} has gone on from another one's state. Its scheduler is "
                        f"{scheduler}; population-based ones (PopulationBasedTraining, PB2) let trials do so.")  # fmt: skip
    return found


def _members(material: Material, exploits: Sequence[Mapping[str, Any]]) -> list[int]:
    taking_part = dict.fromkeys(number for exploit in exploits for number in (exploit["trial"], exploit["source"]))
    others = (trial.number for trial in material.trials if trial.number not in taking_part)
    return sorted([*taking_part, *others][:_MEMBERS])


def _add_reports(made: Any, material: Material, members: Sequence[int], metric: str, mode: str) -> None:
    curves = material.curves(metric)
    brief = sum(len(curves[number_].values) for number_ in members if number_ in curves) > MANY
    kind = plotly().Scattergl if brief else plotly().Scatter
    x, y, values, text = [], [], [], []
    rows: list[float | None] = []
    spans: list[float | None] = []
    for number_ in members:
        curve = curves.get(number_)
        if curve is None or not curve.iterations:
            continue
        rows += [number_, number_, None]
        spans += [curve.iterations[0], curve.iterations[-1], None]
        head = f"<b>{material.trials[material.positions[number_]].trial_id}</b>" if brief else material.hover(number_)
        for place in spread(len(curve.values), max(2, _REPORTS // len(members))):
            at, value = curve.iterations[place], curve.values[place]
            if math.isfinite(value):
                x.append(at)
                y.append(number_)
                values.append(value)
                text.append(f"{head}<br>iteration {at}: {short(metric)} = {number(value)}")
    log = log_like(values)
    made.add_scatter(x=spans, y=rows, mode="lines", line={"color": GREY, "width": 1}, hoverinfo="skip", showlegend=False)
    bar = {"title": {"text": short(metric, 24), "side": "right"}, "thickness": 12, "outlinewidth": 0}
    colours = packed([math.log10(value) if log else value for value in values])
    marker = {"size": 6, "color": colours, "colorscale": [list(step) for step in SCALE],
              "reversescale": mode == "min", "showscale": True, "colorbar": bar}  # fmt: skip
    if log:
        bar["title"] = {"text": f"log10 of {short(metric, 24)}", "side": "right"}
    template = "%{text}<extra></extra>"
    made.add_trace(
        kind(x=packed(x), y=packed(y), mode="markers", marker=marker, text=text, hovertemplate=template, name="reports", showlegend=False)
    )


def _add_exploits(made: Any, material: Material, exploits: Sequence[Mapping[str, Any]], members: set[int]) -> None:
    """A line from the source's row to the trial's, at the iteration of the state that was copied; a triangle where it arrives."""
    own = [one for one in exploits if one["trial"] in members and one["source"] in members]
    x = [at for one in own for at in (one["source_iteration"], one["source_iteration"], None)]
    y = [row for one in own for row in (one["source"], one["trial"], None)]
    line = {"color": BLUE, "width": 1}
    made.add_scatter(x=x, y=y, mode="lines", line=line, opacity=0.5, name="exploit", legendgroup="exploit", hoverinfo="skip")
    made.add_scatter(
        x=[one["source_iteration"] for one in own],
        y=[one["trial"] for one in own],
        mode="markers",
        marker={"symbol": ["triangle-down" if one["trial"] > one["source"] else "triangle-up" for one in own], "size": 10, "color": BLUE},
        text=[_told(material, one) for one in own],
        hovertemplate="%{text}<extra></extra>",
        name="exploit",
        legendgroup="exploit",
        showlegend=False,
    )


def _told(material: Material, exploit: Mapping[str, Any]) -> str:
    trial, source = (material.trials[material.positions[exploit[key]]].trial_id for key in ("trial", "source"))
    head = f"<b>{trial}</b> at iteration {exploit['iteration']} goes on from {source}'s state of iteration {exploit['source_iteration']}"
    changes = [
        f"{short(path)}: {short(number(before))} → {short(number(now))} ({short(str(what))})"
        for path, (before, now, what) in list(exploit["changes"].items())[:12]
    ]
    return "<br>".join([head, *changes, short(exploit["reason"], 160)])


def _ancestry(exploits: Sequence[Mapping[str, Any]], trial: int, iteration: int) -> list[tuple[int, int, int]]:
    """(trial, from iteration, to iteration) of the stretches that led to a state, the newest first.

    Backwards from the end: the newest exploit of a trial before that moment is where its state came from.
    """
    stretches = []
    at, until = len(exploits), iteration
    while True:
        own = (index for index in range(at - 1, -1, -1) if exploits[index]["trial"] == trial)
        found = next((index for index in own if exploits[index]["source_iteration"] <= until), None)
        if found is None:
            stretches.append((trial, 0, until))
            return stretches
        began = exploits[found]["source_iteration"]
        stretches.append((trial, began, until))
        trial, until, at = exploits[found]["source"], began, found


def _add_ancestry(made: Any, stretches: Sequence[tuple[int, int, int]], name: str) -> None:
    x: list[float] = []
    y: list[float] = []
    for trial, start, end in reversed(stretches):
        x += [start, end]
        y += [trial, trial]
    line = {"color": VERMILION, "width": 3}
    made.add_scatter(x=x, y=y, mode="lines", line=line, opacity=0.8, name=f"what led to the best ({name})", hoverinfo="skip")


def plot_schedule(given: Given, metric: str | None = None, mode: str | None = None, *, scope: str = "last") -> Figure:
    """The values that the best trial's state has gone through, over all that it copied: one panel for each parameter that changed.

    The same as :meth:`~tunesmith.analysis.ExperimentAnalysis.best_schedule` tells.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.
        scope: which of a trial's reports count, as for :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_trial`.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing; or no trial has gone on from another one's state.
        MetricError: no trial can be ranked by the metric.
        TuneError: Plotly is not installed.
    """
    material = Material.of(given)
    metric, mode = material.objective("plot_schedule", metric, mode)
    _exploits("plot_schedule", material)
    analysis = material.analysis
    best = analysis._pick("plot_schedule", metric, mode, scope, True)
    schedule = [(at, flatten(config)) for at, config in analysis.best_schedule(metric, mode, scope)]
    names = [name for name in schedule[0][1] if len({repr(config.get(name)) for _, config in schedule}) > 1]
    about = f"trial {analysis[best.trial].trial_id}: {short(metric)} {number(best.value)} at iteration {best.iteration}"
    if not names:
        made = figure("Schedule of the best", "iteration", about=about)
        note(made, "the best trial's configuration never changed")
        return made
    height = 150 + 150 * len(names)
    made = panels("Schedule of the best", len(names), 1, about=about, height=height, shared_xaxes=True, vertical_spacing=0.05)
    starts = [at for at, _ in schedule]
    for row, name in enumerate(names, 1):
        values = [config.get(name) for _, config in schedule]
        plain = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        shown = values if plain else [short(number(value)) for value in values]
        line = {"shape": "hv", "width": 2.5, "color": PALETTE[(row - 1) % len(PALETTE)]}
        made.add_scatter(
            x=[*starts, best.iteration], y=[*shown, shown[-1]], mode="lines+markers", line=line, name=short(name), showlegend=False,
            hovertemplate=f"{short(name)} = %{{y}} from iteration %{{x}}<extra></extra>", row=row, col=1,
        )  # fmt: skip
        upright = scale(float(value) for value in values if value is not None) if plain else {"type": "category"}
        made.update_yaxes(title_text=short(name, 24), **upright, row=row, col=1)
    return made.update_xaxes(title_text="iteration", row=len(names), col=1)
