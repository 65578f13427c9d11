"""Training in steps: which estimators can be trained so, and one step of one model.

Three ways, the first that an estimator has (of a Pipeline: its last step; what comes before is fitted once):

* ``warm_start`` with trees (``n_estimators``; of histogram boosting ``max_iter``): step k of n has k/n of them. The last step ends with the
  model that ``fit`` makes.
* ``partial_fit``: a step is one pass over the data. Training in full is as many passes as there are steps.
* ``warm_start`` with ``max_iter``: step k of n begins where the last one ended, and may take k/n of the iterations.
"""

from __future__ import annotations

import inspect
import math
import numbers
import warnings
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline
from sklearn.utils.multiclass import unique_labels

from tunesmith.errors import SpecError

__all__ = ["Model", "way_of"]

PASSES = "partial_fit"
_BUDGETS = ("n_estimators", "max_iter")


def way_of(estimator: Any) -> str | None:
    """How it is trained in steps: "partial_fit", or the parameter that grows; None: not at all.

    Example:
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> from sklearn.linear_model import LogisticRegression, SGDClassifier
        >>> from sklearn.svm import SVC
        >>> [way_of(estimator) for estimator in (RandomForestClassifier(), SGDClassifier(), LogisticRegression(), SVC())]
        ['n_estimators', 'partial_fit', 'max_iter', None]
    """
    last = estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator
    params = last.get_params(deep=False) if hasattr(last, "get_params") else {}
    budget = next((name for name in _BUDGETS if isinstance(params.get(name), numbers.Integral)), None) if "warm_start" in params else None
    weight = params.get("class_weight")
    balanced = isinstance(weight, str) and weight == "balanced"
    refuses = params.get("early_stopping") is True or params.get("solver") == "lbfgs" or balanced  # it has a partial_fit that raises
    passes = hasattr(last, "partial_fit") and not (budget and refuses)
    return PASSES if passes and budget != "n_estimators" else budget


class Model:
    """An estimator in training on one set of samples.

    Args:
        estimator: unfitted, with all parameters; it is trained itself.
        steps: how many make training in full.

    Raises:
        SpecError: it cannot be trained in steps.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.ensemble import RandomForestClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> model = Model(RandomForestClassifier(n_estimators=20, random_state=0), steps=4)
        >>> for _ in range(2):
        ...     model.step(X, y, y, {})
        >>> len(model.estimator.estimators_), model.done
        (10, False)
    """

    def __init__(self, estimator: Any, steps: int) -> None:
        self.estimator = estimator
        self.taken = 0
        self._ready: Any = None  # a pipeline's data, after all of its steps but the last
        way = way_of(estimator)
        if way is None:
            raise SpecError(
                f"early_stopping: {_last(estimator)!r} cannot be trained in steps: it has neither partial_fit nor warm_start with "
                "n_estimators or max_iter. Leave early_stopping out, or search over estimators that can."
            )
        self._way = way
        self._total = None if way == PASSES else _last(estimator).get_params(deep=False)[way]
        self._most = steps
        self._steps = self._steps_for(self._total)
        self._given: int | None = None  # the budget of the last step
        if self._total is not None:
            _last(estimator).set_params(warm_start=True)

    @property
    def done(self) -> bool:
        """Whether it is trained in full."""
        return self.taken >= self._steps

    def step(self, samples: Any, y: Any, labels: Any, fit_params: dict[str, Any]) -> None:
        """Train one step.

        Args:
            samples, y: always the same ones.
            labels: the targets of all samples there are: some classes may be missing in ``y``.
            fit_params: what ``fit`` of the estimator gets, for these samples.
        """
        samples, fit_params = self._prepared(samples, y, fit_params)
        self.taken += 1
        last = _last(self.estimator)
        target = () if y is None else (y,)
        if self._way == PASSES:
            first = self.taken == 1 and is_classifier(last) and "classes" in inspect.signature(last.partial_fit).parameters
            classes: dict[str, Any] = {"classes": _classes(last, labels)} if first else {}
            last.partial_fit(samples, *target, **classes, **fit_params)
            return
        self._given = self._budget(self.taken)
        last.set_params(**{self._way: self._given})
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Warm-start fitting without increasing n_estimators")
            if not self.done:  # it is not meant to have converged yet
                warnings.simplefilter("ignore", ConvergenceWarning)
            last.fit(samples, *target, **fit_params)

    def change(self, params: dict[str, Any]) -> None:
        """Go on with other parameters: what has been learned stays, except in those steps of a pipeline whose parameters these are."""
        prefix = f"{self.estimator.steps[-1][0]}__" if isinstance(self.estimator, Pipeline) else ""
        if prefix.removesuffix("__") in params:
            raise SpecError(f"a model in training cannot become another one: {prefix.removesuffix('__')} must not be mutated.")
        if any(not name.startswith(prefix) for name in params):
            self._ready = None
        self.estimator.set_params(**clone(params, safe=False))
        if self._total is not None:
            self._total = params.get(f"{prefix}{self._way}", self._total)
            self._steps = max(self._steps, self._steps_for(self._total))

    def _steps_for(self, total: Any) -> int:
        return self._most if total is None else max(1, min(self._most, int(total)))

    def _budget(self, taken: int) -> int:
        """After a change to a smaller total it stays as it was: trees that are there cannot be taken away."""
        assert self._total is not None
        budget = math.ceil(int(self._total) * taken / self._steps)
        return budget if self._given is None else max(budget, self._given)

    def _prepared(self, samples: Any, y: Any, fit_params: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What the last step of a pipeline gets. The steps before it are fitted the first time."""
        if not isinstance(self.estimator, Pipeline):
            return samples, fit_params
        of_last, of_others = _parted(self.estimator, fit_params)
        if self._ready is None:
            before = self.estimator[:-1]
            before.steps = [(name, clone(step, safe=False)) for name, step in before.steps]
            self._ready = before.fit_transform(samples, y, **of_others) if before.steps else samples
            self.estimator.steps[:-1] = before.steps
        return self._ready, of_last


def _last(estimator: Any) -> Any:
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def _classes(classifier: Any, labels: Any) -> Any:
    """What its ``partial_fit`` wants to be told of all targets."""
    if isinstance(classifier, MultiOutputClassifier):
        return [np.unique(column) for column in np.asarray(labels).T]
    return unique_labels(labels)


def _parted(pipeline: Any, fit_params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fit parameters of the last step under their own names, and those of all others."""
    for name in fit_params:
        if "__" not in name:
            raise SpecError(
                f"fit: {name} is for no step of the pipeline in particular. With early_stopping name it step__{name}, without "
                "scikit-learn's metadata routing."
            )
    prefix = f"{pipeline.steps[-1][0]}__"
    own = {name.removeprefix(prefix): value for name, value in fit_params.items() if name.startswith(prefix)}
    return own, {name: value for name, value in fit_params.items() if not name.startswith(prefix)}
