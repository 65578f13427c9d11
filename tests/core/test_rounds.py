"""Rounds: one order of events, whatever the timing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.ports import Record
from tunesmith.core.rounds import Rounds
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World

BOTH = [(0, 0), (1, 0)]


def report(trial: int, iteration: int = 1, attempt: int = 0) -> ev.Reported:
    return ev.Reported(trial, attempt, iteration, {})


def test_a_round_has_one_word_of_each() -> None:
    rounds = Rounds()
    assert rounds.offer([report(1)], BOTH) == []
    assert rounds.offer([report(0)], BOTH) == [report(0), report(1)]
    assert rounds.offer([], BOTH) == []


def test_what_comes_before_a_report_comes_with_it() -> None:
    rounds = Rounds()
    first = [ev.AttemptStarted(1, 0), ev.CheckpointSaved(1, 0, 0, "1/a"), report(1)]
    after = ev.CheckpointSaved(1, 0, 1, "1/b")
    assert rounds.offer([*first, after], BOTH) == []
    assert rounds.offer([report(0)], BOTH) == [first[0], report(0), *first[1:]]  # that it has started comes before all
    # what is sent after a report belongs to the next round, whether it came before or after this one's end
    assert rounds.offer([report(0, 2), report(1, 2)], BOTH) == [report(0, 2), after, report(1, 2)]


def test_an_end_may_already_be_there() -> None:
    """A worker is lost while it waits for its answer: the next round is complete without anything new."""
    rounds = Rounds()
    end = ev.AttemptEnded(0, 0, "worker_lost")
    assert rounds.offer([report(0), end], [(0, 0)]) == [report(0)]
    assert rounds.offer([], [(0, 0)]) == [end]
    assert rounds.offer([], []) == []


def test_a_repeated_report_takes_nobodys_turn() -> None:
    rounds = Rounds()
    rounds.offer([report(0), report(0)], BOTH)
    assert rounds.offer([report(1)], BOTH) == [report(0), report(1)]
    assert rounds.offer([report(1, 2)], BOTH) == []


def test_what_concerns_no_running_attempt_passes_at_once() -> None:
    rounds = Rounds()
    passing = [
        report(7),
        ev.AttemptEnded(0, 3, "finished"),
        ev.StopRequested("x"),
        ev.UserAction("stop", 0),
        ev.CapacityChanged({}),
        ev.SearchExhausted(""),
    ]
    assert rounds.offer([report(0), *passing], BOTH) == passing
    assert rounds.offer([report(1)], BOTH) == [report(0), report(1)]


def test_what_waits_for_an_attempt_that_is_no_more_passes() -> None:
    rounds = Rounds()
    rounds.offer([report(0)], BOTH)
    assert rounds.offer([], [(1, 0)]) == [report(0)]


def test_suggestions_come_between_rounds_all_together_and_in_order() -> None:
    rounds = Rounds()
    drawn = [ev.Suggested(number, {}) for number in range(4, 6)]
    assert rounds.offer([report(0), report(1)], BOTH, asked=2) == []
    assert rounds.offer([drawn[1]], BOTH, asked=2) == []
    assert rounds.offer([drawn[0]], BOTH, asked=2) == drawn
    assert rounds.offer([], BOTH) == [report(0), report(1)]


def test_a_searcher_that_has_no_more() -> None:
    rounds = Rounds()
    events = [ev.Suggested(4, {}), ev.SearchExhausted("done")]
    assert rounds.offer(events, BOTH, asked=3) == events


def test_a_searcher_that_holds_back_until_a_trial_has_ended_does_not_hold_up_the_round() -> None:
    rounds = Rounds()
    drawn = ev.Suggested(4, {})
    assert rounds.offer([report(0), report(1), drawn], BOTH, asked=1) == [drawn]  # two were asked for, the second is held back
    assert rounds.offer([], BOTH, asked=0) == [report(0), report(1)]


def test_explorations_come_before_suggestions() -> None:
    rounds = Rounds()
    drawn, explored = ev.Suggested(4, {}), [ev.Explored(2, {}), ev.Explored(3, {})]
    assert rounds.offer([drawn, explored[1]], BOTH, asked=1, exploring=[2, 3]) == []
    assert rounds.offer([explored[0]], BOTH, asked=1, exploring=[2, 3]) == [*explored, drawn]


class Busy(Scheduler):
    """Stops, pauses, saves and exploits by its own chance, so by the order of what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[int] = []

    def on_trial_add(self, trial: Any) -> None:
        self.live.append(trial.number)

    def on_trial_end(self, trial: Any, outcome: str) -> None:
        self.live.remove(trial.number)

    def on_result(self, trial: Any, result: Any) -> Any:
        chance = self.rng.random()
        other = self.rng.choice(self.live)
        if chance < 0.1:
            return self.stop("unlucky", other)
        if chance < 0.25:
            return self.pause("tired")
        if chance < 0.4:
            return [self.save(other), self.exploit(other, "better", values=None if chance < 0.3 else {"x": chance})]
        return self.CONTINUE


def decisions(records: list[Record]) -> list[tuple[str, Any, str, str, Any]]:
    return [
        (type(record.event).__name__, getattr(record.event, "trial", None), decision.do, decision.reason, decision.trial)
        for record in records
        for decision in record.decisions
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("warm", [True, False])
def test_timing_decides_nothing(seed: int, warm: bool) -> None:
    fates = Fates(reports=(2, 7), checkpoint=0.3, failures={"user_error": 0.05, "worker_lost": 0.03, "infeasible": 0.02}, unstarted=0.03)
    settings = {
        "num_samples": 14,
        "deterministic": True,
        "retries": {"user_error": 2},
        "num_to_keep": 1,
        "warm_pause": warm,
        "identical": None,
    }
    stories, lengths = [], set()
    for timing in range(5):
        world = World(seed, fates, totals={"cpu": 4.0}, timing=random.Random(timing).getrandbits(32))
        loop = Loop(Busy, settings, world)
        loop.run(10_000)
        stories.append((decisions(loop.records), loop.controller.digest()))
        lengths.add(world.now)
    assert len(lengths) == 5  # the timing was another each time
    assert all(story == stories[0] for story in stories)
    assert {"exploited", "pause", "stop", "retry", "save"} <= {do for _, _, do, _, _ in stories[0][0]}


def test_without_rounds_timing_decides() -> None:
    """The test above can fail."""
    stories = set()
    for timing in range(3):
        loop = Loop(Busy, {"num_samples": 14}, World(0, Fates(reports=(2, 7), checkpoint=0.3), totals={"cpu": 4.0}, timing=timing))
        loop.run(10_000)
        stories.add(repr(decisions(loop.records)))
    assert len(stories) > 1
