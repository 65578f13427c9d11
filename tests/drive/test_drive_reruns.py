"""A pause that throws work away is said once, with what it costs; and trials are held in memory where there is room for them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.build import check
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.observing import RerunWatch
from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
ONCE = " (Said once.)"
FUNCTION = "Let trains report its checkpoints, report(metrics, checkpoint=...), and begin at get_checkpoint(), and no work is done twice."


class Rests(Scheduler):
    """Pauses every trial at its second report; it goes on when all have come there."""

    capabilities = SchedulerCapabilities(pauses=True)

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.pause("rung 2") if trial.iteration == 2 else self.CONTINUE

    def choose(self, runnable: Any) -> Any:
        return runnable.pending[0] if runnable.pending else None if self.waits else runnable.first_paused()

    def start(self, settings: Any) -> None:
        super().start(settings)
        self.waits = True

    def on_search_end(self) -> None:
        self.waits = False


def trains(config: dict[str, Any]) -> None:
    for step in range(4):
        tune.report(loss=step)


class Steps(tune.Trainable):
    def step(self) -> dict[str, Any]:
        return {"loss": self.iteration, "done": self.iteration >= 3}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "tunesmith")
    return caplog


@pytest.fixture
def watch(tmp_path: Path) -> Callable[..., RerunWatch]:
    def make(trainable: Any = trains, executor: str = "inline", past: tuple[Record, ...] = ()) -> RerunWatch:
        spec = check(trainable, scheduler=Rests(), storage_path=tmp_path, executor=executor).spec
        return RerunWatch(spec, HEADER, past)

    return make


def reported(trial: int, iteration: int, *decisions: Decision) -> Record:
    return Record(ev.Reported(trial, 0, iteration, {"time_total_s": 1.5 * iteration}), list(decisions))


def paused(trial: int, mode: str, **data: Any) -> Decision:
    return Decision("pause", trial, "rung", {"mode": mode, **data})


def test_said_once_with_the_cost(watch: Any, said: pytest.LogCaptureFixture) -> None:
    one = watch()
    one.committed([reported(0, 8), reported(0, 9, paused(0, "rerun"))])
    one.committed([reported(1, 9, paused(1, "rerun"))])
    one.close()
    assert said.messages == [
        "Rests pauses trial 3f2a9_00000, which has no checkpoint to go on from and executor='inline' cannot hold it in memory: it will "
        f"begin anew, and repeat 9 iterations (13.5 s so far). {FUNCTION}{ONCE}"
    ]


def test_another_trials_report_may_lead_to_it(watch: Any, said: pytest.LogCaptureFixture) -> None:
    past = (reported(3, 1), Record(reported(3, 2).event, [], handled=False))
    watch(past=past).committed([reported(1, 9, paused(3, "rerun"))])
    assert "3f2a9_00003" in said.messages[0]
    assert "repeat 1 iteration (1.5 s so far)" in said.messages[0]


def test_a_class_is_told_what_a_class_can_do(watch: Any, said: pytest.LogCaptureFixture) -> None:
    watch(Steps).committed([reported(0, 2, paused(0, "rerun", held=True))])
    assert said.messages[0].startswith("A person pauses trial 3f2a9_00000")
    assert "Define save_checkpoint() and load_checkpoint() in Steps, and no work is done twice." in said.messages[0]


def test_why_it_is_not_held_in_memory(watch: Any, said: pytest.LogCaptureFixture) -> None:
    warm = [reported(0, 2, paused(0, "warm")), reported(1, 2, paused(1, "warm")), reported(2, 2, paused(2, "warm"))]
    back = [Record(ev.AttemptEnded(0, 0, "worker_lost"), [Decision("paused", 0, "")])]
    watch(executor="local").committed([*warm, *back, reported(3, 2, paused(3, "rerun"))])
    assert "and cannot be held in memory, where 2 are already" in said.messages[0]
    watch(executor="local").committed([reported(3, 2, paused(3, "rerun"))])
    assert "to go on from and cannot be held in memory: it will begin anew" in said.messages[1]


@pytest.mark.parametrize(
    "records",
    [
        [reported(0, 2, paused(0, "cold"))],
        [reported(0, 2, paused(0, "warm"))],
        [Record(ev.UserAction("pause", 0), [paused(0, "rerun", held=True)])],  # it has not begun
        [reported(0, 2), Record(ev.AttemptEnded(0, 0, "finished"), [Decision("end", 0)]), reported(1, 1, paused(0, "rerun"))],
    ],
)
def test_nothing_to_say(records: list[Record], watch: Any, said: pytest.LogCaptureFixture) -> None:
    watch().committed(records)
    assert said.messages == []


# -- whole runs ----------------------------------------------------------------------------------------------------------


def modes(folder: Path) -> list[str]:
    with open_reader(folder / "x" / JOURNAL_FILE) as reader:
        decisions = [decision for record in reader.read() for decision in record.decisions]
    return [decision.data["mode"] for decision in decisions if decision.do == "pause"]


@pytest.fixture
def go(tmp_path: Path) -> Callable[..., tune.ExperimentAnalysis]:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        given = {"storage_path": tmp_path, "name": "x", "verbose": 0, "loggers": (), "num_samples": 3, **arguments}
        return tune.run(trainable, scheduler=Rests(), **given)

    return run


def test_inline(go: Any, tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    analysis = go(trains, executor="inline")
    assert modes(tmp_path) == ["rerun"] * 3
    assert [trial.iteration for trial in analysis.trials] == [4, 4, 4]
    assert len([message for message in said.messages if "it will begin anew, and repeat 2 iterations" in message]) == 1


@pytest.mark.parametrize(("free", "expected"), [(1e12, ["warm"] * 3), (1e6, ["rerun"] * 3)])
def test_local(free: float, expected: list[str], go: Any, tmp_path: Path, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.executors.warmth.spare_memory", lambda: free)
    analysis = go(trains, executor="local")
    assert modes(tmp_path) == expected
    assert [trial.iteration for trial in analysis.trials] == [4, 4, 4]
    assert len(said.messages) == (expected[0] == "rerun")


def test_a_fixed_number_where_the_order_is(go: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.executors.warmth.spare_memory", lambda: 1e6)
    go(trains, executor="local", deterministic=True, seed=1)
    assert modes(tmp_path) == ["warm"] * 3
