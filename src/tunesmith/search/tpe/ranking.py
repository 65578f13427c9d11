"""Which observations are good: the order in which they count."""

from __future__ import annotations

from bisect import insort

import numpy as np

from tunesmith.search.fronts import crowding, front_ranks

__all__ = ["Ranking"]

POOL = 400
"""With several losses, so many observations are compared with each other; then the worse half of them can never be good again."""


class Ranking:
    """Observations by number, the best first.

    Those that keep all bounds come first: by their loss; of several losses by fronts, the less crowded first. Behind them come those that
    broke a bound, by how much.

    Attributes:
        feasible, broken: how many of each kind there are.
    """

    def __init__(self) -> None:
        self.feasible = self.broken = 0
        self._by_loss: list[tuple[float, int]] = []
        self._by_violation: list[tuple[float, int]] = []
        self._pool: list[tuple[int, tuple[float, ...]]] = []
        self._fronts: list[int] | None = None

    def add(self, number: int, losses: tuple[float, ...], violation: float = 0.0) -> None:
        """One more; ``violation`` is 0 where all bounds were kept, and finite."""
        if violation > 0:
            self.broken += 1
            insort(self._by_violation, (violation, number))
            return
        self.feasible += 1
        if len(losses) == 1:
            insort(self._by_loss, (losses[0], number))
            return
        self._pool.append((number, losses))
        self._fronts = None
        if len(self._pool) > POOL:
            kept = set(self._ordered()[: POOL // 2])
            self._pool = [one for one in self._pool if one[0] in kept]
            self._fronts = None

    def best(self, count: int) -> list[int]:
        """The numbers of the best, at most ``count``."""
        if self._pool:
            found = self._ordered()[:count]
        else:
            found = [number for _, number in self._by_loss[:count]]
        return found + [number for _, number in self._by_violation[: count - len(found)]]

    def _ordered(self) -> list[int]:
        if self._fronts is None:
            losses = np.array([losses for _, losses in self._pool])
            ranks = front_ranks(losses)
            order = np.lexsort((-crowding(losses, ranks), ranks))
            self._fronts = [self._pool[row][0] for row in order]
        return self._fronts
