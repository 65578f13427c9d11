"""What was observed, as arrays; and which part of it is enough."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tunesmith.search.gp.columns import Array, Columns, Flags
from tunesmith.search.gp.losses import standardized
from tunesmith.search.problem import INFEASIBLE, Observation

__all__ = ["Data", "signed_logs", "subset"]


class Data:
    """Observations in the order in which they came, those left out from which nothing can be learned.

    Args:
        columns: of the space.
        metrics: how many losses each has.
        bounds: how many bounds the problem has.
    """

    def __init__(self, columns: Columns, metrics: int, bounds: int) -> None:
        self._columns, self._metrics, self._bounds = columns, metrics, bounds
        self._rows: list[Array] = []
        self._losses: list[list[float]] = []
        self._excess: list[list[float]] = []
        self._failed: list[bool] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, observation: Observation) -> None:
        """Take one in, unless it is of another space, or says nothing."""
        failed = observation.outcome in INFEASIBLE or (not observation.feasible and not np.isfinite(observation.excess).all())
        if observation.losses is None and not failed:
            return
        row = self._columns.encode(observation.values)
        if row is None:
            return
        nothing = [np.nan] * self._bounds
        # points that users know are said to keep all bounds, not by how much
        known = not failed and observation.trial >= 0 and len(observation.excess) == self._bounds
        self._rows.append(row)
        self._losses.append([np.nan] * self._metrics if failed or observation.losses is None else list(observation.losses))
        self._excess.append(list(observation.excess) if known else nothing)
        self._failed.append(failed)

    def rows(self) -> Array:
        """n x columns, with 0.5 where a parameter does not exist."""
        return np.array(self._rows).reshape(len(self), self._columns.dim)

    def filled(self, rows: Array) -> Array:
        """Rows in which parameters that do not exist have the value that they have in the best trial (by the first loss) in which they do:
        if a search takes another option, it begins with what is best there.
        """
        rows, known, exists = rows.copy(), self.rows(), self._columns.active(self.rows())
        order = np.argsort(self.losses()[:, 0], kind="stable")  # nan comes last
        missing = ~self._columns.active(rows)
        for at in np.flatnonzero(missing.any(0) & exists.any(0)):
            best = next(number for number in order if exists[number, at])
            rows[missing[:, at], at] = known[best, at]
        return rows

    def losses(self) -> Array:
        """n x metrics; nan where a trial failed. Those of trials that broke a bound are real: only they are not to be improved on."""
        return np.array(self._losses).reshape(len(self), self._metrics)

    def excess(self) -> Array:
        """n x bounds; nan where it is not known."""
        return np.array(self._excess).reshape(len(self), self._bounds)

    def failed(self) -> Flags:
        """n: which were not possible at all."""
        return np.array(self._failed, dtype=bool)

    def feasible(self) -> Flags:
        """n: which have losses, and kept all bounds."""
        return ~self.failed() & ~(self.excess() > 0).any(1)


def signed_logs(values: Array) -> tuple[Array, float]:
    """Values as normal numbers, large ones of both signs drawn in; and what 0 becomes.

    Example:
        >>> signed_logs(np.array([-1.0, 1.0]))
        (array([-1.,  1.]), 0.0)
    """
    sizes = np.abs(values)
    if not sizes.any():
        return np.zeros(len(values)), 0.0
    sizes = sizes / sizes.max()
    unit = max(float(np.median(sizes[sizes > 0])), 1e-300)
    logs = np.sign(values) * np.log1p(sizes / unit)
    spread = float(logs.std())
    if spread <= 1e-12:
        return np.zeros(len(values)), float(0.0 - logs.mean())
    return standardized(logs), float((0.0 - logs.mean()) / spread)


def subset(rows: Array, losses: Array, limit: int) -> NDArray[np.int64]:
    """Numbers of at most ``limit`` rows that tell most: half of them the best, a quarter the newest, the rest as far apart as can be.

    Args:
        rows: n x columns, in order of time.
        losses: n.
        limit: >= 4.
    """
    count = len(rows)
    if count <= limit:
        return np.arange(count)
    chosen = np.zeros(count, dtype=bool)
    chosen[np.argsort(losses, kind="stable")[: limit // 2]] = True
    chosen[-(limit // 4) :] = True
    distances = np.full(count, np.inf)
    for number in np.flatnonzero(chosen):
        distances = np.minimum(distances, ((rows - rows[number]) ** 2).sum(1))
    while int(chosen.sum()) < limit:
        distances[chosen] = -1.0
        farthest = int(np.argmax(distances))
        chosen[farthest] = True
        distances = np.minimum(distances, ((rows - rows[farthest]) ** 2).sum(1))
    return np.flatnonzero(chosen)
