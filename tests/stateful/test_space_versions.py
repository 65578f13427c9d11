"""Trials keep the version of the space that their values belong to, whatever happens to them and however often the space changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import commands as cmd
from tunesmith.core import events as ev
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.journal.trials import TrialBook
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop, fold
from tunesmith.testing.world import Fates, World

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)


class Shadow:
    """A book of its own, by events and decisions alone: which version each trial is of."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch
        self.now = 0
        self.version: dict[int, int] = {}
        self.coming: dict[int, int] = {}  # trial -> the version of the exploit under way
        self.crossed = 0

    def __call__(self, loop: Loop, record: Record, commands: list[cmd.Command]) -> None:
        self.watch(loop, record, commands)
        self._event(record.event)
        for decision in record.decisions:
            if decision.trial is not None:
                self._decided(decision.do, decision.trial, decision.data)
        state = loop.controller.state
        assert state.space == self.now
        assert {number: trial.space for number, trial in state.trials.items()} == {number: self.version[number] for number in state.trials}
        for command in commands:
            if isinstance(command, cmd.Launch):
                assert command.space == self.version[command.trial]
            elif isinstance(command, cmd.Explore):
                assert command.space == self.coming.get(command.trial, command.space)  # it may have ended in the same turn

    def _event(self, event: ev.Event) -> None:
        if isinstance(event, ev.SpecChanged):
            self.now += "space" in event.changes
        elif isinstance(event, ev.Suggested):
            self.version[event.trial] = self.now

    def _decided(self, do: str, trial: int, data: dict[str, Any]) -> None:
        if do == "exploit":
            self.coming[trial] = self.version[data["source"]]
        elif do == "exploited":
            coming = self.coming.pop(trial)
            self.crossed += coming != self.version[trial]
            self.version[trial] = coming
        elif do in ("skip", "end"):
            self.coming.pop(trial, None)


class Copies(Scheduler):
    """Lets trials copy any other, often; with values of its own or asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.live: list[int] = []

    def on_trial_add(self, trial: Any) -> None:
        self.live = [*self.live, trial.number]

    def on_trial_end(self, trial: Any, outcome: str) -> None:
        self.live = [number for number in self.live if number != trial.number]

    def on_result(self, trial: Any, result: Any) -> Any:
        if self.rng.random() > 0.3:
            return self.CONTINUE
        values = {"x": self.rng.random()} if self.rng.random() < 0.5 else None
        return self.exploit(self.rng.choice(self.live), "better", values=values)


def copying(seed: int, tools: Any) -> tuple[Loop, Any]:
    world = World(seed, Fates(reports=(4, 9), checkpoint=0.6, hostile=0.1, failures={"worker_lost": 0.05}), totals={"cpu": 3.0})
    return Loop(Copies, {"num_samples": 8, "warm_pause": True}, world), tools.Watch(takes_pending=False)


def told(loop: Loop, watch: Any, changes: list[int], tools: Any, *, crash: bool = False) -> Shadow:
    """An experiment whose space changes after so many steps each time, in the middle or with a new session."""
    shadow = loop.watch = Shadow(watch)
    loop.settings["space"] = {"tree": {"dict": []}}
    loop.start()
    for number, steps in enumerate(changes):
        while not loop.controller.state.finished and (steps := steps - 1) > 0:
            loop.step()
        if loop.controller.state.finished:
            break
        if crash:
            loop.crash()
        loop.feed(ev.SpecChanged({"space": {"tree": {"dict": [["n", {"const": number}]]}}}))
    tools.finish(loop)
    return shadow


@given(seed=st.integers(0, 2**32 - 1), changes=st.lists(st.integers(1, 40), max_size=4), crash=st.booleans(), nasty=st.booleans())
def test_values_and_version_stay_together(seed: int, changes: list[int], crash: bool, nasty: bool, tools: Any) -> None:
    loop, watch = tools.make_loop(seed, tools.Nasty, num_samples=8) if nasty else copying(seed, tools)
    shadow = told(loop, watch, changes, tools, crash=crash)
    journal = MemoryJournal(HEADER)
    journal.append(loop.records)
    full, lean = (TrialBook(HEADER, reader=journal.read, keep_finished=keep) for keep in (True, False))
    for record in journal.read():
        full.apply(record)
        lean.apply(record)
    for view, again in zip(full.trials, lean.trials, strict=True):
        assert view.space == again.space == shadow.version[view.number]
        assert view.values == again.values
        expected = view.values if not view.space else {"n": view.space - 1, **view.values}
        assert view.config == again.config == expected


@pytest.mark.parametrize("seed", range(4))
def test_exploits_cross_from_version_to_version(seed: int, tools: Any) -> None:
    """The worlds are worth their name; and every prefix folds into the same state."""
    digests: list[str] = []
    loop, watch = copying(seed, tools)

    def note(loop: Loop, *more: Any) -> None:
        watch(loop, *more)
        digests.append(loop.controller.digest())

    assert told(loop, note, [15, 15, 15], tools).crossed
    again = fold([], Copies())
    for record, digest in zip(loop.records, digests, strict=True):
        again.handle(record.event, record.decisions)
        assert again.digest() == digest
