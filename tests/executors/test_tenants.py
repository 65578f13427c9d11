"""Who waits for which cards."""

from __future__ import annotations

from typing import Any

from tunesmith.executors.base import Assignment
from tunesmith.executors.tenants import Tenants


class Holder:
    def __init__(self, number: int, *cards: int, dismissed: bool = False) -> None:
        self.number, self.cards, self.dismissed = number, set(cards), dismissed


def assignment(trial: int, *cards: int) -> Assignment:
    return Assignment(trial, 0, "a", "b", "c", {}, "d", gpus=tuple((card, 1.0) for card in cards))


def test_cards_are_held_until_their_last_tenant_is_cleared() -> None:
    tenants, leaving, gone = Tenants(), Holder(1, 0, dismissed=True), Holder(2, 0, 1)
    processes: list[Any] = [leaving, Holder(3, 2)]
    tenants.leave(gone)  # type: ignore[arg-type]
    assert tenants.held(assignment(7, 0), processes)
    assert tenants.held(assignment(7, 1), processes)
    assert not tenants.held(assignment(7, 2), processes)  # in use, but by one that stays
    assert not tenants.held(assignment(7), processes)
    first, second = (assignment(7, 0), b"7"), (assignment(8, 1), b"8")
    tenants.wait(*first)
    tenants.wait(*second)
    assert tenants.cleared(gone, processes) == [second]  # type: ignore[arg-type]
    tenants.leave(leaving)  # type: ignore[arg-type]
    assert tenants.cleared(leaving, []) == [first]  # type: ignore[arg-type]


def test_who_is_withdrawn_does_not_wait_any_more() -> None:
    tenants, gone = Tenants(), Holder(1, 0)
    tenants.leave(gone)  # type: ignore[arg-type]
    tenants.wait(assignment(7, 0), b"7")
    assert not tenants.withdraw(7, 1)
    assert tenants.withdraw(7, 0)
    assert not tenants.withdraw(7, 0)
    assert tenants.cleared(gone, []) == []  # type: ignore[arg-type]
