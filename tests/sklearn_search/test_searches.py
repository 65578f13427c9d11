"""Searchers, limits, files: what the run behind a search does with the search's own arguments."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform, uniform
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.search import Searcher, TPESearch
from tunesmith.sklearn import TuneGridSearchCV, TuneSearchCV

X, Y = load_iris(return_X_y=True)
FOLDS = KFold(3, shuffle=True, random_state=0)
SPACE = {"C": loguniform(1e-3, 1e3), "gamma": loguniform(1e-4, 1.0)}


@pytest.mark.parametrize("name", ["auto", "tpe", "gp", "bayesian", "optuna", "cmaes", "sobol", "hyperopt", TPESearch()])
def test_any_searcher(name: Any) -> None:
    search = TuneSearchCV(SVC(), SPACE, cv=FOLDS, n_trials=6, search_optimization=name, random_state=0).fit(X, Y)
    assert len(search.cv_results_["params"]) == 6
    assert all(1e-3 <= params["C"] <= 1e3 for params in search.cv_results_["params"])
    again = TuneSearchCV(SVC(), SPACE, cv=FOLDS, n_trials=6, search_optimization=name, random_state=0).fit(X, Y)
    assert again.cv_results_["params"] == search.cv_results_["params"]


class Climbing(Searcher):
    """Proposes ten times as much as what was best."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {"C": 10.0 ** (len(self.seen) - 3)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        assert result is not None
        assert self.mode == "max"
        self.seen.append(result[str(self.metric)])


def test_a_searcher_sees_the_scores_and_is_copied() -> None:
    searcher = Climbing()
    search = TuneSearchCV(SVC(), {"C": loguniform(1e-3, 1e3)}, cv=FOLDS, n_trials=4, search_optimization=searcher).fit(X, Y)
    assert [params["C"] for params in search.cv_results_["params"]] == pytest.approx([1e-3, 1e-2, 1e-1, 1.0])
    assert searcher.seen == []


def test_a_searcher_that_learns_gets_nan_for_candidates_that_fail() -> None:
    search = TuneSearchCV(
        LogisticRegression(), {"C": uniform(-1.0, 2.0)}, cv=FOLDS, n_trials=12, search_optimization="tpe", random_state=3
    )  # fmt: skip
    with pytest.warns(Warning, match=r"fits failed|non-finite"):
        search.fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert 0 < np.isnan(scores).sum() < 12
    assert search.best_params_["C"] > 0


def test_domains_conditions_and_estimators_to_choose() -> None:
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SVC())])
    space = {
        "scale__with_mean": [True, False],
        "model": tune.choice(
            [{"clf": SVC(), "clf__C": tune.loguniform(0.01, 100)}, {"clf": KNeighborsClassifier(), "clf__n_neighbors": tune.randint(1, 9)}]
        ),
    }
    for name in ("random", "tpe", "auto"):
        search = TuneSearchCV(pipeline, space, cv=FOLDS, n_trials=10, search_optimization=name, random_state=1).fit(X, Y)
        kinds = {type(params["clf"]).__name__: set(params) for params in search.cv_results_["params"]}
        assert kinds == {
            "SVC": {"scale__with_mean", "clf", "clf__C"}, "KNeighborsClassifier": {"scale__with_mean", "clf", "clf__n_neighbors"},
        }  # fmt: skip
        assert type(search.best_estimator_["clf"]) is type(search.best_params_["clf"])
        assert search.cv_results_["param_clf__C"].mask.any()


def test_several_scores_are_optimised_together_if_none_is_named() -> None:
    def worse(estimator: Any, x: Any, y: Any) -> float:
        return -float(estimator.C)

    options: dict[str, Any] = {"cv": FOLDS, "n_trials": 6, "search_optimization": "nsga2", "random_state": 0, "refit": False}
    search = TuneSearchCV(SVC(), SPACE, scoring={"acc": "accuracy", "small": worse}, **options).fit(X, Y)
    assert search.multimetric_
    assert len(search.cv_results_["mean_test_small"]) == 6
    assert not hasattr(search, "best_index_")
    with pytest.raises(SpecError, match="optimises one metric"):
        search.set_params(search_optimization="bayesopt").fit(X, Y)


def test_lower_is_better() -> None:
    def error(estimator: Any, x: Any, y: Any) -> float:
        return 1 - float(estimator.score(x, y))

    search = TuneGridSearchCV(SVC(), {"C": [1e-3, 1.0, 10.0]}, cv=FOLDS, scoring=error, mode="min").fit(X, Y)
    assert search.best_score_ == min(search.cv_results_["mean_test_score"])
    assert search.cv_results_["rank_test_score"][0] == 3
    assert search.best_index_ == np.argmin(search.cv_results_["mean_test_score"])


def test_a_budget_of_time_leaves_out_what_has_no_result() -> None:
    began: list[float] = []

    class Slow(SVC):
        def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
            began.append(self.C)
            return super().fit(x, y)

    def stop(trial_id: str, result: dict[str, Any]) -> bool:
        return False

    with pytest.raises(SpecError, match="time_budget_s"):
        TuneGridSearchCV(SVC(), {"C": [1.0]}, time_budget_s=-1, stopper=stop).fit(X, Y)
    search = TuneGridSearchCV(Slow(), {"C": [float(n) for n in range(1, 2000)]}, cv=FOLDS, time_budget_s=0.2).fit(X, Y)
    tried = len(search.cv_results_["params"])
    assert 0 < tried < 1999
    assert [params["C"] for params in search.cv_results_["params"]] == [float(n) for n in range(1, tried + 1)]


def test_nothing_is_left_behind_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    search = TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=FOLDS).fit(X, Y)
    assert list(tmp_path.iterdir()) == []
    assert not hasattr(search, "analysis_")


def test_an_experiment_that_is_kept(tmp_path: Path) -> None:
    grid = {"C": np.array([0.1, 1.0]), "kernel": ["rbf"]}
    search = TuneGridSearchCV(SVC(), grid, cv=FOLDS, storage_path=str(tmp_path), name="svc").fit(X, Y)
    analysis = tune.open_experiment(tmp_path / "svc")
    assert [trial.config["C"] for trial in analysis.trials] == [0.1, 1.0]
    assert [trial.config["kernel"] for trial in analysis.trials] == ["rbf", "rbf"]
    assert [trial.last_result["mean_test_score"] for trial in analysis.trials] == list(search.cv_results_["mean_test_score"])
    assert search.analysis_.best_config["C"] == search.best_params_["C"]
    assert (tmp_path / "svc" / analysis.trials[0].trial_id / "progress.csv").is_file()
    again = pickle.loads(pickle.dumps(search))
    assert again.analysis_.best_config["C"] == search.best_params_["C"]
    assert not hasattr(search.set_params(storage_path=None, name=None).fit(X, Y), "analysis_")
    with pytest.raises(SpecError, match="name"):
        TuneGridSearchCV(SVC(), grid, name="a/../b").fit(X, Y)


def test_loggers_and_callbacks(tmp_path: Path) -> None:
    ends: list[float] = []

    class Notes(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(trial.last_result["mean_test_score"])

    search = TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=FOLDS, callbacks=[Notes()], loggers=(), storage_path=tmp_path).fit(X, Y)
    assert ends == list(search.cv_results_["mean_test_score"])
    with pytest.raises(SpecError, match="scikit-learn's callbacks"):
        search.set_callbacks(object())
    assert search.set_callbacks() is search


def test_loggers_by_their_names_in_tune_sklearn(tmp_path: Path) -> None:
    search = TuneGridSearchCV(SVC(), {"C": [1.0]}, cv=FOLDS, loggers=["csv", "json"], storage_path=tmp_path).fit(X, Y)
    (trial,) = search.analysis_.trials
    assert sorted(os.listdir(trial.logdir)) == ["params.json", "progress.csv", "result.json"]
    with pytest.raises(SpecError, match=r"loggers: there is none named 'cvs'; there are: csv, json, tensorboard\..*'csv'"):
        search.set_params(loggers=["cvs"]).fit(X, Y)
    with pytest.raises(SpecError, match=r"loggers=\[tunesmith\.integration\.mlflow\.MLflowLoggerCallback\(\)\]"):
        search.set_params(loggers=["mlflow"]).fit(X, Y)


def test_a_grid_without_candidates() -> None:
    with pytest.raises(SpecError, match=r"No fits were performed: TuneGridSearchCV has no candidates, param_grid is \[\]"):
        TuneGridSearchCV(SVC(), []).fit(X, Y)


def test_ranges_as_tune_sklearn_has_them() -> None:
    space = {"C": (1e-1, 10, "log-uniform"), "degree": (2, 3, "uniform")}
    search = TuneSearchCV(SVC(), space, cv=FOLDS, n_trials=5, random_state=0).fit(X, Y)
    found = [params["C"] for params in search.cv_results_["params"]]
    assert len(set(found)) == 5
    assert all(0.1 <= value <= 10 for value in found)
    assert {params["degree"] for params in search.cv_results_["params"]} == {2, 3}


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=FOLDS).fit(X, Y)
    assert capsys.readouterr() == ("", "")
    TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=FOLDS, verbose=1).fit(X, Y)
    said = capsys.readouterr().out
    assert "mean_test_score" in said
    assert "files:" not in said, "they are temporary"
    TuneGridSearchCV(SVC(), {"C": [0.1, 1.0]}, cv=FOLDS, verbose=10).fit(X, Y)


def test_arguments_that_are_needless_or_contradict_each_other(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tunesmith"):
        TuneGridSearchCV(SVC(), {"C": [0.1]}, cv=FOLDS, pre_dispatch=4).fit(X, Y)
    assert "pre_dispatch=4 is accepted, and needless" in caplog.text
    with pytest.raises(SpecError, match="n_trials=3 and n_iter=4 are names of one thing"):
        TuneSearchCV(SVC(), SPACE, n_trials=3, n_iter=4).fit(X, Y)
    with pytest.raises(SpecError, match="search_alg='no-such' is not known"):
        TuneSearchCV(SVC(), SPACE, search_optimization="no-such").fit(X, Y)
    with pytest.raises(ValueError, match="The 'n_trials' parameter"):
        TuneSearchCV(SVC(), SPACE, n_trials=0).fit(X, Y)
    with pytest.raises(ValueError, match="The 'mode' parameter"):
        TuneSearchCV(SVC(), SPACE, mode="lowest").fit(X, Y)


def test_cards_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_NUM_GPUS", "0")
    with pytest.raises(SpecError, match="gpu"):
        TuneGridSearchCV(SVC(), {"C": [0.1]}, use_gpu=True).fit(X, Y)


def test_tunesmith_alone_does_not_import_scikit_learn() -> None:
    code = "import sys, tunesmith; tunesmith.run; assert not [name for name in sys.modules if name.startswith('sklearn')]"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})
