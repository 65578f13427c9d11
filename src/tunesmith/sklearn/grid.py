"""``TuneGridSearchCV``."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import ParameterGrid
from sklearn.utils import check_random_state

from tunesmith.errors import SpecError
from tunesmith.sklearn.base import TuneBaseSearchCV
from tunesmith.sklearn.running import Search
from tunesmith.sklearn.spaces import Candidates

__all__ = ["TuneGridSearchCV"]


class TuneGridSearchCV(TuneBaseSearchCV):
    """``GridSearchCV``, run by trials: every combination of parameters, with early stopping if you like.

    Methods and attributes are those of :class:`sklearn.model_selection.GridSearchCV`; ``cv_results_`` has the same columns, and with early
    stopping ``training_iteration`` besides. The arguments are those of :class:`TuneSearchCV`, but for ``param_grid``.

    Args:
        estimator: what to fit.
        param_grid: a dict of parameter names to lists of values, or a list of such dicts.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.svm import SVC
        >>> search = TuneGridSearchCV(SVC(), {"C": [0.01, 1], "kernel": ["linear", "rbf"]}).fit(*load_iris(return_X_y=True))
        >>> search.best_params_, round(float(search.best_score_), 2)
        ({'C': 1, 'kernel': 'linear'}, 0.98)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {**TuneBaseSearchCV._parameter_constraints, "param_grid": [dict, list]}

    def __init__(
        self,
        estimator: Any,
        param_grid: Any,
        *,
        early_stopping: Any = False,
        max_iters: int | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        error_score: Any = np.nan,
        return_train_score: bool = False,
        mode: str | None = None,
        stopper: Any = None,
        time_budget_s: Any = None,
        use_gpu: bool | float = False,
        loggers: Any = None,
        callbacks: Any = None,
        storage_path: Any = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            estimator, early_stopping=early_stopping, max_iters=max_iters, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv,
            verbose=verbose, pre_dispatch=pre_dispatch, error_score=error_score, return_train_score=return_train_score, mode=mode,
            stopper=stopper, time_budget_s=time_budget_s, use_gpu=use_gpu, loggers=loggers, callbacks=callbacks, storage_path=storage_path,
            name=name,
        )  # fmt: skip
        self.param_grid = param_grid

    def _search(self, exploits: bool) -> Search:
        if exploits:
            raise SpecError(
                "TuneGridSearchCV: the scheduler given as early_stopping changes parameters of running trials, and a grid is to be "
                "tried as it is. Use TuneSearchCV."
            )
        candidates = Candidates(list(ParameterGrid(self.param_grid)))
        if not candidates.params:
            raise SpecError(f"No fits were performed: {type(self).__name__} has no candidates, param_grid is {self.param_grid!r}.")
        seed = int(check_random_state(None).randint(2**31))
        return Search(type(self).__name__, candidates, candidates.searcher(), len(candidates.params), seed, learns=False)
