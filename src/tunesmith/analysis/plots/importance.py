"""Parameter importance: which parameters decide whether a trial is among the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunesmith.analysis.plots.material import Given, Material, Scored
from tunesmith.analysis.plots.parallel import axes_of
from tunesmith.analysis.plots.parameters import Parameter
from tunesmith.analysis.plots.theme import BLUE, distinct, ending, figure, note, short
from tunesmith.errors import MetricError, SpecError

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["param_importances", "plot_param_importances"]

_FEWEST = 4


def param_importances(
    given: Given, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last",
    quantile: float = 0.1,
) -> dict[str, float]:  # fmt: skip
    """How much each parameter matters for being among the best trials: shares that sum to 1, the largest first.

    PED-ANOVA (Watanabe, Bansal, Hutter, IJCAI 2023); see :func:`tunesmith.analysis.plots.ped_anova.importances` for the formula, and for
    what is done with categorical, logarithmic and conditional parameters. Trials without a finite score and infeasible ones do not count.
    With some tens of trials it is a hint: small shares are noise then. With some hundreds it can be relied on.

    Args:
        given: an :class:`~tunesmith.analysis.ExperimentAnalysis`, a :class:`~tunesmith.analysis.ResultGrid`, or an experiment's path.
        metric, mode: None: the run's own.
        params: names of the parameters to compare; None: all that differ between trials.
        scope: which of a trial's reports count, as for :meth:`~tunesmith.analysis.ExperimentAnalysis.get_best_trial`.
        quantile: the share of trials that are "the best", in (0, 1).

    Returns:
        label -> share; all are 0 if nothing tells the best trials from the others.

    Raises:
        SpecError: metric or mode is missing, no such parameter, or a quantile out of range.
        MetricError: fewer than four trials have a finite score, all have the same, or none has that metric.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> space = {"x": tune.uniform(0, 1), "y": tune.uniform(0, 1)}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(lambda config: {"loss": config["x"]}, config=space, num_samples=40, search_alg="random", metric="loss",
        ...                         mode="min", seed=1, storage_path=folder, verbose=0, executor="inline")
        ...     list(param_importances(analysis))
        ['x', 'y']
    """
    return _found("param_importances", Material.of(given), metric, mode, params, scope, quantile)[0]


def _found(
    call: str, material: Material, metric: str | None, mode: str | None, params: Sequence[str] | None, scope: str, quantile: float
) -> tuple[dict[str, float], int]:
    """The shares, and how many trials they are from."""
    from tunesmith.analysis.plots.ped_anova import importances

    metric, mode = material.objective(call, metric, mode)
    if not isinstance(quantile, (int, float)) or not 0 < quantile < 1:
        raise SpecError(f"{call}(): quantile is the share of trials that are the best, between 0 and 1 (usual: 0.1), got {quantile!r}.")
    having = [one for one in material.scored(metric, mode, scope) if one.counts]
    if len(having) < _FEWEST:
        raise MetricError(f"{call}(): {len(having)} trials have a finite {metric}; it takes {_FEWEST} at least to tell what matters.")
    if len({one.value for one in having}) == 1:
        raise MetricError(f"{call}(): all {len(having)} trials have the same {metric}, so nothing can be told apart.")
    axes = [_narrowed(axis, material, having) for axis in axes_of(call, material, params)]
    shares = importances(axes, [one.value if mode == "min" else -one.value for one in having], quantile)
    labels = {axis.name: axis.label for axis in axes}
    return {labels[name]: share for name, share in shares.items()}, len(having)


def _narrowed(axis: Parameter, material: Material, having: Sequence[Scored]) -> Parameter:
    """The parameter over these trials only."""
    values = [axis.values[material.positions[one.trial.number]] for one in having]
    return Parameter(axis.name, axis.label, values, axis.labels, axis.log, axis.lower, axis.upper)


def plot_param_importances(
    given: Given, metric: str | None = None, mode: str | None = None, *, params: Sequence[str] | None = None, scope: str = "last",
    quantile: float = 0.1,
) -> Figure:  # fmt: skip
    """A bar for each parameter: how much it matters for being among the best trials. See :func:`param_importances`.

    Args:
        given, metric, mode, params, scope, quantile: as of :func:`param_importances`.

    Returns:
        a Plotly figure.

    Raises:
        SpecError, MetricError: as :func:`param_importances`.
        TuneError: Plotly is not installed.
    """
    material = Material.of(given)
    shares, count = _found("plot_param_importances", material, metric, mode, params, scope, quantile)
    about = f"which parameters decide whether a trial is among the best {quantile:.0%}; PED-ANOVA over {count:,} trials"
    made = figure("Parameter importance", "share", "", about=about, height=max(260, 150 + 28 * len(shares)))
    if not shares or math.isclose(sum(shares.values()), 0.0):
        note(made, "no parameter tells the best trials from the others")
        return made
    names = distinct(short(ending(name, 40)) for name in shares)
    made.add_bar(
        x=list(shares.values()), y=names, orientation="h", marker={"color": BLUE}, text=[f"{share:.1%}" for share in shares.values()],
        textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x:.1%}<extra></extra>", showlegend=False,
    )  # fmt: skip
    made.update_xaxes(tickformat=".0%", range=[0, max(shares.values()) * 1.12])
    return made.update_yaxes(autorange="reversed", type="category")
