"""Resources that change at random in worlds of all kinds: invariants after each event, always an end, and no crash changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.placement import request_of
from tunesmith.core.ports import Record
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop, fold
from tunesmith.testing.world import Fates, World

SEEDS = st.integers(0, 2**32 - 1)


class Book:
    """What each trial takes, as a reader of the journal knows it: each launch must be of just that."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch
        self.taken: dict[int, Mapping[str, float]] = {}

    def __call__(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        self.watch(loop, record, commands)
        if isinstance(record.event, (ev.Suggested, ev.Reopened)):
            self.taken[record.event.trial] = record.event.resources or loop.controller.state.settings.resources
        launches = {command.trial: command for command in commands if isinstance(command, cmd.Launch)}
        for decision in record.decisions:
            number = decision.trial
            if number is None:
                continue
            if decision.do in ("retry", "paused") or (decision.do == "resize" and "save" not in decision.data):
                self.taken[number] = decision.data.get("resources", self.taken[number])
            elif decision.do == "launch" and number in launches:
                assert launches[number].resources == self.taken[number]
                whole = dict(request_of(launches[number].resources)).get("gpu", 0)
                assert round(sum(part for _, part in launches[number].gpus) * 10_000) == whole


def hostile(seed: int, tools: Any, **settings: Any) -> Loop:
    loop, watch = tools.make_loop(seed, tools.Resizing, **settings)
    loop.watch = Book(watch)
    return loop


@settings(max_examples=settings.default.max_examples * 2)
@given(seed=SEEDS)
def test_worlds(seed: int, tools: Any) -> None:
    tools.finish(hostile(seed, tools))


@settings(max_examples=settings.default.max_examples * 2)
@given(seed=SEEDS, crashes=st.lists(st.integers(1, 120), min_size=1, max_size=4), no_room=st.sampled_from([0.0, 0.4]))
def test_crashes_anywhere(seed: int, crashes: list[int], no_room: float, tools: Any) -> None:
    loop = hostile(seed, tools)
    loop.world.fates = replace(loop.world.fates, no_room=no_room)
    loop.start()
    for steps in crashes:
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        if not loop.controller.state.finished:
            loop.crash()
    tools.finish(loop)


@given(seed=SEEDS)
def test_rounds(seed: int, tools: Any) -> None:
    limits = {"deterministic": True, "max_trial_s": None, "max_silence_s": None, "time_budget_s": None}
    tools.finish(hostile(seed, tools, **limits))


@settings(max_examples=settings.default.max_examples * 2)
@given(seed=SEEDS, cpus=st.sampled_from([2.0, 3.0, 8.0]))
def test_a_machine_that_becomes_another(seed: int, cpus: float, tools: Any) -> None:
    """The next session has fewer CPUs, or more, and no GPU: whoever grew goes back to what can be had, and nobody ends for having grown."""
    loop = hostile(seed, tools, growing=False, fail_fast=False)
    loop.world.fates = replace(loop.world.fates, resources=({"cpu": 1}, {"cpu": 2}), quarantine=0.0, capacity=0.0)
    loop.start()
    for _ in range(60):
        if not loop.controller.state.finished:
            loop.step()
    if not loop.controller.state.finished:
        loop.world.totals, loop.world.shrunk = {"cpu": cpus}, True
        loop.crash()
    tools.finish(loop)
    ends = [decision.data["outcome"] for record in loop.records for decision in record.decisions if decision.do == "end"]
    assert "unplaceable" not in ends


def test_the_worlds_are_worth_their_name(tools: Any) -> None:
    """Trials are resized while they run, wait and are paused; they go back."""
    met: set[Any] = set()
    for seed in range(90):
        loop = hostile(seed, tools)
        tools.finish(loop)
        resizing: set[int] = set()
        for record in loop.records:
            event = record.event
            if isinstance(event, ev.AttemptEnded) and event.trial in resizing:
                resizing.discard(event.trial)
                met.update((event.outcome, decision.do) for decision in record.decisions if decision.trial == event.trial)
            elif isinstance(event, ev.Reported) and event.trial in resizing:
                met.add("a report on the way")
            for decision in record.decisions:
                if decision.do == "resize":
                    met.add(("saves", decision.data.get("save")))
                    met.add(decision.reason[:9])
                    if "save" in decision.data:
                        resizing.add(decision.trial)
    expected = {
        ("stopped", "retry"), ("stopped", "paused"), "a report on the way",
        ("saves", True), ("saves", False), ("saves", None), "fits bett", "goes back",
    }  # fmt: skip
    assert expected <= met, expected - met


class Grows(Scheduler):
    """Grows, shrinks, pauses some and lets some copy another, all by number and iteration."""

    def on_result(self, trial: Any, result: Any) -> Any:
        number, iteration = trial.number, trial.iteration
        if iteration == 2 and number % 5 == 0:
            return self.pause("rung 2")
        if iteration == 2 and number % 4 == 2:
            return self.exploit(number - 1, "copies its neighbour", values={"x": 0.1})
        if iteration in (1, 3):
            return self.resize({"cpu": 1 + (number + iteration) % 3}, "changes", number - number % 4)  # its own, or another's
        return self.CONTINUE


FATES = Fates(reports=(3, 5), checkpoint=0.6, failures={"user_error": 0.05, "worker_lost": 0.05}, lives=True)
SPEC = {"num_samples": 11, "retries": {"user_error": 2}, "num_to_keep": 1, "identical": None, "warm_pause": True, "warm_slots": 2}


class Alone(Grows):
    """The same, but each is about itself, at its own report, and nobody copies another."""

    def on_result(self, trial: Any, result: Any) -> Any:
        answer = super().on_result(trial, result)
        if isinstance(answer, str) or answer.do == "pause":
            return answer
        return replace(answer, trial=trial.number) if answer.do == "resize" else self.CONTINUE


def story(tools: Any, can_save: bool, scheduler: type[Scheduler] = Grows, **settings: Any) -> Loop:
    watch = tools.Watch(takes_pending=True)
    return Loop(scheduler, {**SPEC, **settings}, World(5, FATES, totals={"cpu": 4.0}, can_save=can_save), watch=Book(watch))


@pytest.mark.parametrize("can_save", [False, True])
def test_crash_at_every_event(can_save: bool, tools: Any, faults: Any) -> None:
    whole = story(tools, can_save)
    whole.run()
    dos = {decision.do for record in whole.records for decision in record.decisions}
    assert dos >= {"resize", "retry", "pause", "exploited", "end"}
    for at in range(2, len(whole.records)):
        loop = story(tools, can_save)
        loop.start()
        while len(loop.records) < at:
            loop.step()
        if loop.controller.state.finished:
            continue
        wanted = loop.controller.wanted()
        with faults.tried("the driver dies after an event (simulated; resources that change)") as results:
            assert fold(loop.records, Grows()).wanted() == wanted
            loop.crash()
            tools.finish(loop)
            ends = [decision.trial for record in loop.records for decision in record.decisions if decision.do == "end"]
            assert sorted(ends) == list(range(11))
            results(11)


def told(loop: Loop) -> list[Any]:
    """What was decided at reports and at ends, and why."""
    found = []
    for record in loop.records:
        event = record.event
        decisions = [(one.do, one.trial, one.reason, one.data.get("resources")) for one in record.decisions if one.do != "launch"]
        if isinstance(event, ev.Reported):
            found.append((event.trial, event.iteration, decisions))
        elif isinstance(event, ev.AttemptEnded) and decisions and not decisions[0][2].startswith("interrupted"):
            found.append((event.trial, decisions))
    return found


def test_a_crash_changes_nothing_where_the_order_is_fixed(tools: Any) -> None:
    """Those that ran go on first, though one with a smaller number waits for more than is free."""
    whole = story(tools, False, Alone, deterministic=True)
    whole.run()
    expected, died = told(whole), 0
    for at in range(3, len(whole.records), 2):
        loop = story(tools, False, Alone, deterministic=True)
        loop.start()
        while len(loop.records) < at and not loop.controller.state.finished:
            loop.step()
        if not loop.controller.state.finished:
            died += 1
            loop.crash()
            loop.run()
            assert told(loop) == expected, f"the driver died after record {at}"
    assert died > 15
