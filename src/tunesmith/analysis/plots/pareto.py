"""Several objectives: the Pareto front, and the volume that it dominates as the run goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith.analysis.plots.history import MARKERS
from tunesmith.analysis.plots.material import WORDS, Given, Material, state
from tunesmith.analysis.plots.theme import GREEN, MANY, VERMILION, figure, note, number, panels, plotly, scale, short, show_metric
from tunesmith.errors import MetricError, SpecError
from tunesmith.journal.scores import check_mode
from tunesmith.journal.trials import TrialInfo
from tunesmith.search.fronts import front_ranks, hypervolume

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Scores", "plot_hypervolume", "plot_pareto_front"]

_MOST = 4


@dataclass(slots=True)
class Scores:
    """The trials with a finite value of every objective in their newest report.

    Args:
        metrics, modes: the objectives.
        trials: in order of their newest reports.
        values: shape (trials, objectives), as reported; losses: the same, all to be minimised.
        front: which trials nothing dominates. Infeasible ones take no part.
    """

    metrics: tuple[str, ...]
    modes: tuple[str, ...]
    trials: list[TrialInfo]
    values: Any
    losses: Any
    front: Any


def _scores(call: str, material: Material, metrics: Sequence[str] | None, modes: Sequence[str] | None, most: int) -> Scores:
    if isinstance(metrics, str) or isinstance(modes, str):
        raise SpecError(f"{call}(): metrics and modes are lists, as in metrics=['loss', 'latency'], modes=['min', 'min'].")
    known = dict(material.objectives())
    names = tuple(known) if metrics is None else tuple(metrics)
    if not 2 <= len(names) <= most:
        of_run = f"the run has {', '.join(known) or 'none'}" if metrics is None else f"got {', '.join(names) or 'none'}"
        such = f"{call}(metrics=['loss', 'latency'], modes=['min', 'min'])"
        raise SpecError(f"{call}() needs 2 to {most} metrics; {of_run}. Say which, as in {such}.")
    if modes is None and any(name not in known for name in names):
        missing = next(name for name in names if name not in known)
        raise SpecError(f"{call}() knows no mode for metric {missing!r}. Give modes, 'min' or 'max' for each of metrics.")
    ways = tuple(known[name] for name in names) if modes is None else tuple(map(check_mode, modes))
    if len(ways) != len(names):
        raise SpecError(f"{call}(): metrics={list(names)} and modes={list(ways)} must have equal lengths.")
    found = [(trial, row) for trial in material.trials if (row := _row(trial, names)) is not None]
    found.sort(key=lambda pair: (pair[0].report.at if pair[0].report is not None else 0.0, pair[0].number))
    if not found and any(trial.report is not None for trial in material.trials):
        there = sorted({name for trial in material.trials for name in trial.metrics})
        wanted = f"finite numbers for all of {', '.join(names)}"
        raise MetricError(f"{call}(): no trial's newest report has {wanted}. Reported were: {', '.join(there)}.")
    values = np.array([row for _, row in found], dtype=float).reshape(-1, len(names))
    losses = values * np.array([1.0 if way == "min" else -1.0 for way in ways])
    allowed = np.array([trial.outcome != "infeasible" for trial, _ in found], dtype=bool)
    front = np.zeros(len(found), dtype=bool)
    if allowed.any():
        front[np.flatnonzero(allowed)] = front_ranks(losses[allowed]) == 0
    return Scores(names, ways, [trial for trial, _ in found], values, losses, front)


def _row(trial: TrialInfo, names: Sequence[str]) -> list[float] | None:
    row = [trial.metrics.get(name) for name in names]
    if all(isinstance(value, (int, float)) and math.isfinite(value) for value in row):
        return [float(value) for value in row if value is not None]
    return None


def plot_pareto_front(given: Given, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None) -> Figure:
    """All trials by two objectives, and the front: those that no other trial is better than in every respect.

    With three or four objectives there is a panel for each pair; the front is that of all of them together. Each trial's newest report
    counts. Infeasible trials are shown, but not on the front.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metrics: 2 to 4 names; None: the run's own.
        modes: "min" or "max" for each; None: the run's own.

    Returns:
        a Plotly figure.

    Raises:
        SpecError: fewer than two metrics or more than four, or one without a mode.
        MetricError: there are reports, but none has finite numbers for all of them.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     return {"error": config["x"], "size": (config["x"] - 2) ** 2}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(train, config={"x": tune.grid_search([3, 1, 2, 0])}, metric=["error", "size"], mode=["min", "min"],
        ...                         storage_path=folder, verbose=0, executor="inline")
        ...     front = next(trace for trace in plot_pareto_front(analysis).data if trace.name == "Pareto front")
        ...     list(zip(front.x, front.y))
        [(0.0, 4.0), (1.0, 1.0), (2.0, 0.0)]
    """
    material = Material.of(given)
    scores = _scores("plot_pareto_front", material, metrics, modes, _MOST)
    pairs = list(combinations(range(len(scores.metrics)), 2))
    about = f"{len(scores.trials)} trials, {int(scores.front.sum())} of them on the front"
    if not scores.trials:
        made = figure("Pareto front", show_metric(scores.metrics[0], scores.modes[0]), show_metric(scores.metrics[1], scores.modes[1]))
        note(made, "no trial has reported all metrics yet")
        return made
    columns = min(3, len(pairs))
    rows = -(-len(pairs) // columns)
    made = panels("Pareto front", rows, columns, about=about, height=110 + 400 * rows, horizontal_spacing=0.09, vertical_spacing=0.16)
    for index, (first, second) in enumerate(pairs):
        row, column = index // columns + 1, index % columns + 1
        _add_pair(made, material, scores, first, second, row, column, legend=index == 0)
        for update, one in ((made.update_xaxes, first), (made.update_yaxes, second)):
            title = show_metric(scores.metrics[one], scores.modes[one])
            update(title_text=title, **scale(scores.values[:, one].tolist()), row=row, col=column)
    return made


def _texts(material: Material, scores: Scores) -> list[str]:
    brief = len(scores.trials) > MANY
    lines = []
    for index, trial in enumerate(scores.trials):
        head = f"<b>{trial.trial_id}</b> {state(trial)}" if brief and not scores.front[index] else material.hover(trial.number)
        numbers = [f"{short(name)} = {number(float(value))}" for name, value in zip(scores.metrics, scores.values[index])]
        lines.append("<br>".join([head, *numbers]))
    return lines


def _add_pair(made: Any, material: Material, scores: Scores, first: int, second: int, row: int, column: int, legend: bool) -> None:
    kind = plotly().Scattergl if len(scores.trials) > MANY else plotly().Scatter
    text = _texts(material, scores)
    words = [state(trial) for trial in scores.trials]
    for word in WORDS:
        chosen = [index for index, one in enumerate(words) if one == word and not scores.front[index]]
        if chosen:
            made.add_trace(kind(
                x=scores.values[chosen, first].tolist(), y=scores.values[chosen, second].tolist(), mode="markers", name=word,
                legendgroup=word, showlegend=legend, marker={**MARKERS[word], "size": 6, "opacity": 0.6},
                text=[text[index] for index in chosen], hovertemplate="%{text}<extra></extra>",
            ), row=row, col=column)  # fmt: skip
    front = sorted(np.flatnonzero(scores.front).tolist(), key=lambda index: (scores.values[index, first], scores.values[index, second]))
    two = len(scores.metrics) == 2
    shape = "hv" if scores.modes[first] == "min" else "vh"
    made.add_scatter(
        x=scores.values[front, first].tolist(), y=scores.values[front, second].tolist(), mode="lines+markers" if two else "markers",
        name="Pareto front", legendgroup="front", showlegend=legend, marker={"color": VERMILION, "size": 9, "symbol": "star"},
        line={"color": VERMILION, "width": 1.5, "shape": shape}, text=[text[index] for index in front],
        hovertemplate="%{text}<extra></extra>", row=row, col=column,
    )  # fmt: skip


def plot_hypervolume(
    given: Given, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None, *, reference: Sequence[float] | None = None
) -> Figure:
    """The volume that the front dominates after each trial: how fast the run gets better in all objectives together. Exact.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metrics: 2 or 3 names; None: the run's own.
        modes: "min" or "max" for each; None: the run's own.
        reference: the corner where the volume ends, in the metrics' own units: what is not better than it in every metric counts for
            nothing. None: the worst value of each metric in this run, and a tenth of its range beyond; so volumes of different runs can
            only be compared with a reference of your own.

    Returns:
        a Plotly figure; its heights are in the product of the metrics' units.

    Raises:
        SpecError: fewer than two metrics or more than three, one without a mode, or a reference that does not fit them.
        MetricError: there are reports, but none has finite numbers for all of them.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def train(config):
        ...     return {"error": config["x"], "size": 3 - config["x"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(train, config={"x": tune.grid_search([1, 2, 1])}, metric=["error", "size"], mode=["min", "min"],
        ...                         storage_path=folder, verbose=0, executor="inline")
        ...     list(plot_hypervolume(analysis, reference=[3, 3]).data[0].y)
        [2.0, 3.0, 3.0]
    """
    material = Material.of(given)
    scores = _scores("plot_hypervolume", material, metrics, modes, 3)
    signs = np.array([1.0 if mode == "min" else -1.0 for mode in scores.modes])
    corner = _corner(scores, signs, reference)
    shown = ", ".join(f"{short(name)} {number(float(value))}" for name, value in zip(scores.metrics, corner * signs))
    about = f"reference: {shown}" if scores.trials else ""
    made = figure("Hypervolume", "trials, in the order of their newest reports", "volume that the front dominates", about=about)
    if not scores.trials:
        note(made, "no trial has reported all metrics yet")
        return made
    volumes = _volumes(scores, corner)
    made.add_scatter(
        x=list(range(1, len(volumes) + 1)), y=volumes, mode="lines", line={"shape": "hv", "color": GREEN, "width": 2.5}, fill="tozeroy",
        name="hypervolume", text=[trial.trial_id for trial in scores.trials], hovertemplate="%{text}: %{y:.6g}<extra></extra>",
    )  # fmt: skip
    return made.update_yaxes(rangemode="tozero")


def _corner(scores: Scores, signs: Any, reference: Sequence[float] | None) -> Any:
    count = len(scores.metrics)
    if reference is not None:
        try:
            given = np.asarray(reference, dtype=float)
        except (TypeError, ValueError):
            given = np.empty(0)
        if given.shape != (count,) or not np.isfinite(given).all():
            wanted = f"{count} finite numbers, one for each of {list(scores.metrics)}"
            raise SpecError(f"plot_hypervolume(): reference must be {wanted}, got {reference!r}.")
        return given * signs
    if not len(scores.losses):
        return np.zeros(count)
    worst, best = scores.losses.max(axis=0), scores.losses.min(axis=0)
    return worst + 0.1 * np.where(worst > best, worst - best, 1.0)


def _volumes(scores: Scores, corner: Any) -> list[float]:
    """After each trial. What a point adds is its own box without what the front before it covers of that box, which is exact."""
    volume, volumes = 0.0, []
    front = np.empty((0, len(scores.metrics)))
    for trial, losses in zip(scores.trials, scores.losses):
        new = trial.outcome != "infeasible" and bool((losses < corner).all()) and not bool((front <= losses).all(axis=1).any())
        if new:
            volume += float((corner - losses).prod()) - hypervolume(np.maximum(front, losses), corner.tolist())
            front = np.vstack([front[~(losses <= front).all(axis=1)], losses])
        volumes.append(volume)
    return volumes
