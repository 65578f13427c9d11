"""Estimators that are trained in steps."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import ElasticNet, LogisticRegression, Perceptron, Ridge, SGDClassifier, SGDRegressor
from sklearn.model_selection import StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler, TargetEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tunesmith.errors import SpecError
from tunesmith.sklearn.growing import Model, way_of

X, Y = load_breast_cancer(return_X_y=True)
X, Y = StandardScaler().fit_transform(X)[:200], Y[:200]


@pytest.mark.parametrize(
    ("estimator", "way"),
    [
        (RandomForestClassifier(), "n_estimators"),
        (ExtraTreesRegressor(), "n_estimators"),
        (BaggingClassifier(), "n_estimators"),
        (GradientBoostingClassifier(), "n_estimators"),
        (HistGradientBoostingRegressor(), "max_iter"),
        (SGDClassifier(), "partial_fit"),
        (SGDClassifier(early_stopping=True), "max_iter"),
        (SGDClassifier(class_weight="balanced"), "max_iter"),
        (SGDClassifier(class_weight={0: 1.0, 1: 2.0}), "partial_fit"),
        (SGDRegressor(), "partial_fit"),
        (Perceptron(), "partial_fit"),
        (GaussianNB(), "partial_fit"),
        (MiniBatchKMeans(), "partial_fit"),
        (MLPClassifier(), "partial_fit"),
        (MLPClassifier(early_stopping=True), "max_iter"),
        (MLPRegressor(solver="lbfgs"), "max_iter"),
        (LogisticRegression(), "max_iter"),
        (ElasticNet(), "max_iter"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "max_iter"),
        (SVC(), None),
        (Ridge(), None),
        (KMeans(), None),
        (AdaBoostClassifier(), None),
        (DecisionTreeClassifier(), None),
        (make_pipeline(SGDClassifier(), StandardScaler(), SVC()), None),
        (make_pipeline(StandardScaler(), "passthrough"), None),
    ],
)
def test_ways(estimator: Any, way: str | None) -> None:
    assert way_of(estimator) == way


def trained(estimator: Any, steps: int, **options: Any) -> Model:
    model = Model(estimator, steps)
    while not model.done:
        model.step(X, Y, Y, options)
    return model


@pytest.mark.parametrize(
    "estimator",
    [
        RandomForestClassifier(n_estimators=13, random_state=0),
        GradientBoostingClassifier(n_estimators=9, random_state=0, subsample=0.5),
        HistGradientBoostingClassifier(max_iter=9, random_state=0),
        BaggingClassifier(n_estimators=5, random_state=0),
        make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=7, random_state=1)),
    ],
)
def test_trees_in_steps_are_the_trees_of_one_fit(estimator: Any) -> None:
    model = trained(clone(estimator), 4)
    np.testing.assert_array_equal(model.estimator.predict_proba(X), clone(estimator).fit(X, Y).predict_proba(X))
    assert model.taken == 4


def test_partial_fit_is_called_once_a_step_with_all_classes() -> None:
    model = Model(SGDClassifier(random_state=0), 3)
    seen = Y[:100].copy()
    seen[:] = 1
    for _ in range(3):
        model.step(X[:100], seen, Y, {})
    assert model.done
    assert list(model.estimator.classes_) == [0, 1]
    assert model.estimator.t_ == 301
    expected = SGDClassifier(random_state=0)
    for _ in range(3):
        expected.partial_fit(X[:100], seen, classes=[0, 1])
    np.testing.assert_array_equal(model.estimator.coef_, expected.coef_)


def test_iterations_go_on_where_they_were() -> None:
    model = Model(LogisticRegression(solver="saga", max_iter=8, tol=1e-12, random_state=0), 4)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what has not converged yet is no news
        for _ in range(3):
            model.step(X, Y, Y, {})
            losses.append(-model.estimator.predict_log_proba(X)[np.arange(200), Y].sum())
    assert model.estimator.max_iter == 6
    assert losses[0] > losses[1] > losses[2]
    with pytest.warns(ConvergenceWarning):
        model.step(X, Y, Y, {})
    assert model.done
    assert model.estimator.max_iter == 8


def test_a_budget_smaller_than_the_number_of_steps_ends_early() -> None:
    model = trained(RandomForestClassifier(n_estimators=3, random_state=0), 10)
    assert (model.taken, len(model.estimator.estimators_)) == (3, 3)


def test_a_pipeline_fits_its_first_steps_once_and_trains_on() -> None:
    class Counting(StandardScaler):
        fits = 0

        def fit(self, *arguments: Any, **options: Any) -> Any:
            Counting.fits += 1
            return super().fit(*arguments, **options)

    pipeline = Pipeline([("scale", Counting()), ("no", "passthrough"), ("clf", SGDClassifier(random_state=0))])
    model = trained(pipeline, 3)
    assert Counting.fits == 1
    expected, scaled = SGDClassifier(random_state=0), StandardScaler().fit_transform(X)
    for _ in range(3):
        expected.partial_fit(scaled, Y, classes=[0, 1])
    np.testing.assert_array_equal(model.estimator.predict(X), expected.predict(scaled))
    assert model.estimator.n_features_in_ == 30


def test_what_a_step_does_to_training_data_is_done_to_them_only() -> None:
    """A target encoder transforms the samples that it was fitted on in another way than others."""
    codes = (X[:, :1] > 0).astype(int) + (X[:, :1] > 1)
    encoder = TargetEncoder(cv=StratifiedKFold(3))
    model = Model(make_pipeline(clone(encoder), SGDClassifier(random_state=0)), 2)
    for _ in range(2):
        model.step(codes, Y, Y, {})
    expected, encoded = SGDClassifier(random_state=0), encoder.fit_transform(codes, Y)
    for _ in range(2):
        expected.partial_fit(encoded, Y, classes=[0, 1])
    np.testing.assert_array_equal(model.estimator[-1].coef_, expected.coef_)


def test_fit_parameters_go_where_they_belong() -> None:
    weights = np.random.RandomState(0).rand(200)
    alone = trained(SGDClassifier(random_state=0), 2, sample_weight=weights)
    expected = SGDClassifier(random_state=0)
    for _ in range(2):
        expected.partial_fit(X, Y, classes=[0, 1], sample_weight=weights)
    np.testing.assert_array_equal(alone.estimator.coef_, expected.coef_)
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SGDClassifier(random_state=0))])
    both = trained(clone(pipeline), 2, clf__sample_weight=weights, scale__sample_weight=weights)
    np.testing.assert_array_equal(both.estimator["scale"].mean_, StandardScaler().fit(X, sample_weight=weights).mean_)
    assert not np.array_equal(both.estimator["clf"].coef_, trained(clone(pipeline), 2).estimator["clf"].coef_)
    with pytest.raises(SpecError, match="sample_weight is for no step of the pipeline in particular"):
        trained(clone(pipeline), 2, sample_weight=weights)


def test_a_model_in_training_survives_pickling_and_goes_on_alike() -> None:
    for estimator in (SGDClassifier(random_state=0), make_pipeline(StandardScaler(), RandomForestClassifier(12, random_state=0))):
        one = Model(clone(estimator), 4)
        one.step(X, Y, Y, {})
        one.step(X, Y, Y, {})
        other = pickle.loads(pickle.dumps(one))
        for model in (one, other):
            while not model.done:
                model.step(X, Y, Y, {})
        np.testing.assert_array_equal(one.estimator.predict(X), other.estimator.predict(X))


def test_changed_parameters_keep_what_was_learned() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SGDClassifier(random_state=0))])
    model = Model(pipeline, 4)
    model.step(X, Y, Y, {})
    learned = model.estimator["clf"].coef_.copy()
    model.change({"clf__alpha": 0.5})
    np.testing.assert_array_equal(model.estimator["clf"].coef_, learned)
    assert model.estimator["clf"].alpha == 0.5
    model.change({"scale__with_std": False})
    model.step(X, Y, Y, {})
    assert model.estimator["scale"].scale_ is None, "a step before the last is fitted anew"
    assert model.estimator["clf"].t_ == 401
    with pytest.raises(SpecError, match="clf must not be mutated"):
        model.change({"clf": SGDClassifier()})
    forest = Model(RandomForestClassifier(8, random_state=0), 2)
    forest.step(X, Y, Y, {})
    forest.change({"n_estimators": 20})
    forest.step(X, Y, Y, {})
    assert len(forest.estimator.estimators_) == 20


@pytest.mark.parametrize(
    "estimator",
    [RandomForestClassifier(20, random_state=0), GradientBoostingClassifier(n_estimators=20), HistGradientBoostingClassifier(max_iter=20)],
)
def test_trees_that_are_there_stay_when_there_are_to_be_fewer(estimator: Any) -> None:
    model = Model(clone(estimator), 4)
    model.step(X, Y, Y, {})
    model.step(X, Y, Y, {})
    budget = way_of(estimator)
    model.change({budget: 8})
    for _ in range(2):
        model.step(X, Y, Y, {})  # forests would warn of it
    assert model.done
    assert getattr(model.estimator, str(budget)) == 10
    model.estimator.predict(X)


def test_a_model_in_training_that_is_to_have_more_trees_than_steps_goes_on() -> None:
    model = Model(RandomForestClassifier(2, random_state=0), 4)
    model.step(X, Y, Y, {})
    model.step(X, Y, Y, {})
    assert model.done
    model.change({"n_estimators": 20})
    assert not model.done
    model.step(X, Y, Y, {})
    assert len(model.estimator.estimators_) == 15


@pytest.mark.parametrize("total", [0, -3])
def test_a_budget_that_is_none_fails_as_in_scikit_learn(total: int) -> None:
    model = Model(RandomForestClassifier(total), 4)
    assert not model.done
    with pytest.raises(ValueError, match=f"'n_estimators' parameter of RandomForestClassifier must be .* Got {total}"):
        model.step(X, Y, Y, {})


@pytest.mark.parametrize("wrapped", [lambda one: one, lambda one: make_pipeline(StandardScaler(), one)])
def test_several_targets_have_classes_of_their_own(wrapped: Any) -> None:
    targets = np.c_[Y, 2 - Y, X[:, 0] > 1]
    model = Model(wrapped(MultiOutputClassifier(SGDClassifier(random_state=0))), 2)
    for _ in range(2):
        model.step(X[Y == 1], targets[Y == 1], targets, {})
    last = model.estimator[-1] if isinstance(model.estimator, Pipeline) else model.estimator
    assert [list(one.classes_) for one in last.estimators_] == [[0, 1], [1, 2], [0, 1]]


def test_what_cannot_be_trained_in_steps_says_so() -> None:
    with pytest.raises(SpecError, match=r"early_stopping: SVC\(\) cannot be trained in steps: it has neither partial_fit nor warm_start"):
        Model(make_pipeline(StandardScaler(), SVC()), 3)


def test_clusters_have_no_targets() -> None:
    model = Model(MiniBatchKMeans(3, random_state=0, n_init=1), 2)
    model.step(X, None, None, {})
    assert model.estimator.cluster_centers_.shape == (3, 30)
