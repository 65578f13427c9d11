"""Pauses: warm, cold, by running again; who resumes or ends them; deadlines, which stand still meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev


def second_time(runnable: Any) -> Any:
    """A ``choose`` that resumes trial 0 only when trial 1 has ended."""
    if runnable.pending:
        return runnable.pending[0]
    state = runnable._state
    return runnable.get(0) if state.next_number > 1 and 1 not in state.trials else None


@pytest.mark.parametrize(
    ("settings", "checkpoint", "mode"),
    [
        ({"warm_pause": True}, None, "warm"),
        ({"warm_pause": True, "resources": {"cpu": 1, "gpu": 0.5}, "can_save": True}, None, "cold"),
        ({"warm_pause": True, "warm_slots": 0}, "0/a", "cold"),
        ({"can_save": True}, None, "cold"),
        ({}, "0/a", "cold"),
        ({}, None, "rerun"),
    ],
)
def test_how_a_trial_is_paused(settings: dict[str, Any], checkpoint: str | None, mode: str, script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.pause("rung 1")}, chosen=second_time), totals={"cpu": 2, "gpu": 1}, num_samples=2, **settings)
    one.begin(2)
    one.report(0, checkpoint)
    assert one.commands[0] == cmd.Pause(0, 0, mode)
    assert (one.decisions[0].reason, one.decisions[0].data) == ("rung 1", {"mode": mode})
    assert one.status(0) == ("PAUSED" if mode == "warm" else "RUNNING")
    assert cmd.Pause(0, 0, mode) in one.controller.wanted()


def test_warm(script: Any, told: Any) -> None:
    """The slot is free at once, and on promotion the same attempt goes on."""
    one = script(told({(0, 1): "PAUSE"}, chosen=second_time), totals={"cpu": 1}, num_samples=2, warm_pause=True)
    one.begin()
    assert one.report(0) == [cmd.Pause(0, 0, "warm"), cmd.Suggest(1, 1)]
    assert one.controller.alive() == [(0, 0)]
    assert one.controller.awaited() == []  # nothing comes from it until it is told to go on
    one.begin()
    assert one.controller.awaited() == [(1, 0)]
    assert one.end(1) == [cmd.Continue(0, 0)]
    assert one.did()[-1] == ("launch", 0)
    assert (one.status(0), one.trial(0).attempt) == ("RUNNING", 0)
    assert one.report(0) == [cmd.Continue(0, 0)]


def test_only_so_many_are_held_warm(script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE", (2, 1): "PAUSE"}, chosen=takes_waiting_only)
    one = script(scheduler, totals={"cpu": 4}, num_samples=4, warm_pause=True, warm_slots=2)
    one.begin(4)
    assert [one.report(number)[0].mode for number in range(3)] == ["warm", "warm", "rerun"]


def test_another_trials_pause_is_never_warm(script: Any, told: Any, takes_waiting_only: Any) -> None:
    """It is not at a report now, so its CPU would not be free."""
    one = script(told({(0, 1): told.pause("behind", 1)}, chosen=takes_waiting_only), num_samples=2, warm_pause=True)
    one.begin(2)
    assert one.report(0) == [cmd.Pause(1, 0, "rerun"), cmd.Continue(0, 0)]


def test_a_pause_after_the_answer_is_never_warm(script: Any, told: Any, takes_waiting_only: Any) -> None:
    """The end of another trial, which its own report led to: by then it has been told to go on."""
    scheduler = told({(0, 1): "PAUSE", (1, 1): told.stop("worse", 0)}, chosen=takes_waiting_only)
    scheduler.at_end = {0: told.pause("alone", 1)}
    one = script(scheduler, num_samples=3, totals={"cpu": 3}, warm_pause=True, warm_slots=1)
    one.begin(3)
    one.report(0)
    one.end(0, "oom_ram")  # it was held warm, so it is paused for a rerun, and ends without a word from it
    assert one.report(1) == [cmd.Continue(1, 0), cmd.Pause(1, 0, "rerun")]
    assert one.did() == [("end", 0), ("pause", 1)]
    assert one.report(1) == [cmd.Pause(1, 0, "rerun")]
    one.end(1, "stopped")
    assert one.status(1) == "PAUSED"


def test_cold(script: Any, told: Any) -> None:
    one = script(told({(0, 2): "PAUSE"}, chosen=second_time), totals={"cpu": 1}, num_samples=2, can_save=True)
    one.begin()
    one.report(0)
    assert one.report(0) == [cmd.Pause(0, 0, "cold")]
    one.saved(0, "0/a")
    assert one.end(0, "stopped") == [cmd.Suggest(1, 1)]
    assert (one.status(0), one.trial(0).mode, one.controller.alive()) == ("PAUSED", "cold", [])
    one.begin()
    (launch,) = one.end(1)
    assert (launch.trial, launch.attempt, launch.checkpoint, launch.iteration) == (0, 1, "0/a", 2)


def test_run_again(script: Any, told: Any) -> None:
    """Without any checkpoint the trial begins anew, and what it repeats is not shown to the scheduler."""
    one = script(told({(0, 2): "PAUSE"}, chosen=second_time), totals={"cpu": 1}, num_samples=2)
    one.begin()
    one.report(0)
    assert one.report(0) == [cmd.Pause(0, 0, "rerun")]
    one.end(0, "stopped")
    assert one.trial(0).mode == "rerun"
    one.begin()
    (launch,) = one.end(1)
    assert (launch.checkpoint, launch.iteration) == (None, 0)
    one.started(0)
    for _ in range(3):
        assert one.report(0) == [cmd.Continue(0, 1)]
    assert one.scheduler.shown == [(0, 1), (0, 2), (0, 3)]


def test_a_report_on_the_way_to_a_pause_counts(script: Any, told: Any, takes_waiting_only: Any) -> None:
    """The checkpoint of the pause will be of that report: it must not vanish from the curve, and a rung must see it."""
    one = script(told({(0, 1): told.pause("behind", 1)}, chosen=takes_waiting_only), num_samples=2, can_save=True)
    one.begin(2)
    one.report(0)
    assert one.report(1) == [cmd.Pause(1, 0, "cold")]
    assert one.scheduler.shown == [(0, 1), (1, 1)]
    one.saved(1, "1/a")
    one.end(1, "stopped")
    assert one.trial(1).base.iteration == one.trial(1).frontier == 1


def test_a_trial_may_be_stopped_on_its_way_to_a_pause(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): told.pause("behind", 1), (1, 1): told.stop("worst")}, chosen=takes_waiting_only), num_samples=2)
    one.begin(2)
    one.report(0)
    assert one.report(1) == [cmd.Stop(1, 0)]
    one.end(1, "stopped")
    assert one.status(1) == "TERMINATED"


def test_a_trial_that_finishes_before_the_pause_has_finished(script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.pause("behind", 1)}), num_samples=2)
    one.begin(2)
    one.report(0)
    one.end(1)
    assert one.scheduler.ended == [(1, "finished")]


@pytest.mark.parametrize(("retries", "status"), [({}, "ERROR"), ({"user_error": 1}, "PAUSED")])
def test_failing_on_the_way_to_a_pause_is_a_failure(
    retries: dict[str, int], status: str, script: Any, told: Any, takes_waiting_only: Any
) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=2, can_save=True, retries=retries)
    one.begin(2)
    one.report(0)
    one.end(0, "user_error")
    assert one.status(0) == status


def test_losing_one_that_is_held_warm_is_nobodys_fault(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=2, warm_pause=True)
    one.begin(2)
    one.report(0, "0/a")
    one.end(0, "oom_ram")
    assert (one.status(0), one.trial(0).mode, one.trial(0).failures) == ("PAUSED", "cold", {})


def test_after_a_crash_warm_ones_are_cold_or_run_again(script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE"}, chosen=takes_waiting_only)
    one = script(scheduler, totals={"cpu": 3}, num_samples=3, warm_pause=True)
    one.begin(3)
    one.report(0, "0/a")
    one.report(1)
    one.resume()
    assert [(one.status(number), one.trial(number).mode) for number in range(2)] == [("PAUSED", "cold"), ("PAUSED", "rerun")]


@pytest.mark.parametrize("warm", [True, False])
def test_paused_ones_that_nobody_resumes_end_with_the_experiment(warm: bool, script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE"}, chosen=takes_waiting_only)
    one = script(scheduler, totals={"cpu": 3}, num_samples=3, warm_pause=warm)
    one.begin(3)
    for number in (1, 0):
        one.report(number)
        if not warm:
            one.end(number, "stopped")
    one.end(2)
    if warm:
        for number in (1, 0):  # the one that has been paused longest first
            assert one.commands == [cmd.Stop(number, 0)]
            one.end(number, "stopped")
    assert one.state.finished == "all 3 trials have ended"
    assert one.scheduler.ended == [(2, "finished"), (1, "stopped"), (0, "stopped")]
    assert one.decisions[-2].reason == "paused, and nothing was left that could resume it"


def test_the_scheduler_may_resume_one_when_another_is_given_up(script: Any, told: Any) -> None:
    def after_first_end(runnable: Any) -> Any:
        if runnable.pending:
            return runnable.pending[0]
        return runnable.first_paused() if len(scheduler.ended) >= 2 else None

    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE"}, chosen=after_first_end)
    one = script(scheduler, totals={"cpu": 3}, num_samples=3)
    one.begin(3)
    for number in (0, 1):
        one.report(number)
        one.end(number, "stopped")
    (launch,) = one.end(2)
    assert launch.trial == 1
    assert one.did() == [("end", 2), ("end", 0), ("launch", 1)]


def test_a_stop_reaches_every_kind(script: Any, told: Any, takes_waiting_only: Any) -> None:
    stops = [told.stop("loser", number) for number in range(3)]
    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE", (2, 2): stops}, chosen=takes_waiting_only)
    one = script(scheduler, totals={"cpu": 3}, num_samples=3, warm_pause=True, warm_slots=1)
    one.begin(3)
    one.report(0)
    one.report(1)
    one.end(1, "stopped")
    one.report(2)
    assert one.report(2) == [cmd.Stop(0, 0), cmd.Stop(2, 0)]
    assert one.did() == [("stop", 0), ("end", 1), ("stop", 2)]


def test_ends_may_lead_to_ends(script: Any, told: Any, takes_waiting_only: Any) -> None:
    """A scheduler that ends the next of many paused ones at each end: no recursion."""
    count = 400
    scheduler = told({(number, 1): "PAUSE" for number in range(count)}, chosen=takes_waiting_only)
    scheduler.at_end = {number: told.stop("next", number - 1) for number in range(count + 1)}
    one = script(scheduler, totals={"cpu": count + 1}, num_samples=count + 1)
    one.takes_pending = False
    for number in range(count + 1):
        one.controller.handle(ev.Suggested(number, {}))
        one.controller.handle(ev.AttemptStarted(number, 0))
    for number in range(count):
        one.controller.handle(ev.Reported(number, 0, 1, {}))
        one.controller.handle(ev.AttemptEnded(number, 0, "stopped"))
    one.end(count)
    assert one.state.finished
    assert len(scheduler.ended) == count + 1


# -- deadlines -----------------------------------------------------------------------------------------------------------


def test_a_trial_that_runs_too_long(script: Any) -> None:
    one = script(max_trial_s=10.0, retries={"timeout": 1})
    one.suggest()
    one.now = 5.0  # a long import before its code runs is not its own time
    assert one.started(0) == [cmd.SetTimer("deadline:0", 15.0)]
    assert one.fire("deadline:0") == [cmd.Kill(0, 0, "timeout")]
    assert one.controller.wanted() == [cmd.Kill(0, 0, "timeout")]
    late = ev.Reported(0, 0, 1, {"loss": 1.0})
    assert not one.controller.accepts(late)
    assert one.controller.reply(late) == cmd.Kill(0, 0, "timeout")
    one.end(0, "timeout")
    assert one.reason("retry") == "ran longer than max_trial_s=10 (failure 1); starts anew"
    assert one.state.timers == {}
    one.started(0)
    assert one.state.timers == {"deadline:0": 25.0}
    one.fire("deadline:0")
    one.end(0, "timeout")
    assert (one.status(0), one.reason("end")) == ("ERROR", "ran longer than max_trial_s=10")


def test_a_trial_that_says_nothing(script: Any) -> None:
    one = script(max_silence_s=5.0)
    one.begin()
    one.now = 4.0
    assert one.report(0) == [cmd.SetTimer("silence:0", 9.0), cmd.Continue(0, 0)]
    assert one.fire("silence:0") == [cmd.Kill(0, 0, "silent")]
    one.end(0, "silent")
    assert one.reason("end") == "no report for max_silence_s=5"


def test_the_clock_stands_still_while_a_trial_is_held_warm(script: Any, told: Any) -> None:
    one = script(
        told({(0, 1): "PAUSE"}, chosen=second_time), totals={"cpu": 1}, num_samples=2, warm_pause=True, max_trial_s=10.0, max_silence_s=7.0
    )
    one.begin()
    one.now = 4.0
    commands = one.report(0)
    assert cmd.SetTimer("deadline:0", None) in commands
    assert cmd.SetTimer("silence:0", None) in commands
    one.now = 100.0
    one.begin()
    commands = one.end(1)
    assert cmd.SetTimer("deadline:0", 106.0) in commands  # 4 of its 10 seconds are used up
    assert cmd.SetTimer("silence:0", 107.0) in commands


def test_a_new_attempt_has_a_new_deadline(script: Any, told: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}), max_trial_s=10.0)
    one.begin()
    one.now = 4.0
    one.report(0)
    one.end(0, "stopped")
    assert one.started(0) == [cmd.SetTimer("deadline:0", 14.0)]


@pytest.mark.parametrize("warm", [True, False])
def test_a_pause_with_its_work_does_not_give_it_more_time(script: Any, told: Any, warm: bool) -> None:
    one = script(told({(0, 1): "PAUSE"}), max_trial_s=10.0, warm_pause=warm)
    one.begin()
    one.now = 4.0
    one.report(0, checkpoint="0/checkpoint_1")
    one.now = 6.0
    if warm:
        assert one.state.timers == {"deadline:0": 10.0}  # it went on at once, as there is nothing else
    else:
        one.end(0, "stopped")
        assert one.started(0) == [cmd.SetTimer("deadline:0", 10.0)]  # it ran until now, and has 4 s left


def test_a_limit_that_was_put_off_meanwhile_is_not_due(script: Any) -> None:
    """The driver was slow: the report had come in time, and is handled in the same turn."""
    one = script(max_silence_s=5.0)
    one.begin()
    one.now = 7.0
    one.report(0)
    assert one.feed(ev.TimerFired("silence:0")) == []
    assert one.status(0) == "RUNNING"
    assert one.fire("silence:0") == [cmd.Kill(0, 0, "silent")]


def test_a_deadline_while_it_is_on_its_way_to_an_end_keeps_the_reason(script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.stop("worst")}), max_trial_s=10.0)
    one.begin()
    one.report(0)
    assert one.fire("deadline:0") == [cmd.Kill(0, 0, "timeout")]
    one.end(0, "timeout")
    assert (one.status(0), one.reason("end")) == ("TERMINATED", "worst")


def test_timers_that_are_not_set_are_late(script: Any) -> None:
    one = script(max_trial_s=10.0)
    one.begin()
    one.end(0)
    assert one.state.timers == {}
    assert one.feed(ev.TimerFired("deadline:0")) == []
    assert one.state.late == 1
