"""Whole experiments in random worlds, with schedulers from harmless to nasty: invariants after each event, and always an end."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.testing.loop import fold

SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=settings.default.max_examples * 2)
@given(seed=SEEDS)
def test_fifo(seed: int, tools: Any) -> None:
    loop, _ = tools.make_loop(seed, FIFOScheduler)
    tools.finish(loop)


@settings(max_examples=settings.default.max_examples * 4)
@given(seed=SEEDS)
@example(seed=4450491)  # a repeated save of the base's own iteration, when retention had let it go
@example(seed=53572048)  # and one more
@example(seed=70764197)  # a pause wish, led to by the report of a trial that had its answer
@example(seed=59178700)  # told to resume, then to end
def test_nasty(seed: int, tools: Any) -> None:
    loop, _ = tools.make_loop(seed, tools.Nasty)
    tools.finish(loop)


@given(seed=SEEDS, crashes=st.lists(st.integers(1, 120), min_size=1, max_size=4))
def test_crashes_anywhere(seed: int, crashes: list[int], tools: Any) -> None:
    """The driver dies and another goes on: the fold is exact, and the run ends."""
    loop, _ = tools.make_loop(seed, tools.Nasty)
    loop.start()
    for steps in crashes:
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        if not loop.controller.state.finished:
            loop.crash()
    tools.finish(loop)


@given(
    seed=SEEDS,
    changes=st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["num_samples", "limits", "budget", "resources"])), max_size=4),
)
def test_settings_change_while_it_runs(seed: int, changes: list[tuple[int, str]], tools: Any) -> None:
    loop, _ = tools.make_loop(seed, tools.Nasty, num_samples=6)
    pick = random.Random(seed)
    loop.start()
    for steps, what in changes:
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        if loop.controller.state.finished:
            break
        loop.feed(
            ev.SpecChanged(
                {
                    "num_samples": {"num_samples": loop.controller.state.settings.num_samples + 2},
                    "limits": {
                        "max_trial_s": pick.choice((None, 2.0)),
                        "max_silence_s": pick.choice((None, 0.7)),
                        "max_concurrent": pick.choice((None, 1)),
                    },
                    "budget": {"time_budget_s": pick.choice((None, 9.0))},
                    "resources": {"resources": {"cpu": pick.choice((1, 2))}, "num_to_keep": pick.choice((None, 1))},
                }[what]
            )
        )
    tools.finish(loop)


def _take_up(loop: Any, pick: random.Random, **more: Any) -> None:
    """A session begins that takes up some of the trials that are over, and may be about some trials only."""
    state = loop.controller.state
    ends = [decision for record in loop.records for decision in record.decisions if decision.do == "end"]
    barred = {decision.trial for decision in ends if decision.data["outcome"] == "infeasible"}
    over = [number for number, code in enumerate(state.ended) if code and number not in barred]
    again = pick.sample(over, pick.randint(0, len(over)))
    if pick.random() < 0.3:
        more |= {"max_checkpoint_bytes": pick.choice((None, 60, 300)), "keep_best": pick.choice((None, 1, 3))}
    live = sorted(state.trials)
    only = pick.choice((None, [], pick.sample(live, pick.randint(0, len(live)))))
    if state.finished:
        loop.world.crash()
        loop.resume(again, only, restart=pick.random() < 0.3, **more)
    else:
        loop.crash(again, only, restart=pick.random() < 0.3, **more)


@settings(max_examples=settings.default.max_examples * 2)
@given(seed=SEEDS, sessions=st.lists(st.integers(1, 120), min_size=1, max_size=4), rounds=st.booleans())
def test_sessions_that_take_up_what_was_over(seed: int, sessions: list[int], rounds: bool, tools: Any) -> None:
    """Ended trials go on, sessions are about some trials only: invariants hold, the fold is exact, and all is done in the end."""
    limits = {"deterministic": True, "max_trial_s": None, "max_silence_s": None, "time_budget_s": None} if rounds else {}
    loop, _ = tools.make_loop(seed, tools.Nasty, **limits)
    loop.world.fates.hostile *= not rounds  # what repeats itself there is the next test's
    pick = random.Random(seed)
    loop.start()
    for steps in sessions:
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        _take_up(loop, pick)
    tools.finish(loop)


@example(seed=12507, crashes=[])  # a repeated older report, while a newer one waited for its round
@example(seed=12733, crashes=[])
@given(seed=SEEDS, crashes=st.lists(st.integers(1, 60), max_size=2))
def test_rounds(seed: int, crashes: list[int], tools: Any) -> None:
    """``deterministic=True``: nobody waits for a round that never closes, whatever repeats itself, gets lost or dies."""
    limits = {"deterministic": True, "max_trial_s": None, "max_silence_s": None, "time_budget_s": None}
    loop, _ = tools.make_loop(seed, tools.Nasty, **limits)
    loop.start()
    for steps in crashes:
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        if not loop.controller.state.finished:
            loop.crash()
    tools.finish(loop)


@pytest.mark.parametrize("seed", range(3))
def test_every_prefix_folds_into_the_same_state(seed: int, tools: Any) -> None:
    loop, watch = tools.make_loop(seed + 100, tools.Nasty)
    digests: list[str] = []

    def note(*args: Any) -> None:
        watch(*args)
        digests.append(loop.controller.digest())

    loop.watch = note
    loop.run()
    again = fold([], tools.Nasty())
    for record, digest in zip(loop.records, digests, strict=True):
        again.handle(record.event, record.decisions)
        assert again.digest() == digest
    assert not again.difference


def test_the_worlds_are_worth_their_name(tools: Any) -> None:
    """Between them, a few dozen seeds see every decision there is."""
    dos: set[str] = set()
    kinds: set[str] = set()
    late = 0
    for seed in range(60):
        loop, watch = tools.make_loop(seed, tools.Nasty)
        tools.finish(loop)
        dos |= watch.dos
        kinds.add(loop.controller.state.kind)
        late += loop.controller.state.late
    assert dos == {
        "launch", "pause", "paused", "resume", "stop", "kill", "save", "retry", "exploit", "exploited", "skip", "end", "halt", "finish",
        "drop",
    }  # fmt: skip
    assert {"", "stop", "budget"} <= kinds
    assert late > 200
