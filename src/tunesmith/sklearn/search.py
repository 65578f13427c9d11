"""``TuneSearchCV``."""

from __future__ import annotations

import copy
import numbers
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import ParameterSampler
from sklearn.utils import check_random_state

from tunesmith.errors import SpecError
from tunesmith.sklearn.base import TuneBaseSearchCV
from tunesmith.sklearn.borrowed import Interval
from tunesmith.sklearn.running import Search
from tunesmith.sklearn.spaces import Candidates, Space, is_plain

__all__ = ["TuneSearchCV"]

_TRIALS = 10
_OTHER_NAMES = {"bayesian": "gp"}


class TuneSearchCV(TuneBaseSearchCV):
    """``RandomizedSearchCV``, run by trials: with any searcher, and with early stopping if you like.

    Methods and attributes are those of :class:`sklearn.model_selection.RandomizedSearchCV`; ``cv_results_`` has the same columns, and with
    early stopping ``training_iteration`` besides. With ``search_optimization="random"``, lists and distributions of scipy's, and an equal
    ``random_state`` the candidates are the same.

    Args:
        estimator: what to fit.
        param_distributions: a dict of parameter names to lists, distributions of ``scipy.stats``, domains (``tune.loguniform(1e-4, 1)``)
            or tune-sklearn's ranges (``(1e-4, 1, "log-uniform")``), or a list of such dicts, of which one is chosen each time. An entry
            whose name is none of the estimator's parameters may be a ``tune.choice`` of dicts of parameters: those of the chosen dict are
            set.
        early_stopping: False: none. True: ASHA; a scheduler's name ("hyperband", "MedianStoppingRule" ...); or a scheduler. Then candidates
            are trained in ``max_iters`` steps, and bad ones are stopped after a few. It needs an estimator (of a Pipeline: its last step)
            with ``partial_fit`` or ``warm_start``: see the page on scikit-learn in the documentation for what a step is. The best
            parameters are refitted in full.
        n_trials: how many candidates, >= 1; None: 10. ``n_iter``: its name in scikit-learn.
        max_iters: steps of training in full, >= 1; None: 10. With early stopping only.
        search_optimization: "random"; the name of a searcher that learns ("auto", "tpe", "gp", "optuna" ...; "bayesian" is "gp"); or a
            searcher.
        scoring, refit, cv, error_score, return_train_score: as in scikit-learn. Several scores of which ``refit`` names one: that is
            optimised; else all are.
        n_jobs: how many candidates at once, each in a process of its own, at most as many as there are cores. None: 1, unless in a
            ``joblib.parallel_config`` context; -1: as many as there are cores; 1: in this very process.
        verbose: as for :func:`tunesmith.run`: 0: silent; 1: a table; 2 and 3: more.
        pre_dispatch: accepted for the sake of scripts: data go to each process once in any case.
        random_state: of candidates, searcher and trials: an integer, a ``RandomState``, or None: numpy's.
        mode: "min" if a lower score is better; None: "max", as scorers have it.
        stopper: more that ends trials: as ``stop`` of :func:`tunesmith.run`, as in ``{"mean_test_score": 0.99}``.
        time_budget_s: seconds after which the search ends. Candidates without a result then are left out.
        use_gpu: True, or how many: GPUs that each trial holds.
        loggers, callbacks, storage_path, name: as for :func:`tunesmith.run`; loggers also "csv", "json", "tensorboard". With the
            first or one of the last two the experiment is kept, and is there as ``analysis_``; else its files are gone when ``fit`` is
            over.

    Example:
        >>> from scipy.stats import loguniform
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.svm import SVC
        >>> search = TuneSearchCV(SVC(), {"C": loguniform(1e-3, 1e3)}, n_trials=8, search_optimization="tpe", random_state=1)
        >>> print(search.fit(*load_iris(return_X_y=True)).best_score_ > 0.95)
        True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **TuneBaseSearchCV._parameter_constraints,
        "param_distributions": [dict, list],
        "n_trials": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "n_iter": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "search_optimization": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        early_stopping: Any = False,
        n_trials: int | None = None,
        n_iter: int | None = None,
        max_iters: int | None = None,
        search_optimization: Any = "random",
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
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
        self.param_distributions = param_distributions
        self.n_trials = n_trials
        self.n_iter = n_iter
        self.search_optimization = search_optimization
        self.random_state = random_state

    def _search(self, exploits: bool) -> Search:
        count = self._count()
        owner = type(self).__name__
        if self.search_optimization == "random" and not exploits and is_plain(self.param_distributions):
            params = list(ParameterSampler(self.param_distributions, count, random_state=self.random_state))
            candidates = Candidates(params)
            return Search(owner, candidates, candidates.searcher(), len(params), self._seed(), learns=False)
        space = Space(self.param_distributions, set(self.estimator.get_params()))
        searcher = self.search_optimization
        if isinstance(searcher, str):
            searcher = _OTHER_NAMES.get(searcher, searcher)
        else:
            searcher = copy.deepcopy(searcher)
        return Search(owner, space, searcher, count, self._seed(), learns=searcher not in ("random", "sobol"))

    def _count(self) -> int:
        if self.n_trials is not None and self.n_iter is not None and self.n_trials != self.n_iter:
            raise SpecError(f"n_trials={self.n_trials} and n_iter={self.n_iter} are names of one thing: give one of them.")
        given = self.n_iter if self.n_trials is None else self.n_trials
        return _TRIALS if given is None else int(given)

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31))
