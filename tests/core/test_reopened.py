"""Ended trials that go on, and sessions about some trials only: facts from the event alone, invariants after each event, exact folds."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.controller import Controller
from tunesmith.core.trial import Trial
from tunesmith.resume import reopening

ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42"}


@pytest.fixture
def story(script: Any) -> Any:
    """Makes a script that keeps its trials as they were just before their ends."""

    def make(*arguments: Any, **spec: Any) -> Any:
        one = script(*arguments, **spec)
        one.ended = {}
        one.controller.parted = lambda trial, decision: one.ended.update({trial.number: copy.deepcopy(trial)})
        return one

    return make


def again(one: Any, *numbers: int, restart: bool = False, only: Any = None, why: str = "errored", **changes: Any) -> list[cmd.Command]:
    """Another session, in which these trials go on; the commands after its last event."""
    lost = one.controller.alive()
    one.feed(ev.ExperimentStarted({}, one.state.session + 1, only=only))
    if changes:
        one.feed(ev.SpecChanged(changes))
    for trial, attempt in lost:
        one.feed(ev.AttemptEnded(trial, attempt, "driver_lost"))
    for number in numbers:
        one.feed(reopening(one.ended[number], why, one.state.doomed, restart=restart))
    return one.feed(ev.CapacityChanged(one.totals, one.slots))  # type: ignore[no-any-return]


def launches(commands: list[cmd.Command]) -> list[tuple[int, int, str | None, int]]:
    return [(one.trial, one.attempt, one.checkpoint, one.iteration) for one in commands if isinstance(one, cmd.Launch)]


def test_a_failed_trial_goes_on_from_its_checkpoint(story: Any) -> None:
    one = story(retries={"user_error": 1})
    one.begin()
    one.report(0, checkpoint="0/checkpoint_000000")
    one.report(0)
    one.end(0, "user_error", ERROR)
    one.started(0)
    one.end(0, "user_error", ERROR)
    assert (one.status(0), one.state.finished) == ("ERROR", "all 1 trials have ended")
    assert launches(again(one, 0)) == [(0, 2, "0/checkpoint_000000", 1)]
    assert one.state.counts == {"PENDING": 0, "RUNNING": 1, "PAUSED": 0, "TERMINATED": 0, "ERROR": 0}
    assert one.trial(0).failures == {}, "a fresh budget"
    one.started(0)
    one.report(0)
    assert one.scheduler.shown == [(0, 1), (0, 2)], "iteration 2 was shown before"
    one.report(0)
    assert one.scheduler.shown[-1] == (0, 3)
    one.end(0)
    assert one.scheduler.ended == [(0, "user_error"), (0, "finished")]
    assert (one.status(0), one.state.finished) == ("TERMINATED", "all 1 trials have ended")


def test_or_begins_anew(story: Any) -> None:
    one = story()
    one.begin()
    one.report(0, checkpoint="0/checkpoint_000000")
    one.end(0, "user_error", ERROR)
    assert launches(again(one, 0, restart=True)) == [(0, 1, None, 0)]
    one.started(0)
    one.report(0)
    assert one.scheduler.shown == [(0, 1)]


def test_all_that_it_was_comes_with_the_event(story: Any) -> None:
    one = story(num_to_keep=2, score_attribute="loss", score_order="min", score="loss")
    one.begin(1, {"cpu": 2})
    for number in range(3):
        one.report(0, checkpoint=f"0/checkpoint_00000{number}")
    before = copy.deepcopy(one.trial(0))
    one.end(0)
    one.feed(ev.ExperimentStarted({}, 1))
    one.feed(reopening(one.ended[0], "criterion"))
    after = one.trial(0)
    same = ("values", "resources", "request", "iteration", "time_total", "metrics", "frontier", "saved", "base", "borrowed", "space")
    assert {name: getattr(after, name) for name in same} == {name: getattr(before, name) for name in same}
    assert (after.attempt, after.status, after.failures, after.then, after.started) == (1, "PENDING", {}, "", False)


def test_a_checkpoint_of_another_is_pinned_again(story: Any, told: Any) -> None:
    """It went on from its source's checkpoint, which the source keeps, or would let go."""
    one = story(told({(0, 1): told.exploit(1, "better", values={"x": 1})}), totals={"cpu": 2}, num_samples=2, num_to_keep=1)
    one.begin(2)
    one.report(1, "1/checkpoint_000000")
    one.report(0)
    one.end(0, "stopped")
    assert one.trial(0).borrowed
    one.started(0)
    one.end(0, "user_error", ERROR)
    assert sorted(launches(again(one, 0))) == [(0, 2, "1/checkpoint_000000", 1), (1, 1, "1/checkpoint_000000", 1)]
    assert one.state.pins["1/checkpoint_000000"] == 3  # both attempts that load it, and trial 0's base
    one.started(0)
    one.started(1)
    one.report(1, "1/checkpoint_000001")
    assert cmd.DeleteCheckpoint("1/checkpoint_000000") not in one.commands
    assert one.state.doomed == {"1/checkpoint_000000"}
    one.report(0, "0/checkpoint_000000")
    assert cmd.DeleteCheckpoint("1/checkpoint_000000") in one.commands


def test_what_is_gone_is_not_among_it() -> None:
    from tunesmith.core.retention import Saved

    first, second = Saved("0/a", 1, 1.0), Saved("0/b", 2, 2.0)
    trial = Trial(0, {}, {"cpu": 1.0}, (), saved=[first, second], base=second)
    assert reopening(trial, "errored").base == ["0/b", 2, 2.0, None, None, 0]
    assert reopening(trial, "errored", {"0/b"}).base == ["0/a", 1, 1.0, None, None, 0]
    event = reopening(trial, "errored", {"0/a", "0/b"}, default={"cpu": 1.0})
    assert (event.base, event.saved, event.resources) == (None, [], None)


def test_what_took_the_default_takes_what_is_the_default_now(story: Any) -> None:
    one = story(totals={"cpu": 4})
    one.begin()
    one.end(0, "oom_ram")
    one.feed(ev.ExperimentStarted({}, 1))
    one.feed(ev.SpecChanged({"resources": {"cpu": 3}}))
    one.feed(reopening(one.ended[0], "errored", default={"cpu": 1.0}))
    assert one.trial(0).resources == {"cpu": 3}


def test_the_breaker_begins_anew_if_a_failed_one_goes_on(story: Any) -> None:
    one = story(identical=3, num_samples=9, totals={"cpu": 1})
    for number in range(2):
        one.begin()
        one.end(number, "user_error", ERROR)
    assert one.state.breaker.count == 2
    again(one, 0)
    assert (one.state.breaker.armed, one.state.breaker.count) == (True, 0)


def test_it_disarms_nothing_else(story: Any) -> None:
    one = story(identical=3, num_samples=9, totals={"cpu": 1})
    one.begin()
    one.end(0)
    again(one, 0, why="criterion")
    assert not one.state.breaker.armed


def test_only_those_that_are_over_can_go_on(story: Any) -> None:
    one = story(num_samples=2, totals={"cpu": 1})
    one.begin()
    one.end(0, "user_error", ERROR)
    event = reopening(one.ended[0], "errored")
    one.feed(ev.ExperimentStarted({}, 1))
    one.feed(event)
    before = one.controller.digest()
    assert not one.controller.accepts(event), "it lives"
    assert one.feed(event) == []
    assert one.controller.digest() == before
    assert not one.controller.accepts(ev.Reopened(7, 0, "errored", {}, None, 0, 0.0, {}, 0)), "it never was"
    one.feed(ev.CapacityChanged(one.totals))
    one.started(0)
    one.end(0)
    one.feed(ev.StopRequested("enough"))
    assert not one.controller.accepts(event), "the experiment ends"


def test_the_scheduler_is_told(story: Any, told: Any) -> None:
    class Tells(told):  # type: ignore[misc]
        reopened: tuple[Any, ...] = ()

        def on_trial_reopen(self, trial: Any) -> None:
            self.reopened = (*self.reopened, (trial.number, trial.status, trial.iteration, trial.metrics["loss"], trial.checkpoint))

    one = story(Tells())
    one.begin()
    one.report(0, checkpoint="0/checkpoint_000000", loss=3.0)
    one.end(0)
    again(one, 0, why="criterion")
    assert one.scheduler.reopened == ((0, "PENDING", 1, 3.0, "0/checkpoint_000000"),)


def test_options_are_those_of_the_record(story: Any, told: Any) -> None:
    class Bound(told):  # type: ignore[misc]
        changeable = ("max_t",)
        max_t = 1

    one = story(Bound(), scheduler_options={"max_t": 5, "rung": 2})
    assert one.scheduler.max_t == 5
    assert not hasattr(one.scheduler, "rung")
    one.feed(ev.SpecChanged({"scheduler_options": {"max_t": 7, "rung": 2}}))
    assert one.scheduler.max_t == 7


def _by(one: Any) -> dict[str, Any]:
    data = dict(next(decision.data for decision in one.decisions if decision.do == "end"))
    return {key: value for key, value in data.items() if key not in ("status", "outcome")}


def test_why_it_ended_is_data(story: Any, told: Any) -> None:
    bounded = told.stop("reached max_t=1", bound=("max_t", 1))
    one = story(told({(1, 1): bounded, (2, 1): "STOP"}), num_samples=9, totals={"cpu": 6}, time_budget_s=100.0)
    one.begin(5)
    one.report(0, verdict="loss <= 1")
    for number in (1, 2):
        one.report(number)
    found = []
    for number in (0, 1, 2):
        one.end(number, "stopped")
        found.append(_by(one))
    one.end(3)
    found.append(_by(one))
    one.fire("budget")
    one.end(4, "stopped")
    found.append(_by(one))
    assert found == [{"by": "criterion"}, {"by": "bound", "bound": ["max_t", 1]}, {}, {}, {"by": "halt:budget"}]


def test_also_of_those_that_did_not_run(story: Any, told: Any, takes_waiting_only: Any) -> None:
    one = story(told({(0, 1): "PAUSE"}, chosen=takes_waiting_only), time_budget_s=9.0, num_samples=2, slots=1)
    one.begin()
    one.report(0)
    one.end(0, "stopped")
    one.fire("budget")
    assert _by(one) == {"by": "halt:budget"}


def test_a_new_stop_is_not_taken_for_the_old_one(story: Any, told: Any) -> None:
    """Stopped by a bound, taken up, and stopped as a loser: it is one."""
    one = story(told({(0, 1): told.stop("max_t", bound=("max_t", 1)), (0, 2): "STOP"}))
    one.begin()
    one.report(0, checkpoint="0/checkpoint_000000")
    one.end(0, "stopped")
    again(one, 0, why="bound")
    one.started(0)
    one.report(0)
    one.end(0, "stopped")
    assert _by(one) == {}


# -- sessions about some trials only -------------------------------------------------------------------------------------


def unfinished(story: Any, **spec: Any) -> Any:
    """Trial 0 has failed; 1 runs, 2 waits for a place; two more could be drawn. The driver dies."""
    one = story(num_samples=5, totals={"cpu": 2}, config_resources=True, **spec)
    one.begin(2)
    one.end(0, "user_error", ERROR)
    one.suggest(resources={"cpu": 2})
    one.report(1, checkpoint="1/checkpoint_000000")
    return one


def test_the_others_wait_for_another_session(story: Any) -> None:
    one = unfinished(story)
    commands = again(one, 0, only=(0,))
    assert launches(commands) == [(0, 1, None, 0)]
    assert not any(isinstance(command, cmd.Suggest) for command in commands)
    assert (one.state.only, one.state.skipped) == (True, {1, 2})
    one.started(0)
    one.end(0)
    assert one.state.finished == "the trials of this session have ended; 2 unfinished ones are left to another"
    assert [one.status(number) for number in range(3)] == ["TERMINATED", "PENDING", "PENDING"]
    commands = again(one)
    assert launches(commands) == [(1, 1, "1/checkpoint_000000", 1)]
    assert (one.state.only, one.state.skipped) == (False, set())
    assert any(isinstance(command, cmd.Suggest) for command in commands)


def test_an_empty_one_ends_at_once(story: Any) -> None:
    one = unfinished(story)
    assert launches(again(one, only=())) == []
    assert one.state.finished == "the trials of this session have ended; 2 unfinished ones are left to another"


def test_the_end_of_the_experiment_does_not_end_them(story: Any) -> None:
    one = unfinished(story)
    again(one, 0, only=(0,))
    one.started(0)
    one.feed(ev.StopRequested("enough"))
    one.end(0, "stopped")
    assert one.state.finished == "enough"
    assert sorted(one.state.trials) == [1, 2]


def test_they_are_not_ended_where_there_is_no_place_for_them(story: Any) -> None:
    one = unfinished(story)
    one.totals, one.shrunk = {"cpu": 1.0}, True
    again(one, 0, only=(0,))
    assert one.status(2) == "PENDING"


def test_a_person_may_end_them(story: Any) -> None:
    one = unfinished(story)
    again(one, 0, only=(0,))
    one.feed(ev.UserAction("resume", 1))
    one.feed(ev.UserAction("stop", 1))
    assert one.status(1) == "TERMINATED"
    one.started(0)
    one.end(0)
    assert one.state.finished == "the trials of this session have ended; 1 unfinished ones are left to another"


def test_paused_ones_stay_so(story: Any, told: Any) -> None:
    one = story(told({(1, 1): "PAUSE"}), num_samples=2, totals={"cpu": 2})
    one.begin(2)
    one.end(0, "user_error", ERROR)
    one.feed(ev.UserAction("pause", 1))
    one.report(1, checkpoint="1/checkpoint_000000")
    one.end(1, "stopped")
    again(one, 0, only=(0,))
    one.started(0)
    one.end(0)
    assert one.status(1) == "PAUSED"
    assert one.state.finished
    assert launches(again(one)) == [(1, 1, "1/checkpoint_000000", 1)]


def test_an_exploit_under_way_waits_with_its_trial(story: Any, told: Any) -> None:
    one = story(told({(0, 1): told.exploit(1, "better")}), num_samples=3, totals={"cpu": 3}, exploit_wait_s=5.0)
    one.begin(3)
    one.end(2, "user_error", ERROR)
    one.report(0)
    assert "exploit:0" in one.state.timers
    again(one, 2, only=(2,))
    assert (one.state.timers, [command.trial for command in one.controller.wanted()]) == ({}, [2])
    one.started(2)
    one.end(2)
    assert one.controller.wanted() == [cmd.Finish(one.state.finished)]
    commands = again(one)
    assert launches(commands) == [(1, 1, None, 0)]
    assert one.state.timers == {"exploit:0": 5.0}
    assert [command.trial for command in one.controller.wanted() if isinstance(command, cmd.Explore)] == [0]


# -- folds ---------------------------------------------------------------------------------------------------------------


def test_every_prefix_folds_into_the_same_state(story: Any, told: Any) -> None:
    """A crash after any event, also right after the first commit of such a session: the same state, and the same is owed."""
    one = unfinished(story, num_to_keep=1, max_checkpoint_bytes=100)
    digests: list[tuple[str, list[str]]] = []
    feed = one.feed

    def noting(*arguments: Any) -> Any:
        commands = feed(*arguments)
        digests.append((one.controller.digest(), list(map(repr, one.controller.wanted()))))
        return commands

    one.feed = noting
    first = len(one.records)
    again(one, 0, only=(0,))
    one.started(0)
    one.report(0, "0/checkpoint_000000")
    one.end(0, "user_error", ERROR)
    again(one, 0, restart=True, max_checkpoint_bytes=50, num_samples=6)
    one.started(0)
    one.end(0)
    again(one, 0, why="criterion")
    folded = Controller(told())
    for number, record in enumerate(one.records):
        folded.handle(record.event, record.decisions)
        if number >= first:
            assert (folded.digest(), list(map(repr, folded.wanted()))) == digests[number - first]
    assert not folded.difference
