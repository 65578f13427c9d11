"""What both search classes share: ``fit`` as scikit-learn's, with its candidates evaluated by the trials of a run."""

from __future__ import annotations

import logging
import numbers
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs  # type: ignore[import-untyped]
from scipy.stats import rankdata
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline

from tunesmith.errors import SpecError
from tunesmith.sklearn.borrowed import (
    BaseSearchCV,
    Interval,
    StrOptions,
    check_method_params,
    fit_context,
    indexable,
    insert_error_scores,
    score_names,
    warn_or_raise_about_fit_failures,
)
from tunesmith.sklearn.growing import PASSES, Model, way_of
from tunesmith.sklearn.running import Ran, Search, search
from tunesmith.sklearn.stopping import scheduler_of
from tunesmith.sklearn.task import OBJECTIVE, Task, fold_of

__all__ = ["TuneBaseSearchCV"]

_log = logging.getLogger("tunesmith")

_STEPS = 10
_PRE_DISPATCH = "2*n_jobs"


class TuneBaseSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Base of the search classes: see :class:`TuneSearchCV` and :class:`TuneGridSearchCV`."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseSearchCV._parameter_constraints,
        "early_stopping": "no_validation",  # the run's own checks say more about all these
        "max_iters": [Interval(numbers.Integral, 1, None, closed="left"), None],
        "mode": [StrOptions({"max", "min"}), None],
        "stopper": "no_validation",
        "time_budget_s": "no_validation",
        "use_gpu": ["boolean", Interval(numbers.Real, 0, None, closed="left")],
        "loggers": "no_validation",
        "callbacks": "no_validation",
        "storage_path": "no_validation",
        "name": [str, None],
    }

    def __init__(
        self,
        estimator: Any,
        *,
        early_stopping: Any,
        max_iters: int | None,
        scoring: Any,
        n_jobs: int | None,
        refit: Any,
        cv: Any,
        verbose: int,
        pre_dispatch: Any,
        error_score: Any,
        return_train_score: bool,
        mode: str | None,
        stopper: Any,
        time_budget_s: Any,
        use_gpu: bool | float,
        loggers: Any,
        callbacks: Any,
        storage_path: Any,
        name: str | None,
    ) -> None:
        super().__init__(
            estimator, scoring=scoring, n_jobs=n_jobs, refit=refit, cv=cv, verbose=verbose, pre_dispatch=pre_dispatch,
            error_score=error_score, return_train_score=return_train_score,
        )  # fmt: skip
        self.early_stopping = early_stopping
        self.max_iters = max_iters
        self.mode = mode
        self.stopper = stopper
        self.time_budget_s = time_budget_s
        self.use_gpu = use_gpu
        self.loggers = loggers
        self.callbacks = callbacks
        self.storage_path = storage_path
        self.name = name

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Refuses scikit-learn's own callbacks.

        Raises:
            SpecError: there are any.
        """
        if callbacks:
            raise SpecError(
                f"{type(self).__name__} does not call scikit-learn's callbacks, since its candidates are trials of a run. Give tunesmith's "
                "own callbacks to the constructor: callbacks=[...]."
            )
        return self

    @abstractmethod
    def _search(self, exploits: bool) -> Search:
        """What to try, and in what order. ``exploits``: the scheduler changes parameters of running trials."""

    @fit_context(prefer_skip_nested_validation=False)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, **params: Any) -> Any:  # noqa: N803 - scikit-learn's name
        """Evaluate candidates by cross-validation, and refit the best on all data.

        Args:
            X: training samples: an array, a sparse matrix, a dataframe, a list.
            y: their targets; None: there are none.
            **params: what goes to ``fit`` of the estimator, to the scorer and to the splitter (``sample_weight``, ``groups`` ...), as in
                scikit-learn.

        Returns:
            the fitted object itself.

        Raises:
            ValueError: an argument is wrong, all fits failed, or nothing was evaluated in time. ``SpecError`` is one.
            Exception: what a fit or the scoring raised, with ``error_score="raise"``.
        """
        scorer, refit_metric = self._get_scorers()
        samples, y = indexable(X, y)
        params = check_method_params(samples, params=params)
        routed = self._get_routed_params_for_fit(params)
        splits = self._split(samples, y, routed.splitter.split)
        base = clone(self.estimator)
        ran = self._run(base, samples, y, splits, scorer, routed)
        refit_metric = self._collect(ran, scorer, refit_metric)
        if self.refit:
            self._refit(base, samples, y, routed.estimator.fit)
        self.scorer_ = scorer._scorers if score_names(scorer) is not None else scorer
        return self

    # ---- before and during the run

    def _split(self, samples: Any, y: Any, params: dict[str, Any]) -> list[tuple[Any, Any]]:
        """Indices of training and test samples of each fold."""
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        self.n_splits_ = cv.get_n_splits(samples, y, **params)
        splits = list(cv.split(samples, y, **params))
        if not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        if len(splits) != self.n_splits_:
            raise ValueError(
                f"cv.split and cv.get_n_splits return inconsistent results. Expected {self.n_splits_} splits, got {len(splits)}"
            )
        return splits

    def _run(self, base: Any, samples: Any, y: Any, splits: Any, scorer: Any, routed: Any) -> Ran:
        if self.pre_dispatch != _PRE_DISPATCH:
            _log.warning("pre_dispatch=%r is accepted, and needless: data go to each process once.", self.pre_dispatch)
        scheduler, steps = self._schedule(base)
        what = self._search(scheduler is not None and scheduler.capabilities.exploits)
        learns = what.learns or (scheduler is not None and scheduler.capabilities.needs_metric)
        task = Task(
            base, samples, y, splits, scorer, dict(routed.estimator.fit), dict(routed.scorer.score), self.return_train_score,
            self.error_score, what.source, self.refit, learns and callable(self.scoring), steps,
        )  # fmt: skip
        metrics = self._metrics(scorer, learns)
        modes = [self.mode or "max"] * len(metrics)
        return search(
            task, what, scheduler, metric=metrics or None, mode=modes or None, jobs=effective_n_jobs(self.n_jobs),
            gpus=float(self.use_gpu), verbose=int(self.verbose), stop=self.stopper, time_budget_s=self.time_budget_s, loggers=self.loggers,
            callbacks=self.callbacks, storage_path=self.storage_path, name=self.name,
        )  # fmt: skip

    def _schedule(self, base: Any) -> tuple[Any, int]:
        """The scheduler, None without early stopping, and how many steps training in full has."""
        steps = _STEPS if self.max_iters is None else int(self.max_iters)
        scheduler = scheduler_of(self.early_stopping, steps)
        if scheduler is None:
            if self.max_iters not in (None, 1):
                raise SpecError(
                    f"max_iters={self.max_iters} counts the steps of training with early stopping, and there is none: give "
                    "early_stopping=True, or leave max_iters out."
                )
            return None, 1
        if not (isinstance(base, Pipeline) and isinstance(base.steps[-1][1], str)):  # else it is for candidates to put something there
            Model(clone(base), steps)  # says so if it cannot be trained in steps
        return scheduler, steps

    def _metrics(self, scorer: Any, learns: bool) -> list[str]:
        """What the run optimises."""
        names = score_names(scorer)
        if names is None and callable(self.scoring):
            return [OBJECTIVE] if learns else []
        if names is None:
            return ["mean_test_score"]
        return [f"mean_test_{name}" for name in ([self.refit] if isinstance(self.refit, str) else names)]

    # ---- after it

    def _collect(self, ran: Ran, scorer: Any, refit_metric: Any) -> Any:
        """Set ``cv_results_`` and what follows from it, as scikit-learn does; returns the score that ranks."""
        out = [fold_of(metrics, number, ran.task) for _, metrics in ran.trials for number in range(self.n_splits_)]
        warn_or_raise_about_fit_failures(out, self.error_score)
        if callable(self.scoring):
            insert_error_scores(out, self.error_score)
        more = {"training_iteration": [metrics["training_iteration"] for _, metrics in ran.trials]} if ran.gradual else None
        results = self._format_results([params for params, _ in ran.trials], self.n_splits_, out, more)
        if self.mode == "min":
            _rank_lowest(results)
        first = out[0]["test_scores"]
        self.multimetric_ = isinstance(first, dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(first)
            refit_metric = self.refit
        if self.refit or not self.multimetric_:
            self.best_index_ = self._select_best_index(self.refit, refit_metric, results)
            if not callable(self.refit):
                self.best_score_ = results[f"mean_test_{refit_metric}"][self.best_index_]
            self.best_params_ = results["params"][self.best_index_]
        self.cv_results_ = results
        self.__dict__.pop("analysis_", None)  # of an earlier fit
        if ran.analysis is not None:
            self.analysis_ = ran.analysis
        return refit_metric

    def _refit(self, base: Any, samples: Any, y: Any, fit_params: dict[str, Any]) -> None:
        """Train the best parameters in full, on all samples; where trials were passes of ``partial_fit``, by as many of them."""
        self.best_estimator_ = clone(base).set_params(**clone(self.best_params_, safe=False))
        began = time.perf_counter()
        if self._is_gradual and way_of(self.best_estimator_) == PASSES:
            model = Model(self.best_estimator_, _STEPS if self.max_iters is None else int(self.max_iters))
            while not model.done:
                model.step(samples, y, y, fit_params)
        elif y is None:
            self.best_estimator_.fit(samples, **fit_params)
        else:
            self.best_estimator_.fit(samples, y, **fit_params)
        self.refit_time_ = time.perf_counter() - began
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_

    @property
    def _is_gradual(self) -> bool:
        return self.early_stopping not in (None, False)


def _rank_lowest(results: dict[str, Any]) -> None:
    """Rank the lowest mean first; candidates without a score are last."""
    ranks: Sequence[str] = [name for name in results if name.startswith("rank_test_")]
    for name in ranks:
        means = results[name.replace("rank_", "mean_", 1)]
        results[name] = rankdata(np.where(np.isnan(means), np.inf, means), method="min").astype(np.int32)
