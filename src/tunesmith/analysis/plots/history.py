"""Optimisation history: each trial's score, and the best so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import WORDS, Given, Material, Scored, running_best, texts
from tunesmith.analysis.plots.theme import (
    BLUE,
    GREEN,
    GREY,
    MANY,
    ORANGE,
    PURPLE,
    VERMILION,
    figure,
    note,
    number,
    packed,
    plotly,
    scale,
    short,
    show_metric,
)
from tunesmith.errors import SpecError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["MARKERS", "plot_optimization_history"]

MARKERS: dict[str, dict[str, Any]] = {
    "finished": {"color": BLUE, "symbol": "circle"},
    "stopped early": {"color": ORANGE, "symbol": "diamond"},
    "failed": {"color": VERMILION, "symbol": "x"},
    "infeasible": {"color": PURPLE, "symbol": "square"},
    "running": {"color": GREEN, "symbol": "circle-open"},
    "paused": {"color": GREY, "symbol": "diamond-open"},
    "waiting": {"color": GREY, "symbol": "circle-open"},
}
"""How trials are marked in all plots, by what became of them."""

_AT = {"order": "trials, in the order in which they ended", "time": "time since the experiment began (s)"}


def plot_optimization_history(
    given: Given, metric: str | None = None, mode: str | None = None, *, by: str = "order", scope: str = "last"
) -> Figure:
    """Each trial's score in the order in which the trials ended, and the best so far.

    Trials that were stopped early, failed, turned out infeasible or still run have marks of their own; those without a finite score
    stand on the lower edge. Trials that are not over come last, in order of their newest reports. Infeasible ones are never the best.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.
        by: what the horizontal axis is: "order" (1, 2, 3 ...) or "time" (seconds since the experiment began).
        scope: which of a trial's reports count, as for :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_trial`.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing, or ``by`` or ``scope`` is unknown.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 1, 2])}, metric="loss",
        ...                         mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     list(plot_optimization_history(analysis).data[-1].y)
        [3.0, 1.0, 1.0]
    """
    if by not in _AT:
        raise SpecError(f"plot_optimization_history(): by must be 'order' or 'time', got {by!r}.")
    material = Material.of(given)
    metric, mode = material.objective("plot_optimization_history", metric, mode)
    ended = sorted(material.scored(metric, mode, scope), key=lambda one: (one.trial.ended_at is None, one.at, one.trial.number))
    ended = [one for one in ended if one.iteration is not None or one.trial.is_finished()]
    if by == "time":
        ended.sort(key=lambda one: (one.at, one.trial.number))
    made = figure("Optimisation history", _AT[by], show_metric(metric, mode), about=_about(ended, metric, mode))
    places = [one.at for one in ended] if by == "time" else list(range(1, len(ended) + 1))
    _add_points(made, material, ended, places, metric)
    if any(one.iteration is not None for one in ended):
        best = running_best([one.value if one.counts else math.nan for one in ended], mode)
        line = {"color": VERMILION, "width": 2.5, "shape": "hv"}
        shown = "best so far: %{y:.6g}<extra></extra>"
        made.add_scatter(x=packed(places), y=packed(best), mode="lines", name="best so far", line=line, hovertemplate=shown)
    else:
        note(made, f"no trial has a score by {short(metric)} yet")
    return made.update_layout(yaxis=scale(one.value for one in ended))


def _about(ended: Sequence[Scored], metric: str, mode: str) -> str:
    counting = [one for one in ended if one.counts]
    if not counting:
        return f"{len(ended)} trials"
    best = (min if mode == "min" else max)(counting, key=lambda one: one.value)
    return f"{len(ended):,} trials; best {short(metric)}: {number(best.value)} by trial {best.trial.trial_id}"


def _add_points(made: Any, material: Material, ended: Sequence[Scored], places: Sequence[float], metric: str) -> None:
    """One trace of marks for each kind of end; those without a score on the lower edge, by an axis of their own."""
    kind = plotly().Scattergl if len(ended) > MANY else plotly().Scatter
    size = 7 if len(ended) <= 300 else 5 if len(ended) <= MANY else 3
    shown = texts(material, ended, metric)
    for word in WORDS:
        for scored in (True, False):
            chosen = [index for index, one in enumerate(ended) if one.state == word and (one.iteration is not None) is scored]
            if not chosen:
                continue
            made.add_trace(kind(
                x=packed([places[index] for index in chosen]),
                y=packed([ended[index].value if scored else 0.015 for index in chosen]),
                yaxis="y" if scored else "y2",
                mode="markers",
                name=word if scored else f"{word}, without a score",
                marker={**MARKERS[word], "size": size, "opacity": 0.75 if scored else 1.0},
                text=[shown[index] for index in chosen],
                hovertemplate="%{text}<extra></extra>",
            ))  # fmt: skip
    made.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
