"""Placement: what is free, what fits, which cards.

Amounts are integers of 1/10,000, so that five attempts of 0.2 GPU fill one card exactly. "gpu" is per card: a fraction lives on
one card, a whole number takes whole cards. Everything else is a plain sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["UNIT", "Pool", "Request", "request_of", "worded"]

UNIT = 10_000

Request = tuple[tuple[str, int], ...]
"""Sorted (name, amount) pairs with positive amounts; hashable, so that equal requests share a queue."""


def request_of(resources: Mapping[str, float]) -> Request:
    """The canonical request for e.g. ``{"cpu": 2, "gpu": 0.5}``; amounts below 0.00005 are left out."""
    return tuple(sorted((name, units) for name, amount in resources.items() if (units := round(amount * UNIT))))


def worded(resources: Mapping[str, float]) -> str:
    """Amounts for people.

    Example:
        >>> worded({"gpu": 0.5, "cpu": 2.0, "memory": 3 * 2**30})
        'cpu 2, gpu 0.5, memory 3 GiB'
        >>> worded({})
        'nothing'
    """
    words = (f"memory {amount / 2**30:.4g} GiB" if name == "memory" else f"{name} {amount:g}" for name, amount in sorted(resources.items()))
    return ", ".join(words) or "nothing"


class Pool:
    """Free and total amounts. ``take`` and ``give`` are exact inverses.

    Attributes:
        totals: what there is to place on; of the cards only those that may be leased.
        used: what is in use.
        cards: free amount of each GPU card, by index. One that may not be leased (any more): minus what its tenants still use.
        count: how many cards there are; ``out``: those of them that may not be leased.
    """

    __slots__ = ("cards", "count", "out", "totals", "used")

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.cards: list[int] = []
        self.count = 0
        self.out: frozenset[int] = frozenset()

    def resize(self, totals: Mapping[str, float], out: Iterable[int] = ()) -> None:
        """Set the totals, and the cards that may not be leased; what is in use stays in use. A part of a GPU card counts for nothing."""
        tenants = [self.capacity(card) - free for card, free in enumerate(self.cards)]
        while tenants and not tenants[-1]:
            tenants.pop()
        self.totals = {name: round(amount * UNIT) for name, amount in totals.items()}
        self.count = self.totals.get("gpu", 0) // UNIT
        self.out = frozenset(card for card in out if 0 <= card < self.count)
        if "gpu" in self.totals:
            self.totals["gpu"] = (self.count - len(self.out)) * UNIT
        tenants += [0] * (self.count - len(tenants))
        self.cards = [self.capacity(card) - used for card, used in enumerate(tenants)]

    def capacity(self, card: int) -> int:
        """What can be leased of a card when nobody has any of it."""
        return UNIT if card < self.count and card not in self.out else 0

    def fits(self, request: Request) -> bool:
        """Whether the request could be taken now."""
        for name, amount in request:
            if name == "gpu":
                if self._pick(amount) is None:
                    return False
            elif self.used.get(name, 0) + amount > self.totals.get(name, 0):
                return False
        return True

    def possible(self, request: Request) -> bool:
        """Whether the request could ever be taken with these totals."""
        for name, amount in request:
            if name == "gpu" and amount > UNIT and amount % UNIT:
                return False
            if amount > self.totals.get(name, 0):
                return False
        return True

    def room(self, request: Request, bound: int) -> int:
        """How many such requests fit at once, at most ``bound``."""
        count = bound
        for name, amount in request:
            if name == "gpu":
                if amount > UNIT and amount % UNIT:
                    return 0
                if amount >= UNIT:
                    count = min(count, sum(free == UNIT for free in self.cards) * UNIT // amount)
                else:
                    count = min(count, sum(max(free, 0) // amount for free in self.cards))
            else:
                count = min(count, (self.totals.get(name, 0) - self.used.get(name, 0)) // amount)
        return max(count, 0)

    def take(self, request: Request) -> tuple[tuple[int, float], ...]:
        """Take it; returns the (card, fraction) pairs of its GPUs.

        Raises:
            ValueError: it does not fit; nothing was taken.
        """
        if not self.fits(request):
            raise ValueError(f"request {dict(request)} does not fit: used {self.used} of {self.totals}, cards {self.cards}")
        chosen: tuple[tuple[int, float], ...] = ()
        for name, amount in request:
            self.used[name] = self.used.get(name, 0) + amount
            if name == "gpu":
                picked = self._pick(amount) or []
                for card, part in picked:
                    self.cards[card] -= part
                chosen = tuple((card, part / UNIT) for card, part in picked)
        return chosen

    def give(self, request: Request, gpus: tuple[tuple[int, float], ...]) -> None:
        """Give back what ``take`` took."""
        for name, amount in request:
            self.used[name] -= amount
        for card, part in gpus:
            self.cards[card] += round(part * UNIT)

    def oversubscribed(self) -> bool:
        """More in use than there is (legal only after the capacity shrank)."""
        return any(amount > self.totals.get(name, 0) for name, amount in self.used.items()) or any(free < 0 for free in self.cards)

    def whole(self) -> str:
        """All there is, for people; cards that may not be leased are named.

        Example:
            >>> pool = Pool()
            >>> pool.resize({"cpu": 4, "gpu": 2}, out=[1])
            >>> pool.whole()
            'cpu 4, gpu 1 in all (GPU card 1 is quarantined)'
        """
        text = f"{worded({name: amount / UNIT for name, amount in self.totals.items()})} in all"
        if not self.out:
            return text
        cards = ", ".join(map(str, sorted(self.out)))
        return f"{text} (GPU card {cards} is quarantined)" if len(self.out) == 1 else f"{text} (GPU cards {cards} are quarantined)"

    def _pick(self, amount: int) -> list[tuple[int, int]] | None:
        """Cards for ``amount``: a fraction goes to the fullest card that holds it (keeps whole cards free)."""
        if amount < UNIT:
            holding = [(free, card) for card, free in enumerate(self.cards) if free >= amount]
            return [(min(holding)[1], amount)] if holding else None
        if amount % UNIT:
            return None
        whole = [card for card, free in enumerate(self.cards) if free == UNIT]
        need = amount // UNIT
        return [(card, UNIT) for card in whole[:need]] if len(whole) >= need else None
