"""BayesOpt's acquisition function at one point: the package's own numbers, without the checks around each of the operations for them.

On spaces with labels it is asked some ten thousand times for each suggestion, and a search of 100 trials takes an hour, almost all of it in
such checks. ``python benchmarks/_search_bayesopt.py``, in BayesOpt's environment, says whether both are equal to the last bit.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from bayes_opt import BayesianOptimization
from bayes_opt.parameter import CategoricalParameter, FloatParameter, IntParameter
from scipy.linalg.lapack import dtrtrs
from scipy.spatial.distance import cdist

__all__ = ["hasten"]

Acquisition = Callable[[Any], Any]


def hasten(optimizer: BayesianOptimization) -> None:
    """From now on its suggestions are the same, and sooner there."""
    rule = optimizer.acquisition_function
    package_s = rule._get_acq

    def of(gp: Any, constraint: Any = None) -> Acquisition:
        return _at_one_point(package_s(gp=gp, constraint=constraint), gp, rule.base_acq, optimizer._space)

    rule._get_acq = of


def _at_one_point(at_many: Acquisition, gp: Any, utility: Callable[[Any, Any], Any], space: Any) -> Acquisition:
    """After scikit-learn's GaussianProcessRegressor.predict, its Matern kernel with nu 2.5, and the package's UCB."""
    encoded, size = _encoding(space), gp.X_train_.shape[1]
    scale, root = gp.kernel_.length_scale, math.sqrt(5)
    known = space.kernel_transform(gp.X_train_) / scale
    by_column = bool(gp.L_.flags.f_contiguous)
    factor = gp.L_ if by_column else gp.L_.T
    weights, mean, spread, variance = gp.alpha_, gp._y_train_mean, gp._y_train_std, gp._y_train_std**2

    def acquisition(x: Any) -> Any:
        if x.size != size:
            return at_many(x)
        near = cdist(encoded(x.reshape(1, -1)) / scale, known) * root
        near = (1.0 + near + near**2 / 3.0) * np.exp(-near)
        solved, _ = dtrtrs(factor, near.T, lower=by_column, trans=not by_column)
        left = 1.0 - np.einsum("ij,ji->i", solved.T, solved)
        left[left < 0] = 0.0
        return -1 * utility(spread * (near @ weights) + mean, np.sqrt(left * variance))

    return acquisition


def _encoding(space: Any) -> Callable[[Any], Any]:
    """What the kernel sees of one point: whole numbers rounded, and 1 for the label whose number is the largest, 0 for the others."""
    labels, whole = [], []
    for name, parameter in space._params_config.items():
        places = np.flatnonzero(space.masks[name])
        if isinstance(parameter, CategoricalParameter):
            labels.append(slice(places[0], places[-1] + 1))
        elif isinstance(parameter, IntParameter):
            whole.append(places[0])
        elif not isinstance(parameter, FloatParameter):
            raise TypeError(f"{name} is a {type(parameter).__name__}, which this module does not know.")

    def encoded(x: Any) -> Any:
        row = x.copy()
        if whole:
            row[0, whole] = np.round(row[0, whole])
        for places in labels:
            best = places.start + x[0, places].argmax()
            row[0, places] = 0.0
            row[0, best] = 1.0
        return row

    return encoded


def _differences(seed: int) -> int:
    """How many of 12 suggestions, and of the values at 300 points afterwards, differ in any bit."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    bounds = {"a": (0.0, 1.0), "n": (1, 9, int), "c": ("x", "y", "z"), "m": (0, 50, int), "d": tuple("pqrstu"), "b": (-3.0, 2.0)}
    pair = [BayesianOptimization(None, bounds, random_state=seed, verbose=0, allow_duplicate_points=True) for _ in range(2)]
    hasten(pair[1])
    different = 0
    for number in range(12):
        one, other = (each.random_sample(1)[0] if number < 5 else each.suggest() for each in pair)
        different += one != other
        value = float(rng.normal())
        for each in pair:
            each.register(one, value)
    package_s, quick = (each.acquisition_function._get_acq(each._gp) for each in pair)
    for x in pair[0]._space.random_sample(300, np.random.RandomState(seed)):
        different += bool(package_s(x).item() != quick(x).item())
    return different


if __name__ == "__main__":
    found = [_differences(seed) for seed in range(3)]
    print(f"{sum(found)} of 936 suggestions and values differ")
    sys.exit(any(found))
