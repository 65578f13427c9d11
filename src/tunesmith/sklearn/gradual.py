"""A trial that trains all folds step by step and reports after each step, so that a scheduler can end it, hold it, or hand its state on."""

from __future__ import annotations

import logging
import os
import pickle
import time
import traceback
from typing import Any

import cloudpickle
from sklearn import config_context
from sklearn.base import clone

from tunesmith.sklearn.borrowed import check_method_params, safe_split, score, score_names
from tunesmith.sklearn.growing import Model
from tunesmith.sklearn.task import Task, metrics_of
from tunesmith.trainable.class_api import Trainable

__all__ = ["Gradual"]

_FILE = "folds.pkl"
_log = logging.getLogger("tunesmith")


class Fold:
    """One fold in training.

    Args:
        task: of the search.
        number: of the fold.
        params: of the candidate.
    """

    def __init__(self, task: Task, number: int, params: dict[str, Any]) -> None:
        self.number = number
        self.fit_time = self.score_time = 0.0
        self.error: str | None = None
        self.scores: dict[str, Any] = {}
        self.model: Model | None = Model(clone(task.estimator).set_params(**clone(params, safe=False)), task.steps)

    @property
    def done(self) -> bool:
        """Whether there is nothing more to train."""
        return self.model is None or self.model.done

    def step(self, task: Task) -> dict[str, Any]:
        """Train and score; the result is in the form of scikit-learn's ``_fit_and_score``."""
        if self.model is not None and not self.model.done:
            self._train(task, self.model)
        return {"fit_time": self.fit_time, "score_time": self.score_time, "fit_error": self.error, **self.scores}

    def _train(self, task: Task, model: Model) -> None:
        train, test = task.splits[self.number]
        began = time.perf_counter()
        samples, y = safe_split(model.estimator, task.X, task.y, train)
        try:
            model.step(samples, y, task.y, check_method_params(task.X, params=task.fit_params, indices=train))
        except Exception:
            if task.error_score == "raise":
                raise
            self.error, self.model = traceback.format_exc(), None
            self.fit_time += time.perf_counter() - began
            self.scores = _failed(task)
            return
        fitted = time.perf_counter()
        self.fit_time += fitted - began
        test_samples, test_y = safe_split(model.estimator, task.X, task.y, test, train)
        self.scores["test_scores"] = self._score(task, test_samples, test_y, test)
        self.score_time += time.perf_counter() - fitted
        if task.return_train_score:
            self.scores["train_scores"] = self._score(task, samples, y, train)

    def _score(self, task: Task, samples: Any, y: Any, indices: Any) -> Any:
        assert self.model is not None
        params = check_method_params(task.X, params=task.score_params, indices=indices)
        return score(self.model.estimator, samples, y, task.scorer, params, task.error_score)


def _failed(task: Task) -> dict[str, Any]:
    """The scores of a fold that cannot be trained, as scikit-learn has them."""
    names = score_names(task.scorer)
    parts = ("test_scores", "train_scores")[: 1 + task.return_train_score]
    return {part: task.error_score if names is None else dict.fromkeys(names, task.error_score) for part in parts}


class Gradual(Trainable):
    """Trains one candidate on all folds. Its state is saved when a scheduler asks for it."""

    def setup(self, config: dict[str, Any], task: Task) -> None:  # type: ignore[override]
        self.task = task
        self.params = task.source.params_of(config)
        with config_context(**task.settings):
            self.folds = [Fold(task, number, self.params) for number in range(len(task.splits))]

    def step(self) -> dict[str, Any]:
        with config_context(**self.task.settings):
            results = [fold.step(self.task) for fold in self.folds]
        return {**metrics_of(results, self.task), "done": all(fold.done for fold in self.folds)}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        try:
            with open(os.path.join(checkpoint_dir, _FILE), "wb") as file:
                cloudpickle.dump((self.params, self.folds), file)
        except Exception as error:  # of a trial that has been told to stop nobody would hear of it
            _log.warning("early stopping: %r cannot be saved, so nothing goes on from it: %s", self.task.estimator, error)
            raise

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Go on with what was saved, by this trial or by another: then with this one's parameters."""
        with open(os.path.join(checkpoint, _FILE), "rb") as file:
            saved, self.folds = pickle.load(file)
        changed = {name: value for name, value in self.params.items() if name not in saved or not _same(saved[name], value)}
        for fold in self.folds:
            if fold.model is not None and changed:
                fold.model.change(changed)


def _same(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) and cloudpickle.dumps(one) == cloudpickle.dumps(other))
