"""Empirical distribution functions of scores: which experiment finds good configurations more often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.material import Given, Material
from tunesmith.analysis.plots.theme import PALETTE, figure, note, number, packed, scale, short, show_metric
from tunesmith.errors import MetricError, SpecError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_edf"]

_DASHES = ("solid", "dash", "dot", "dashdot")


def plot_edf(
    given: Given | Sequence[Given] | Mapping[str, Given], metric: str | None = None, mode: str | None = None, *, scope: str = "last"
) -> Figure:
    """The share of trials whose score is at least as good as the value on the horizontal axis; one curve for each experiment.

    The higher a curve on the good side, the more often the experiment found something that good. Trials without a finite score and
    infeasible ones count as never reaching any value, so a curve may end below 1.

    Args:
        given: an experiment (an analysis, a result grid or a path), several in a list, or a dict of name -> experiment.
        metric, mode: None: those of the first experiment.
        scope: which of a trial's reports count, as for :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_trial`.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: metric or mode is missing, or no experiment was given.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 1])}, metric="loss",
        ...                         mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     curve = plot_edf({"grid": analysis}).data[0]
        ...     curve.name, list(curve.x), list(curve.y)
        ('grid (2 trials)', [1.0, 3.0], [0.5, 1.0])
    """
    named = _named(given)
    if not named:
        raise SpecError("plot_edf() needs an experiment: an analysis, a result grid or a path; or several in a list or a dict.")
    metric, mode = named[0][1].objective("plot_edf", metric, mode)
    made = figure("Distribution of scores", show_metric(metric, mode), "share of trials that are at least as good")
    seen: list[float] = []
    for index, (name, material) in enumerate(named):
        try:
            scored = material.scored(metric, mode, scope)
        except MetricError as error:
            raise MetricError(f"plot_edf(): experiment {name!r}: {error}") from None
        over = [one for one in scored if one.iteration is not None or one.trial.is_finished()]
        values = sorted((one.value for one in over if one.counts), reverse=mode == "max")
        seen += values
        line = {"shape": "hv", "width": 2.2, "color": PALETTE[index % len(PALETTE)], "dash": _DASHES[index // len(PALETTE) % len(_DASHES)]}
        shares = [(place + 1) / len(over) for place in range(len(values))]
        made.add_scatter(
            x=packed(values), y=packed(shares), mode="lines+markers" if len(values) <= 50 else "lines",
            name=f"{short(name)} ({len(over):,} trials)", line=line, marker={"size": 5},
            hovertemplate=f"{short(name)}: %{{y:.1%}} reach %{{x:.6g}}<extra></extra>",
        )  # fmt: skip
    if seen:
        ends = (number(min(seen)), number(max(seen)))
        made.update_layout(title_text=f"Distribution of scores<br><sup>{short(metric)} from {ends[0]} to {ends[1]}</sup>", showlegend=True)
    else:
        note(made, f"no trial has a finite {short(metric)} yet")
    made.update_yaxes(range=[0, 1.03], tickformat=".0%")
    return made.update_xaxes(**scale(seen), autorange="reversed" if mode == "max" else True)


def _named(given: Given | Sequence[Given] | Mapping[str, Given]) -> list[tuple[str, Material]]:
    if isinstance(given, Mapping):
        return [(str(name), Material.of(one)) for name, one in given.items()]
    several: Sequence[Any] = given if isinstance(given, (list, tuple)) else [given]
    made = [Material.of(one) for one in several]
    return [(material.name, material) for material in made]
