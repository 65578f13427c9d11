"""Placement: what is free, what fits, which cards.

Amounts are integers of 1/10,000, so that five attempts of 0.2 GPU fill one card exactly. "gpu" is per card: a fraction lives on
one card, a whole number takes whole cards. Everything else is a plain sum.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["UNIT", "Pool", "Request", "request_of"]

UNIT = 10_000

Request = tuple[tuple[str, int], ...]
"""Sorted (name, amount) pairs with positive amounts; hashable, so that equal requests share a queue."""


def request_of(resources: Mapping[str, float]) -> Request:
    """The canonical request for e.g. ``{"cpu": 2, "gpu": 0.5}``; amounts below 0.00005 are left out."""
    return tuple(sorted((name, units) for name, amount in resources.items() if (units := round(amount * UNIT))))


class Pool:
    """Free and total amounts. ``take`` and ``give`` are exact inverses."""

    __slots__ = ("cards", "totals", "used")

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.cards: list[int] = []
        """Free amount of each GPU card, by index. One that is there no more: minus what its tenants still use."""

    def resize(self, totals: Mapping[str, float]) -> None:
        """Set the totals; what is in use stays in use. A part of a GPU card counts for nothing."""
        before = self.totals.get("gpu", 0) // UNIT
        tenants = [(UNIT if card < before else 0) - free for card, free in enumerate(self.cards)]
        while tenants and not tenants[-1]:
            tenants.pop()
        self.totals = {name: round(amount * UNIT) for name, amount in totals.items()}
        count = self.totals.get("gpu", 0) // UNIT
        if "gpu" in self.totals:
            self.totals["gpu"] = count * UNIT
        tenants += [0] * (count - len(tenants))
        self.cards = [(UNIT if card < count else 0) - used for card, used in enumerate(tenants)]

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
