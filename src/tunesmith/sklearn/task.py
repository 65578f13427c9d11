"""What every trial of a search works on, and how its scores travel: as metrics, fold by fold, and back into scikit-learn's form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import clone

from tunesmith.errors import UserCodeError
from tunesmith.sklearn.borrowed import fit_and_score, score_names
from tunesmith.sklearn.spaces import Candidates, Space

__all__ = ["OBJECTIVE", "Task", "evaluate", "fold_of", "metrics_of"]

OBJECTIVE = "objective"
"""The metric of the run where only the scoring function itself knows the names of its scores."""
_TIMES = ("fit_time", "score_time")
_SEVERAL = "several_scores"


@dataclass(slots=True)
class Task:
    """All that the trials of one search have in common; it travels to a worker once.

    Args:
        estimator: unfitted; every fold gets a clone.
        X, y: all data.
        splits: indices of training and test samples of each fold.
        scorer: one, or scikit-learn's bundle of several.
        fit_params, score_params: what goes to ``fit`` and to the scorer besides, for all samples.
        return_train_score, error_score: as in scikit-learn.
        source: knows the parameters behind a trial's configuration.
        refit: as in scikit-learn.
        optimises: whether a searcher or a scheduler needs a score whose name only the scoring function knows.
        steps: with early stopping: how many steps training in full has.
        settings: scikit-learn's, where the search was begun; in a worker they would be the defaults.
    """

    estimator: Any
    X: Any
    y: Any
    splits: list[tuple[Any, Any]]
    scorer: Any
    fit_params: dict[str, Any]
    score_params: dict[str, Any]
    return_train_score: bool
    error_score: Any
    source: Candidates | Space
    refit: Any
    optimises: bool
    steps: int = 1
    settings: dict[str, Any] = field(default_factory=get_config)


def evaluate(config: dict[str, Any], task: Task) -> dict[str, Any]:
    """A whole trial: fit and score one candidate on every fold, by scikit-learn's own function."""
    params = task.source.params_of(config)
    with config_context(**task.settings):
        folds = [
            fit_and_score(
                clone(task.estimator), task.X, task.y, scorer=task.scorer, train=train, test=test, verbose=0, parameters=params,
                fit_params=task.fit_params, score_params=task.score_params, return_train_score=task.return_train_score, return_times=True,
                error_score=task.error_score,
            )
            for train, test in task.splits
        ]  # fmt: skip
    return metrics_of(folds, task)


def metrics_of(folds: Sequence[Mapping[str, Any]], task: Task) -> dict[str, Any]:
    """What a trial reports: times, errors and scores of each fold, and the mean of each score.

    Args:
        folds: in the form of scikit-learn's ``_fit_and_score``.

    Raises:
        UserCodeError: the scoring function returned several scores, and it is not known which to optimise.
    """
    metrics: dict[str, Any] = {}
    for number, fold in enumerate(folds):
        for name in _TIMES:
            metrics[f"split{number}_{name}"] = fold[name]
        if fold["fit_error"] is not None:
            metrics[f"split{number}_fit_error"] = fold["fit_error"]
        for part in ("test", "train")[: 1 + task.return_train_score]:
            for name, value in _named(fold[f"{part}_scores"]).items():
                metrics[f"split{number}_{part}_{name}"] = value
    several = next((fold["test_scores"] for fold in folds if isinstance(fold["test_scores"], dict)), None)
    for name in several or ("score",):
        means = [fold["test_scores"][name] if isinstance(fold["test_scores"], dict) else fold["test_scores"] for fold in folds]
        metrics[f"mean_test_{name}"] = float(np.mean(means))
    if several is not None:
        metrics[_SEVERAL] = True
    if task.optimises:
        metrics[OBJECTIVE] = _objective(metrics, several, task.refit)
    return metrics


def _named(scores: Any) -> dict[str, Any]:
    return scores if isinstance(scores, dict) else {"score": scores}


def _objective(metrics: dict[str, Any], several: dict[str, Any] | None, refit: Any) -> float:
    name = "score" if several is None else refit
    if not isinstance(name, str) or f"mean_test_{name}" not in metrics:
        raise UserCodeError(
            f"scoring returned several scores ({', '.join(several or ())}), and the search has to know which of them to optimise: "
            f"refit={refit!r} is none of them. Give refit='{next(iter(several or ()), 'name')}', or a dict of scorers as scoring."
        )
    mean: float = metrics[f"mean_test_{name}"]
    return mean


def fold_of(metrics: Mapping[str, Any], number: int, task: Task) -> dict[str, Any]:
    """One fold of a report, in the form of scikit-learn's ``_fit_and_score``."""
    fold: dict[str, Any] = {name: metrics[f"split{number}_{name}"] for name in _TIMES}
    fold["fit_error"] = metrics.get(f"split{number}_fit_error")
    several = score_names(task.scorer) is not None or metrics.get(_SEVERAL)
    for part in ("test", "train")[: 1 + task.return_train_score]:
        prefix = f"split{number}_{part}_"
        scores = {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}
        fold[f"{part}_scores"] = scores if several else scores["score"]
    return fold
