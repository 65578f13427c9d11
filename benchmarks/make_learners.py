"""Validates scikit-learn's learners on its toy data at the values of _search_learners.py, and stores the losses.

    OMP_NUM_THREADS=1 python benchmarks/make_learners.py [--only WORD] [--out benchmarks/data/learners.npz]

Losses are means over 3 folds: log-loss of classifiers (probabilities below 1/1000 count as that), and of regressors the mean squared
error as a share of the variance, at most 3. Of digits, every third image is used. It takes some minutes; with --only, the other tables stay
as they are in the file.
"""

from __future__ import annotations

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from _search_learners import DATA, LEARNERS, TABLES, values

FOLDS, LEAST, MOST = 3, 1e-3, 3.0


@dataclass(slots=True)
class Fold:
    """What is learned from and what is validated on; ``classes``: how many, 0 for a regression."""

    x: np.ndarray
    y: np.ndarray
    unseen: np.ndarray
    truth: np.ndarray
    classes: int

    def loss(self, answer: np.ndarray) -> float:
        """Of probabilities, or of predicted values."""
        if self.classes:
            answer = np.nan_to_num(answer, nan=1 / self.classes).clip(LEAST, 1)
            answer /= answer.sum(1, keepdims=True)
            return float(-np.log(answer[np.arange(len(self.truth)), self.truth]).mean())
        error = np.square(np.nan_to_num(answer, nan=1e6).clip(-1e6, 1e6) - self.truth).mean() / self.truth.var()
        return float(min(error, MOST))

    def answer(self, model: Any, x: np.ndarray) -> np.ndarray:
        found: np.ndarray = model.predict_proba(x) if self.classes else model.predict(x)
        return found


def folds(name: str) -> list[Fold]:
    from sklearn import datasets
    from sklearn.model_selection import KFold, StratifiedKFold

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "digits":
        x, y = x[::3], y[::3]
    classes = 0 if name == "diabetes" else int(y.max()) + 1
    if not classes:
        y = (y - y.mean()) / y.std()
    split = (StratifiedKFold if classes else KFold)(FOLDS, shuffle=True, random_state=0).split(x, y)
    return [Fold(x[seen], y[seen], x[unseen], y[unseen], classes) for seen, unseen in split]


def scaled(fold: Fold, how: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    if how == "none":
        return fold.x, fold.unseen
    scaler = (StandardScaler if how == "standard" else MinMaxScaler)().fit(fold.x)
    return scaler.transform(fold.x), scaler.transform(fold.unseen)


def forest(fold: Fold, config: dict[str, Any]) -> Iterator[float]:
    """For each number of trees; those of a small forest are the first of a large one."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    criteria = ("gini", "entropy") if fold.classes else ("squared_error", "friedman_mse")
    counts = values("forest", LEARNERS["forest"][0])
    model = (RandomForestClassifier if fold.classes else RandomForestRegressor)(
        counts[-1], criterion=criteria[config["criterion"] == "second"], max_depth=config["depth"], max_features=config["features"],
        min_samples_leaf=config["leaf"], bootstrap=config["bootstrap"] == "yes", random_state=0,
    ).fit(fold.x, fold.y)  # fmt: skip
    answers = np.cumsum([fold.answer(tree, fold.unseen) for tree in model.estimators_], 0)
    for count in counts:
        yield fold.loss(answers[count - 1] / count)


def boosting(fold: Fold, config: dict[str, Any]) -> Iterator[float]:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    counts = values("boosting", LEARNERS["boosting"][0])
    model = (GradientBoostingClassifier if fold.classes else GradientBoostingRegressor)(
        n_estimators=counts[-1], learning_rate=config["rate"], max_depth=config["depth"], subsample=config["subsample"],
        max_features=config["features"], min_samples_leaf=config["leaf"], random_state=0,
    ).fit(fold.x, fold.y)  # fmt: skip
    stages = model.staged_predict_proba(fold.unseen) if fold.classes else model.staged_predict(fold.unseen)
    for count, answer in enumerate(stages, 1):
        if count in counts:
            yield fold.loss(answer)


def neighbours(fold: Fold, config: dict[str, Any]) -> Iterator[float]:
    from scipy.spatial.distance import cdist
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    x, unseen = scaled(fold, config["scaler"])
    reduced = PCA(max(1, round(config["components"] * x.shape[1])), random_state=0).fit(x)
    x, unseen = reduced.transform(x), reduced.transform(unseen)
    near, far = (cdist(points, x, "minkowski", p=config["power"]) for points in (x, unseen))
    for count in values("neighbours", LEARNERS["neighbours"][0]):
        kind = KNeighborsClassifier if fold.classes else KNeighborsRegressor
        yield fold.loss(fold.answer(kind(count, weights=config["weights"], metric="precomputed").fit(near, fold.y), far))


def linear(fold: Fold, config: dict[str, Any]) -> Iterator[float]:
    from sklearn.linear_model import SGDClassifier, SGDRegressor

    x, unseen = scaled(fold, config["scaler"])
    options = {"alpha": config["alpha"], "l1_ratio": config["l1_ratio"], "eta0": config["eta0"], "learning_rate": config["schedule"]}
    kind = SGDClassifier(loss="log_loss", penalty="elasticnet", random_state=0, **options) if fold.classes else None
    model = kind or SGDRegressor(penalty="elasticnet", random_state=0, **options)
    classes = {"classes": range(fold.classes)} if fold.classes else {}
    done, broken = 0, False
    for count in values("linear", LEARNERS["linear"][3]):
        again = count - done  # one pass over all of it so many times is faster than so many passes
        try:
            if not broken:
                model.partial_fit(np.tile(x, (again, 1)), np.tile(fold.y, again), **classes)
        except ValueError:  # weights that are too large for a float
            broken = True
        done = count
        yield float(np.log(1 / LEAST) if fold.classes else MOST) if broken else fold.loss(fold.answer(model, unseen))


MAKERS: dict[str, tuple[Callable[[Fold, dict[str, Any]], Iterator[float]], str]] = {
    "forest": (forest, "trees"),
    "boosting": (boosting, "stages"),
    "neighbours": (neighbours, "neighbours"),
    "linear": (linear, "epochs"),
}
"""Each with the parameter whose values all come from one fit."""


def table(learner: str, data: str) -> np.ndarray:
    """All losses, one axis for each parameter."""
    make, free = MAKERS[learner]
    space, known = LEARNERS[learner], folds(data)
    axes = [values(learner, parameter) for parameter in space]
    at = [parameter.name for parameter in space].index(free)
    losses = np.zeros([len(axis) for axis in axes])
    for cell in itertools.product(*(range(1 if number == at else len(axis)) for number, axis in enumerate(axes))):
        config = {parameter.name: axes[number][cell[number]] for number, parameter in enumerate(space)}
        found = np.mean([list(make(fold, config)) for fold in known], 0)
        losses[tuple(slice(None) if number == at else index for number, index in enumerate(cell))] = found
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description="Validates the learners that searchers are compared on.")
    parser.add_argument("--only", default="", help="tables whose names contain it")
    parser.add_argument("--out", type=Path, default=DATA)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sklearn.set_config(assume_finite=True, skip_parameter_validation=True)
    options.out.parent.mkdir(exist_ok=True)
    tables: dict[str, np.ndarray] = {}
    if options.out.exists():
        with np.load(options.out) as old:
            tables = dict(old)
    for learner, data in TABLES:
        name, begin = f"{learner} {data}", time.process_time()
        if options.only not in name:
            continue
        tables[name] = table(learner, data).astype(np.float32)
        low, middle = float(tables[name].min()), float(np.median(tables[name]))
        took = time.process_time() - begin
        print(f"{name}: {tables[name].size} losses, best {low:.4f}, median {middle:.4f}, {took:.0f} s", flush=True)
        np.savez_compressed(options.out, **tables)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.2f} MB")


if __name__ == "__main__":
    main()
