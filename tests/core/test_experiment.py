"""The experiment as a whole: what is asked for, what is started, and the ways in which it ends."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev

ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": ""}


def suggests(commands: list[cmd.Command]) -> list[tuple[int, int]]:
    return [(command.n, command.first) for command in commands if isinstance(command, cmd.Suggest)]


def fail(one: Any, number: int, error: dict[str, str] = ERROR) -> None:
    one.end(number, "user_error", error)


# -- suggestions and slots -----------------------------------------------------------------------------------------------


def test_suggestions_are_drawn_only_for_free_slots(script: Any) -> None:
    one = script(num_samples=5, totals={"cpu": 2})
    assert suggests(one.commands) == [(2, 0)]
    assert suggests(one.suggest()) == []
    one.started(0)
    assert suggests(one.suggest()) == []
    one.started(1)
    assert suggests(one.report(0)) == []
    assert suggests(one.end(1)) == [(1, 2)]


@pytest.mark.parametrize(
    ("totals", "slots", "limit", "asked"),
    [({"cpu": 8}, 3, None, 3), ({"cpu": 8}, None, 2, 2), ({"cpu": 8}, 3, 5, 3), ({"cpu": 2}, 3, 5, 2)],
)
def test_what_bounds_them(totals: dict[str, float], slots: int | None, limit: int | None, asked: int, script: Any) -> None:
    one = script(num_samples=20, totals=totals, slots=slots, max_concurrent=limit)
    assert suggests(one.commands) == [(asked, 0)]
    one.begin(asked)
    assert suggests(one.end(0)) == [(1, asked)]


def test_never_more_than_num_samples(script: Any) -> None:
    one = script(num_samples=3, totals={"cpu": 8})
    assert suggests(one.commands) == [(3, 0)]
    one.begin(3)
    for number in range(3):
        assert suggests(one.end(number)) == []
    assert one.state.finished == "all 3 trials have ended"


def test_num_samples_none_runs_until_the_searcher_is_exhausted(script: Any) -> None:
    one = script(num_samples=None, totals={"cpu": 2})
    one.begin(2)
    for number in range(20):
        assert suggests(one.end(number)) == [(1, number + 2)]
        one.begin()
    one.end(20)
    assert one.feed(ev.SearchExhausted("grid is done")) == []
    assert one.end(21) == [cmd.Finish("grid is done")]


def test_without_resources_slots_bound(script: Any) -> None:
    one = script(num_samples=3, resources={}, slots=2)
    assert suggests(one.commands) == [(2, 0)]
    one.begin(2)


def test_resources_that_depend_on_the_config_are_drawn_first_up_to_a_cap(script: Any) -> None:
    one = script(num_samples=50, totals={"cpu": 4}, config_resources=True, pending_cap=3)
    assert suggests(one.commands) == [(1, 0)]
    assert suggests(one.suggest(resources={"cpu": 4})) == [(1, 1)]
    for number in (1, 2):
        assert suggests(one.suggest(resources={"cpu": 4})) == [(1, number + 1)]
    assert suggests(one.suggest(resources={"cpu": 1})) == []  # three wait
    one.started(0)
    assert one.state.counts["PENDING"] == 3
    commands = one.end(0)
    assert isinstance(commands[0], cmd.Launch)
    assert suggests(commands) == [(1, 4)]


def test_a_small_one_may_pass_a_large_one(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4}, config_resources=True)
    one.suggest(resources={"cpu": 3})
    one.suggest(resources={"cpu": 2})
    one.suggest(resources={"cpu": 1})
    assert [one.status(number) for number in range(3)] == ["RUNNING", "PENDING", "RUNNING"]


def test_fractions_of_cards_reach_the_launch(script: Any) -> None:
    one = script(num_samples=6, totals={"cpu": 16, "gpu": 1}, resources={"cpu": 1, "gpu": 0.2})
    assert suggests(one.commands) == [(5, 0)]
    for number in range(5):
        (launch,) = one.suggest()
        assert (launch.trial, launch.gpus) == (number, ((0, 0.2),))
    assert suggests(one.end(3)) == [(1, 5)]


def test_the_scheduler_may_rather_draw_new_ones(script: Any, told: Any) -> None:
    """``choose`` answers None: waiting trials stay, new ones are drawn up to the cap, and nothing hangs."""
    one = script(told(chosen=lambda runnable: None), num_samples=9, totals={"cpu": 1}, pending_cap=2)
    one.takes_pending = False
    one.suggest()
    assert suggests(one.commands) == [(1, 1)]
    one.suggest()
    assert one.decisions[0].reason == "nothing else was left to run"
    assert one.status(0) == "RUNNING"


def test_a_choice_that_cannot_be_is_a_bug_of_the_scheduler(script: Any, told: Any) -> None:
    one = script(told(chosen=lambda runnable: one.trial(0)), num_samples=2)
    with pytest.raises(Exception, match="Told chose trial 0, which cannot be started now"):
        one.begin(2)


@pytest.mark.parametrize("answer", ["FOO", 7, {1: 2}, object()])
def test_answers_that_mean_nothing(answer: Any, script: Any, told: Any) -> None:
    one = script(told({(0, 1): answer}))
    one.begin()
    with pytest.raises(TypeError, match=r"scheduler Told answered .* for trial 0; expected CONTINUE"):
        one.report(0)


def test_powers_that_schedulers_lack(script: Any, told: Any) -> None:
    from tunesmith.core.commands import Decision

    one = script(told({(0, 1): Decision("finish", None)}))
    one.begin()
    with pytest.raises(TypeError, match="Decision that does one of"):
        one.report(0)


def test_one_decision_object_may_be_given_again(script: Any, told: Any) -> None:
    stop = told.stop("same object")
    one = script(told({(0, 1): stop, (1, 1): stop}), num_samples=2)
    one.begin(2)
    one.report(0)
    assert one.did() == [("stop", 0)]
    one.report(1)
    assert one.did() == [("stop", 1)]


# -- infeasible ----------------------------------------------------------------------------------------------------------


def test_infeasible_is_no_sample_and_no_failure(script: Any) -> None:
    one = script(num_samples=2, totals={"cpu": 1}, identical=1, fail_fast=True)
    one.begin()
    assert suggests(one.end(0, "infeasible", {"type": "Infeasible", "message": "does not fit"})) == [(1, 1)]
    assert (one.status(0), one.reason("end")) == ("TERMINATED", "Infeasible: does not fit")
    for number in (1, 2):
        one.begin()
        one.end(number)
    assert one.state.finished == "all 2 trials have ended"
    assert one.state.infeasible == 1


def test_ten_times_num_samples_infeasible_ones_are_enough(script: Any) -> None:
    one = script(num_samples=2, totals={"cpu": 1})
    for number in range(20):
        assert not one.state.finished
        one.begin()
        one.end(number, "infeasible")
    assert one.state.finished == "20 configurations were infeasible, 0 were not"


# -- the ends ------------------------------------------------------------------------------------------------------------


def test_fail_fast(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 3}, fail_fast=True)
    one.begin(3)
    fail(one, 1)
    assert one.did() == [("end", 1), ("halt", None), ("stop", 0), ("stop", 2)]
    assert one.state.kind == "fail_fast"
    assert one.state.stopping == "fail_fast: trial 1 failed with KeyError: 'lr' at train.py:42"
    one.end(0, "stopped")
    assert one.end(2, "stopped") == [cmd.Finish(one.state.stopping)]
    assert [one.status(number) for number in range(3)] == ["PENDING", "ERROR", "PENDING"]


def test_a_resume_after_fail_fast_goes_on_with_the_others(script: Any) -> None:
    """Nobody has said that they are not wanted: what they have done is kept."""
    one = script(num_samples=3, totals={"cpu": 3}, fail_fast=True)
    one.begin(3)
    one.report(0, checkpoint="0/checkpoint_1")
    fail(one, 1)
    one.end(0, "stopped")
    one.end(2, "stopped")
    launched = [(command.trial, command.attempt, command.checkpoint) for command in one.resume() if isinstance(command, cmd.Launch)]
    assert launched == [(0, 1, "0/checkpoint_1"), (2, 1, None)]
    for number in (0, 2):
        one.started(number)
        one.end(number)
    assert one.state.finished == "all 3 trials have ended"
    assert [one.status(number) for number in range(3)] == ["TERMINATED", "ERROR", "TERMINATED"]


def test_the_breaker_begins_anew_in_a_new_session(script: Any) -> None:
    one = script(num_samples=99, totals={"cpu": 1}, identical=3)
    for session in range(2):
        for number in range(3):
            one.begin()
            fail(one, 3 * session + number)
        assert one.state.kind == "breaker"
        one.resume()
        assert not one.state.stopping


def test_the_breaker(script: Any) -> None:
    one = script(num_samples=99, totals={"cpu": 1}, identical=3)
    for number in range(3):
        one.begin()
        fail(one, number)
    assert one.state.finished == "the first 3 trials all failed alike: KeyError: 'lr' at train.py:42"
    assert one.state.kind == "breaker"


def test_the_breaker_waits_while_a_trial_came_further_than_all_that_failed(script: Any) -> None:
    one = script(num_samples=99, totals={"cpu": 2}, identical=3)
    one.begin(2)
    one.report(0, loss=1.0)
    one.report(0, loss=1.0)
    fail(one, 1)
    for number in range(2, 6):
        one.begin()
        one.report(number, loss=1.0)
        fail(one, number)
    assert not one.state.stopping, "trial 0 has two reports"
    one.begin()
    for _ in range(2):
        one.report(6, loss=1.0)
    fail(one, 6)
    assert one.state.stopping == "the first 6 trials all failed alike: KeyError: 'lr' at train.py:42"


def test_the_breaker_is_disarmed_by_a_trial_that_ends_well(script: Any) -> None:
    one = script(num_samples=99, totals={"cpu": 2}, identical=3)
    one.begin(2)
    one.end(1)
    fail(one, 0)
    for number in range(2, 9):
        one.begin()
        fail(one, number)
    assert not one.state.stopping


def test_a_metric_that_was_never_reported(script: Any) -> None:
    one = script(num_samples=9, metrics=["mean_acuracy"], modes=["max"])
    one.begin(2)
    one.report(0, mean_accuracy=0.5, loss=1.0)
    one.end(0)
    assert one.state.kind == "metric"
    assert one.state.stopping == (
        "metric 'mean_acuracy' was never reported; reported were: loss, mean_accuracy. Did you mean 'mean_accuracy'?"
    )


def test_a_mode_for_no_metric_in_particular(script: Any) -> None:
    one = script(num_samples=9, metrics=["_metric"], modes=["min"])
    one.begin(2)
    one.report(0, loss=1.0)
    one.end(0)
    assert one.state.stopping.startswith("metric '_metric' was never reported; reported were: loss. That is the name of a number")
    assert one.state.stopping.endswith("give metric=.")


def test_sparse_metrics_need_not_come_together(script: Any) -> None:
    one = script(num_samples=2, metrics=["loss", "size"], modes=["min", "min"])
    one.begin(2)
    one.report(0, loss=1.0)
    one.report(0, size=1.0)
    one.end(0)
    one.report(1, loss=2.0)
    one.end(1)
    assert one.state.finished == "all 2 trials have ended"


def test_a_trial_without_any_report_says_nothing_about_the_metric(script: Any) -> None:
    one = script(num_samples=2, metrics=["loss"], modes=["min"])
    one.begin()
    one.end(0)
    assert not one.state.stopping


def test_the_time_budget(script: Any) -> None:
    one = script(num_samples=9, time_budget_s=60.0)
    assert one.controller.wanted()[-1] == cmd.SetTimer("budget", 60.0)
    one.begin(2)
    one.fire("budget")
    assert one.did() == [("halt", None), ("stop", 0), ("stop", 1)]
    assert one.reason("halt") == "time budget of 60 s is used up"
    one.end(0, "stopped")
    assert one.end(1, "stopped") == [cmd.Finish("time budget of 60 s is used up")]


def test_the_time_budget_counts_on_in_the_next_session(script: Any) -> None:
    one = script(time_budget_s=60.0)
    one.begin()
    one.now = 59.0
    assert cmd.SetTimer("budget", 60.0) in one.resume()
    assert cmd.SetTimer("budget", 90.0) in one.resume(time_budget_s=90.0)
    assert cmd.SetTimer("budget", None) in one.resume(time_budget_s=None)
    assert "budget" not in one.state.timers


def test_a_stop_ends_everything_for_good(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=9, totals={"cpu": 2}, config_resources=True)
    one.begin(2)
    one.report(0)
    one.end(0, "stopped")
    one.begin()
    one.suggest(resources={"cpu": 2})
    assert [one.status(number) for number in range(4)] == ["PAUSED", "RUNNING", "RUNNING", "PENDING"]
    one.feed(ev.StopRequested("enough"))
    assert one.did() == [("halt", None), ("end", 0), ("stop", 1), ("stop", 2), ("end", 3)]
    one.end(1, "user_error")
    assert one.end(2, "stopped") == [cmd.Finish("enough")]
    assert [one.status(number) for number in range(4)] == ["TERMINATED"] * 4


def test_a_stop_without_a_reason_is_a_stop(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.StopRequested(""))
    assert one.end(0, "stopped") == [cmd.Finish("stop")]


def test_a_drain_leaves_trials_to_go_on(script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE"}, chosen=takes_waiting_only)
    one = script(scheduler, num_samples=3, totals={"cpu": 2}, can_save=True, save_at_end=True)
    one.begin(2)
    one.report(0)
    one.saved(0, "0/a")
    one.end(0, "stopped")
    one.suggest()
    assert one.feed(ev.StopRequested("Ctrl-C", drain=True)) == [cmd.Stop(1, 0, save=True), cmd.Stop(2, 0)]
    one.report(1)
    one.saved(1, "1/a")
    one.end(1, "stopped")
    assert one.end(2, "stopped") == [cmd.Finish("Ctrl-C")]
    assert [one.status(number) for number in range(3)] == ["PAUSED", "PENDING", "PENDING"]
    assert one.state.kind == "drain"

    one.resume()
    assert [one.status(number) for number in range(3)] == ["PAUSED", "RUNNING", "RUNNING"]
    assert one.trial(1).restore.id == "1/a"
    assert (one.state.stopping, one.state.finished, one.scheduler.ended) == ("", "", [])


def test_a_report_on_the_way_to_a_drain_counts(script: Any, told: Any) -> None:
    """The attempt will be saved as of that report: were it dropped, its iteration would be in no table and seen by no scheduler."""
    one = script(told({(1, 3): "STOP"}), num_samples=2, can_save=True, save_at_end=True)
    one.begin(2)
    one.report(0)
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    assert one.report(0, "0/a") == [cmd.Stop(0, 0, save=True)]  # told again
    assert one.scheduler.shown == [(0, 1), (0, 2)]
    one.end(0, "stopped")
    assert one.trial(0).base.iteration == 2
    one.report(1)
    one.report(1)
    one.report(1)
    one.end(1, "stopped")
    assert one.status(1) == "TERMINATED"  # what the scheduler decides about it still holds


def test_a_failure_during_a_drain_is_left_to_the_next_session(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    one.end(0, "worker_lost")
    assert (one.status(0), one.trial(0).failures) == ("PENDING", {})


@pytest.mark.parametrize(("retries", "status"), [({}, "ERROR"), ({"user_error": 1}, "PAUSED")])
def test_failing_on_the_way_to_a_pause_while_it_drains(
    retries: dict[str, int], status: str, script: Any, told: Any, takes_waiting_only: Any
) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=2, can_save=True, retries=retries)
    one.begin(2)
    one.report(0)
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    one.end(0, "user_error")
    assert one.status(0) == status  # what is left of its budget is the next session's


def test_while_it_drains_schedulers_can_only_stop(script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE", (1, 1): "PAUSE"}, chosen=takes_waiting_only)
    scheduler.at_end = {2: [told.exploit(3, "better", trial=0, values={"x": 1}), told.stop("worst", 1)]}
    one = script(scheduler, num_samples=4, totals={"cpu": 4})
    one.begin(4)
    for number in (0, 1):
        one.report(number)
        one.end(number, "stopped")
    one.report(3, "3/a")
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    one.end(2)
    assert one.did() == [("end", 2), ("end", 1)]
    assert one.status(0) == "PAUSED"


def test_a_stop_after_a_drain_changes_nothing_and_a_drain_after_a_stop_little(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    assert one.feed(ev.StopRequested("enough")) == []
    two = script()
    two.begin()
    two.feed(ev.StopRequested("enough"))
    assert two.feed(ev.StopRequested("Ctrl-C", drain=True)) == []
    two.end(0, "stopped")
    assert (two.status(0), two.state.kind) == ("TERMINATED", "drain")


def test_nothing_stops_what_has_finished(script: Any) -> None:
    one = script()
    one.begin()
    one.end(0)
    assert not one.controller.accepts(ev.StopRequested("Ctrl-C", drain=True))


# -- capacity ------------------------------------------------------------------------------------------------------------


def test_what_can_never_be_placed_is_an_error_at_once(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4}, config_resources=True)
    one.suggest(resources={"cpu": 8, "gpu": 0.5})
    assert (one.status(0), one.reason("end")) == ("ERROR", "asks for cpu 8, gpu 0.5; there is cpu 4 in all")
    assert one.scheduler.ended == [(0, "unplaceable")]
    assert not one.state.stopping


def test_if_no_trial_can_ever_be_placed_one_says_so(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4}, resources={"gpu": 1})
    assert suggests(one.commands) == [(1, 0)]
    assert one.suggest() == [cmd.Finish("no trial can be placed: each asks for gpu 1; there is cpu 4 in all")]
    assert (one.status(0), one.state.kind) == ("ERROR", "unplaceable")
    assert suggests(one.resume({"gpu": 2.0})) == [(2, 1)]  # on a larger machine it goes on


def test_on_a_cluster_that_may_grow_it_waits(script: Any) -> None:
    one = script(num_samples=2, totals={"cpu": 0}, growing=True)
    assert one.commands == []
    one.feed(ev.CapacityChanged({"cpu": 1.0}))
    one.begin()
    one.feed(ev.CapacityChanged({}))  # the node goes, and with it its trial
    assert one.end(0, "node_lost") == []
    assert one.status(0) == "PENDING"
    assert isinstance(one.feed(ev.CapacityChanged({"cpu": 2.0}))[0], cmd.Launch)


def test_capacity_that_goes_for_good(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4}, config_resources=True, fail_fast=False)
    one.begin(1, {"cpu": 4})
    one.suggest(resources={"cpu": 3})
    one.suggest(resources={"cpu": 4})
    one.feed(ev.CapacityChanged({"cpu": 2.0}))
    assert [one.status(number) for number in range(3)] == ["RUNNING", "ERROR", "ERROR"]
    one.end(0, "worker_lost")  # it would be retried, but there is no place any more
    assert one.status(0) == "ERROR"
    one.begin(1, {"cpu": 2})


def test_capacity_that_goes_while_the_first_failure_ends_all(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4}, config_resources=True, fail_fast=True)
    one.begin(1, {"cpu": 4})
    for _ in range(3):
        one.suggest(resources={"cpu": 3})
    one.feed(ev.CapacityChanged({"cpu": 2.0}))
    assert [one.status(number) for number in range(1, 4)] == ["ERROR", "PENDING", "PENDING"]


def test_a_quarantined_card_is_not_leased_and_comes_back(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4, "gpu": 2}, resources={"gpu": 1})
    one.begin(2)
    one.feed(ev.CapacityChanged({"cpu": 4, "gpu": 2}, out=(0,)))  # what the tenant of card 0 leaves is found before its end is told
    assert one.end(0) == []
    assert suggests(one.end(1)) == [(1, 2)]
    one.begin()
    assert one.trial(2).gpus == ((1, 1.0),)
    assert suggests(one.feed(ev.CapacityChanged({"cpu": 4, "gpu": 2}))) == [(1, 3)]
    one.begin()
    assert one.trial(3).gpus == ((0, 1.0),)


def test_trials_that_no_card_is_left_for_name_the_one_that_is_out(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4, "gpu": 2}, config_resources=True)
    one.begin(1, {"cpu": 1, "gpu": 2})
    one.suggest(resources={"cpu": 1, "gpu": 2})
    one.feed(ev.CapacityChanged({"cpu": 4, "gpu": 2}, out=(1,)))
    assert one.reason("end") == "asks for cpu 1, gpu 2; there is cpu 4, gpu 1 in all (GPU card 1 is quarantined)"
    one.end(0, "worker_lost")
    assert one.status(0) == "ERROR"
    assert "GPU card 1 is quarantined" in one.reason("end")
    one.begin(1, {"cpu": 1, "gpu": 1})


def test_if_all_cards_are_out_the_experiment_ends_and_says_which(script: Any) -> None:
    one = script(num_samples=9, totals={"cpu": 4, "gpu": 1}, resources={"gpu": 1})
    one.begin()
    one.feed(ev.CapacityChanged({"cpu": 4, "gpu": 1}, out=(0,)))
    assert suggests(one.end(0)) == [(1, 1)]
    reason = "no trial can be placed: each asks for gpu 1; there is cpu 4, gpu 0 in all (GPU card 0 is quarantined)"
    assert one.suggest() == [cmd.Finish(reason)]
    assert suggests(one.resume())  # with the driver that was started anew it may be clean


def test_paused_trials_on_a_machine_that_shrank(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=1, totals={"cpu": 4}, resources={"cpu": 4}, growing=True)
    one.begin()
    one.report(0)
    one.feed(ev.CapacityChanged({"cpu": 2.0}))
    one.end(0, "stopped")
    assert one.status(0) == "PAUSED"  # a node may come
    one.feed(ev.CapacityChanged({"cpu": 4.0}))
    assert one.reason("end") == "paused, and nothing was left that could resume it"


# -- changes and sessions ------------------------------------------------------------------------------------------------


def test_more_samples_for_an_experiment_that_has_finished(script: Any) -> None:
    one = script(num_samples=1)
    one.begin()
    one.end(0)
    assert one.state.finished
    assert suggests(one.resume(num_samples=3)) == [(2, 1)]
    assert not one.state.finished
    assert cmd.Finish("all 1 trials have ended") not in one.commands


def test_resuming_a_finished_experiment_finishes_again(script: Any) -> None:
    one = script()
    one.begin()
    one.end(0)
    assert one.resume() == [cmd.Finish("all 1 trials have ended")]


def test_nothing_is_started_before_the_sessions_capacity_is_known(script: Any) -> None:
    one = script(num_samples=3, totals={"cpu": 2})
    one.begin(2)
    assert one.feed(ev.ExperimentStarted({}, 1)) == []
    assert one.feed(ev.AttemptEnded(0, 0, "driver_lost")) == []
    assert one.feed(ev.AttemptEnded(1, 0, "driver_lost")) == []
    commands = one.feed(ev.CapacityChanged({"cpu": 1.0}, 1))
    assert [type(command) for command in commands] == [cmd.Launch]
    assert one.did() == [("launch", 0)]


def test_limits_that_change_while_trials_run(script: Any) -> None:
    one = script(num_samples=4, totals={"cpu": 4}, max_concurrent=1, max_trial_s=10.0)
    one.begin()
    one.now = 4.0
    commands = one.feed(ev.SpecChanged({"max_concurrent": 3, "max_trial_s": 7.0, "max_silence_s": 5.0}))
    assert commands == [cmd.SetTimer("deadline:0", 7.0), cmd.SetTimer("silence:0", 9.0), cmd.Suggest(2, 1)]
    commands = one.feed(ev.SpecChanged({"max_trial_s": None, "max_silence_s": None}))
    assert commands == [cmd.SetTimer("deadline:0", None), cmd.SetTimer("silence:0", None)]


def test_another_metric_must_be_seen_anew(script: Any) -> None:
    one = script(num_samples=2, metrics=["loss"], modes=["min"])
    one.begin(2)
    one.report(0, loss=1.0)
    one.feed(ev.SpecChanged({"metrics": ["acc"], "modes": ["max"]}))
    one.end(0)
    assert one.state.kind == "metric"


def test_repeated_suggestions_are_late(script: Any) -> None:
    one = script(num_samples=3, totals={"cpu": 3})
    one.begin()
    assert one.feed(ev.Suggested(0, {"x": 1})) == []
    assert one.state.late == 1


def test_suggestions_after_the_end_of_the_search_are_late(script: Any) -> None:
    one = script(num_samples=None)
    one.begin()
    one.feed(ev.SearchExhausted(""))
    assert one.state.exhausted
    assert one.suggest() == []
    assert not one.controller.accepts(ev.SearchExhausted("again"))
    one.end(0)
    assert one.state.finished


# -- people --------------------------------------------------------------------------------------------------------------


def test_a_person_stops_trials_wherever_they_are(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=9, totals={"cpu": 2}, config_resources=True)
    one.begin(2)
    one.report(0)
    one.end(0, "stopped")
    one.suggest(resources={"cpu": 2})
    for number in range(3):
        one.feed(ev.UserAction("stop", number))
        assert one.reason("stop" if number == 1 else "end") == "stopped by the user"
    assert not one.controller.accepts(ev.UserAction("stop", 0))


def test_a_person_pauses_and_only_a_person_resumes(script: Any) -> None:
    one = script(num_samples=1, can_save=True)
    one.begin()
    one.report(0)
    assert one.feed(ev.UserAction("pause", 0)) == [cmd.Pause(0, 0, "cold")]
    one.saved(0, "0/a")
    assert one.end(0, "stopped") == []  # FIFO would go on with it at once
    assert one.status(0) == "PAUSED"
    assert one.feed(ev.UserAction("pause", 0)) == []
    (launch,) = one.feed(ev.UserAction("resume", 0))
    assert (launch.attempt, launch.checkpoint) == (1, "0/a")
    assert one.reason("resume") == "resumed by the user"


def test_a_pause_that_is_taken_back_before_it_took_effect(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.UserAction("pause", 0))
    one.feed(ev.UserAction("resume", 0))
    (launch,) = one.end(0, "stopped")
    assert launch.attempt == 1


def test_a_waiting_trial_can_be_paused_too(script: Any) -> None:
    one = script(num_samples=2, totals={"cpu": 2}, config_resources=True)
    one.begin(1, {"cpu": 2})
    one.suggest(resources={"cpu": 2})
    one.feed(ev.UserAction("pause", 1))
    one.end(0)
    assert one.status(1) == "PAUSED"
    assert not one.state.finished
    (launch,) = one.feed(ev.UserAction("resume", 1))
    assert (launch.trial, launch.attempt) == (1, 0)


def test_a_resume_waits_for_room_and_then_comes_first(script: Any) -> None:
    one = script(num_samples=3, totals={"cpu": 1})
    one.begin()
    one.feed(ev.UserAction("pause", 0))
    one.end(0, "stopped")
    one.begin()
    assert one.feed(ev.UserAction("resume", 0)) == []
    commands = one.end(1)
    assert [command.trial for command in commands if isinstance(command, cmd.Launch)] == [0]
    assert one.decisions[-1].reason == "resumed by the user"


def test_a_stop_outdoes_a_resume_that_waits_for_room(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=3, totals={"cpu": 1}, warm_pause=True)
    one.begin()
    one.report(0)
    one.begin()
    one.feed(ev.UserAction("resume", 0))
    assert one.feed(ev.UserAction("stop", 0)) == [cmd.Stop(0, 0)]
    assert not one.state.woken
    assert one.end(1) == [cmd.Suggest(1, 2)]
    one.end(0, "stopped")
    assert (one.status(0), one.reason("end")) == ("TERMINATED", "stopped by the user")


def test_an_exploit_outdoes_a_resume_that_waits_for_room(script: Any, told: Any, takes_waiting_only: Any) -> None:
    scheduler = told({(0, 1): "PAUSE", (1, 2): told.exploit(1, "better", trial=0, values={"x": 0.0})}, chosen=takes_waiting_only)
    one = script(scheduler, num_samples=2, totals={"cpu": 1}, warm_pause=True)
    one.begin()
    one.report(0)
    one.begin()
    one.report(1, "1/a")
    one.feed(ev.UserAction("resume", 0))
    assert one.report(1) == [cmd.Stop(0, 0), cmd.Continue(1, 0)]
    assert not one.state.woken
    assert one.end(1) == []
    (launch,) = one.end(0, "stopped")
    assert (launch.checkpoint, launch.values) == ("1/a", {"x": 0.0})


def test_a_resume_that_waits_for_room_outlives_a_drain(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), num_samples=3, totals={"cpu": 1}, warm_pause=True)
    one.begin()
    one.report(0)
    one.begin()
    one.feed(ev.UserAction("resume", 0))
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    one.end(0, "stopped")
    one.end(1, "stopped")
    assert one.state.finished
    (launch,) = [command for command in one.resume() if isinstance(command, cmd.Launch)]
    assert (launch.trial, one.decisions[0].reason) == (0, "resumed by the user")


def test_the_next_session_resumes_what_a_person_had_paused(script: Any) -> None:
    one = script()
    one.begin()
    one.feed(ev.UserAction("pause", 0))
    one.end(0, "stopped")
    assert [type(command) for command in one.resume()] == [cmd.Launch]
