"""The searcher's host in virtual time: answers are there when they are due, one thought after the other."""

from __future__ import annotations

from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Record
from tunesmith.executors.virtual import VirtualClock
from tunesmith.search.base import Searcher
from tunesmith.simulation.host import VirtualHost
from tunesmith.space import Space, uniform


class Thinks(Searcher):
    """Takes five seconds of a made-up clock for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = 0.0
        self.told = 0

    def suggest(self, trial_id: str) -> Any:
        self.spent += 5.0
        return {"x": 0.5} if int(trial_id) < 4 else self.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.spent += 5.0
        self.told += 1


class Rig:
    def __init__(self, charge: bool | float) -> None:
        self.clock = VirtualClock()
        self.searcher = Thinks()
        self.calls: list[float] = []
        self.host = VirtualHost(
            self.searcher, Space.parse({"x": uniform(0, 1)}), seed=1, trial_id=str, clock=self.clock, charge=charge,
            later=self.calls.append, timer=lambda: self.searcher.spent,
        )  # fmt: skip

    def at(self, second: float) -> list[Any]:
        self.clock.advance(second)
        return [getattr(event, "trial", "over") for event in self.host.poll()]


def test_uncharged_answers_are_there_at_once() -> None:
    rig = Rig(False)
    rig.host.request(2, 0)
    assert rig.at(0) == [0, 1]
    assert rig.calls == []


def test_a_fixed_price_is_for_each_suggestion() -> None:
    rig = Rig(2.0)
    rig.host.request(2, 0)
    assert rig.calls == [2.0, 4.0]
    assert [rig.at(second) for second in (0, 1.9, 2, 3.9, 4)] == [[], [], [0], [], [1]]


def test_it_has_one_thought_after_the_other() -> None:
    rig = Rig(True)
    rig.host.request(1, 0)
    assert rig.at(2) == []
    rig.host.request(1, 1)
    assert rig.calls == [5.0, 10.0]
    assert [rig.at(second) for second in (5, 9.9, 10)] == [[0], [], [1]]
    rig.clock.advance(100)
    rig.host.request(1, 2)
    assert [rig.at(second) for second in (100, 105)] == [[], [2]], "what it did not do before costs nothing"


def test_being_told_results_takes_time_too() -> None:
    rig = Rig(True)
    rig.host.request(1, 0)
    assert rig.at(5) == [0]
    rig.host.observe(Record(ev.Suggested(0, {"x": 0.5})))
    rig.host.observe(Record(ev.Reported(0, 0, 1, {"loss": 1.0})))
    rig.host.observe(Record(ev.AttemptEnded(0, 0, "finished"), [Decision("end", 0, "", {"outcome": "finished"})]))
    assert rig.searcher.told == 1
    rig.host.request(1, 1)
    assert rig.calls[-1] == 15.0


def test_the_end_of_the_search_comes_in_its_turn() -> None:
    rig = Rig(1.0)
    rig.host.request(6, 0)
    assert [rig.at(second) for second in range(1, 6)] == [[0], [1], [2], [3], ["over"]]
