"""The end of an experiment is bounded: attempts that have not ended ``drain_s`` after it are killed, and lose nothing by that."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.testing.loop import fold

CTRL_C = {"reason": "Ctrl-C", "drain": True}


def halted(script: Any, *, count: int = 2, request: dict[str, Any] | None = None, **settings: Any) -> Any:
    """An experiment of running trials, each with a report, that is told to end at second 10."""
    one = script(**{"num_samples": count, "drain_s": 30.0, **settings})
    one.begin(count)
    for number in range(count):
        one.report(number)
    one.feed(ev.StopRequested(**(request or CTRL_C)), after=10.0)
    return one


def test_how_long_they_have_is_decided_and_told(script: Any) -> None:
    one = halted(script)
    assert one.decisions[0].data == {"kind": "drain", "until": 40.0}
    assert one.commands == [cmd.SetTimer("drain", 40.0), cmd.Stop(0, 0), cmd.Stop(1, 0)]
    assert cmd.SetTimer("drain", 40.0) in one.controller.wanted()


def test_who_is_still_there_after_a_drain_is_killed_and_goes_on_next_time(script: Any, told: Any) -> None:
    one = halted(script, retries={"user_error": 1})
    one.report(0, "0/a")
    one.end(1, "stopped")
    assert one.fire("drain") == [cmd.Kill(0, 0, "interrupted")]
    assert one.reason("kill") == "had not ended within drain_s=30.0"
    assert not one.controller.accepts(ev.Reported(0, 0, 3, {}))
    assert one.end(0, "interrupted") == [cmd.Finish("Ctrl-C")]
    assert one.reason("retry") == "killed, as it had not ended within drain_s=30.0; goes on from iteration 2"
    assert [(one.status(number), one.trial(number).failures) for number in (0, 1)] == [("PENDING", {}), ("PENDING", {})]
    launches = [command for command in one.resume() if isinstance(command, cmd.Launch)]
    assert [(launch.trial, launch.attempt, launch.checkpoint) for launch in launches] == [(0, 1, "0/a"), (1, 1, None)]


def test_who_is_still_there_after_a_stop_is_killed_and_over(script: Any) -> None:
    one = halted(script, request={"reason": "enough"})
    one.end(0, "stopped")
    assert one.fire("drain") == [cmd.Kill(1, 0, "stopped")]
    assert one.end(1, "stopped")[-1] == cmd.Finish("enough")
    assert [one.status(number) for number in (0, 1)] == ["TERMINATED", "TERMINATED"]
    assert one.reason("end") == "enough"


def test_what_it_was_stopped_for_stands(script: Any) -> None:
    """A trial that reported nan, and then hangs, is no less an ERROR for being killed."""
    one = script(metrics=["loss"], modes=["min"], drain_s=30.0, num_samples=2)
    one.begin(2)
    one.report(0, loss=float("nan"))
    one.feed(ev.StopRequested("enough"))
    one.fire("drain")
    one.end(0, "stopped")
    assert (one.status(0), one.decisions[0].data["outcome"]) == ("ERROR", "nan")


@pytest.mark.parametrize("drain", [True, False])
def test_the_bound_goes_with_the_run(script: Any, drain: bool) -> None:
    one = halted(script, count=1, request={"reason": "enough", "drain": drain})
    assert one.end(0, "stopped")[-2:] == [cmd.SetTimer("drain", None), cmd.Finish("enough")]


@pytest.mark.parametrize(
    ("kind", "settings"), [("budget", {"time_budget_s": 60.0}), ("fail_fast", {"fail_fast": True}), ("breaker", {"identical": 1})]
)
def test_it_holds_for_every_end(script: Any, kind: str, settings: dict[str, Any]) -> None:
    one = script(num_samples=2, drain_s=5.0, **settings)
    one.begin(2)
    one.fire("budget") if kind == "budget" else one.end(0, "user_error")
    (halt,) = [decision for decision in one.decisions if decision.do == "halt"]
    assert halt.data == {"kind": kind, "until": one.now + 5.0}


@pytest.mark.parametrize("settings", [{"drain_s": None}, {"deterministic": True}, {}])
def test_as_long_as_it_takes(script: Any, settings: dict[str, Any]) -> None:
    """Nobody said how long (as in journals of older versions), or no clock may have a say."""
    one = script(num_samples=1, **settings)
    one.begin()
    assert one.feed(ev.StopRequested(**CTRL_C)) == [cmd.Stop(0, 0)]
    assert one.decisions[0].data == {"kind": "drain"}


def test_nobody_to_wait_for(script: Any) -> None:
    one = script(num_samples=2, drain_s=30.0)
    assert one.feed(ev.StopRequested(**CTRL_C)) == [cmd.Finish("Ctrl-C")]
    assert one.decisions[0].data == {"kind": "drain"}


def test_ctrl_c_while_it_ends_anyway_does_not_put_it_off(script: Any) -> None:
    one = halted(script, request={"reason": "enough"})
    assert one.feed(ev.StopRequested(**CTRL_C), after=20.0) == [cmd.SetTimer("drain", 40.0)]
    assert one.decisions[0].data == {"kind": "drain", "until": 40.0}


def test_on_the_way_to_a_pause(script: Any, told: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}), num_samples=1, can_save=True, drain_s=30.0)
    one.begin()
    assert one.report(0) == [cmd.Pause(0, 0, "cold")]
    one.feed(ev.StopRequested(**CTRL_C))
    assert one.fire("drain") == [cmd.Kill(0, 0, "interrupted")]
    one.end(0, "interrupted")
    assert (one.status(0), one.trial(0).failures, one.state.finished) == ("PAUSED", {}, "Ctrl-C")


def test_held_warm(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=2, warm_pause=True, drain_s=30.0)
    one.begin(2)
    one.report(0)
    one.feed(ev.StopRequested(**CTRL_C))
    assert one.fire("drain") == [cmd.Kill(0, 0, "interrupted"), cmd.Kill(1, 0, "interrupted")]
    one.end(0, "interrupted")
    one.end(1, "interrupted")
    assert [one.status(number) for number in (0, 1)] == ["PAUSED", "PENDING"]
    assert one.state.finished


def test_on_the_way_to_an_exploit(script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.exploit(1, "better", values={"x": 1})}), num_samples=2, drain_s=30.0)
    one.begin(2)
    one.report(1, "1/a")
    one.report(0)
    one.feed(ev.StopRequested(**CTRL_C))
    one.fire("drain")
    one.end(0, "interrupted")
    one.end(1, "interrupted")
    assert [one.status(number) for number in (0, 1)] == ["PENDING", "PENDING"]
    launches = [command for command in one.resume() if isinstance(command, cmd.Launch)]
    assert [launch.checkpoint for launch in launches] == ["1/a", "1/a"]


def test_who_is_being_killed_already_is_not_killed_again(script: Any) -> None:
    one = halted(script, max_trial_s=20.0)
    assert one.fire("deadline:0")[-1] == cmd.Kill(0, 0, "timeout")
    assert one.fire("drain")[-1] == cmd.Kill(1, 0, "interrupted")
    one.end(0, "timeout")
    assert (one.status(0), one.trial(0).failures) == ("PENDING", {}), "it had been told to end, and the next session gives it time anew"


def test_a_session_that_died_while_it_ended_leaves_no_bound_to_the_next(script: Any) -> None:
    one = halted(script)
    assert cmd.SetTimer("drain", None) in one.resume()
    assert one.state.timers == {}


def test_a_fold_gives_the_same(script: Any) -> None:
    one = halted(script)
    one.fire("drain")
    one.end(0, "interrupted")
    again = fold(one.records, one.scheduler.__class__())
    assert (again.difference, again.digest()) == ("", one.controller.digest())


@pytest.mark.parametrize(
    ("settings", "drain", "save"),
    [
        ({"can_save": True}, True, True),
        ({"can_save": True}, False, False),
        ({"can_save": True, "save_at_end": True}, False, True),
        ({}, True, False),
    ],
)
def test_classes_save_before_a_drain_ends_them(script: Any, settings: dict[str, bool], drain: bool, save: bool) -> None:
    """``checkpoint_at_end=False`` is about trials that are over; a drained one goes on, from where it was."""
    one = halted(script, count=1, request={"reason": "enough", "drain": drain}, **settings)
    assert one.commands[-1] == cmd.Stop(0, 0, save=save)
