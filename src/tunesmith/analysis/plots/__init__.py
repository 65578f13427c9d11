"""Plots of experiments, made with Plotly (``pip install "tunesmith[plots]"``), and ``report.html`` with all of them in one file.

Each function takes an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid` or an experiment's path,
and returns a Plotly figure: ``.show()`` it, or ``.write_html(path)``. They read the journal and nothing else, so they work while the
experiment runs, after it, and over one that crashed. The same are methods of both classes.
"""

from __future__ import annotations

from tunesmith.analysis.plots.edf import plot_edf
from tunesmith.analysis.plots.history import plot_optimization_history
from tunesmith.analysis.plots.importance import param_importances, plot_param_importances
from tunesmith.analysis.plots.learning import plot_learning_curves
from tunesmith.analysis.plots.parallel import plot_parallel_coordinates
from tunesmith.analysis.plots.pareto import plot_hypervolume, plot_pareto_front
from tunesmith.analysis.plots.population import plot_lineage, plot_schedule
from tunesmith.analysis.plots.report import write_report
from tunesmith.analysis.plots.rungs import plot_rungs
from tunesmith.analysis.plots.slices import plot_slice
from tunesmith.analysis.plots.timeline import plot_timeline

__all__ = [
    "param_importances",
    "plot_edf",
    "plot_hypervolume",
    "plot_learning_curves",
    "plot_lineage",
    "plot_optimization_history",
    "plot_parallel_coordinates",
    "plot_param_importances",
    "plot_pareto_front",
    "plot_rungs",
    "plot_schedule",
    "plot_slice",
    "plot_timeline",
    "write_report",
]
