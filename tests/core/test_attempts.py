"""What the end of an attempt means: retries and their budgets, ends, late words, checkpoints to start from."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core import policy

KEY_ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": ""}


def launches(commands: list[cmd.Command]) -> list[cmd.Launch]:
    return [command for command in commands if isinstance(command, cmd.Launch)]


def test_a_trial_from_start_to_end(script: Any) -> None:
    one = script()
    assert one.commands == [cmd.Suggest(1, 0)]
    assert one.suggest({"x": 0.5}) == [cmd.Launch(0, 0, {"x": 0.5}, None, 0, 0.0, {"cpu": 1.0})]
    assert one.started(0) == []
    assert one.report(0) == [cmd.Continue(0, 0)]
    assert one.decisions == []  # a plain "go on" is no record
    assert one.end(0) == [cmd.Finish("all 1 trials have ended")]
    assert one.did() == [("end", 0), ("finish", None)]
    assert one.scheduler.ended == [(0, "finished")]
    assert one.status(0) == "TERMINATED"


@pytest.mark.parametrize("outcome", sorted(policy.FAILURES - {"nan", "unplaceable"}))
@pytest.mark.parametrize("allowed", [0, 2])
def test_each_class_has_its_own_budget(outcome: str, allowed: int, script: Any) -> None:
    one = script(retries={outcome: allowed})
    one.begin()
    for attempt in range(1, allowed + 1):
        assert [launch.attempt for launch in launches(one.end(0, outcome))] == [attempt]
        assert one.did() == [("retry", 0), ("launch", 0)]
        one.started(0)
    one.end(0, outcome)
    assert one.status(0) == "ERROR"
    assert one.scheduler.ended == [(0, outcome)]


def test_budgets_are_not_shared(script: Any) -> None:
    one = script(retries={"user_error": 1, "oom_ram": 1})
    one.begin()
    for outcome in ("user_error", "oom_ram", "worker_lost", "node_lost"):
        one.end(0, outcome)
        one.started(0)
    assert one.trial(0).failures == {"user_error": 1, "oom_ram": 1, "worker_lost": 1, "node_lost": 1}
    one.end(0, "user_error", KEY_ERROR)
    assert (one.status(0), one.reason("end")) == ("ERROR", "KeyError: 'lr' at train.py:42")


def test_without_end(script: Any) -> None:
    """As long as the trial gets somewhere, or fails in another way each time."""
    one = script(retries={"user_error": -1}, identical=3)
    one.begin()
    for index in range(50):
        one.report(0, checkpoint=f"0/checkpoint_{index}")
        for where in ("train.py:1", "train.py:2"):
            one.end(0, "user_error", {"type": "KeyError", "message": "'lr'", "where": where})
            one.started(0)
    assert one.status(0) == "RUNNING"


def test_without_end_is_not_for_a_trial_that_gets_nowhere(script: Any) -> None:
    """A slip in the script fails at the same place each time, whatever the trial reports again on its way there."""
    one = script(retries={"user_error": -1}, identical=3)
    one.begin()
    for _ in range(3):
        one.report(0)
        one.end(0, "user_error", KEY_ERROR)
        if one.state.trials:
            one.started(0)
    assert one.status(0) == "ERROR"
    assert one.reason("end") == "failed alike 3 times in a row without a new report: KeyError: 'lr' at train.py:42"


@pytest.mark.parametrize("settings", [{"identical": None, "retries": {"user_error": -1}}, {"identical": 3, "retries": {"user_error": 40}}])
def test_a_number_of_retries_is_kept_to(script: Any, settings: dict[str, Any]) -> None:
    one = script(**settings)
    one.begin()
    for _ in range(40):
        one.end(0, "user_error", KEY_ERROR)
        one.started(0)
    assert one.status(0) == "RUNNING"


def test_lost_workers_are_free_up_to_a_cap(script: Any) -> None:
    one = script()
    one.begin()
    for _ in range(policy.DEFAULT_RETRIES["worker_lost"]):
        one.end(0, "worker_lost")
        assert "worker_lost (failure" in one.reason("retry")
        one.started(0)
    one.end(0, "worker_lost")
    assert one.status(0) == "ERROR"


@pytest.mark.parametrize("outcome", sorted(policy.FREE))
def test_what_the_driver_did_counts_against_nothing(outcome: str, script: Any) -> None:
    one = script()
    one.begin()
    for _ in range(30):
        one.end(0, outcome)
        one.started(0)
    assert one.trial(0).failures == {}


def test_a_retry_goes_on_from_the_newest_checkpoint_and_counts_on_from_it(script: Any, told: Any) -> None:
    one = script(told(), retries={"user_error": 1})
    one.begin()
    for checkpoint in (None, "0/a", None, None):
        one.report(0, checkpoint)
    (launch,) = launches(one.end(0, "user_error", KEY_ERROR))
    assert (launch.attempt, launch.checkpoint, launch.iteration, launch.time_total) == (1, "0/a", 2, 2.0)
    assert one.reason("retry") == "KeyError: 'lr' at train.py:42 (failure 1); goes on from iteration 2"
    one.started(0)
    assert one.report(0) == [cmd.Continue(0, 1)]  # iteration 3 again: an event like others
    assert one.trial(0).iteration == 3
    one.report(0)
    one.report(0)
    assert one.scheduler.shown == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]  # ... but the scheduler sees each iteration once


def test_without_a_checkpoint_it_starts_anew(script: Any) -> None:
    one = script(retries={"user_error": 1})
    one.begin()
    one.report(0)
    (launch,) = launches(one.end(0, "user_error"))
    assert (launch.checkpoint, launch.iteration) == (None, 0)
    assert one.reason("retry").endswith("starts anew")


def test_a_report_of_a_rewound_trial_is_no_event_when_deterministic(script: Any) -> None:
    one = script(deterministic=True, retries={"user_error": 1})
    one.begin()
    one.report(0)
    one.report(0)
    one.end(0, "user_error")
    one.started(0)
    again = ev.Reported(0, 1, 2, {"loss": 1.0})
    assert not one.controller.accepts(again)
    assert one.controller.reply(again) == cmd.Continue(0, 1)
    assert one.controller.accepts(ev.Reported(0, 1, 3, {"loss": 1.0}))


def test_a_repeated_report_is_dropped_and_answered_again(script: Any) -> None:
    one = script(metrics=["loss"], modes=["min"])
    one.begin()
    one.report(0)
    twice = ev.Reported(0, 0, 1, {"loss": 1.0})
    assert one.feed(twice) == []
    assert one.state.late == 1
    assert one.controller.reply(twice) == cmd.Continue(0, 0)


def test_a_report_after_a_stop_is_dropped_and_told_to_stop(script: Any, told: Any) -> None:
    one = script(told({(0, 1): "STOP"}))
    one.begin()
    assert one.report(0) == [cmd.Stop(0, 0)]
    late = ev.Reported(0, 0, 2, {"loss": 1.0})
    assert one.feed(late) == []
    assert one.controller.reply(late) == cmd.Stop(0, 0)
    assert one.scheduler.shown == [(0, 1)]
    one.end(0, "stopped")
    assert one.controller.reply(late) == cmd.Stop(0, 0)
    assert one.status(0) == "TERMINATED"


def test_the_reply_never_launches(script: Any) -> None:
    """A report that overtakes the handling of its attempt's start must not start it twice."""
    one = script(deterministic=True, retries={"user_error": 1})
    one.begin()
    one.report(0)
    one.end(0, "user_error")
    early = ev.Reported(0, 1, 1, {"loss": 1.0})
    assert not one.controller.accepts(early)
    assert one.controller.reply(early) == cmd.Continue(0, 1)


@pytest.mark.parametrize(
    ("metrics", "verdict", "reason"),
    [
        ({"loss": 1.0}, "loss <= 1", "loss <= 1"),
        ({"loss": 1.0, "done": True}, None, "reported done"),
        ({"loss": math.nan}, "enough", "enough"),
    ],
)
def test_stops_of_the_users(metrics: dict[str, Any], verdict: str | None, reason: str, script: Any) -> None:
    one = script(metrics=["loss"], modes=["min"])
    one.begin()
    assert one.report(0, verdict=verdict, **metrics) == [cmd.Stop(0, 0)]
    assert one.reason("stop") == reason
    assert one.scheduler.shown == []
    one.end(0, "stopped")
    assert (one.status(0), one.reason("end")) == ("TERMINATED", reason)


def test_nan_is_a_failure(script: Any) -> None:
    one = script(metrics=["loss", "size"], modes=["min", "min"])
    one.begin()
    one.report(0, loss=1.0, size=math.nan)
    assert one.reason("stop") == "reported nan for 'size' at iteration 1"
    one.end(0, "stopped")
    assert (one.status(0), one.scheduler.ended) == ("ERROR", [(0, "nan")])


def test_nan_can_be_a_value(script: Any) -> None:
    one = script(metrics=["loss"], modes=["min"], nan_policy="continue")
    one.begin()
    assert one.report(0, loss=math.nan) == [cmd.Continue(0, 0)]


def test_nan_is_retried_within_its_budget(script: Any) -> None:
    one = script(metrics=["loss"], modes=["min"], retries={"nan": 1})
    one.begin()
    one.report(0, loss=math.nan)
    one.end(0, "stopped")
    assert one.reason("retry").startswith("reported nan for 'loss' at iteration 1 (failure 1)")


def test_nan_elsewhere_is_nobodys_business(script: Any) -> None:
    one = script(metrics=["loss"], modes=["min"])
    one.begin()
    assert one.report(0, loss=1.0, other=math.nan) == [cmd.Continue(0, 0)]


def test_an_attempt_that_stops_by_itself_is_over(script: Any) -> None:
    one = script()
    one.begin()
    one.end(0, "stopped")
    assert one.status(0) == "TERMINATED"


def test_a_trial_that_finishes_while_it_is_told_to_stop_was_stopped(script: Any, told: Any) -> None:
    one = script(told({(1, 1): told.stop("worse", 0)}), num_samples=2)
    one.begin(2)
    assert one.report(1) == [cmd.Stop(0, 0), cmd.Continue(1, 0)]
    one.end(0, "finished")
    assert one.scheduler.ended == [(0, "stopped")]


def test_save_at_end(script: Any, told: Any) -> None:
    one = script(told({(0, 1): "STOP"}), save_at_end=True)
    one.begin()
    assert one.report(0) == [cmd.Stop(0, 0, save=True)]
    assert one.controller.wanted() == [cmd.Stop(0, 0, save=True)]
    one.saved(0, "0/last")
    one.end(0, "stopped")


def test_no_save_of_what_has_not_begun(script: Any) -> None:
    one = script(save_at_end=True)
    one.suggest()
    assert one.feed(ev.StopRequested("enough")) == [cmd.Stop(0, 0)]


# -- checkpoints ---------------------------------------------------------------------------------------------------------


def test_retention_and_the_checkpoint_that_a_running_attempt_loads(script: Any) -> None:
    one = script(num_to_keep=1, retries={"user_error": 9}, can_save=True)
    one.begin()
    assert one.report(0, "0/a") == [cmd.Continue(0, 0)]
    assert one.report(0, "0/b") == [cmd.DeleteCheckpoint("0/a"), cmd.Continue(0, 0)]
    assert launches(one.end(0, "user_error"))[0].checkpoint == "0/b"
    one.started(0)
    assert one.saved(0, "0/c") == []  # b is still being loaded, for all we know
    assert one.state.doomed == {"0/b"}
    assert one.report(0) == [cmd.DeleteCheckpoint("0/b"), cmd.Continue(0, 1)]


def test_retention_by_score(script: Any) -> None:
    one = script(num_to_keep=2, score_attribute="acc", score_order="max")
    one.begin()
    gone = []
    for index, accuracy in enumerate([0.5, 0.9, 0.1, 0.2]):
        gone += [command for command in one.report(0, f"0/{index}", acc=accuracy) if isinstance(command, cmd.DeleteCheckpoint)]
    assert gone == [cmd.DeleteCheckpoint("0/0"), cmd.DeleteCheckpoint("0/2")]


def test_a_repeated_save_is_late_even_when_retention_has_let_it_go(script: Any) -> None:
    one = script(num_to_keep=1, can_save=True)
    one.begin()
    one.report(0)
    first = ev.CheckpointSaved(0, 0, 1, "0/a")
    one.feed(first)
    assert not one.controller.accepts(first)
    one.report(0, "0/b")
    assert not one.controller.accepts(first)


def test_a_repeated_save_is_late_when_a_later_one_of_the_same_state_took_its_place(script: Any, told: Any) -> None:
    """A save that was wished for and the one of a cold pause: both are of iteration 1."""
    one = script(told({(0, 1): [told.save(0), told.pause("tired")]}), num_to_keep=1, can_save=True)
    one.begin()
    one.report(0, "0/a")
    assert one.saved(0, "0/b") == [cmd.DeleteCheckpoint("0/a")]
    assert one.saved(0, "0/c") == [cmd.DeleteCheckpoint("0/b")]
    assert one.saved(0, "0/a") == one.saved(0, "0/b") == one.saved(0, "0/c") == []
    assert one.state.late == 3
    (launch,) = launches(one.end(0, "stopped"))
    assert launch.checkpoint == "0/c"
    one.started(0)
    one.report(0, "0/d")
    assert one.trial(0).replaced == ()  # what is older than the base is late anyway


def test_what_was_saved_is_kept_when_the_trial_ends(script: Any) -> None:
    one = script(num_to_keep=1)
    one.begin()
    one.report(0, "0/a")
    assert one.end(0) == [cmd.Finish("all 1 trials have ended")]
