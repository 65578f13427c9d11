"""Rounds of synchronous brackets, step by step: who waits, who goes on, who is stopped and why, and what is started next."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.controller import Controller
from tunesmith.core.invariants import check
from tunesmith.core.settings import Settings
from tunesmith.schedulers.base import Scheduler
from tunesmith.schedulers.brackets import Plan
from tunesmith.schedulers.hyperband import BracketScheduler

SETTINGS: dict[str, Any] = {"metrics": ["loss"], "modes": ["min"]}


class Four(BracketScheduler):
    """Brackets of four: 4 to 1, 2 to 2, 1 to 4."""

    def __init__(self, stop_last_trials: bool = True, time_attr: str = "t", places: int = 4) -> None:
        super().__init__(time_attr, None, None, 4, 2, stop_last_trials)
        self.places = places

    def plans(self) -> list[Plan]:
        return [Plan(self.places, (1, 2, self.max_t))]


class Stage:
    """A controller whose trials do what the test says; whatever is commanded is done at once."""

    def __init__(self, scheduler: Scheduler, samples: int | None = 4, **settings: Any) -> None:
        self.controller = Controller(scheduler)
        self.decisions: list[Decision] = []
        self.running: dict[int, int] = {}
        self.counts: dict[int, int] = {}
        self.drawing = 10**9
        self._todo: deque[ev.Event] = deque()
        base = {"num_samples": samples, **SETTINGS, "warm_pause": True, "nan_policy": "continue", "identical": None}
        self.feed(ev.ExperimentStarted({**base, "retries": {"user_error": 0}, **settings}))
        self.feed(ev.CapacityChanged({"cpu": 4.0}))

    def feed(self, event: ev.Event) -> list[Decision]:
        """Let it happen, and all that follows; what was decided."""
        self.decisions = []
        self._todo.append(event)
        while self._todo:
            decisions, commands = self.controller.handle(self._todo.popleft())
            self.decisions += decisions
            for command in commands:
                self._obey(command)
        check(self.controller)
        return self.decisions

    def _obey(self, command: cmd.Command) -> None:
        match command:
            case cmd.Suggest(n, first):
                drawn = range(first, min(first + n, self.drawing))
                self._todo.extend(ev.Suggested(number, {}) for number in drawn)
                if len(drawn) < n:
                    self._todo.append(ev.SearchExhausted("no more"))
            case cmd.Launch(trial, attempt):
                self.running[trial] = attempt
                self._todo.append(ev.AttemptStarted(trial, attempt))
            case cmd.Continue(trial, attempt):
                self.running[trial] = attempt
            case cmd.Pause(trial):
                self.running.pop(trial)
            case cmd.Stop(trial, attempt):
                self.running.pop(trial, None)
                self._todo.append(ev.AttemptEnded(trial, attempt, "stopped"))

    def report(self, trial: int, t: float, loss: float, **more: Any) -> list[Decision]:
        assert trial in self.running, f"trial {trial} does not run; those that do: {sorted(self.running)}"
        self.counts[trial] = self.counts.get(trial, 0) + 1
        return self.feed(ev.Reported(trial, self.running[trial], self.counts[trial], {"t": t, "loss": loss, **more}))

    def end(self, trial: int, outcome: str) -> list[Decision]:
        return self.feed(ev.AttemptEnded(trial, self.running.pop(trial), outcome))

    def done(self, kind: str) -> dict[int | None, str]:
        return {decision.trial: decision.reason for decision in self.decisions if decision.do == kind}

    @property
    def live(self) -> list[int]:
        return sorted(self.controller.state.trials)


def test_the_last_one_there_decides_the_round() -> None:
    stage = Stage(Four())
    for trial, loss in ((0, 0.4), (1, 0.1), (2, 0.3)):
        stage.report(trial, 1, loss)
        assert list(stage.done("pause")) == [trial]
    stage.report(3, 1, 0.2)
    assert stage.done("stop") == {
        2: "0.3 at t 1 is 3rd of 4; the best 2 go on to 2, down to 0.2 (bracket 0)",
        0: "0.4 at t 1 is 4th of 4; the best 2 go on to 2, down to 0.2 (bracket 0)",
    }
    assert stage.done("continue") == {3: "0.2 at t 1 is 2nd of 4; the best 2 go on to 2, down to 0.2 (bracket 0)"}
    assert list(stage.done("launch")) == [1]
    assert sorted(stage.running) == [1, 3]
    assert not stage.controller.scheduler._brackets[0].promoted, "nobody is left to be resumed"


def test_the_reasons_of_pauses_and_of_the_end() -> None:
    stage = Stage(Four())
    stage.report(2, 1, 0.25)
    assert stage.done("pause") == {2: "0.25 at t 1; waits for 3 others (bracket 0)"}
    stage.report(1, 4, 0.5)
    assert stage.done("stop") == {1: "t 4 is max_t=4 or beyond (bracket 0)"}


def test_a_whole_bracket() -> None:
    stage = Stage(Four())
    for trial in range(4):
        stage.report(trial, 1, trial)
    for trial in (0, 1):
        stage.report(trial, 1.5, 0.0)
        assert not stage.decisions
        stage.report(trial, 2, trial)
    assert stage.live == [0]
    stage.report(0, 3, 0.0)
    assert stage.live == [0]
    stage.report(0, 4, 0.0)
    assert [decision.data["bound"] for decision in stage.decisions if decision.do == "stop"] == [["max_t", 4]]
    assert stage.controller.state.finished == "all 4 trials have ended"


@pytest.mark.parametrize("outcome", ["user_error", "finished", "infeasible", "stopped"])
def test_the_last_one_is_over_while_all_others_are_paused(outcome: str) -> None:
    stage = Stage(Four())
    for trial in range(3):
        stage.report(trial, 1, trial)
    stage.end(3, outcome)
    if outcome == "infeasible":  # another one is drawn in its place, and waited for
        assert stage.live == [0, 1, 2, 4]
        stage.report(4, 1, 4.0)
    left = [number for number in stage.live if number < 5]
    assert left == [0, 1], "two places, and the next best has that of the dead one"
    assert set(stage.running) >= {0, 1}


def test_an_infeasible_one_is_replaced_while_its_bracket_is_being_filled() -> None:
    stage = Stage(Four(), samples=None, max_concurrent=4)
    for trial in range(3):
        stage.end(trial, "infeasible")
    for trial in (3, 4, 5):
        stage.report(trial, 1, trial)
    assert stage.live[:4] == [3, 4, 5, 6]
    stage.report(6, 1, 6.0)
    assert stage.live[:2] == [3, 4]
    assert stage.live[2] == 7, "the next bracket begins"


def test_one_that_waits_is_over() -> None:
    """A person stops it; its place is the next best's."""
    stage = Stage(Four())
    for trial in range(3):
        stage.report(trial, 1, trial)
    stage.feed(ev.UserAction("stop", 0))
    stage.report(3, 1, 3.0)
    assert sorted(stage.running) == [1, 2]


def test_a_member_of_a_later_round_dies_while_all_others_are_paused() -> None:
    stage = Stage(Four(places=8), samples=8)
    stage.feed(ev.CapacityChanged({"cpu": 8.0}))
    for trial in range(8):
        stage.report(trial, 1, trial)
    for trial in (0, 1, 2):
        stage.report(trial, 2, trial)
    stage.end(3, "user_error")
    assert stage.live == [0, 1]
    assert sorted(stage.running) == [0, 1]


def test_while_it_may_be_filled_it_waits() -> None:
    stage = Stage(Four(), samples=None, max_concurrent=1)
    stage.drawing = 3
    for trial in (0, 1):
        stage.report(trial, 1, trial)
        assert stage.running == {trial + 1: 0}
    stage.report(2, 1, 2.0)
    assert stage.live == [0, 1], "nobody else came, so it was decided among three"
    assert sorted(stage.running) == [0]


def test_two_of_four_wait_for_nobody_at_the_first_milestone() -> None:
    stage = Stage(Four(), samples=2)
    stage.report(0, 1, 0.5)
    assert stage.done("continue") == {0: "0.5 at t 1; goes on to 2, as there is a place for all that are left (bracket 0)"}
    stage.report(1, 1, 0.4)
    assert not stage.decisions, "it was already on its way to the next one"
    stage.report(0, 2, 0.5)
    stage.report(1, 2, 0.4)
    assert list(stage.done("stop")) == [0]


def test_one_that_is_alone_never_pauses() -> None:
    stage = Stage(Four(), samples=1)
    for t in (1, 2, 3):
        stage.report(0, t, 0.5)
        assert not stage.done("pause")


def test_who_jumps_over_a_milestone() -> None:
    stage = Stage(Four())
    stage.report(0, 3, 0.3)
    assert list(stage.done("pause")) == [0], "beyond two milestones, it waits at the first"
    for trial in (1, 2, 3):
        stage.report(trial, 1, trial)
    assert sorted(stage.running) == [1], "it waits at the second one, too"
    stage.report(1, 2, 0.4)
    assert stage.live == [0]
    stage.report(0, 5, 0.3)
    assert stage.controller.state.finished


def test_who_jumps_beyond_the_end_is_done() -> None:
    stage = Stage(Four())
    for trial in (1, 2, 3):
        stage.report(trial, 1, trial)
    stage.report(0, 100, 0.0)
    assert list(stage.done("stop")) == [0, 3]
    assert stage.live == [1, 2], "its place is the next best's"


def test_all_of_them_jump() -> None:
    """Two rounds are decided at once."""
    stage = Stage(Four())
    for trial in range(4):
        stage.report(trial, 3, trial)
    assert stage.live == [0]
    assert sorted(stage.running) == [0]


def test_nan_is_worst_and_ties_go_to_the_smaller_number() -> None:
    stage = Stage(Four())
    stage.report(0, 1, math.nan)
    for trial in (3, 2, 1):
        stage.report(trial, 1, 0.5)
    assert stage.live == [1, 2]
    stage = Stage(Four())
    for trial in range(4):
        stage.report(trial, 1, math.nan)
    assert stage.live == [0, 1]


def test_reports_that_say_nothing_count_for_nothing() -> None:
    stage = Stage(Four())
    stage.feed(ev.Reported(0, 0, 1, {"loss": 0.5}))
    assert not stage.decisions
    stage.feed(ev.Reported(0, 0, 2, {"t": 100}))
    assert not stage.decisions
    stage.feed(ev.Reported(0, 0, 3, {"t": "late", "loss": 0.5}))
    assert not stage.decisions
    assert list(stage.controller.scheduler._brackets[0].going) == [0, 1, 2, 3]


def test_without_stop_last_trials_the_winner_goes_on() -> None:
    stage = Stage(Four(stop_last_trials=False))
    for t in (1, 2):
        for trial in sorted(stage.running):
            stage.report(trial, t, trial)
    for t in (3, 4, 5, 100):
        stage.report(0, t, 0.0)
        assert not stage.decisions


def test_a_person_resumes_one_that_waits() -> None:
    stage = Stage(Four())
    stage.report(0, 1, 0.5)
    stage.feed(ev.UserAction("resume", 0))
    assert 0 in stage.running
    stage.report(0, 1.5, 0.0)
    assert list(stage.done("pause")) == [0]
    for trial in (1, 2, 3):
        stage.report(trial, 1, trial / 10)
    assert stage.live == [1, 2], "what it did meanwhile does not count"


def test_several_objectives() -> None:
    """Of two metrics: who is worse than others in both is stopped first."""
    stage = Stage(Four(), metrics=["loss", "size"], modes=["min", "max"])
    for trial, (loss, size) in enumerate([(0.1, 1.0), (0.9, 0.5), (0.5, 5.0), (0.8, 0.7)]):
        stage.report(trial, 1, loss, size=size)
    assert stage.live == [0, 2]
    assert "(loss 0.9, size 0.5) at t 1 is 4th of 4" in stage.done("stop")[1]


# -- side by side --------------------------------------------------------------------------------------------------------


def view(number: int) -> Any:
    return SimpleNamespace(number=number, metrics={})


def started(scheduler: Scheduler, trials: int) -> Scheduler:
    scheduler.start(Settings.parse(SETTINGS))
    for number in range(trials):
        scheduler.on_trial_add(view(number))
    return scheduler


class Waiting:
    """What could be started. Walking through all that are paused is an error unless the test allows it."""

    def __init__(self, paused: Any = (), pending: Any = (), unfit: Any = ()) -> None:
        self._paused = dict.fromkeys(paused)
        self.pending = [view(number) for number in pending]
        self.unfit = unfit
        self.asked = 0

    @property
    def paused(self) -> Any:
        return Unwalked(self._paused)

    def start(self, number: int) -> None:
        self._paused.pop(number, None)
        self.pending = [one for one in self.pending if one.number != number]

    def get(self, number: int) -> Any:
        self.asked += 1
        return view(number) if number in self._paused and number not in self.unfit else None


class Unwalked(dict[int, None]):
    def __iter__(self) -> Iterator[int]:
        raise AssertionError("all paused trials are walked through")


def chosen(scheduler: Scheduler, waiting: Waiting) -> int | None:
    """The number of what is started."""
    found = scheduler.choose(waiting)  # type: ignore[arg-type]
    if found is None:
        return None
    if isinstance(found, Decision):  # a promoted one, and why
        assert "go on to" in found.reason or "goes on to" in found.reason
    number = found.trial if isinstance(found, Decision) else found.number
    assert number is not None
    waiting.start(number)
    return number


class Walked(Waiting):
    @property
    def paused(self) -> Any:
        return self._paused


def play(scheduler: Scheduler, trials: Any, t: float) -> None:
    for number in trials:
        scheduler.on_result(view(number), {"t": t, "loss": float(number)})


def test_promoted_ones_come_first_those_near_the_end_before_others() -> None:
    scheduler = started(Four(), 12)
    play(scheduler, [0, 1, 2, 3], 1)
    play(scheduler, [4, 5, 6, 7], 1)
    waiting = Waiting([0, 1, 4, 5], pending=[9])
    assert [chosen(scheduler, waiting) for _ in range(2)] == [0, 1]
    play(scheduler, [1, 0], 2)
    assert [chosen(scheduler, waiting) for _ in range(4)] == [4, 5, 9, None]
    play(scheduler, [8, 9, 10, 11], 1)
    play(scheduler, [5, 4], 2)
    play(scheduler, [8], 2)
    waiting = Waiting([9, 8], pending=[10])
    assert [chosen(scheduler, waiting) for _ in range(2)] == [9, 10]


def test_of_two_brackets_that_nearer_to_its_end_comes_first() -> None:
    scheduler = started(Four(), 8)
    play(scheduler, range(8), 1)
    assert [chosen(scheduler, Waiting([number])) for number in (4, 5)] == [4, 5]
    play(scheduler, [4], 2)
    scheduler.on_trial_end(view(5), "finished")
    waiting = Waiting([0, 1, 4])
    assert [chosen(scheduler, waiting) for _ in range(3)] == [4, 0, 1]


def test_a_promoted_one_that_ends_before_it_is_resumed_is_forgotten() -> None:
    scheduler: Any = started(Four(), 4)
    play(scheduler, range(4), 1)
    for number in (0, 1):
        assert scheduler._queue
        scheduler.on_trial_end(view(number), "stopped")
    assert (scheduler._queue, scheduler._resting) == ([], 0)


def test_a_later_end_keeps_the_order_and_begins_a_new_band() -> None:
    class Two(Four):
        def plans(self) -> list[Plan]:
            return [Plan(4, (1, self.max_t)), Plan(2, (1, self.max_t))]

    scheduler: Any = started(Two(), 4)
    play(scheduler, range(4), 1)
    scheduler.change({"max_t": 16})
    assert [chosen(scheduler, Waiting([0, 1])), chosen(scheduler, Waiting([1]))] == [0, 1]
    scheduler.on_trial_add(view(4))
    assert (scheduler._queue, scheduler._brackets[1].places) == ([], 4)


def test_a_promoted_one_that_does_not_fit_keeps_nobody_waiting() -> None:
    scheduler = started(Four(), 8)
    play(scheduler, [0, 1, 2, 3], 1)
    assert chosen(scheduler, Waiting([0, 1], unfit=[0])) == 1
    assert chosen(scheduler, Waiting([0], unfit=[0], pending=[4])) == 4
    assert chosen(scheduler, Waiting([0])) == 0
    assert chosen(scheduler, Waiting()) is None


def test_who_waits_is_not_resumed_and_new_ones_are_drawn() -> None:
    scheduler = started(Four(), 4)
    play(scheduler, [0, 1, 2], 1)
    assert chosen(scheduler, Waiting([0, 1, 2])) is None


def test_one_that_somebody_else_has_paused_is_resumed() -> None:
    """A person paused it; in the next session nobody but the scheduler resumes it."""
    scheduler = started(Four(), 4)
    play(scheduler, [0, 1], 1)
    assert chosen(scheduler, Walked([0, 3, 1])) == 3


def counted(call: Callable[[], Any]) -> int:
    """Calls of functions, those written in C among them."""
    calls = 0

    def count(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


def test_work_per_report_does_not_grow_with_the_number_of_trials() -> None:
    costs = []
    for trials in (100, 6000):
        scheduler = started(Four(places=trials), trials)
        play(scheduler, range(trials // 2), 1)
        costs.append(max(counted(lambda n=n, s=scheduler: play(s, [n], 1)) for n in range(trials // 2, trials // 2 + 20)))  # type: ignore[misc]
    assert costs[1] <= costs[0] + 8


def test_choosing_looks_at_few_of_two_thousand() -> None:
    scheduler = started(Four(), 2000)
    for first in range(0, 1996, 4):
        play(scheduler, range(first, first + 4), 1)
    waiting = Waiting([number for number in range(1996) if number % 4 < 2], pending=[1999])
    assert [chosen(scheduler, waiting) for _ in range(4)] == [0, 1, 4, 5]
    assert waiting.asked == 4


def test_a_trial_that_comes_back_takes_part_in_the_round_that_its_bracket_is_in() -> None:
    scheduler = started(Four(), 4)
    scheduler.on_trial_end(view(3), "user_error")
    play(scheduler, [0, 1, 2], 1)
    scheduler.on_trial_reopen(view(3))
    play(scheduler, [0, 1], 2)
    assert scheduler.on_result(view(3), {"t": 1, "loss": -9.0}) == scheduler.CONTINUE
    answer = scheduler.on_result(view(3), {"t": 2, "loss": -9.0})
    assert [(decision.do, decision.trial) for decision in answer] == [("stop", 0), ("stop", 1), ("continue", 3)]
