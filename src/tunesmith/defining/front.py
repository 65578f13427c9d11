"""``define_by_run``: an objective that asks for its parameters, as something to run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunesmith.create import create_searcher
from tunesmith.defining.searcher import DefiningSearcher
from tunesmith.defining.trial import DefinedTrial, Objective
from tunesmith.errors import SpecError
from tunesmith.experiment import Experiment

if TYPE_CHECKING:
    from tunesmith.search.base import Searcher

__all__ = ["define_by_run"]


def define_by_run(objective: Callable[[DefinedTrial], Any], search_alg: Searcher | str | None = None) -> Experiment:
    """An experiment whose search space is what its trials ask for, to be passed to :func:`tunesmith.run` in the place of a trainable.

    Trials run as any others: each in a process of its own, with schedulers, checkpoints and pauses. So the space is learned from them:

    - A trial tells with each report, and at its end, what it has asked for. Those that began before anything was told draw their
      parameters at random themselves; later ones are proposed what is known by then, and draw the rest.
    - Every parameter is known by its name. One that is asked for in a wider range later has the range of both; of another kind (or
      step, or log) it is drawn at random where it differs.
    - Parameters that only some trials ask for are searched as if all had them: a trial that did not ask has one drawn for it.
    - A trial that fails before its first report tells nothing of what it has drawn itself.
    - What a trial had is in each of its results, under ``params``: ``analysis.best_result["params"]``. Its config has what was proposed.
    - Equal seeds draw equal parameters; a resume goes on exactly.

    Constants in the run's config decide parameters of their names. Start points cannot be given, and there are no constraints but
    ``raise Infeasible``; where the space can be written down, a config does more.

    Args:
        objective: called with a :class:`DefinedTrial`; reports, and returns a number (of several metrics: as many), a dict or None.
        search_alg: a searcher that nothing was bound to, or the name of one; None: "tpe".

    Raises:
        SpecError: the objective cannot be called, or the searcher cannot be told what another one proposed.

    Example:
        >>> import tempfile
        >>> import tunesmith as tune
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", -1, 1)
        ...     if trial.suggest_categorical("squared", [True, False]):
        ...         return x * x
        ...     return abs(x) + trial.suggest_int("penalty", 1, 5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     analysis = tune.run(
        ...         define_by_run(objective, "random"), metric="loss", mode="min", num_samples=20, storage_path=folder, verbose=0,
        ...         executor="inline", seed=1,
        ...     )
        ...     print(analysis.best_result["params"]["squared"])
        True
    """
    if not callable(objective):
        raise SpecError(f"define_by_run: the objective must be a function of a trial, got {objective!r}.")
    inner = create_searcher(search_alg or "tpe") if search_alg is None or isinstance(search_alg, str) else search_alg
    trainable = Objective(objective)
    experiment = Experiment(trainable.__name__, trainable)
    experiment.arguments = {"search_alg": DefiningSearcher(inner)}
    return experiment
