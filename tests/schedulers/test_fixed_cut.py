"""Train all to a cut, and the best to the end."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.fixed_cut import FixedCutScheduler
from tunesmith.testing import SchedulerKit


def chosen(answer: Any) -> int | None:
    """The number of what ``choose`` answers: a trial, or a decision that says why."""
    if isinstance(answer, Decision):
        assert answer.do == "launch"
        assert "goes on" in answer.reason
        return answer.trial
    return None if answer is None else answer.number


class TestFixedCut(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return FixedCutScheduler(metric=metric, mode=mode, max_t=15, cut_at=3, keep=2)

    def test_exactly_the_best_go_on(self) -> None:
        for slots in (1.0, 4.0, 20.0):
            loop = self.loop(3, cpus=slots, reports=(20, 20), checkpoint=1.0)
            loop.run()
            at_cut = {}
            last = {}
            for record in loop.records:
                if isinstance(record.event, ev.Reported):
                    last[record.event.trial] = max(record.event.iteration, last.get(record.event.trial, 0))
                    if record.event.iteration == 3:
                        at_cut[record.event.trial] = record.event.metrics["loss"]
            best = sorted(at_cut, key=at_cut.__getitem__)[:2]
            assert last == {trial: 15 if trial in best else 3 for trial in range(12)}
            reasons = [decision.reason for record in loop.records for decision in record.decisions if decision.do == "end"]
            assert not [reason for reason in reasons if "nothing was left" in reason]


class TestFixedCutByGroups(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return FixedCutScheduler("time_total_s", metric, mode, max_t=12, cut_at=2.5, keep=1, group=5)


class TestFixedCutKeepsMost(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        return FixedCutScheduler(metric=metric, mode=mode, max_t=100, cut_at=1, keep=11)


# -- hook by hook --------------------------------------------------------------------------------------------------------


@dataclass
class View:
    number: int


@dataclass
class Wait:
    pending: list[View] = field(default_factory=list)
    paused: list[int] = field(default_factory=list)
    unfit: set[int] = field(default_factory=set)

    def get(self, number: int) -> View | None:
        return None if number in self.unfit else View(number)


def begun(trials: int = 0, samples: int | None = 8, mode: str = "min", **options: Any) -> Any:
    scheduler = FixedCutScheduler(**{"max_t": 10, "cut_at": 2, **options})
    scheduler.start(Settings(metrics=("loss",), modes=(mode,), num_samples=samples))
    add(scheduler, *range(trials))
    return scheduler


def add(scheduler: Any, *numbers: int) -> None:
    for number in numbers:
        scheduler.on_trial_add(View(number))


def tell(scheduler: Any, number: int, time: float, loss: float) -> Any:
    return scheduler.on_result(View(number), {"training_iteration": time, "loss": loss})


def done(answer: Any) -> list[tuple[str, int | None]]:
    """What was decided, about whom."""
    if answer in (None, "CONTINUE"):
        return []
    decisions = answer if isinstance(answer, list) else [answer]
    return [(decision.do, decision.trial) for decision in decisions]


def test_all_wait_until_all_have_come_and_the_best_goes_on() -> None:
    scheduler = begun(4)
    assert tell(scheduler, 0, 1, 0.0) == "CONTINUE"
    waits = tell(scheduler, 0, 2, 0.4)
    assert waits == scheduler.pause("waits at training_iteration 2 for the others of the cut (0.4, 1st of 1 so far)")
    assert done(tell(scheduler, 1, 2, 0.2)) == [("pause", None)]
    assert done(scheduler.on_search_end()) == []
    assert done(tell(scheduler, 2, 2, 0.3)) == [("pause", None)]
    assert scheduler.choose(Wait([], [0, 1, 2])) is None
    cut = tell(scheduler, 3, 2, 0.5)
    assert done(cut) == [("stop", 2), ("stop", 0), ("stop", 3)]
    assert cut[1].reason == "0.4 at training_iteration 2 is 3rd of 4; only the best goes on"
    assert chosen(scheduler.choose(Wait([], [1]))) == 1
    assert tell(scheduler, 1, 3, 9.0) == "CONTINUE"
    assert scheduler.choose(Wait([], [])) is None


def test_the_one_in_hand_may_be_the_best() -> None:
    scheduler = begun(2)
    tell(scheduler, 0, 2, 0.4)
    scheduler.on_search_end()
    cut = tell(scheduler, 1, 2, 0.1)
    assert done(cut) == [("stop", 0), ("continue", 1)]
    assert cut[1].reason == "0.1 at training_iteration 2 is 1st of 2: goes on"


def test_more_may_be_drawn_even_when_all_present_ones_wait() -> None:
    scheduler = begun(2)
    assert done(tell(scheduler, 0, 2, 0.4)) == [("pause", None)]
    assert done(tell(scheduler, 1, 2, 0.3)) == [("pause", None)]
    add(scheduler, 2)
    tell(scheduler, 2, 2, 0.5)
    assert done(scheduler.on_search_end()) == [("stop", 0), ("stop", 2)]


def test_when_more_are_drawn_after_all_the_cut_waits_for_their_end() -> None:
    """A resume has raised the number of trials."""
    scheduler = begun(2)
    scheduler.on_search_end()
    tell(scheduler, 0, 2, 0.4)
    add(scheduler, 2)
    assert done(tell(scheduler, 2, 2, 0.2)) == [("pause", None)]
    assert done(tell(scheduler, 1, 2, 0.3)) == [("pause", None)]
    assert done(scheduler.on_search_end()) == [("stop", 1), ("stop", 0)]


def test_the_end_of_a_member_may_bring_the_cut() -> None:
    scheduler = begun(4, keep=2)
    scheduler.on_search_end()
    for number in (0, 1, 2):
        tell(scheduler, number, 2, number / 10)
    assert done(scheduler.on_trial_end(View(3), "user_error")) == [("stop", 2)]


def test_a_member_that_dies_at_the_cut_takes_no_place() -> None:
    scheduler = begun(3)
    scheduler.on_search_end()
    tell(scheduler, 0, 2, 0.1)
    tell(scheduler, 1, 2, 0.2)
    assert done(scheduler.on_trial_end(View(0), "stopped")) == []
    assert done(tell(scheduler, 2, 2, 0.3)) == [("stop", 2)]
    assert chosen(scheduler.choose(Wait([], [1]))) == 1


def test_the_best_first() -> None:
    scheduler = begun(4, keep=3)
    for number, loss in enumerate((0.3, 0.1, 0.2)):
        tell(scheduler, number, 2, loss)
    scheduler.on_search_end()
    tell(scheduler, 3, 2, 0.9)
    order = []
    waiting = [0, 1, 2]
    while waiting:
        order.append(chosen(scheduler.choose(Wait([], waiting))))
        waiting.remove(order[-1])
    assert order == [1, 2, 0]


def test_who_does_not_fit_is_passed_over() -> None:
    scheduler = begun(3, keep=2)
    scheduler.on_search_end()
    for number, loss in enumerate((0.1, 0.2, 0.3)):
        tell(scheduler, number, 2, loss)
    assert chosen(scheduler.choose(Wait([], [0, 1], unfit={0}))) == 1
    assert chosen(scheduler.choose(Wait([], [0]))) == 0


def test_equal_ones_go_by_number_and_nan_is_last() -> None:
    scheduler = begun(4, keep=2)
    scheduler.on_search_end()
    for number, loss in ((3, 0.5), (2, 0.5), (1, math.nan)):
        tell(scheduler, number, 2, loss)
    assert done(tell(scheduler, 0, 2, 0.5)) == [("stop", 3), ("stop", 1), ("continue", 0)]


def test_a_result_that_jumps_over_the_cut_is_one_at_it() -> None:
    scheduler = begun(2, mode="max")
    assert done(tell(scheduler, 0, 7, 0.4)) == [("pause", None)]
    scheduler.on_search_end()
    assert done(tell(scheduler, 1, 3, 0.5)) == [("stop", 0), ("continue", 1)]


def test_at_max_t_trials_are_stopped_by_a_bound() -> None:
    scheduler = begun(2)
    assert tell(scheduler, 0, 10, 0.4) == scheduler.stop("it has come to max_t=10", bound=("max_t", 10))
    scheduler.on_search_end()
    tell(scheduler, 1, 2, 0.5)
    assert done(scheduler.on_trial_end(View(0), "stopped")) == [], "it had no place at the cut"
    assert chosen(scheduler.choose(Wait([], [1]))) == 1
    scheduler.change({"max_t": 20})
    scheduler.on_trial_reopen(View(0))
    assert tell(scheduler, 0, 11, 0.4) == "CONTINUE"


def test_a_paused_one_that_runs_all_the_same_is_paused_again() -> None:
    """A person has resumed it, or it was lost and tried again."""
    scheduler = begun(2)
    tell(scheduler, 0, 2, 0.4)
    assert done(tell(scheduler, 0, 3, 0.1)) == [("pause", None)]
    scheduler.on_search_end()
    assert done(tell(scheduler, 1, 2, 0.3)) == [("stop", 0), ("continue", 1)], "its place is that of its first result at the cut"


def test_who_comes_after_the_cut_must_be_among_the_best() -> None:
    scheduler = begun(3)
    scheduler.on_search_end()
    for number, loss in enumerate((0.3, 0.2, 0.4)):
        tell(scheduler, number, 2, loss)
    add(scheduler, 3, 4)
    late = tell(scheduler, 3, 2, 0.25)
    assert late == scheduler.stop("0.25 at training_iteration 2 is 2nd of 4; only the best goes on", 3)
    assert tell(scheduler, 4, 2, 0.1) == "CONTINUE"
    assert tell(scheduler, 4, 3, 0.9) == "CONTINUE"
    assert tell(scheduler, 1, 3, 0.9) == "CONTINUE", "whoever has come through stays, whoever comes later"


def test_groups_are_cut_each_for_itself() -> None:
    scheduler = begun(5, group=2)
    assert done(tell(scheduler, 2, 2, 0.9)) == [("pause", None)]
    assert done(tell(scheduler, 1, 2, 0.1)) == [("pause", None)]
    assert done(tell(scheduler, 3, 2, 0.8)) == [("stop", 2), ("continue", 3)]
    assert done(tell(scheduler, 0, 2, 0.2)) == [("stop", 0)]
    assert done(tell(scheduler, 4, 2, 0.2)) == [("pause", None)]
    assert done(scheduler.on_search_end()) == [], "the last group is not full: its only member goes on"
    assert [chosen(scheduler.choose(Wait([], [1, 4]))) for _ in range(2)] == [1, 4]


def test_an_infeasible_member_is_replaced_in_its_group() -> None:
    scheduler = begun(3, group=2)
    tell(scheduler, 0, 2, 0.5)
    assert done(scheduler.on_trial_end(View(1), "infeasible")) == []
    add(scheduler, 3)
    assert scheduler._home == {0: 0, 1: 0, 2: 1, 3: 0}
    assert done(tell(scheduler, 3, 2, 0.4)) == [("stop", 0), ("continue", 3)]


def test_without_a_bound_on_trials_groups_have_a_size_all_the_same() -> None:
    scheduler = begun(samples=None, max_t=10, cut_at=3, keep=2)
    assert scheduler._size == 7
    assert scheduler.options()["group"] is None
    assert begun(samples=8)._size is None
    assert begun(samples=None, group=4)._size == 4


def test_who_was_paused_by_somebody_else_is_resumed_in_the_next_session() -> None:
    scheduler = begun(3)
    tell(scheduler, 0, 2, 0.5)
    assert scheduler.choose(Wait([], [0, 1])) is None
    scheduler.on_capacity({"cpu": 1.0})
    assert scheduler.choose(Wait([], [0, 1], unfit={1})) is None
    assert chosen(scheduler.choose(Wait([], [0, 1]))) == 1
    assert scheduler.choose(Wait([], [0])) is None


def test_a_failed_one_that_is_tried_again_is_waited_for() -> None:
    scheduler = begun(2)
    scheduler.on_trial_end(View(0), "user_error")
    scheduler.on_trial_reopen(View(0))
    scheduler.on_search_end()
    assert done(tell(scheduler, 1, 2, 0.5)) == [("pause", None)]
    assert done(tell(scheduler, 0, 2, 0.6)) == [("stop", 0)]


def test_results_that_say_too_little_are_passed_over() -> None:
    scheduler = begun(2)
    for result in ({"loss": 1.0}, {"training_iteration": 3}, {"training_iteration": 3, "loss": "bad"}):
        assert scheduler.on_result(View(0), result) == "CONTINUE"


@given(st.data())
def test_whatever_happens_the_cut_comes_and_the_best_of_those_there_go_on(data: st.DataObject) -> None:
    count, keep = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 3))
    scheduler = begun(keep=keep)
    todo = [("add", number) for number in range(count)]
    coming, there, decisions = set(), dict[int, int](), []
    while todo or coming:
        options = [("come", one) for one in sorted(coming)] + [("die", one) for one in sorted({*coming, *there})]
        what, number = data.draw(st.sampled_from([*todo[:1], *options]))
        if what == "add":
            todo.pop(0)
            add(scheduler, number)
            coming.add(number)
            answer = None if todo else scheduler.on_search_end()
        elif what == "come":
            coming.remove(number)
            there[number] = data.draw(st.integers(0, 3))
            answer = tell(scheduler, number, 2, there[number])
        else:
            coming.discard(number)
            there.pop(number, None)
            answer = scheduler.on_trial_end(View(number), "user_error")
        decisions += [one for one in done(answer) if one[0] != "pause"]
    best = sorted(there, key=lambda one: (there[one], one))
    assert {one for do, one in decisions if do == "stop"} == set(best[keep:])
    resumed = {one for do, one in decisions if do == "continue"}
    while (number := chosen(scheduler.choose(Wait([], sorted(there))))) is not None:
        resumed.add(number)
    assert resumed == set(best[:keep])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"time_attr": None}, "FixedCutScheduler: time_attr must be the name of"),
        ({"cut_at": 0}, "FixedCutScheduler: cut_at must be a number above 0, got 0"),
        ({"cut_at": 10, "max_t": 10}, "cut_at=10 must be below max_t=10"),
        ({"keep": 0}, "keep must be a whole number, at least 1, got 0"),
        ({"keep": 4, "group": 4}, "group must be a whole number, at least 5, got 4"),
        ({"max_t": None}, "max_t must be a number above 0, got None"),
    ],
)
def test_bad_arguments(option: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        FixedCutScheduler(**option)
