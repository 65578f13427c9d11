"""Parallel coordinates: every trial a line over its parameters, coloured by its score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Given, Material, Scored
from tunesmith.analysis.plots.parameters import Parameter
from tunesmith.analysis.plots.theme import SCALE, clipped, ending, figure, log_like, note, number, short
from tunesmith.errors import SpecError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["axes_of", "plot_parallel_coordinates"]

_LINES = 2000
"""Lines at most: more of them are one smear."""


def plot_parallel_coordinates(
    given: Given, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last"
) -> Figure:
    """Every trial with a finite score as a line over its parameters and the metric; the better, the warmer its colour.

    Axes of log domains are logarithmic, those of categories have the options' labels. Trials that have no such parameter (it belongs to an
    option that they have not taken) go through "not set" at the axis's lower end. Constants, secrets and parameters with one value in
    all trials have no axis. Drag along an axis to see only what goes through that range; drag its name to move it. Of more than 2000 trials
    the best are drawn; of a run with several metrics each has an axis.

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
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.uniform(0, 1), "epochs": 3}, num_samples=4,
        ...                         metric="loss", mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     [axis.label for axis in plot_parallel_coordinates(analysis).data[0].dimensions]
        ['x', 'loss']
    """
    material = Material.of(given)
    metric, mode = material.objective("plot_parallel_coordinates", metric, mode)
    having = [one for one in material.scored(metric, mode, scope) if math.isfinite(one.value)]
    ranked = sorted(having, key=lambda one: one.value if mode == "min" else -one.value)[:_LINES]
    chosen = sorted(ranked, key=lambda one: one.trial.number)
    axes = axes_of("plot_parallel_coordinates", material, params)
    few = f"the best {len(chosen):,} of {len(having):,} trials" if len(chosen) < len(having) else f"{len(having):,} trials"
    made = figure("Parallel coordinates", about=f"{few}, coloured by {short(metric)}; drag along an axis to filter", height=520)
    made.update_xaxes(visible=False).update_yaxes(visible=False)
    if not chosen:
        note(made, f"no trial has a finite {short(metric)} yet")
        return made
    places = [material.positions[one.trial.number] for one in chosen]
    dimensions = [_dimension(axis, [axis.values[place] for place in places]) for axis in axes]
    metrics = [(metric, mode), *(one for one in material.objectives() if one[0] != metric)]
    dimensions += [_metric(name, chosen if name == metric else material.scored(name, other, scope), places) for name, other in metrics]
    made.add_parcoords(
        dimensions=dimensions,
        line=_line([one.value for one in chosen], metric, mode),
        labelangle=-20 if len(dimensions) > 6 else 0,
        unselected={"line": {"opacity": 0.06}},
    )
    return made.update_layout(margin={"l": 80, "r": 80, "t": 150, "b": 40})


def axes_of(call: str, material: Material, params: Sequence[str] | None) -> list[Parameter]:
    """The parameters to show: those named (by name or label), else those that differ between trials.

    Raises:
        SpecError: there is no such parameter (names those that there are), or this is no list.
    """
    if isinstance(params, str):
        raise SpecError(f"{call}(): params is a list of names, as in params=[{params!r}].")
    if params is None:
        return [one for one in material.parameters if one.varies or (one.conditional and one.present)]
    known = {name: one for one in material.parameters for name in (one.name, one.label)}
    missing = [name for name in params if name not in known]
    if missing:
        there = ", ".join(one.label for one in material.parameters) or "none"
        raise SpecError(f"{call}(): there is no parameter {missing[0]!r} in experiment {material.name!r}. There are: {there}.")
    return [known[name] for name in params]


def _dimension(axis: Parameter, values: list[float]) -> dict[str, Any]:
    """One axis. What is not set has a place of its own below all others."""
    shown = [_place(axis, value) for value in values]
    known = [value for value in shown if math.isfinite(value)]
    if axis.labels is not None:
        ticks, names = [float(place) for place in range(len(axis.labels))], [clipped(text, 22) for text in axis.labels]
        low, high = 0.0, float(max(len(axis.labels) - 1, 1))
    else:
        low, high = _bounds(axis, known)
        ticks, names = _ticks(axis, low, high)
    absent = any(map(math.isnan, values))
    gap = 0.12 * (high - low)
    if absent:
        ticks, names = [low - gap, *ticks], ["not set", *names]
    found = [low - gap if math.isnan(value) else min(max(value, low), high) for value in shown]
    reach = [low - gap if absent else low, high]
    return {"label": ending(axis.label, 28), "values": found, "range": reach, "tickvals": ticks, "ticktext": names}


def _place(axis: Parameter, value: float) -> float:
    return math.log10(value) if axis.log and value > 0 else value


def _bounds(axis: Parameter, known: Sequence[float]) -> tuple[float, float]:
    """From the domain, if it says so, else from the values."""
    low, high = (_place(axis, bound) for bound in (axis.lower, axis.upper))
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low, high = min([low, *known]), max([high, *known])
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _ticks(axis: Parameter, low: float, high: float) -> tuple[list[float], list[str]]:
    """Powers of ten where the axis spans some, else five places evenly spaced."""
    if axis.log:
        powers = [float(power) for power in range(math.ceil(low), math.floor(high) + 1)]
        if len(powers) >= 2:
            return powers, [f"{10.0**power:g}" for power in powers]
    places = [low + (high - low) * step / 4 for step in range(5)]
    return places, [f"{10.0**place if axis.log else place:.3g}" for place in places]


def _metric(name: str, scored: Sequence[Scored], places: Sequence[int]) -> dict[str, Any]:
    """The axis of a metric; a trial without it stands at "not set". ``scored``: the trials shown, or all, of which these are."""
    column = [one.value for one in (scored if len(scored) == len(places) else [scored[place] for place in places])]
    return _dimension(Parameter(name, name, column, None, log_like(column)), column)


def _line(values: Sequence[float], metric: str, mode: str) -> dict[str, Any]:
    """Colours from the worst to the best, which is the largest number here, as Plotly draws these lines last. What is worse than nine
    tenths of all has the worst colour: a few bad trials shall not make all others look alike."""
    log, sign = log_like(values), 1.0 if mode == "max" else -1.0
    shown = [sign * (math.log10(value) if log else value) for value in values]
    ordered = sorted(shown)
    low, high = ordered[len(ordered) // 10], ordered[-1]
    low = low if low < high else high - 1e-9 - abs(high) * 1e-9
    ticks = [low + (high - low) * step / 4 for step in range(5)]
    bar = {"title": {"text": short(metric, 24), "side": "right"}, "tickvals": ticks, "thickness": 12, "outlinewidth": 0}
    bar["ticktext"] = [number(10.0 ** (sign * tick) if log else float(sign * tick)) for tick in ticks]
    steps = [list(step) for step in SCALE]
    return {"color": shown, "colorscale": steps, "cmin": low, "cmax": high, "showscale": True, "colorbar": bar}
