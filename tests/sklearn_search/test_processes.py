"""Candidates in processes of their own: the same results, data that travel once, real deaths and real interruptions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tunesmith as tune
from tunesmith.sklearn import TuneGridSearchCV, TuneSearchCV

pytestmark = pytest.mark.e2e

X, Y = load_iris(return_X_y=True)
GRID = {"C": [0.1, 1.0, 10.0], "kernel": ["rbf", "linear"]}


class Witness(ClassifierMixin, BaseEstimator):
    """Writes down in which process it was fitted, and may kill that."""

    def __init__(self, folder: str = "", n: int = 0, die: bool = False) -> None:
        self.folder, self.n, self.die = folder, n, die

    def fit(self, x: Any, y: Any) -> Witness:
        assert x.shape == (100, 4)
        with open(os.path.join(self.folder, f"{self.n}"), "a") as file:
            file.write(f"{os.getpid()}\n")
        if self.die and self.n == 1:
            if os.path.getsize(os.path.join(self.folder, "1")) > 200:
                raise ValueError("enough")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.n < 0:
            raise ValueError(f"negative: {self.n}")
        self.classes_ = np.unique(y)
        return self

    def predict(self, x: Any) -> Any:
        return np.full(len(x), self.classes_[self.n % 3])


def test_two_at_once_find_what_one_does() -> None:
    one, two = (TuneGridSearchCV(SVC(), GRID, n_jobs=jobs, cv=3, return_train_score=True).fit(X, Y) for jobs in (1, 2))
    theirs = GridSearchCV(SVC(), GRID, cv=3, return_train_score=True).fit(X, Y)
    for name, column in theirs.cv_results_.items():
        if not name.endswith("_time"):
            np.testing.assert_array_equal(two.cv_results_[name], column)
            np.testing.assert_array_equal(one.cv_results_[name], column)
    assert two.best_params_ == theirs.best_params_


@pytest.mark.slow
def test_the_configuration_of_scikit_learn_holds_in_processes() -> None:
    with sklearn.config_context(enable_metadata_routing=True):
        scale = StandardScaler().set_fit_request(sample_weight=False)
        svc = SVC().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        weights = np.random.RandomState(0).rand(150)
        ours, theirs = (
            made(make_pipeline(scale, svc), {"svc__C": [0.1, 1.0]}, cv=3, n_jobs=jobs).fit(X, Y, sample_weight=weights)
            for made, jobs in ((TuneGridSearchCV, 2), (GridSearchCV, 1))
        )
    np.testing.assert_array_equal(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


class Named(SGDClassifier):
    """Wants to be told the columns' names."""

    def partial_fit(self, x: Any, y: Any, classes: Any = None) -> Any:
        assert list(x.columns) == ["x0", "x1", "x2", "x3"]
        return super().partial_fit(x, y, classes)


@pytest.mark.slow
def test_and_where_they_are_trained_in_steps() -> None:
    pipeline = make_pipeline(StandardScaler(), Named(random_state=0))
    with sklearn.config_context(transform_output="pandas"):
        TuneGridSearchCV(
            pipeline, {"named__alpha": [1e-3]}, cv=2, n_jobs=2, early_stopping=True, max_iters=2, error_score="raise", refit=False
        ).fit(X, Y)


@pytest.mark.slow
def test_where_candidates_are_fitted(tmp_path: Path) -> None:
    def processes(jobs: Any) -> set[int]:
        for file in tmp_path.iterdir():
            file.unlink()
        TuneGridSearchCV(Witness(str(tmp_path)), {"n": [0, 1, 2]}, n_jobs=jobs, cv=3, refit=False).fit(X, Y)
        return {int(line) for file in tmp_path.iterdir() for line in file.read_text().split()}

    assert processes(1) == processes(None) == {os.getpid()}
    assert os.getpid() not in processes(2)
    with joblib.parallel_config(n_jobs=2):
        assert os.getpid() not in processes(None)


@pytest.mark.slow
def test_an_error_in_a_process_is_raised_here(tmp_path: Path) -> None:
    grid = {"n": [0, -1]}
    with pytest.raises(ValueError, match="negative: -1"):
        TuneGridSearchCV(Witness(str(tmp_path)), grid, n_jobs=2, cv=3, error_score="raise").fit(X, Y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TuneGridSearchCV(Witness(str(tmp_path)), grid, n_jobs=2, cv=3, refit=False).fit(X, Y)
    assert "3 fits failed out of a total of 6" in str(caught[0].message)
    assert "negative: -1" in str(caught[0].message)


@pytest.mark.slow
def test_a_process_that_dies_is_tried_again_and_then_named(tmp_path: Path) -> None:
    search = TuneGridSearchCV(Witness(str(tmp_path), die=True), {"n": [0, 1]}, n_jobs=2, cv=3)
    with pytest.raises(tune.TrialsFailed, match=r"(?:SIGKILL|killed).* Their files were temporary: storage_path= keeps them\.$") as failed:
        search.fit(X, Y)
    assert "rerun" not in str(failed.value), "there is nothing to run again"
    assert len((tmp_path / "1").read_text().split()) == 6, "five times more"


@pytest.mark.slow
def test_early_stopping_in_processes() -> None:
    data, targets = load_breast_cancer(return_X_y=True)
    data = StandardScaler().fit_transform(data)
    # a loss without ties: whoever equals the cut goes on, and equal accuracies are common here
    search = TuneSearchCV(
        SGDClassifier("log_loss", random_state=0, learning_rate="constant"),
        {"eta0": tune.loguniform(1e-9, 1e-3), "l1_ratio": np.array([0.1, 0.2])}, scoring="neg_log_loss",
        n_trials=10, n_jobs=2, cv=3, random_state=0, search_optimization="tpe", max_iters=9,
        early_stopping=tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
    ).fit(data, targets)  # fmt: skip
    iterations = search.cv_results_["training_iteration"]
    assert max(iterations) == 9
    assert min(iterations) < 9
    assert search.best_score_ > np.log(0.5)
    assert {type(params["l1_ratio"]) for params in search.cv_results_["params"]} == {np.float64}
    held = search.set_params(early_stopping="hyperband").fit(data, targets)
    assert max(held.cv_results_["training_iteration"]) == 9


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["loky", "threading"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_cross_validation_at_once_of_searches_at_once(backend: str, jobs: int) -> None:
    grid = {"C": [0.01, 1.0]}
    expected = cross_val_score(GridSearchCV(SVC(), grid, cv=2), X, Y, cv=2)
    with joblib.parallel_config(backend):
        found = cross_val_score(TuneGridSearchCV(SVC(), grid, cv=2, n_jobs=jobs), X, Y, cv=2, n_jobs=2)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_scores_and_functions_of_the_script_travel() -> None:
    factor = 0.5

    def scoring(estimator: Any, x: Any, y: Any) -> float:
        return factor * float(estimator.score(x, y))

    search = TuneGridSearchCV(SVC(), GRID, n_jobs=2, cv=3, scoring=scoring).fit(X, Y)
    theirs = GridSearchCV(SVC(), GRID, cv=3, scoring=scoring).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"])


@pytest.mark.slow
def test_large_data_travel_once(tmp_path: Path) -> None:
    """Each candidate looks at 200 MB, and no process has a copy of its own."""
    script = tmp_path / "large.py"
    script.write_text(
        textwrap.dedent(
            """
            import numpy as np
            from sklearn.base import BaseEstimator, ClassifierMixin
            from sklearn.model_selection import PredefinedSplit
            from tunesmith.sklearn import TuneGridSearchCV

            class Model(ClassifierMixin, BaseEstimator):
                def __init__(self, n=0):
                    self.n = n
                def fit(self, x, y):
                    self.classes_ = np.unique(y)
                    return self
                def score(self, x, y):
                    with open("/proc/self/smaps_rollup") as file:
                        return -float(next(line.split()[1] for line in file if line.startswith("Private_Dirty")))

            if __name__ == "__main__":
                x = np.zeros((25_000, 1000))
                x[:] = 1.0
                cv = [(np.arange(10), np.arange(10, 20))]
                search = TuneGridSearchCV(Model(), {"n": list(range(6))}, n_jobs=2, cv=cv, refit=False).fit(x, np.arange(25_000) % 2)
                print(-min(search.cv_results_["mean_test_score"]))
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100_000, "kB of memory of its own"


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c(tmp_path: Path, jobs: int) -> None:
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, signal, time
            import numpy as np
            from sklearn.base import BaseEstimator, ClassifierMixin
            from tunesmith.sklearn import TuneGridSearchCV

            class Slow(ClassifierMixin, BaseEstimator):
                def __init__(self, n=0):
                    self.n = n
                def fit(self, x, y):
                    if self.n == 3 and not os.path.exists({str(tmp_path / "there")!r}):
                        open({str(tmp_path / "there")!r}, "w").close()
                        os.kill(int(os.environ["DRIVER"]), signal.SIGINT)
                    self.classes_ = np.unique(y)
                    time.sleep(0.02)
                    return self
                def predict(self, x):
                    return np.zeros(len(x))

            if __name__ == "__main__":
                os.environ["DRIVER"] = str(os.getpid())
                search = TuneGridSearchCV(Slow(), {{"n": list(range(500))}}, n_jobs={jobs}, cv=2)
                try:
                    search.fit(np.zeros((20, 2)), np.arange(20) % 2)
                except KeyboardInterrupt:
                    print("interrupted", hasattr(search, "cv_results_"))
            """
        )
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "interrupted False"
    assert "Ctrl-C" in done.stderr
    assert "resume" not in done.stderr, "no files are left to go on with"
