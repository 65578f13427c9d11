"""Worlds in which saves are skipped for lack of room, now and then or always: every trial ends, and no crash changes anything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World

SEEDS = st.integers(0, 2**32 - 1)


def fuller(loop: Loop, no_room: float) -> Loop:
    loop.world.fates = replace(loop.world.fates, no_room=no_room)
    return loop


@example(seed=800, no_room=0.3, crashes=[])
@given(seed=SEEDS, no_room=st.sampled_from([0.3, 1.0]), crashes=st.lists(st.integers(1, 80), max_size=3))
def test_every_experiment_ends(seed: int, no_room: float, crashes: list[int], tools: Any) -> None:
    loop = fuller(tools.make_loop(seed, tools.Nasty)[0], no_room)
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
    tools.finish(fuller(tools.make_loop(seed, tools.Nasty, **limits)[0], 0.4))


class Copies(Scheduler):
    """Some save, some copy a neighbour that is asked to save, some are stopped or paused: all by number and iteration."""

    def on_result(self, trial: Any, result: Any) -> Any:
        number = trial.number
        if trial.iteration == 1 and number % 3 == 0:
            return self.save(number)
        if trial.iteration == 2 and number % 3 == 1:
            return [self.save(number - 1), self.exploit(number - 1, "copies its neighbour", values={"x": 0.1})]
        if trial.iteration == 3 and number % 7 == 6:
            return self.stop("rung 3")
        return self.pause("rung 2") if trial.iteration == 2 and number % 5 == 0 else self.CONTINUE


def new_loop(tools: Any) -> tuple[Loop, Any]:
    watch = tools.Watch(takes_pending=True)
    spec = {"num_samples": 12, "retries": {"user_error": 1}, "num_to_keep": 1, "identical": None, "save_at_end": True}
    fates = Fates(reports=(3, 4), checkpoint=0.4, no_room=0.4, failures={"user_error": 0.05}, hostile=0.1)
    return Loop(Copies, spec, World(9, fates, totals={"cpu": 3.0}), watch=watch), watch


def test_the_story_has_everything(tools: Any) -> None:
    loop, watch = new_loop(tools)
    loop.run()
    skipped = [record for record in loop.records if isinstance(record.event, ev.SaveSkipped)]
    assert len(skipped) > 5
    assert any(decision.do == "skip" for record in skipped for decision in record.decisions)
    assert watch.dos >= {"save", "exploit", "exploited", "skip", "pause", "paused", "retry", "stop", "end"}
    assert {type(record.event) for record in loop.records} >= {ev.SaveSkipped, ev.CheckpointSaved, ev.Reported}
    events = [record.event for record in loop.records if isinstance(record.event, (ev.Reported, ev.CheckpointSaved))]
    assert all((1 <= event.bytes <= 100) if event.checkpoint is not None else event.bytes == 0 for event in events)


def test_crash_at_every_event(tools: Any) -> None:
    whole, _ = new_loop(tools)
    whole.run()
    for at in range(2, len(whole.records)):
        loop, _ = new_loop(tools)
        loop.watch = None
        loop.start()
        while len(loop.records) < at:
            loop.step()
        if loop.controller.state.finished:
            continue
        over = {number: code for number, code in enumerate(loop.controller.state.ended) if code}
        loop.crash()  # compares the fold's state with the one that died
        loop.run()
        state = loop.controller.state
        assert len(state.ended) == 12
        assert all(state.ended[number] == code for number, code in over.items())
        ends = [decision.trial for record in loop.records for decision in record.decisions if decision.do == "end"]
        assert sorted(ends) == list(range(12))


@pytest.mark.parametrize("seed", range(3))
def test_with_never_any_room_trials_end_and_nothing_is_saved(seed: int, tools: Any) -> None:
    loop = fuller(new_loop(tools)[0], 1.0)
    loop.world.seed = seed
    loop.run()
    assert not any(getattr(record.event, "checkpoint", None) for record in loop.records)
    assert len(loop.controller.state.ended) == 12
