"""Learners on scikit-learn's toy data, as tables: which hyperparameters they have, and at which values of them they were validated.

make_learners.py makes the tables. Between the values of a number, losses are interpolated, so that searchers see continuous parameters;
the least loss is always at one of the values.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _search_spaces import Labels, Number, Space

__all__ = ["LEARNERS", "NODES", "TABLES", "Table", "load_table", "values"]

DATA = Path(__file__).parent / "data" / "learners.npz"

_SCALERS = Labels("scaler", ("none", "standard", "minmax"))
LEARNERS: dict[str, Space] = {
    "forest": (
        Number("trees", 1, 16, whole=True, log=True),
        Number("depth", 1, 16, whole=True, log=True),
        Number("features", 1 / 4, 1, log=True),
        Number("leaf", 1, 9, whole=True, log=True),
        Labels("criterion", ("first", "second")),
        Labels("bootstrap", ("yes", "no")),
    ),
    "boosting": (
        Number("stages", 8, 64, whole=True, log=True),
        Number("rate", 0.01, 1, log=True),
        Number("depth", 1, 3, whole=True),
        Number("subsample", 0.5, 1),
        Number("features", 1 / 4, 1, log=True),
        Number("leaf", 1, 16, whole=True, log=True),
    ),
    "neighbours": (
        Number("neighbours", 1, 32, whole=True, log=True),
        Number("power", 1, 3),
        Number("components", 1 / 4, 1, log=True),
        Labels("weights", ("uniform", "distance")),
        _SCALERS,
    ),
    "linear": (
        Number("alpha", 1e-6, 1e-1, log=True),
        Number("l1_ratio", 0, 1),
        Number("eta0", 1e-3, 1, log=True),
        Number("epochs", 2, 32, whole=True, log=True),
        Labels("schedule", ("constant", "invscaling")),
        _SCALERS,
    ),
}
NODES: dict[str, dict[str, int]] = {
    "forest": {"trees": 5, "depth": 3, "features": 3, "leaf": 3},
    "boosting": {"stages": 4, "rate": 5, "depth": 3, "subsample": 2, "features": 2, "leaf": 2},
    "neighbours": {"neighbours": 6, "power": 3, "components": 3},
    "linear": {"alpha": 6, "l1_ratio": 2, "eta0": 4, "epochs": 3},
}
"""At how many values of each number there is a loss: evenly spread from the first to the last, on its scale."""

_SETS = ("iris", "wine", "breast_cancer", "digits", "diabetes")
TABLES: tuple[tuple[str, str], ...] = tuple(
    (learner, data) for learner in LEARNERS for data in _SETS if learner != "boosting" or data not in ("iris", "digits")
)
"""Learner and data. Boosting's trees are one per class, so that ten classes take ten times as long; on iris it has nothing to win."""


def values(learner: str, parameter: Number | Labels) -> list[Any]:
    """At which there is a loss, in order."""
    if isinstance(parameter, Labels):
        return list(parameter.labels)
    count = NODES[learner][parameter.name]
    found = [parameter.from_unit(step / (count - 1)) for step in range(count)]
    return [round(value) for value in found] if parameter.whole else found


class Table:
    """Losses of one learner on one set.

    Args:
        learner: a key of :data:`LEARNERS`.
        losses: one axis for each parameter, in order.
    """

    def __init__(self, learner: str, losses: np.ndarray) -> None:
        self.space = LEARNERS[learner]
        self.losses = losses
        self.best = float(losses.min())

    def loss(self, config: Mapping[str, Any]) -> float:
        """At any configuration of the space."""
        corners: list[list[tuple[int, float]]] = []
        for parameter, count in zip(self.space, self.losses.shape, strict=True):
            if isinstance(parameter, Labels):
                corners.append([(parameter.labels.index(config[parameter.name]), 1.0)])
                continue
            at = min(max(parameter.to_unit(config[parameter.name]), 0.0), 1.0) * (count - 1)
            low = min(int(at + 1e-9), count - 2)
            share = min(max(at - low, 0.0), 1.0)
            share = round(share) if min(share, 1 - share) < 1e-9 else share
            corners.append([(low, 1 - share), (low + 1, share)])
        total = 0.0
        for corner in itertools.product(*corners):
            weight = math.prod(share for _, share in corner)
            if weight:
                total += weight * float(self.losses[tuple(index for index, _ in corner)])
        return total

    def optimum(self) -> dict[str, Any]:
        """The configuration with the least loss."""
        found = np.unravel_index(int(self.losses.argmin()), self.losses.shape)
        learner = next(name for name, space in LEARNERS.items() if space is self.space)
        return {parameter.name: values(learner, parameter)[index] for parameter, index in zip(self.space, found, strict=True)}


@cache
def load_table(learner: str, data: str) -> Table:
    """From benchmarks/data/learners.npz.

    Raises:
        SystemExit: there is none; names the script that makes it.
    """
    if not DATA.exists():
        raise SystemExit(f"{DATA} is missing; python benchmarks/make_learners.py makes it")
    with np.load(DATA) as tables:
        return Table(learner, tables[f"{learner} {data}"].astype(float))
