"""Slices: the score over each parameter by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Given, Material, Scored, texts
from tunesmith.analysis.plots.parallel import axes_of
from tunesmith.analysis.plots.parameters import Parameter
from tunesmith.analysis.plots.theme import (
    BLUE,
    MANY,
    VERMILION,
    distinct,
    ending,
    figure,
    note,
    packed,
    panels,
    plotly,
    scale,
    short,
    show_metric,
)

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_slice"]

_COLUMNS = 4
_OLD_TO_NEW = ((0.0, "#a3adb8"), (1.0, BLUE))


def plot_slice(
    given: Given, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last"
) -> Figure:
    """One panel for each parameter: the trials' scores over its values. Later trials are darker, the best one is ringed.

    Log domains have logarithmic axes, categories their labels. A trial without the parameter is not in its panel.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.
        params: names of the parameters to show, in that order; None: all that differ between trials.
        scope: which of a trial's reports count, as for :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_trial`.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing, or there is no such parameter.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 1, 2])}, metric="loss",
        ...                         mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     list(plot_slice(analysis).data[0].x)
        ['3', '1', '2']
    """
    material = Material.of(given)
    metric, mode = material.objective("plot_slice", metric, mode)
    having = [one for one in material.scored(metric, mode, scope) if math.isfinite(one.value)]
    axes = axes_of("plot_slice", material, params)
    if not having or not axes:
        made = figure("Slices", "parameter", show_metric(metric, mode))
        note(made, f"no trial has a finite {short(metric)} yet" if axes else "no parameter differs between trials")
        return made
    rows = -(-len(axes) // _COLUMNS)
    columns = -(-len(axes) // rows)
    about = f"{len(having):,} trials, from the first (grey) to the newest (blue); the best is ringed"
    made = panels(
        "Slices", rows, columns, about=about, height=130 + 300 * rows, shared_yaxes=True, horizontal_spacing=0.03,
        vertical_spacing=min(0.5, 110 / (300 * rows)),
    )  # fmt: skip
    best = (min if mode == "min" else max)([one for one in having if one.counts] or having, key=lambda one: one.value)
    upright = scale(one.value for one in having)
    for index, axis in enumerate(axes):
        row, column = index // columns + 1, index % columns + 1
        _add_panel(made, material, axis, having, best, metric, row, column)
        kinds = {"type": "category", "categoryorder": "array", "categoryarray": _names(axis)}
        across = kinds if axis.labels else scale(axis.present, axis.log)
        made.update_xaxes(title_text=short(ending(axis.label, 40)), **across, row=row, col=column)
        made.update_yaxes(title_text=show_metric(metric) if column == 1 else "", **upright, row=row, col=column)
    return made.update_layout(showlegend=False)


def _names(axis: Parameter) -> list[str]:
    """Of categories, as the axis has them."""
    return distinct(short(text, 24) for text in axis.labels or ())


def _add_panel(
    made: Any, material: Material, axis: Parameter, having: Sequence[Scored], best: Scored, metric: str, row: int, column: int
) -> None:
    chosen = [one for one in having if not math.isnan(axis.values[material.positions[one.trial.number]])]
    kind = plotly().Scattergl if len(having) > MANY else plotly().Scatter

    names = _names(axis)

    def place(one: Scored) -> Any:
        value = axis.values[material.positions[one.trial.number]]
        return names[int(value)] if axis.labels is not None else value

    marker = {"color": packed([one.trial.number for one in chosen]), "colorscale": [list(step) for step in _OLD_TO_NEW], "opacity": 0.75,
              "size": 7 if len(having) <= 300 else 4}  # fmt: skip
    template = "%{text}<extra></extra>"
    x, y = [place(one) for one in chosen], packed([one.value for one in chosen])
    x = x if axis.labels is not None else packed(x)
    made.add_trace(kind(x=x, y=y, mode="markers", marker=marker, text=texts(material, chosen, metric), hovertemplate=template), row, column)
    if best in chosen:
        ring = {"color": VERMILION, "symbol": "circle-open", "size": 14, "line": {"width": 2.5}}
        made.add_scatter(
            x=[place(best)], y=[best.value], mode="markers", marker=ring, text=texts(material, [best], metric), hovertemplate=template,
            row=row, col=column,
        )  # fmt: skip
