"""``define_by_run``: an objective that asks for its parameters, as something to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tunesmith import checks
from tunesmith.core.events import DEFAULT_METRIC
from tunesmith.create import create_searcher
from tunesmith.defining.searcher import DefiningSearcher
from tunesmith.defining.trial import DefinedTrial, Objective
from tunesmith.errors import SpecError
from tunesmith.experiment import Experiment

if TYPE_CHECKING:
    from tunesmith.search.base import Searcher

__all__ = ["DefinedExperiment", "define_by_run"]


class DefinedExperiment(Experiment):
    """What :func:`define_by_run` gives: its trainable and its searcher are whole once the arguments of the run are known.

    Args:
        objective, search_alg: as for :func:`define_by_run`.

    Raises:
        SpecError: ``search_alg`` cannot be used.
    """

    def __init__(self, objective: Callable[[DefinedTrial], Any], search_alg: Searcher | str | None) -> None:
        trainable = Objective(objective)
        super().__init__(trainable.__name__, trainable)
        self.arguments = {}  # without its name: a run gets that of its trainable and the date
        self._search_alg = search_alg
        if search_alg is not None:
            _defining(search_alg)  # what is wrong with it is said at once

    def joined(self, arguments: Mapping[str, Any]) -> tuple[Objective, dict[str, Any]]:
        """The trainable for a run with these arguments, and the arguments with a searcher that learns the space.

        Raises:
            SpecError: there are two searchers, or the one that the run is given cannot be used.
        """
        own, given = self._search_alg, arguments["search_alg"]
        if own is not None and given is not None and own != given:
            raise SpecError(
                f"search_alg is given twice: {_named(given)} to run(), and {_named(own)} to define_by_run(). Leave one of the two out."
            )
        chosen = given if own is None else own
        searcher = _defining("tpe" if chosen is None else chosen)
        return Objective(self.run.function, _metric(arguments, searcher)), {**arguments, "search_alg": searcher}


def _defining(search_alg: Any) -> DefiningSearcher:
    if isinstance(search_alg, str):
        return DefiningSearcher(create_searcher(search_alg))
    return DefiningSearcher(checks.instance("search_alg", search_alg, ("suggest", "bind")))


def _named(search_alg: Any) -> str:
    return repr(search_alg) if isinstance(search_alg, str) else type(search_alg).__name__


def _metric(arguments: Mapping[str, Any], searcher: DefiningSearcher) -> Any:
    """What is optimised, by whoever says so. That those who do agree is checked with all other arguments."""
    scheduler = arguments["scheduler"]
    claims = (arguments["metric"], searcher.metric, getattr(scheduler, "metric", None), getattr(scheduler, "_metric", None))
    return next((claim for claim in claims if claim is not None), DEFAULT_METRIC)


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
        search_alg: a searcher that nothing was bound to, or the name of one; None: the ``search_alg`` of the run, else "tpe".

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
    return DefinedExperiment(objective, search_alg)
