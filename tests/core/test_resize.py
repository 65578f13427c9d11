"""Resources that change: a running trial goes on with others from where it is, one that does not run just asks for others."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.errors import SpecError
from tunesmith.resources import PlacementGroupFactory
from tunesmith.resume import reopening
from tunesmith.schedulers.base import Scheduler

BIG = {"cpu": 2.0}


def grown(script: Any, told: Any, size: Any = BIG, *, at: tuple[int, int] = (0, 1), **settings: Any) -> Any:
    """Trials 0 and 1 run on four CPUs; at the given report trial 0 is to take ``size``."""
    scheduler = told({at: told.resize(size, "grows", trial=0)}, chosen=settings.pop("chosen", None))
    one = script(scheduler, settings.pop("totals", {"cpu": 4.0}), num_samples=2, **{"can_save": True, **settings})
    one.begin(2)
    return one


def test_one_attempt_ends_with_a_save_and_the_next_one_begins_there(script: Any, told: Any) -> None:
    one = grown(script, told)
    assert one.report(0) == [cmd.Stop(0, 0, save=True)]
    assert one.decisions == [Decision("resize", 0, "grows", {"resources": BIG, "save": True})]
    assert cmd.Stop(0, 0, save=True) in one.controller.wanted()
    assert (one.status(0), one.trial(0).resources) == ("RUNNING", {"cpu": 1.0})  # what its attempt holds
    one.saved(0, "0/a")
    (launch,) = one.end(0, "stopped")
    assert (launch.attempt, launch.checkpoint, launch.iteration, launch.resources) == (1, "0/a", 1, BIG)
    assert one.decisions[0] == Decision("retry", 0, "grows", {"outcome": "stopped", "resources": BIG})
    assert (one.trial(0).failures, one.state.pool.used) == ({}, {"cpu": 30_000})
    one.started(0)
    one.report(0)
    assert one.scheduler.shown == [(0, 1), (0, 2)]


def test_a_function_that_has_just_saved_needs_no_save(script: Any, told: Any) -> None:
    one = grown(script, told, can_save=False)
    assert one.report(0, "0/a") == [cmd.Stop(0, 0)]
    (launch,) = one.end(0, "stopped")
    assert (launch.checkpoint, launch.iteration, launch.resources) == ("0/a", 1, BIG)


def test_a_class_that_has_just_saved_does_not_save_twice(script: Any, told: Any) -> None:
    assert grown(script, told).report(0, "0/a") == [cmd.Stop(0, 0, save=False)]


@pytest.mark.parametrize(
    ("settings", "checkpoints"),
    [
        ({}, [None, None]),  # it writes no checkpoint
        ({}, ["0/a", None]),  # it did, but has worked on since
    ],
)
def test_no_work_is_lost_for_it(settings: dict[str, Any], checkpoints: list[str | None], script: Any, told: Any) -> None:
    one = grown(script, told, at=(0, 2), can_save=False, **settings)
    one.report(0, checkpoints[0])
    assert one.report(0, checkpoints[1]) == [cmd.Continue(0, 0)]
    assert one.decisions == []


def test_another_trials_wish_must_wait_for_its_next_report(script: Any, told: Any) -> None:
    """Between reports a class is told to save at the next one, which counts; a function may have nothing to save there."""
    says = {(1, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says), {"cpu": 4.0}, num_samples=2, can_save=True)
    one.begin(2)
    one.report(0, "0/a")
    assert one.report(1) == [cmd.Stop(0, 0, save=True), cmd.Continue(1, 0)]
    assert one.report(0) == [cmd.Stop(0, 0, save=True)]  # told again
    one.saved(0, "0/b")
    (launch,) = one.end(0, "stopped")
    assert (launch.checkpoint, launch.iteration) == ("0/b", 2)

    other = script(told(says), {"cpu": 4.0}, num_samples=2)
    other.begin(2)
    other.report(0, "0/a")
    assert other.report(1) == [cmd.Continue(1, 0)]


@pytest.mark.parametrize("size", [{"cpu": 1}, {"cpu": 5}, {"gpu": 1, "cpu": 1}, {"cpu": 1, "license": 1}])
def test_the_same_or_what_is_not_there_is_no_resize(size: dict[str, float], script: Any, told: Any) -> None:
    assert grown(script, told, size).report(0) == [cmd.Continue(0, 0)]


def test_who_is_about_to_go_or_not_there_yet_is_not_resized(script: Any, told: Any) -> None:
    wish = told.resize(BIG, "grows", trial=0)
    says = {(0, 1): [told.stop("worst"), wish], (1, 1): wish}
    says |= {(2, 1): told.resize(BIG, "grows", trial=3), (2, 2): told.resize(BIG, "grows", trial=9)}
    one = script(told(says), {"cpu": 4.0}, num_samples=4, can_save=True)
    one.begin(3)
    one.suggest()  # trial 3 is on its way, and has not begun
    assert one.report(0) == [cmd.Stop(0, 0)]
    assert one.report(1) == [cmd.Continue(1, 0)]
    assert one.report(2) == [cmd.Continue(2, 0)]
    assert one.report(2) == [cmd.Continue(2, 0)]


def test_a_stop_or_an_end_comes_before_it(script: Any, told: Any) -> None:
    one = grown(script, told)
    one.report(0)
    one.scheduler.says[1, 1] = told.stop("all are bad", trial=0)
    assert one.report(1)[0] == cmd.Stop(0, 0)
    assert one.trial(0).size is None
    one.end(0, "stopped")
    assert one.status(0) == "TERMINATED"


def test_a_trial_that_finishes_meanwhile_has_finished(script: Any, told: Any) -> None:
    one = script(told({(1, 1): told.resize(BIG, "grows", trial=0)}), {"cpu": 4.0}, num_samples=2, can_save=True)
    one.begin(2)
    one.report(1)
    one.end(0)
    assert one.scheduler.ended == [(0, "finished")]


def test_waiting_for_room_it_comes_before_new_trials(script: Any, told: Any) -> None:
    """It holds nothing while it waits, and nothing is drawn that could take its place again and again."""
    one = script(told({(0, 1): told.resize({"cpu": 3}, "grows")}), {"cpu": 3.0}, num_samples=9, can_save=True)
    one.begin(3)
    one.report(0)
    one.saved(0, "0/a")
    assert one.end(0, "stopped") == []
    assert one.status(0) == "PENDING"
    assert one.end(1) == []
    (launch,) = one.end(2)
    assert (launch.trial, launch.resources) == (0, {"cpu": 3.0})
    commands = one.end(0, "finished")
    assert commands == [cmd.Suggest(3, 3)]


# -- who does not run ----------------------------------------------------------------------------------------------------


def test_a_waiting_trial_changes_at_once(script: Any, told: Any) -> None:
    one = script(told({(0, 1): told.resize({"cpu": 0.5}, "shrinks", trial=1)}), {"cpu": 1.5}, num_samples=2, config_resources=True)
    one.begin()
    one.suggest()
    assert one.status(1) == "PENDING"
    commands = one.report(0)
    assert one.decisions[0] == Decision("resize", 1, "shrinks", {"resources": {"cpu": 0.5}})
    (launch,) = [command for command in commands if isinstance(command, cmd.Launch)]
    assert (launch.trial, launch.attempt, launch.resources) == (1, 0, {"cpu": 0.5})


@pytest.mark.parametrize("checkpoint", [None, "0/a"])
def test_a_paused_trial_that_does_not_run_changes_at_once(checkpoint: str | None, script: Any, told: Any, takes_waiting_only: Any) -> None:
    says = {(0, 1): "PAUSE", (1, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says, chosen=takes_waiting_only), {"cpu": 3.0}, num_samples=2)
    one.begin(2)
    one.report(0, checkpoint)
    one.end(0, "stopped")
    assert one.report(1) == [cmd.Continue(1, 0)]
    assert (one.status(0), one.trial(0).resources, one.state.kinds) == ("PAUSED", BIG, {(("cpu", 20_000),): 1})
    one.feed(ev.UserAction("resume", 0))
    assert one.commands[0].resources == BIG


def test_held_warm_it_saves_and_is_paused_with_its_checkpoint(script: Any, told: Any, takes_waiting_only: Any) -> None:
    says = {(0, 1): "PAUSE", (1, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says, chosen=takes_waiting_only), {"cpu": 3.0}, num_samples=2, warm_pause=True, can_save=True)
    one.begin(2)
    one.report(0)
    assert one.report(1) == [cmd.Stop(0, 0, save=True), cmd.Continue(1, 0)]
    one.saved(0, "0/a")
    one.end(0, "stopped")
    assert one.decisions == [Decision("paused", 0, "grows", {"outcome": "stopped", "resources": BIG})]
    assert (one.status(0), one.trial(0).mode, one.trial(0).resources) == ("PAUSED", "cold", BIG)


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_whom_a_person_has_in_hand_is_left_warm(action: str, script: Any, told: Any, takes_waiting_only: Any) -> None:
    says = {(0, 1): "PAUSE", (1, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says, chosen=takes_waiting_only), {"cpu": 1.0}, num_samples=2, warm_pause=True, can_save=True)
    one.begin()
    one.report(0)
    one.begin()
    one.feed(ev.UserAction(action, 0))
    one.state.pool.totals["cpu"] = 20_000
    one.shrunk = True
    one.takes_pending = False
    decisions, commands = one.controller.handle(ev.Reported(1, 0, 1, {"loss": 1.0}))
    assert not [decision for decision in decisions if decision.do == "resize"]
    assert cmd.Stop(0, 0, save=True) not in commands


def test_held_warm_without_a_checkpoint_it_stays(script: Any, told: Any, takes_waiting_only: Any) -> None:
    says = {(0, 1): "PAUSE", (1, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says, chosen=takes_waiting_only), {"cpu": 3.0}, num_samples=2, warm_pause=True)
    one.begin(2)
    one.report(0)
    assert one.report(1) == [cmd.Continue(1, 0)]


def test_an_exploit_comes_first(script: Any, told: Any) -> None:
    """A trial that waits for a donor's checkpoint is not resized."""
    says = {(0, 1): told.exploit(1, "better", values={"x": 2.0}), (2, 1): told.resize(BIG, "grows", trial=0)}
    one = script(told(says), {"cpu": 4.0}, num_samples=3, can_save=True)
    one.begin(3)
    one.report(0)
    one.end(0, "stopped")
    assert one.report(2) == [cmd.Continue(2, 0)]
    (launch,) = [command for command in one.report(1, "1/a") if isinstance(command, cmd.Launch)]
    assert (launch.trial, launch.resources) == (0, {"cpu": 1.0})


# -- what goes wrong -----------------------------------------------------------------------------------------------------


def test_without_room_for_its_checkpoint_it_goes_on_from_the_last_one(script: Any, told: Any) -> None:
    one = grown(script, told, at=(0, 2))
    one.report(0, "0/a")
    one.report(0)
    one.feed(ev.SaveSkipped(0, 0, 2, "the disk is full"))
    (launch,) = one.end(0, "stopped")
    assert (launch.checkpoint, launch.iteration, launch.resources) == ("0/a", 1, BIG)


@pytest.mark.parametrize(("outcome", "allowed"), [("worker_lost", {}), ("user_error", {"user_error": 1}), ("oom_ram", {"oom_ram": 1})])
def test_dying_on_the_way_is_a_failure_and_it_goes_on_in_the_new_size(outcome: str, allowed: Any, script: Any, told: Any) -> None:
    one = grown(script, told, retries=allowed, max_trial_s=10.0)
    one.report(0)
    commands = one.end(0, outcome)
    (launch,) = [command for command in commands if isinstance(command, cmd.Launch)]
    assert (launch.checkpoint, launch.resources) == (None, BIG)
    assert (one.decisions[0].do, one.decisions[0].data) == ("retry", {"outcome": outcome, "charge": True, "resources": BIG})
    assert one.trial(0).failures == {outcome: 1}


def test_a_limit_that_is_up_meanwhile_is_a_failure(script: Any, told: Any) -> None:
    one = grown(script, told, max_silence_s=5.0)
    one.report(0)
    one.fire("silence:0")
    one.end(0, "silent")
    assert one.status(0) == "ERROR"


def test_what_is_left_of_its_time_goes_along(script: Any, told: Any) -> None:
    one = grown(script, told, max_trial_s=10.0)
    one.now = 4.0
    one.report(0)
    one.saved(0, "0/a")
    one.end(0, "stopped")
    assert cmd.SetTimer("deadline:0", 10.0) in one.started(0)  # it began at 0

    other = grown(script, told, max_trial_s=10.0)
    other.now = 4.0
    other.report(0, "0/a")
    other.end(0, "worker_lost")
    assert cmd.SetTimer("deadline:0", 14.0) in other.started(0)  # a retry has all of it


def test_the_driver_dies_meanwhile(script: Any, told: Any) -> None:
    one = grown(script, told)
    one.report(0, "0/a")
    commands = one.resume()
    launches = {command.trial: command for command in commands if isinstance(command, cmd.Launch)}
    assert (launches[0].checkpoint, launches[0].resources, launches[1].resources) == ("0/a", BIG, {"cpu": 1.0})
    retries = [decision.reason for record in one.records for decision in record.decisions if decision.do == "retry"]
    assert retries == ["grows", "interrupted; starts anew"]


@pytest.mark.parametrize("killed", [False, True])
def test_stopped_by_a_person_meanwhile_it_goes_on_in_the_new_size_later(killed: bool, script: Any, told: Any) -> None:
    one = grown(script, told, drain_s=5.0)
    one.report(0)
    one.feed(ev.StopRequested("Ctrl-C", drain=True))
    assert cmd.Stop(0, 0, save=True) in one.controller.wanted()
    one.end(1, "stopped")
    if killed:
        one.fire("drain")
        one.end(0, "interrupted")
        assert one.reason("retry") == "killed, as it had not ended within drain_s=5.0; starts anew"
    else:
        one.saved(0, "0/a")
        one.end(0, "stopped")
    assert (one.status(0), one.trial(0).resources) == ("PENDING", BIG)
    launch = next(command for command in one.resume() if isinstance(command, cmd.Launch) and command.trial == 0)
    assert (launch.resources, launch.checkpoint) == (BIG, None if killed else "0/a")


def test_a_resume_keeps_the_size(script: Any, told: Any) -> None:
    one = grown(script, told)
    one.report(0, "0/a")
    one.end(0, "stopped")
    one.started(0)
    commands = one.resume(resources={"cpu": 1.0})
    assert next(command.resources for command in commands if isinstance(command, cmd.Launch) and command.trial == 0) == BIG


def test_those_that_ran_go_on_first(script: Any, told: Any) -> None:
    """Before one with a smaller number that waited for more than there was: it will have it when it would have had it."""
    one = script(told({(0, 1): told.resize({"cpu": 3}, "grows")}), {"cpu": 3.0}, num_samples=3, can_save=True)
    one.begin(3)
    one.report(0, "0/a")
    one.end(0, "stopped")
    commands = one.resume()
    assert [command.trial for command in commands if isinstance(command, cmd.Launch)] == [1, 2]
    assert list(one.state.lost) == []


@pytest.mark.parametrize("default", [None, {"cpu": 1.0}])
def test_taken_up_after_its_end_it_begins_with_what_it_took_at_first(default: Any, script: Any, told: Any) -> None:
    one = grown(script, told)
    one.report(0, "0/a")
    one.end(0, "stopped")
    one.started(0)
    trial = one.trial(0)
    one.end(0)
    assert trial.resources == BIG
    event = reopening(trial, "criterion", default=default)
    assert event.resources == (None if default else {"cpu": 1.0})
    one.feed(event)
    assert (one.trial(0).resources, one.trial(0).first) == ({"cpu": 1.0}, None)


# -- a machine that becomes smaller --------------------------------------------------------------------------------------


def full_size(script: Any, told: Any, **settings: Any) -> Any:
    """Trial 0 runs with all four CPUs, trial 1 is over."""
    one = grown(script, told, {"cpu": 4}, **settings)
    one.report(0, "0/a")
    one.end(0, "stopped")
    one.end(1)
    one.started(0)
    assert one.trial(0).resources == {"cpu": 4.0}
    return one


def test_who_waits_goes_back_to_what_it_began_with(script: Any, told: Any) -> None:
    one = grown(script, told, {"cpu": 4})
    one.report(0, "0/a")
    one.end(0, "stopped")
    assert one.status(0) == "PENDING"
    (launch,) = one.feed(ev.CapacityChanged({"cpu": 2.0}))
    assert one.decisions[0] == Decision("resize", 0, one.reason("resize"), {"resources": {"cpu": 1.0}})
    assert one.reason("resize") == "goes back to cpu 1: cpu 4 cannot be had any more, there is cpu 2 in all"
    assert (launch.trial, launch.resources, launch.checkpoint) == (0, {"cpu": 1.0}, "0/a")


def test_who_is_paused_goes_back_too(script: Any, told: Any, takes_waiting_only: Any) -> None:
    one = script(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), {"cpu": 4.0}, num_samples=2)
    one.begin(2)
    one.report(0, "0/a")
    one.end(0, "stopped")
    one.scheduler.says |= {(1, 1): told.resize({"cpu": 3}, "grows", trial=0), (1, 2): told.resize({"cpu": 4}, "grows", trial=0)}
    one.report(1)
    one.report(1)
    assert one.trial(0).resources == {"cpu": 4.0}
    one.feed(ev.CapacityChanged({"cpu": 3.0}))
    assert one.did() == [("resize", 0)]
    assert (one.status(0), one.trial(0).resources) == ("PAUSED", {"cpu": 1.0})


def test_what_runs_on_a_machine_that_shrank_goes_back_when_it_begins_anew(script: Any, told: Any) -> None:
    one = full_size(script, told)
    assert one.feed(ev.CapacityChanged({"cpu": 2.0})) == []
    (launch,) = one.end(0, "worker_lost")
    assert launch.resources == {"cpu": 1.0}
    assert one.decisions[0].data == {"outcome": "worker_lost", "charge": True, "resources": {"cpu": 1.0}}


def test_the_next_session_has_less(script: Any, told: Any) -> None:
    one = full_size(script, told)
    (launch,) = [command for command in one.resume({"cpu": 2.0}) if isinstance(command, cmd.Launch)]
    assert launch.resources == {"cpu": 1.0}


def test_there_is_less_by_the_time_that_it_could_grow(script: Any, told: Any) -> None:
    one = grown(script, told, {"cpu": 4})
    one.report(0, "0/a")
    one.feed(ev.CapacityChanged({"cpu": 3.0}))
    (launch,) = one.end(0, "stopped")
    assert launch.resources == {"cpu": 1.0}
    assert one.reason("retry") == "grows; there is no room for that any more"


def test_the_second_step_is_too_much_so_the_first_one_stands(script: Any, told: Any) -> None:
    one = grown(script, told, chosen=None)
    one.report(0, "0/a")
    one.end(0, "stopped")
    one.started(0)
    one.scheduler.says[0, 2] = told.resize({"cpu": 4}, "grows more")
    one.report(0, "0/b")
    one.feed(ev.CapacityChanged({"cpu": 3.0}))
    (launch,) = one.end(0, "stopped")
    assert launch.resources == BIG


@pytest.mark.parametrize("can_save", [False, True])
def test_held_warm_it_goes_back_when_nothing_else_is_left(can_save: bool, script: Any, told: Any, takes_waiting_only: Any) -> None:
    """Rather than to end it begins again, from what it has."""
    one = full_size(script, told, warm_pause=True, can_save=can_save, chosen=takes_waiting_only)
    one.scheduler.says[0, 2] = "PAUSE"
    one.scheduler.chosen = None
    one.feed(ev.CapacityChanged({"cpu": 2.0}))
    assert one.report(0) == [cmd.Pause(0, 1, "warm"), cmd.Stop(0, 1, save=can_save)]
    if can_save:
        one.saved(0, "0/b")
    (launch,) = one.end(0, "stopped")
    assert (launch.resources, launch.checkpoint) == ({"cpu": 1.0}, "0/b" if can_save else "0/a")


def test_what_cannot_be_placed_even_so_ends(script: Any, told: Any) -> None:
    one = full_size(script, told)
    one.feed(ev.CapacityChanged({"cpu": 0.5}))
    one.end(0, "worker_lost")
    assert one.status(0) == "ERROR"


def test_who_was_never_resized_is_as_it_was(script: Any) -> None:
    one = script(totals={"cpu": 2.0}, resources={"cpu": 2.0})
    one.begin()
    one.feed(ev.CapacityChanged({"cpu": 1.0}))
    one.end(0, "worker_lost")
    assert one.status(0) == "ERROR"


# -- GPUs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "cards"), [({"gpu": 1.0, "cpu": 0.0}, ((1, 1.0),)), ({"gpu": 0.25, "cpu": 0.0}, ((0, 0.25),)), ({"gpu": 0.0, "cpu": 1.0}, ())]
)
def test_parts_of_cards_and_whole_ones(size: dict[str, float], cards: Any, script: Any, told: Any) -> None:
    half = {"gpu": 0.5, "cpu": 0.0}
    one = grown(script, told, size, totals={"cpu": 1.0, "gpu": 2.0}, resources=half)
    assert (one.trial(0).gpus, one.trial(1).gpus) == (((0, 0.5),), ((0, 0.5),))
    one.report(0, "0/a")
    (launch,) = one.end(0, "stopped")
    assert launch.gpus == cards
    (again,) = one.end(0, "worker_lost")
    assert again.gpus == cards


def test_one_and_a_half_cards_cannot_be(script: Any, told: Any) -> None:
    with pytest.raises(SpecError, match="a part of one card"):
        told.resize({"gpu": 1.5}, "grows")
    wish = Decision("resize", 0, "grows", {"resources": {"gpu": 1.5}})
    one = script(told({(0, 1): wish}), {"cpu": 1.0, "gpu": 2.0}, can_save=True)
    one.begin()
    assert one.report(0) == [cmd.Continue(0, 0)]


# -- what schedulers say, and what is left of it -------------------------------------------------------------------------


def test_any_form_of_request() -> None:
    decision = Scheduler.resize({"CPU": 2, "custom_resources": {"tpu": 1}}, "why", 3)
    assert decision == Decision("resize", 3, "why", {"resources": {"cpu": 2.0, "tpu": 1.0}})
    assert Scheduler.resize(PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}]), "why").data == {"resources": BIG}
    with pytest.raises(SpecError, match=r"resize\(\)\['cpu'\] must be a finite number"):
        Scheduler.resize({"cpu": -1}, "why")


def test_an_experiment_that_ends_resizes_nobody(script: Any, told: Any) -> None:
    one = grown(script, told)
    one.feed(ev.StopRequested("enough"))
    assert one.report(0) == []
    assert one.did() == []


def test_another_size_again_and_again(script: Any, told: Any) -> None:
    """Back and forth: what waits in no queue, or in two, would show."""
    says = {(0, iteration): told.resize({"cpu": 1 + iteration % 3}, "changes") for iteration in range(1, 12)}
    one = script(told(says), {"cpu": 3.0}, num_samples=2, can_save=True)
    one.begin()
    for iteration in range(1, 12):
        one.report(0, f"0/{iteration}")
        one.end(0, "stopped")
        assert one.trial(0).resources == {"cpu": 1.0 + iteration % 3}
        one.started(0)
    assert [(number, one.trial(number).attempt) for number in one.state.running] == [(0, 11)]
