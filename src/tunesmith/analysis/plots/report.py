"""report.html: everything that can be shown of an experiment, in one file."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tunesmith.analysis.plots.edf import plot_edf
from tunesmith.analysis.plots.history import plot_optimization_history
from tunesmith.analysis.plots.importance import plot_param_importances
from tunesmith.analysis.plots.learning import plot_learning_curves
from tunesmith.analysis.plots.material import Given, Material, Scored
from tunesmith.analysis.plots.page import Section, Table, page
from tunesmith.analysis.plots.parallel import plot_parallel_coordinates
from tunesmith.analysis.plots.pareto import plot_hypervolume, plot_pareto_front
from tunesmith.analysis.plots.population import plot_lineage, plot_schedule
from tunesmith.analysis.plots.rungs import plot_rungs
from tunesmith.analysis.plots.slices import plot_slice
from tunesmith.analysis.plots.timeline import plot_timeline
from tunesmith.core.flat import flatten
from tunesmith.errors import MetricError, SpecError
from tunesmith.journal.exploits import Stretch, plain_config

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["write_report"]

_CALL = re.compile(r"^plot_\w+\(\):? ")
_BEST = 20
_ERRORS = 20

Draw = Callable[[Material, str | None, str | None], "Figure"]


def write_report(
    given: Given, path: str | os.PathLike[str] | None = None, *, metric: str | None = None, mode: str | None = None
) -> str:
    """Write ``report.html``: what came out, the best trials, and all plots that apply, in one file that needs no network.

    Plots that do not apply (no scheduler with rungs, one metric only, ...) are named there with the reason. An earlier report in the same
    place is replaced. During a run it shows what is there by then.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        path: the file, or a directory that it is to be in (one that is not there yet ends in "/"); None: ``report.html`` in the
            experiment's directory.
        metric, mode: None: the run's own; of several the first, where a plot is about one.

    Returns:
        the file's absolute path.

    Raises:
        SpecError: the experiment is in memory only, and no path was given; or metric and mode do not fit each other.
        MetricError: there are reports, but none has that metric.
        TuneError: Plotly is not installed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 1, 2])}, metric="loss",
        ...                         mode="min", storage_path=folder, verbose=0, executor="inline")
        ...     os.path.basename(write_report(analysis))
        'report.html'
    """
    material = Material.of(given)
    place = _place(material, path)
    objectives = material.objectives()
    if metric is None and len(objectives) > 1:
        metric, mode = objectives[0]
    if metric is not None or objectives:
        metric, mode = material.objective("report", metric, mode)
    sections = [one for one in (_best_table(material, metric, mode), _failures(material)) if one is not None]
    missing: dict[str, str] = {}
    plots: list[Section] = []
    for key, title, width, draw in _PLOTS:
        try:
            plots.append(_section(key, title, width, draw(material, metric, mode)))
        except (SpecError, MetricError) as error:
            missing[title] = _CALL.sub("", str(error))
    text = page(material.name, _facts(material, metric, mode), [*sections[:1], *plots, *sections[1:]], missing)
    _write(place, text)
    return place


def _learning(material: Material, metric: str | None, mode: str | None) -> Figure:
    if metric is not None and not any(len(curve.values) > 1 for curve in material.curves(metric).values()):
        raise MetricError(f"no trial has reported {metric} more than once.")
    return plot_learning_curves(material, metric, mode)


def _front(material: Material, _metric: str | None, _mode: str | None) -> Figure:
    return plot_pareto_front(material)


def _volume(material: Material, _metric: str | None, _mode: str | None) -> Figure:
    return plot_hypervolume(material)


def _times(material: Material, _metric: str | None, _mode: str | None) -> Figure:
    return plot_timeline(material)


_PLOTS: tuple[tuple[str, str, int, Draw], ...] = (
    ("history", "Optimisation history", 320, plot_optimization_history),
    ("parallel", "Parallel coordinates", 640, plot_parallel_coordinates),
    ("importance", "Parameter importance", 320, plot_param_importances),
    ("slice", "Slices", 640, plot_slice),
    ("learning", "Learning curves", 320, _learning),
    ("rungs", "Rungs", 480, plot_rungs),
    ("lineage", "Lineage", 480, plot_lineage),
    ("schedule", "Schedule of the best", 320, plot_schedule),
    ("pareto", "Pareto front", 320, _front),
    ("hypervolume", "Hypervolume", 320, _volume),
    ("edf", "Distribution of scores", 320, plot_edf),
    ("timeline", "Timeline", 480, _times),
)


def _place(material: Material, path: str | os.PathLike[str] | None) -> str:
    if path is None:
        if not material.analysis.experiment_path:
            raise SpecError(f"report(): experiment {material.name!r} has no directory; say where to write, as in report('report.html').")
        return os.path.join(material.analysis.experiment_path, "report.html")
    given = os.fspath(path)
    place = os.path.abspath(os.path.expanduser(given))
    return os.path.join(place, "report.html") if os.path.isdir(place) or given.endswith(("/", os.sep)) else place


def _write(place: str, text: str) -> None:
    """Whole or not at all: somebody may have it open."""
    folder = os.path.dirname(place)
    os.makedirs(folder, exist_ok=True)
    handle, scratch = tempfile.mkstemp(prefix=".report-", suffix=".html", dir=folder)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(scratch, 0o666 & ~umask)
        os.replace(scratch, place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(scratch)
        raise


def _section(key: str, title: str, width: int, made: Figure) -> Section:
    """The section has the title and the small print: the figure itself needs neither."""
    found = json.loads(made.to_json())
    layout = found["layout"]
    about = (layout.pop("meta", None) or {}).get("about", "")
    layout.pop("title", None)
    layout.pop("template", None)
    margin = layout.setdefault("margin", {})
    margin["t"] = max(40, margin.get("t", 90) - 60)
    layout["height"] = layout.get("height", 460) - 40
    if found["data"] and found["data"][0].get("type") == "parcoords":
        width = max(width, 130 * len(found["data"][0]["dimensions"]))
    return Section(key, title, about, found, width)


# -- what is not a plot --------------------------------------------------------------------------------------------------


def _facts(material: Material, metric: str | None, mode: str | None) -> dict[str, str]:
    """The lines at the top."""
    analysis, spec = material.analysis, material.spec
    counts = {name: count for name, count in analysis._book.counts.items() if count}
    facts = {}
    if metric is not None and mode is not None:
        known = material.objectives()
        named = known if len(known) > 1 and (metric, mode) in known else [(metric, mode)]
        facts["metric"] = ", ".join(f"{name} ({'lower' if way == 'min' else 'higher'} is better)" for name, way in named)
        best = _ranked(material, metric, mode)[:1]
        for one in best:
            facts["best result"] = f"{metric} = {one.value:.6g} by trial {one.trial.trial_id} at iteration {one.iteration}"
            facts["best configuration"] = ", ".join(f"{name} = {value}" for name, value in _config(material, one, metric, mode).items())
    else:
        facts["metric"] = "none was declared: report(metric='loss', mode='min') says which to rank by"
    facts["trials"] = ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none yet"
    facts["duration"] = str(timedelta(seconds=round(material.end)))
    facts["began"] = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(analysis.stats()["start_time"]))
    facts["ran"] = str(spec.get("trainable_name", ""))
    facts["search"] = str(spec.get("search") or spec.get("searcher") or "")
    facts["scheduler"], facts["executor"] = (str(spec.get(name, "")) for name in ("scheduler", "executor"))
    return {name: value for name, value in facts.items() if value}


def _ranked(material: Material, metric: str, mode: str) -> list[Scored]:
    having = [one for one in material.scored(metric, mode) if one.counts]
    return sorted(having, key=lambda one: one.value if mode == "min" else -one.value)


def _config(material: Material, best: Scored, metric: str, mode: str) -> dict[str, Any]:
    """The best trial's configuration, flat, without secrets; of a population the one that the best report was made with."""
    if material.exploits:
        return flatten(material.analysis.best_schedule(metric, mode)[-1][1])
    return flatten(plain_config(Stretch(0, best.trial.values, best.trial.space), best.trial.experiment))


def _best_table(material: Material, metric: str | None, mode: str | None) -> Section | None:
    if metric is None or mode is None:
        return None
    ranked = _ranked(material, metric, mode)[:_BEST]
    if not ranked:
        return None
    axes = [one for one in material.parameters if one.varies or one.conditional]
    others = [name for name, _ in material.objectives() if name != metric]
    head = ["", "trial", metric, *others, "iteration", "became", "seconds", *(one.label for one in axes)]
    rows = []
    for rank, one in enumerate(ranked, 1):
        metrics, position = one.trial.metrics, material.positions[one.trial.number]
        drawn = ["" if math.isnan(axis.values[position]) else axis.text(position) for axis in axes]
        known = [str(rank), one.trial.trial_id, f"{one.value:.6g}", *(_shown(metrics.get(name)) for name in others)]
        rows.append([*known, str(one.iteration), one.state, _shown(metrics.get("time_total_s")), *drawn])
    return Section("best", "Best trials", "", table=Table(head, rows))


def _shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _failures(material: Material) -> Section | None:
    failed = [trial for trial in material.trials if trial.error is not None]
    if not failed:
        return None
    rows = [
        [trial.trial_id, trial.status, trial.error.get("type", ""), trial.error.get("message", "")[:300], trial.error.get("where", "")]
        for trial in failed[-_ERRORS:]
        if trial.error is not None
    ]
    text = f"{len(failed)} trials" + (f", the newest {_ERRORS} of them" if len(failed) > _ERRORS else "")
    return Section("failures", "Failures", text, table=Table(["trial", "status", "error", "message", "where"], rows))
