"""There was no room to save: nobody waits for that checkpoint, and everything else goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.rounds import Rounds

FULL = "1.2 GB are free under /data, min_free_bytes=5 GB"


def skip(one: Any, trial: int, iteration: int | None = None) -> Any:
    live = one.trial(trial)
    return one.feed(ev.SaveSkipped(trial, live.attempt, live.iteration if iteration is None else iteration, FULL))


def saving(script: Any, told: Any) -> Any:
    """Trial 1 was asked to save; trial 0 waits for that checkpoint."""
    scheduler = told({(0, 1): [told.save(1), told.exploit(1, "1 is better", values={"x": 9.0})]})
    one = script(scheduler, num_samples=2, can_save=True, exploit_wait_s=30.0)
    one.begin(2)
    one.report(1, "1/a")
    one.report(0, "0/a")
    return one


def test_what_was_asked_for_is_no_longer_owed(script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.save(0)}), can_save=True)
    one.begin()
    assert cmd.Save(0, 0) in one.report(0)
    assert one.controller.wanted() == [cmd.Continue(0, 0), cmd.Save(0, 0)]
    assert skip(one, 0) == []
    assert one.controller.wanted() == [cmd.Continue(0, 0)]
    assert one.decisions == []
    assert one.status(0) == "RUNNING"


@pytest.mark.parametrize("ended", [True, False])
def test_an_exploit_that_waited_is_given_up_and_never_falls_back_to_older_weights(ended: bool, script: Any, told: Any) -> None:
    one = saving(script, told)
    if ended:
        one.end(0, "stopped")
    commands = skip(one, 1)
    assert one.reason("skip") == f"exploit given up: trial 1 could not save: {FULL}"
    assert commands[0] == cmd.SetTimer("exploit:0", None)
    if not ended:
        commands = one.end(0, "stopped")
    launch = commands[-1]
    assert (launch.trial, launch.attempt, launch.values, launch.checkpoint) == (0, 1, {"x": 0.0}, "0/a")
    assert one.trial(1).waiters == []


def test_an_exploit_after_it_takes_what_is_there(script: Any, told: Any) -> None:
    scheduler = told({(0, 1): told.save(1), (0, 2): told.exploit(1, "1 is better", values={"x": 9.0})})
    one = script(scheduler, num_samples=2, can_save=True)
    one.begin(2)
    one.report(1, "1/a")
    one.report(0)
    skip(one, 1)
    one.report(0)
    (launch,) = one.end(0, "stopped")
    assert (launch.values, launch.checkpoint) == ({"x": 9.0}, "1/a")


@pytest.mark.parametrize("base", ["0/a", None])
def test_a_cold_pause_falls_back_to_the_last_checkpoint_or_begins_anew(base: str | None, script: Any, told: Any) -> None:
    one = script(told({(0, 2): "PAUSE"}), totals={"cpu": 1}, can_save=True)
    one.begin()
    one.report(0, base)
    assert one.report(0) == [cmd.Pause(0, 0, "cold")]
    skip(one, 0)
    (launch,) = one.end(0, "stopped")  # nothing else is there to run
    assert ("paused", 0) in one.did()
    assert (launch.attempt, launch.checkpoint, launch.iteration) == (1, base, 1 if base else 0)


def test_a_stop_that_was_to_save_ends_the_trial_all_the_same(script: Any, told: Any) -> None:
    one = script(told({(0, 2): told.stop("slow")}), can_save=True, save_at_end=True)
    one.begin()
    one.report(0, "0/a")
    assert one.report(0) == [cmd.Stop(0, 0, save=True)]
    assert skip(one, 0) == []
    one.end(0, "stopped")
    assert one.status(0) == "TERMINATED"


def test_it_comes_before_the_report_that_it_belongs_to(script: Any, told: Any) -> None:
    one = script()
    one.begin()
    one.report(0, "0/a")
    skip(one, 0, 2)
    one.report(0)
    assert one.trial(0).checkpoint == "0/a"


def test_repeats_of_before_the_newest_report_and_of_older_attempts_are_late(script: Any, told: Any) -> None:
    one = saving(script, told)
    before = one.controller.digest()
    for event in (ev.SaveSkipped(1, 0, 0, FULL), ev.SaveSkipped(1, -1, 1, FULL), ev.SaveSkipped(77, 0, 1, FULL)):
        assert not one.controller.accepts(event)
        assert one.feed(event) == []
    assert one.controller.digest() == before
    assert one.trial(1).saving


def test_in_rounds_it_waits_for_its_turn() -> None:
    rounds = Rounds()
    skipped, report = ev.SaveSkipped(0, 0, 1, FULL), ev.Reported(0, 0, 1, {})
    assert rounds.offer([skipped, report], [(0, 0), (1, 0)]) == []
    assert rounds.offer([ev.Reported(1, 0, 1, {})], [(0, 0), (1, 0)]) == [skipped, report, ev.Reported(1, 0, 1, {})]
    assert rounds.offer([ev.SaveSkipped(7, 0, 1, FULL)], [(0, 0)]) == [ev.SaveSkipped(7, 0, 1, FULL)]
