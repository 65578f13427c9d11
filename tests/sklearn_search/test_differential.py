"""Side by side with scikit-learn's own search classes: the same results, attributes and errors."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, make_scorer
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, RandomizedSearchCV, ShuffleSplit, StratifiedKFold, cross_val_score
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from tunesmith.sklearn import TuneGridSearchCV, TuneSearchCV

IRIS = load_iris(return_X_y=True)
ORDER = np.random.RandomState(0).permutation(150)
X, Y = IRIS[0][ORDER], IRIS[1][ORDER]
TREE = DecisionTreeClassifier(random_state=0)
DEPTHS = {"max_depth": [1, 2, 3], "criterion": ["gini", "entropy"]}


def both(*arguments: Any, fit: Any = (X, Y), fit_params: Any = None, **options: Any) -> tuple[Any, Any]:
    """Ours and theirs, fitted."""
    pair = TuneGridSearchCV(*arguments, **options), GridSearchCV(*arguments, **options)
    for search in pair:
        search.fit(*fit, **(fit_params or {}))
    return pair


def same_results(ours: Any, theirs: Any) -> None:
    """All that is defined to the last bit, and the same columns in the same order."""
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, column in theirs.cv_results_.items():
        mine = ours.cv_results_[name]
        if name.endswith("_time"):
            assert mine.shape == column.shape
            assert (mine >= 0).all()
        elif name == "params":
            assert mine == column
        else:
            assert mine.dtype == column.dtype, name
            assert type(mine) is type(column)
            np.testing.assert_array_equal(mine, column, err_msg=name)
    for name in ("best_index_", "best_score_", "best_params_", "n_splits_", "multimetric_", "n_features_in_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None), name


def test_a_grid() -> None:
    ours, theirs = both(TREE, DEPTHS, return_train_score=True, cv=3)
    same_results(ours, theirs)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(ours.predict_proba(X), theirs.predict_proba(X))
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)
    assert ours.score(X, Y) == theirs.score(X, Y)
    assert ours.refit_time_ >= 0
    assert type(ours.best_estimator_) is DecisionTreeClassifier
    assert ours.scorer_(ours, X, Y) == theirs.scorer_(theirs, X, Y)


def test_several_grids_with_different_parameters_and_values_of_any_kind() -> None:
    rbf, poly = {"kernel": ["rbf"], "gamma": np.logspace(-2, 0, 3)}, {"kernel": ["poly"], "degree": (2, 3)}
    same_results(*both(SVC(), [rbf, poly, {"class_weight": [{0: 2.0}, None]}], cv=3))


def test_estimators_as_parameters() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SVC())])
    grid = [{"clf": [SVC(), KNeighborsClassifier()], "scale": ["passthrough", StandardScaler(with_mean=False)]}, {"clf__C": [0.1, 1]}]
    ours, theirs = both(pipeline, grid, cv=3)
    for name in ("mean_test_score", "rank_test_score", "std_test_score"):
        np.testing.assert_array_equal(ours.cv_results_[name], theirs.cv_results_[name])
    assert ours.best_params_ is not theirs.best_params_
    assert repr(ours.best_params_) == repr(theirs.best_params_)
    assert ours.cv_results_["params"][0]["clf"] is grid[0]["clf"][0], "the objects of the grid are in the results, themselves"
    assert ours.best_estimator_.get_params()["clf"] is not ours.best_params_.get("clf"), "and none of them is fitted"


@pytest.mark.parametrize("refit", ["acc", False, lambda results: int(np.argmin(results["mean_test_f1"]))], ids=["name", "no", "function"])
@pytest.mark.parametrize(
    "scoring",
    [
        {"acc": "accuracy", "f1": make_scorer(lambda y, p: float((y == p).mean() ** 2))},
        lambda estimator, x, y: {"acc": estimator.score(x, y), "f1": estimator.score(x, y) ** 2},
    ],
    ids=["dict", "function"],
)
def test_several_scores(scoring: Any, refit: Any) -> None:
    ours, theirs = both(TREE, DEPTHS, cv=3, scoring=scoring, refit=refit, return_train_score=True)
    same_results(ours, theirs)
    if refit == "acc":
        assert ours.score(X, Y) == theirs.score(X, Y)


@pytest.mark.parametrize("scoring", ["accuracy", ["accuracy"], ("accuracy",), {"score": "accuracy"}, lambda e, x, y: 0.5, None])
def test_forms_of_scoring(scoring: Any) -> None:
    refit = next(iter(scoring)) if isinstance(scoring, list | tuple | dict) else True
    same_results(*both(TREE, DEPTHS, cv=2, scoring=scoring, refit=refit))


@pytest.mark.parametrize("cv", [3, KFold(4), StratifiedKFold(3, shuffle=True, random_state=1), ShuffleSplit(2, random_state=0), None,
                                [(np.arange(100), np.arange(100, 150)), (np.arange(50, 150), np.arange(50))]])  # fmt: skip
def test_splitters(cv: Any) -> None:
    same_results(*both(TREE, {"max_depth": [1, 3]}, cv=cv))


def test_a_generator_of_splits_is_used_once() -> None:
    splits = list(KFold(3).split(X))
    same_results(TuneGridSearchCV(TREE, DEPTHS, cv=iter(splits)).fit(X, Y), GridSearchCV(TREE, DEPTHS, cv=splits).fit(X, Y))


def test_groups() -> None:
    groups = np.arange(150) % 7
    same_results(*both(TREE, DEPTHS, cv=GroupKFold(4), fit_params={"groups": groups}))
    with pytest.raises(ValueError, match="groups"):
        TuneGridSearchCV(TREE, DEPTHS, cv=GroupKFold(4)).fit(X, Y)


def test_sample_weights_and_other_fit_parameters() -> None:
    weights = np.random.RandomState(1).rand(150)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the scorer of the estimator does not take weights: both say so
        ours, theirs = both(LogisticRegression(), {"C": [0.01, 1]}, cv=3, fit_params={"sample_weight": weights})
        plain = TuneGridSearchCV(LogisticRegression(), {"C": [0.01, 1]}, cv=3).fit(X, Y)
    same_results(ours, theirs)
    assert not np.array_equal(ours.best_estimator_.coef_, plain.best_estimator_.coef_)
    np.testing.assert_array_equal(ours.best_estimator_.coef_, theirs.best_estimator_.coef_)


def test_metadata_routing() -> None:
    weights, groups = np.random.RandomState(1).rand(150), np.arange(150) % 5
    with config_context(enable_metadata_routing=True):
        estimator = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        ours, theirs = both(estimator, {"C": [0.01, 1]}, cv=GroupKFold(3), fit_params={"sample_weight": weights, "groups": groups})
        same_results(ours, theirs)
        assert str(ours.get_metadata_routing()) == str(theirs.get_metadata_routing()).replace("GridSearchCV", "TuneGridSearchCV")


@pytest.mark.parametrize("make", [np.asarray, lambda a: pd.DataFrame(a, columns=list("abcd")), csr_matrix, lambda a: a.tolist()])
def test_forms_of_data(make: Callable[[Any], Any]) -> None:
    data = make(X)
    ours, theirs = both(KNeighborsClassifier(), {"n_neighbors": [1, 3]}, cv=3, fit=(data, Y))
    same_results(ours, theirs)
    names = getattr(theirs, "feature_names_in_", None)
    assert (names is None) == (not hasattr(ours, "feature_names_in_"))
    assert names is None or list(ours.feature_names_in_) == list(names)


def test_dataframes_with_texts_as_targets() -> None:
    frame, names = pd.DataFrame(X, columns=list("abcd")), pd.Series(np.array(["one", "two", "three"])[Y])
    same_results(*both(TREE, DEPTHS, cv=3, fit=(frame, names)))


def test_without_targets() -> None:
    same_results(*both(KernelDensity(), {"bandwidth": [0.1, 1.0]}, cv=3, fit=(X,)))


def test_transformers_and_regression() -> None:
    data = load_diabetes(return_X_y=True)
    same_results(*both(Ridge(), {"alpha": [0.1, 1.0]}, cv=3, fit=data, scoring="neg_mean_squared_error"))
    ours, theirs = both(PCA(svd_solver="full"), {"n_components": [1, 2]}, cv=3, fit=(X,))
    same_results(ours, theirs)
    np.testing.assert_array_equal(ours.transform(X), theirs.transform(X))
    np.testing.assert_array_equal(ours.inverse_transform(ours.transform(X)), theirs.inverse_transform(theirs.transform(X)))


class Fragile(ClassifierMixin, BaseEstimator):
    """Cannot be fitted with an odd ``n``; scores by it otherwise."""

    def __init__(self, n: int = 0) -> None:
        self.n = n

    def fit(self, x: Any, y: Any) -> Fragile:
        if self.n % 2:
            raise ValueError(f"odd: {self.n}")
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: Any) -> Any:
        return np.full(len(x), self.classes_[self.n % 3])


@pytest.mark.parametrize("error_score", [np.nan, -1.0])
@pytest.mark.parametrize("scoring", [None, {"a": "accuracy"}, lambda e, x, y: {"a": accuracy_score(y, e.predict(x))}])
def test_fits_that_fail(error_score: float, scoring: Any) -> None:
    pair = []
    for cls in (TuneGridSearchCV, GridSearchCV):
        search = cls(Fragile(), {"n": [0, 1, 2, 3]}, cv=3, error_score=error_score, scoring=scoring, refit="a" if scoring else True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pair.append(search.fit(X, Y))
        assert [str(one.message).partition("Below")[0] for one in caught if one.category is FitFailedWarning] == [
            "\n6 fits failed out of a total of 12.\nThe score on these train-test partitions for these parameters will be set to "
            f"{error_score}.\nIf these failures are not expected, you can try to debug them by setting error_score='raise'.\n\n"
        ]
    same_results(*pair)


def test_all_fits_fail() -> None:
    with pytest.raises(ValueError, match=r"(?s)All the 6 fits failed.*odd: 1"):
        TuneGridSearchCV(Fragile(), {"n": [1, 3]}, cv=3).fit(X, Y)


def test_error_score_raise_raises_what_the_fit_did() -> None:
    with pytest.raises(ValueError, match=r"^odd: 1$") as caught:
        TuneGridSearchCV(Fragile(), {"n": [0, 1]}, cv=3, error_score="raise").fit(X, Y)
    assert caught.traceback[-1].name == "fit"
    with pytest.raises(ValueError, match="Invalid parameter 'm' for estimator Fragile"):
        TuneGridSearchCV(Fragile(), {"m": [0]}, cv=3).fit(X, Y)


def test_scorers_that_fail() -> None:
    def scoring(estimator: Any, x: Any, y: Any) -> float:
        if estimator.max_depth == 2:
            raise KeyError("scorer")
        return float(estimator.score(x, y))

    pair = []
    for cls in (TuneGridSearchCV, GridSearchCV):
        with pytest.warns(UserWarning, match=r"Scoring failed|non-finite"):
            pair.append(cls(TREE, DEPTHS, cv=3, scoring=scoring).fit(X, Y))
    same_results(*pair)
    with pytest.raises(KeyError, match="scorer"):
        TuneGridSearchCV(TREE, DEPTHS, cv=3, scoring=scoring, error_score="raise").fit(X, Y)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "no-such-scorer"}, "no-such-scorer"),
        ({"scoring": ["accuracy", "f1_macro"]}, "refit must be set to a scorer key"),
        ({"scoring": lambda e, x, y: {"a": 1.0, "b": 2.0}}, "refit must be set to a scorer key"),
        ({"scoring": lambda e, x, y: "text"}, "scoring must return a number"),
        ({"refit": 3}, "refit"),
        ({"refit": lambda results: 99}, "best_index_ index out of range"),
        ({"cv": 1}, "The 'cv' parameter"),
        ({"cv": []}, "No fits were performed"),
        ({"error_score": "text"}, "error_score"),
    ],
)
def test_the_same_mistakes_are_refused(options: Any, message: str) -> None:
    for cls in (TuneGridSearchCV, GridSearchCV):
        with pytest.raises((ValueError, IndexError, TypeError), match=message):
            cls(TREE, DEPTHS, **options).fit(X, Y)


@pytest.mark.parametrize("grid", [{}, {"max_depth": 3}, {"max_depth": []}, [3], {"max_depth": "12"}])
def test_the_same_grids_are_refused(grid: Any) -> None:
    found = []
    for cls in (TuneGridSearchCV, GridSearchCV):
        try:
            cls(TREE, grid).fit(X, Y)
            found.append("")
        except (ValueError, TypeError) as error:
            found.append(str(error))
    assert found[0] == found[1]


def test_the_same_random_candidates() -> None:
    distributions = {"max_depth": randint(1, 9), "min_impurity_decrease": loguniform(1e-4, 1e-1), "criterion": ["gini", "entropy"]}
    options = {"n_iter": 7, "random_state": 5, "cv": 3, "return_train_score": True}
    same_results(*(cls(TREE, distributions, **options).fit(X, Y) for cls in (TuneSearchCV, RandomizedSearchCV)))
    several = [{"kernel": ["rbf"], "gamma": loguniform(1e-3, 1)}, {"kernel": ["poly"], "degree": [2, 3]}]
    same_results(*(cls(SVC(), several, **options).fit(X, Y) for cls in (TuneSearchCV, RandomizedSearchCV)))


def test_a_small_grid_is_not_drawn_twice() -> None:
    for cls in (TuneSearchCV, RandomizedSearchCV):
        with pytest.warns(UserWarning, match="total space of parameters 3 is smaller than n_iter=10"):
            assert len(cls(TREE, {"max_depth": [1, 2, 3]}, n_iter=10).fit(X, Y).cv_results_["params"]) == 3


def test_a_random_state_of_numpy_and_none() -> None:
    distributions = {"C": loguniform(1e-3, 1e3)}
    states = [np.random.RandomState(3), np.random.RandomState(3)]
    ours, theirs = (
        cls(SVC(), distributions, n_iter=3, random_state=state).fit(X, Y) for cls, state in zip((TuneSearchCV, RandomizedSearchCV), states)
    )
    same_results(ours, theirs)
    found = []
    for _ in range(2):
        np.random.seed(4)  # noqa: NPY002 - scikit-learn's None
        found.append(TuneSearchCV(SVC(), distributions, n_trials=3).fit(X, Y).best_params_)
    assert found[0] == found[1]


def test_nested_cross_validation() -> None:
    scores = [cross_val_score(cls(TREE, DEPTHS, cv=2), X, Y, cv=3) for cls in (TuneGridSearchCV, GridSearchCV)]
    np.testing.assert_array_equal(*scores)


def test_a_search_of_searches() -> None:
    found = []
    for cls in (TuneGridSearchCV, GridSearchCV):
        inner = cls(TREE, {"max_depth": [1, 3]}, cv=2)
        found.append(cls(inner, {"estimator__criterion": ["gini", "entropy"], "cv": [2, 3]}, cv=2).fit(X, Y))
    same_results(*found)


def test_clone_parameters_and_pickle() -> None:
    search = TuneSearchCV(TREE, DEPTHS, n_trials=2, random_state=0, cv=3)
    copy = clone(search).set_params(estimator__max_depth=1, n_trials=3)
    assert (copy.estimator.max_depth, copy.n_trials, search.n_trials) == (1, 3, 2)
    assert set(GridSearchCV(TREE, DEPTHS).get_params()) <= set(TuneGridSearchCV(TREE, DEPTHS).get_params())
    assert set(RandomizedSearchCV(TREE, DEPTHS).get_params()) <= set(search.get_params())
    with pytest.raises(NotFittedError):
        search.predict(X)
    search.fit(X, Y)
    again = pickle.loads(pickle.dumps(search))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    same_results(again, search)
    assert "TuneSearchCV" in repr(search)
    assert "best_estimator_" in search._repr_html_()


def test_without_refit() -> None:
    ours, theirs = both(TREE, DEPTHS, refit=False)
    same_results(ours, theirs)
    assert not hasattr(ours, "best_estimator_")
    for search in (ours, theirs):
        with pytest.raises(AttributeError, match="has no attribute 'predict'"):
            search.predict(X)


def test_methods_are_those_of_the_estimator() -> None:
    search = TuneGridSearchCV(SVC(), {"C": [1]})
    assert hasattr(search, "decision_function")
    assert not hasattr(search, "transform")
    assert not hasattr(TuneGridSearchCV(TREE, DEPTHS), "decision_function")


def test_fitting_again_forgets() -> None:
    search = TuneGridSearchCV(TREE, DEPTHS, cv=3).fit(X, Y)
    search.set_params(param_grid={"max_depth": [2]}).fit(X[:, :2], Y)
    assert len(search.cv_results_["params"]) == 1
    assert search.n_features_in_ == 2


def test_data_and_estimator_are_left_alone() -> None:
    data, estimator = X.copy(), DecisionTreeClassifier(random_state=0)
    TuneGridSearchCV(estimator, DEPTHS, cv=3).fit(data, Y)
    np.testing.assert_array_equal(data, X)
    assert not hasattr(estimator, "tree_")


def test_the_callers_generators_are_left_alone() -> None:
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.RandomState(1)
    expected.randint(2**31)
    TuneGridSearchCV(TREE, DEPTHS, cv=3).fit(X, Y)
    assert np.random.rand() == expected.rand(), "one number is drawn: the run's seed"  # noqa: NPY002
