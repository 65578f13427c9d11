"""Plots and the report as methods of what a run returns."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["Drawn"]


class Drawn:
    """Part of :class:`~tunesmith.analysis.ExperimentAnalysis` and :class:`~tunesmith.analysis.ResultGrid`.

    Each method is the function of the same name in :mod:`tunesmith.analysis.plots`, where arguments and errors are told. All need Plotly
    (``pip install "tunesmith[plots]"``) and return its figures.
    """

    __slots__ = ()

    def plot_optimization_history(
        self, metric: str | None = None, mode: str | None = None, *, by: str = "order", scope: str = "last"
    ) -> Figure:
        """Each trial's score in the order in which the trials ended, and the best so far."""
        from tunesmith.analysis import plots

        return plots.plot_optimization_history(_given(self), metric, mode, by=by, scope=scope)

    def plot_parallel_coordinates(
        self, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last"
    ) -> Figure:
        """Every trial a line over its parameters, coloured by its score."""
        from tunesmith.analysis import plots

        return plots.plot_parallel_coordinates(_given(self), metric, mode, params=params, scope=scope)

    def plot_slice(
        self, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last"
    ) -> Figure:
        """The scores over each parameter by itself."""
        from tunesmith.analysis import plots

        return plots.plot_slice(_given(self), metric, mode, params=params, scope=scope)

    def plot_param_importances(
        self, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last",
        quantile: float = 0.1,
    ) -> Figure:  # fmt: skip
        """How much each parameter matters for being among the best trials (PED-ANOVA)."""
        from tunesmith.analysis import plots

        return plots.plot_param_importances(_given(self), metric, mode, params=params, scope=scope, quantile=quantile)

    def param_importances(
        self, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last",
        quantile: float = 0.1,
    ) -> dict[str, float]:  # fmt: skip
        """How much each parameter matters for being among the best trials: shares that sum to 1. Needs no Plotly."""
        from tunesmith.analysis import plots

        return plots.param_importances(_given(self), metric, mode, params=params, scope=scope, quantile=quantile)

    def plot_learning_curves(self, metric: str | None = None, mode: str | None = None, *, max_trials: int = 200) -> Figure:
        """The metric over the iterations of each trial, with the places where trials were stopped."""
        from tunesmith.analysis import plots

        return plots.plot_learning_curves(_given(self), metric, mode, max_trials=max_trials)

    def plot_rungs(self, metric: str | None = None, mode: str | None = None) -> Figure:
        """Which trial reached which rung with which value, and where the scheduler drew the line."""
        from tunesmith.analysis import plots

        return plots.plot_rungs(_given(self), metric, mode)

    def plot_lineage(self, metric: str | None = None, mode: str | None = None) -> Figure:
        """Population-based training: who went on from whose state."""
        from tunesmith.analysis import plots

        return plots.plot_lineage(_given(self), metric, mode)

    def plot_schedule(self, metric: str | None = None, mode: str | None = None, *, scope: str = "last") -> Figure:
        """The values that the best trial's state has gone through, over all that it copied."""
        from tunesmith.analysis import plots

        return plots.plot_schedule(_given(self), metric, mode, scope=scope)

    def plot_edf(self, metric: str | None = None, mode: str | None = None, *, others: Sequence[Any] = (), scope: str = "last") -> Figure:
        """The share of trials at least as good as each value; ``others``: experiments to be laid over this one."""
        from tunesmith.analysis import plots

        return plots.plot_edf([_given(self), *others], metric, mode, scope=scope)

    def plot_pareto_front(self, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None) -> Figure:
        """All trials by several objectives, and those that nothing dominates."""
        from tunesmith.analysis import plots

        return plots.plot_pareto_front(_given(self), metrics, modes)

    def plot_hypervolume(
        self, metrics: Sequence[str] | None = None, modes: Sequence[str] | None = None, *, reference: Sequence[float] | None = None
    ) -> Figure:
        """The volume that the front dominates after each trial."""
        from tunesmith.analysis import plots

        return plots.plot_hypervolume(_given(self), metrics, modes, reference=reference)

    def plot_timeline(self) -> Figure:
        """When each attempt ran and how it ended, and how many ran at once."""
        from tunesmith.analysis import plots

        return plots.plot_timeline(_given(self))

    def report(self, path: str | os.PathLike[str] | None = None, *, metric: str | None = None, mode: str | None = None) -> str:
        """Write ``report.html``, everything in one file that needs no network; returns its path.

        Args:
            path: the file, or a directory that it is to be in; None: the experiment's directory.
            metric, mode: None: the run's own.
        """
        from tunesmith.analysis import plots

        return plots.write_report(_given(self), path, metric=metric, mode=mode)


def _given(self: Drawn) -> Any:
    """Those who inherit this are what plots take."""
    return self
