"""Searches that train candidates in steps and stop the bad ones."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import FitFailedWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.sklearn import TuneGridSearchCV, TuneSearchCV
from tunesmith.sklearn.stopping import scheduler_of

X, Y = load_breast_cancer(return_X_y=True)
X, Y = StandardScaler().fit_transform(X)[:200], Y[:200]
SGD = SGDClassifier(random_state=0, learning_rate="constant")
RATES = {"eta0": [0.01, 1e-9, 1e-8, 1e-7]}
"""The first learns, the others hardly do."""


def asha(**options: Any) -> Any:
    return tune.ASHAScheduler(**{"max_t": 6, "grace_period": 1, "reduction_factor": 2, **options})


def test_bad_candidates_are_stopped_and_the_best_is_trained_in_full() -> None:
    search = TuneGridSearchCV(SGD, RATES, cv=3, early_stopping=asha(), max_iters=6).fit(X, Y)
    iterations = search.cv_results_["training_iteration"]
    assert iterations[0] == 6
    assert min(iterations[1:]) == 1, "a bad one has been stopped after its first step"
    assert search.best_params_ == {"eta0": 0.01}
    assert search.best_estimator_.t_ == 6 * 200 + 1, "six passes over all samples, as in the trials"
    assert search.best_estimator_.score(X, Y) > 0.95
    assert search.cv_results_["rank_test_score"][0] == 1


def test_scores_are_those_of_the_newest_step() -> None:
    search = TuneGridSearchCV(SGD, RATES, cv=3, early_stopping="fifo", max_iters=4, return_train_score=True).fit(X, Y)
    from sklearn.model_selection import StratifiedKFold

    for number, (train, test) in enumerate(StratifiedKFold(3).split(X, Y)):
        model = SGDClassifier(random_state=0, learning_rate="constant", eta0=0.01)
        for _ in range(4):
            model.partial_fit(X[train], Y[train], classes=[0, 1])
        assert search.cv_results_[f"split{number}_test_score"][0] == model.score(X[test], Y[test])
        assert search.cv_results_[f"split{number}_train_score"][0] == model.score(X[train], Y[train])
    assert list(search.cv_results_["training_iteration"]) == [4] * 4


def test_forests_that_are_not_stopped_are_those_of_scikit_learn() -> None:
    grid = {"n_estimators": [2, 5], "max_depth": [1, 4]}
    options: dict[str, Any] = {"cv": 3, "scoring": {"acc": "accuracy", "auc": "roc_auc"}, "refit": "auc", "return_train_score": True}
    forest = RandomForestClassifier(random_state=0)
    ours = TuneGridSearchCV(forest, grid, early_stopping="fifo", max_iters=3, **options).fit(X, Y)
    theirs = GridSearchCV(forest, grid, **options).fit(X, Y)
    for name, column in theirs.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(ours.cv_results_[name], column, err_msg=name)
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    assert not ours.best_estimator_.warm_start, "how it was trained in trials does not show in the best estimator"


def test_pipelines() -> None:
    pipeline = make_pipeline(StandardScaler(), SGDClassifier(random_state=0, learning_rate="constant"))
    grid = {"sgdclassifier__eta0": RATES["eta0"], "standardscaler__with_mean": [True, False]}
    search = TuneGridSearchCV(pipeline, grid, cv=3, early_stopping=asha(), max_iters=6).fit(X, Y)
    assert search.best_params_["sgdclassifier__eta0"] == 0.01
    assert search.best_estimator_[-1].t_ == 6 * 200 + 1
    assert search.best_estimator_[0].with_mean == search.best_params_["standardscaler__with_mean"]
    assert sum(search.cv_results_["training_iteration"]) < 8 * 6


SCHEDULERS = [
    True, "asha", "AsyncHyperBandScheduler", "median_stopping_rule", "MedianStoppingRule", "hyperband", "HyperBandScheduler", "pasha",
    "patience", tune.HyperBandScheduler(max_t=6),
]  # fmt: skip


@pytest.mark.parametrize("early_stopping", SCHEDULERS)
def test_any_scheduler(early_stopping: Any) -> None:
    rates = {"eta0": loguniform(1e-9, 1e-2)}
    search = TuneSearchCV(SGD, rates, cv=2, early_stopping=early_stopping, max_iters=6, n_trials=8, random_state=0).fit(X, Y)
    iterations = search.cv_results_["training_iteration"]
    assert len(iterations) == 8
    assert max(iterations) == (3 if early_stopping == "pasha" else 6), "pasha trains no longer than it takes to tell candidates apart"
    assert search.score(X, Y) > 0.9


def test_population_based_training_changes_parameters_on_the_way() -> None:
    scheduler = tune.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, quantile_fraction=0.5, synch=True,
        hyperparam_mutations={"eta0": tune.uniform(0.005, 0.02)},
    )  # fmt: skip
    search = TuneSearchCV(
        SGD, {"eta0": [0.01, 1e-9], "penalty": ["l2"]}, cv=2, early_stopping=scheduler, max_iters=6, n_trials=4, random_state=1
    ).fit(X, Y)
    assert {params["penalty"] for params in search.cv_results_["params"]} == {"l2"}
    found = [params["eta0"] for params in search.cv_results_["params"]]
    assert all(0.003 < value < 0.05 for value in found), "those that could not learn were given other parameters"
    assert len(set(found)) > 1
    assert min(search.cv_results_["mean_test_score"]) > 0.9
    with pytest.raises(SpecError, match="a grid is to be tried as it is"):
        TuneGridSearchCV(SGD, RATES, early_stopping=scheduler, max_iters=6).fit(X, Y)


def population(name: str, mutation: Any) -> Any:
    return tune.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, quantile_fraction=0.5, synch=True, hyperparam_mutations={name: mutation}
    )


def test_what_pickle_cannot_send_by_name_is_handed_on_as_well() -> None:
    class Local(SGDClassifier):
        pass

    pipeline = Pipeline([("same", FunctionTransformer(lambda x: x)), ("clf", Local(random_state=0, learning_rate="constant"))])
    search = TuneSearchCV(
        pipeline, {"clf__eta0": [0.01, 1e-9], "same__func": [lambda x: x]}, cv=2, max_iters=6, n_trials=4, random_state=1, refit=False,
        early_stopping=population("clf__eta0", tune.uniform(0.005, 0.02)),
    ).fit(X, Y)  # fmt: skip
    assert min(search.cv_results_["mean_test_score"]) > 0.9
    assert min(params["clf__eta0"] for params in search.cv_results_["params"]) > 1e-3


def test_what_cannot_be_handed_on_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Closed(SGDClassifier):
        def __getstate__(self) -> Any:
            raise TypeError("an open connection cannot be saved")

    with caplog.at_level(logging.WARNING, "tunesmith"):
        TuneSearchCV(
            Closed(random_state=0, learning_rate="constant"), {"eta0": [0.01, 1e-9]}, cv=2, max_iters=4, n_trials=4, random_state=1,
            refit=False, early_stopping=population("eta0", tune.uniform(0.005, 0.02)),
        ).fit(X, Y)  # fmt: skip
    assert "Closed" in caplog.text
    assert "cannot be saved, so nothing goes on from it: an open connection cannot be saved" in caplog.text


def test_candidates_may_bring_the_estimator() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", "passthrough")])
    grid = {"clf": [SGD, RandomForestClassifier(4, random_state=0)]}
    search = TuneGridSearchCV(pipeline, grid, cv=2, early_stopping="fifo", max_iters=3, scoring="accuracy").fit(X, Y)
    assert list(search.cv_results_["training_iteration"]) == [3, 3]
    with pytest.raises(SpecError, match=r"SVC\(\) cannot be trained in steps"):
        search.set_params(param_grid={"clf": [SGD, SVC()]}).fit(X, Y)


def test_schedulers_are_copied() -> None:
    scheduler = asha()
    search = TuneGridSearchCV(SGD, RATES, cv=2, early_stopping=scheduler, max_iters=6)
    first = search.fit(X, Y).cv_results_["training_iteration"]
    assert list(search.fit(X, Y).cv_results_["training_iteration"]) == list(first)
    assert search.early_stopping is scheduler
    assert scheduler.metric is None


def test_a_scheduler_that_minimises() -> None:
    """With mode="min" the loss is what is low."""
    search = TuneGridSearchCV(
        SGD, RATES, cv=3, early_stopping=asha(), max_iters=6, mode="min", scoring=lambda e, x, y: 1 - e.score(x, y)
    ).fit(X, Y)
    assert search.best_params_ == {"eta0": 0.01}
    assert search.best_score_ == min(search.cv_results_["mean_test_score"])
    assert search.cv_results_["training_iteration"][0] == 6


def test_several_scores_of_a_function_need_the_one_that_is_optimised() -> None:
    def scoring(estimator: Any, x: Any, y: Any) -> dict[str, float]:
        return {"acc": estimator.score(x, y), "zero": 0.0}

    search = TuneGridSearchCV(SGD, RATES, cv=2, early_stopping=asha(), max_iters=6, scoring=scoring, refit="acc").fit(X, Y)
    assert search.best_params_ == {"eta0": 0.01}
    assert "mean_test_zero" in search.cv_results_
    with pytest.raises(tune.UserCodeError, match=r"scoring returned several scores \(acc, zero\).*Give refit='acc'"):
        TuneGridSearchCV(SGD, RATES, cv=2, early_stopping=asha(), max_iters=6, scoring=scoring, refit=False).fit(X, Y)


def test_candidates_that_fail_are_over_at_once() -> None:
    search = TuneGridSearchCV(SGD, {"eta0": [0.01, -1.0]}, cv=3, early_stopping=asha(), max_iters=4)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        search.fit(X, Y)
    assert [one.category for one in caught] == [FitFailedWarning, UserWarning]
    assert "3 fits failed out of a total of 6" in str(caught[0].message)
    assert "eta0" in str(caught[0].message)
    assert list(search.cv_results_["training_iteration"]) == [4, 1]
    assert np.isnan(search.cv_results_["mean_test_score"][1])
    with pytest.raises(ValueError, match="eta0"):
        search.set_params(error_score="raise").fit(X, Y)


def test_a_budget_of_none_is_a_fit_that_failed() -> None:
    search = TuneGridSearchCV(RandomForestClassifier(random_state=0), {"n_estimators": [0, 3]}, cv=2, early_stopping=True, refit=False)
    with pytest.warns(UserWarning, match="non-finite"), pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 4"):
        search.fit(X, Y)
    assert list(np.isnan(search.cv_results_["mean_test_score"])) == [True, False]


def test_a_weight_of_classes_that_partial_fit_refuses_is_searched_over_as_well() -> None:
    search = TuneGridSearchCV(SGD, {"eta0": [0.01], "class_weight": [None, "balanced"]}, cv=2, early_stopping="fifo", max_iters=2).fit(X, Y)
    assert min(search.cv_results_["mean_test_score"]) > 0.9


def test_sample_weights() -> None:
    weights = np.random.RandomState(0).rand(200)
    search = TuneGridSearchCV(SGD, {"eta0": [0.01]}, cv=2, early_stopping=True, max_iters=3, scoring="accuracy")
    found = search.fit(X, Y, sample_weight=weights)
    expected = SGDClassifier(random_state=0, learning_rate="constant", eta0=0.01)
    for _ in range(3):
        expected.partial_fit(X, Y, classes=[0, 1], sample_weight=weights)
    np.testing.assert_array_equal(found.best_estimator_.coef_, expected.coef_)


def test_stoppers() -> None:
    search = TuneGridSearchCV(SGD, RATES, cv=2, early_stopping="fifo", max_iters=6, stopper={"training_iteration": 2}).fit(X, Y)
    assert list(search.cv_results_["training_iteration"]) == [2] * 4


@pytest.mark.parametrize(
    ("estimator", "options", "message"),
    [
        (SVC(), {"early_stopping": True}, r"SVC\(\) cannot be trained in steps"),
        (LogisticRegression(), {"max_iters": 5}, "max_iters=5 counts the steps of training with early stopping, and there is none"),
        (LogisticRegression(), {"early_stopping": "ashaa"}, "'ashaa' is not known. Did you mean 'asha'"),
        (LogisticRegression(), {"early_stopping": 3}, "early_stopping must be True, False, the name of a scheduler, or a scheduler, got 3"),
        (LogisticRegression(), {"early_stopping": True, "max_iters": 0}, "The 'max_iters' parameter"),
    ],
)
def test_mistakes(estimator: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TuneGridSearchCV(estimator, {"C": [1.0]}, **options).fit(X, Y)


def test_the_scheduler_knows_how_many_steps_there_are() -> None:
    assert scheduler_of(True, 27).max_t == 27
    assert scheduler_of("hyperband", 27).max_t == 27
    assert scheduler_of("FIFOScheduler", 27) is not None
    assert scheduler_of(None, 3) is None
