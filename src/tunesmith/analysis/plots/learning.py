"""Learning curves: a metric over the iterations of each trial, with the places where trials were stopped."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.history import MARKERS
from tunesmith.analysis.plots.material import WORDS, Given, Material, Scored, texts
from tunesmith.analysis.plots.theme import MANY, VERMILION, figure, note, number, plotly, scale, short, show_metric, spread
from tunesmith.errors import SpecError
from tunesmith.journal.projections import Curve

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_learning_curves"]

_POINTS = 400
"""Points of one curve at most."""


def plot_learning_curves(given: Given, metric: str | None = None, mode: str | None = None, *, max_trials: int = 200) -> Figure:
    """The metric over the iterations of each trial; the last point of each curve says what became of the trial.

    Of more than ``max_trials`` trials a quarter of those shown are the best, and the others are spread evenly over the ranking of the rest;
    of curves with more than 400 points, points spread evenly and each stretch's extremes. The line below the title says what was left out.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.
        max_trials: so many curves at most, >= 1.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing, or ``max_trials`` is no such number.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     for step in range(1, 4):
        ...         tune.report({"loss": config["x"] / step})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(train, config={"x": 6}, metric="loss", mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     list(plot_learning_curves(analysis).data[0].y)
        [6.0, 3.0, 2.0, None]
    """
    if isinstance(max_trials, bool) or not isinstance(max_trials, int) or max_trials < 1:
        raise SpecError(f"plot_learning_curves(): max_trials must be a whole number, 1 or more, got {max_trials!r}.")
    material = Material.of(given)
    metric, mode = material.objective("plot_learning_curves", metric, mode)
    curves = material.curves(metric)
    having = [one for one in material.scored(metric, mode) if any(map(math.isfinite, _of(curves, one).values))]
    ranked = sorted(having, key=lambda one: (not one.counts, one.value if mode == "min" else -one.value))
    chosen = _chosen(ranked, max_trials)
    drawn = {one.trial.number: _thinned(_of(curves, one)) for one in chosen}
    about = _about(having, chosen, curves, drawn)
    made = figure("Learning curves", "iteration (reports of a trial)", show_metric(metric, mode), about=about)
    if not chosen:
        note(made, f"no trial has reported a finite {short(metric)} yet")
    _add_lines(made, chosen, drawn)
    _add_ends(made, material, chosen, drawn, metric)
    if ranked and ranked[0].counts:
        _add_best(made, material, ranked[0], drawn)
    return made.update_layout(yaxis=scale(value for _, values in drawn.values() for value in values))


Points = tuple[list[int], list[float]]
_NONE = Curve(array("q"), array("d"))


def _of(curves: Mapping[int, Curve], one: Scored) -> Curve:
    return curves.get(one.trial.number, _NONE)


def _chosen(ranked: Sequence[Scored], most: int) -> list[Scored]:
    """The best quarter of those to be shown, and others spread over the rest."""
    if len(ranked) <= most:
        return list(ranked)
    best = max(1, most // 4)
    rest = ranked[best:]
    return [*ranked[:best], *(rest[index] for index in (spread(len(rest), most - best) if most - best > 1 else ()))]


def _thinned(curve: Curve) -> Points:
    """At most so many points: of each stretch the smallest and the largest value; the first and the last point stay."""
    points = [(at, value) for at, value in zip(curve.iterations, curve.values) if math.isfinite(value)]
    if len(points) > _POINTS:
        edges = spread(len(points) + 1, _POINTS // 2)
        kept = {0, len(points) - 1}
        for start, end in pairwise(edges):
            stretch = range(start, min(end, len(points)))
            kept.add(min(stretch, key=lambda index: points[index][1]))
            kept.add(max(stretch, key=lambda index: points[index][1]))
        points = [points[index] for index in sorted(kept)]
    return [at for at, _ in points], [value for _, value in points]


def _about(having: Sequence[Scored], chosen: Sequence[Scored], curves: Mapping[int, Curve], drawn: Mapping[int, Points]) -> str:
    parts = [f"{len(having)} trials"]
    if len(chosen) < len(having):
        parts = [f"{len(chosen)} of {len(having):,} trials: the best {len(chosen) // 4 or 1}, and others evenly over the ranking"]
    if any(len(curves[number].values) > _POINTS for number in drawn):
        parts.append(f"curves are drawn with at most {_POINTS} points")
    return "; ".join(parts)


def _add_lines(made: Any, chosen: Sequence[Scored], drawn: Mapping[int, Points]) -> None:
    """All curves of one kind of end are one trace, with gaps in between."""
    total = sum(len(values) for _, values in drawn.values())
    kind = plotly().Scattergl if total > 10 * MANY else plotly().Scatter
    for word in WORDS:
        x: list[float | None] = []
        y: list[float | None] = []
        names: list[str | None] = []
        for one in chosen:
            if one.state == word:
                at, values = drawn[one.trial.number]
                x += [*at, None]
                y += [*values, None]
                names += [one.trial.trial_id] * (len(at) + 1)
        if x:
            made.add_trace(kind(
                x=x, y=y, mode="lines", name=word, legendgroup=word, opacity=0.55 if len(chosen) > 20 else 0.75, text=names,
                line={"color": MARKERS[word]["color"], "width": 1.2}, hovertemplate="%{text}, iteration %{x}: %{y:.6g}<extra></extra>",
            ))  # fmt: skip


def _add_ends(made: Any, material: Material, chosen: Sequence[Scored], drawn: Mapping[int, Points], metric: str) -> None:
    shown = texts(material, chosen, metric)
    for word in WORDS:
        ends = [(drawn[one.trial.number], shown[index]) for index, one in enumerate(chosen) if one.state == word]
        if ends:
            made.add_scatter(
                x=[at[-1] for (at, _), _ in ends],
                y=[values[-1] for (_, values), _ in ends],
                mode="markers",
                name=f"{word}: last report",
                legendgroup=word,
                showlegend=False,
                marker={**MARKERS[word], "size": 7},
                text=[text for _, text in ends],
                hovertemplate="%{text}<extra></extra>",
            )


def _add_best(made: Any, material: Material, best: Scored, drawn: Mapping[int, Points]) -> None:
    at, values = drawn[best.trial.number]
    name = f"best: {best.trial.trial_id} ({number(best.value)})"
    text = [f"{material.hover(best.trial.number)}<br>iteration {one}" for one in at]
    made.add_scatter(
        x=at, y=values, mode="lines", name=name, line={"color": VERMILION, "width": 3}, text=text, hovertemplate="%{text}<extra></extra>"
    )
