"""How many trials are held warm: as many as the executor says there is room for."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import events as ev


def paused(script: Any, told: Any, never: Any, warm: Any, **settings: Any) -> list[str]:
    """How five trials are paused, one after the other."""
    says = {(number, 1): "PAUSE" for number in range(5)}
    one = script(told(says, chosen=never), {"cpu": 6.0}, num_samples=6, warm_pause=True, **settings)
    one.begin(6)
    if warm is not None:
        one.feed(ev.CapacityChanged({"cpu": 6.0}, warm=warm))
    return [one.report(number)[0].mode for number in range(5)]


@pytest.mark.parametrize(("warm", "expected"), [(None, 2), (0, 0), (1, 1), (4, 4), (500, 5)])
def test_as_many_as_there_is_room_for(warm: int | None, expected: int, script: Any, told: Any, takes_waiting_only: Any) -> None:
    modes = paused(script, told, takes_waiting_only, warm, warm_slots=2)
    assert modes == ["warm"] * expected + ["rerun"] * (5 - expected)


def test_beyond_that_a_class_is_paused_with_a_checkpoint(script: Any, told: Any, takes_waiting_only: Any) -> None:
    assert paused(script, told, takes_waiting_only, 1, can_save=True) == ["warm", "cold", "cold", "cold", "cold"]


def test_a_fixed_number_where_the_order_is(script: Any, told: Any, takes_waiting_only: Any) -> None:
    """What is free on a machine is another thing every time."""
    modes = paused(script, told, takes_waiting_only, 4, warm_slots=2, deterministic=True)
    assert modes == ["warm", "warm", "rerun", "rerun", "rerun"]


def test_news_about_something_else_leaves_it(script: Any) -> None:
    one = script(totals={"cpu": 2.0, "gpu": 1.0})
    one.feed(ev.CapacityChanged({"cpu": 2.0, "gpu": 1.0}, warm=3))
    one.feed(ev.CapacityChanged({"cpu": 2.0, "gpu": 1.0}, out=(0,)))
    assert one.state.room == 3
    one.feed(ev.CapacityChanged({"cpu": 2.0, "gpu": 1.0}, warm=0))
    assert one.state.room == 0


def test_the_next_session_may_be_on_another_machine(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.CapacityChanged({"cpu": 2.0}, warm=3))
    one.resume()
    assert one.state.room is None
