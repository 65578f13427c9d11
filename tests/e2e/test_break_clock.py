"""The wall clock set back by three days: between two sessions, and in the middle of one. Only what is shown follows it."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.events import ExperimentStarted
from tunesmith.journal import open_reader

pytestmark = pytest.mark.e2e

BACK = -3 * 86400.0
HOUR = 3600.0


class WallClock:
    """``time.time`` as somebody sets it."""

    def __init__(self) -> None:
        self.off = 0.0
        self._real = time.time

    def __call__(self) -> float:
        return self._real() + self.off


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C counts, also where the tests run in the background of a shell, which has their process ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, heard: None) -> WallClock:
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock)
    return clock


Seen = Callable[[dict[str, Any], int], None]


def go(root: Path, seen: Seen = lambda config, step: None, **arguments: Any) -> tune.ExperimentAnalysis:
    """Six reports of each of two trials; ``seen`` is called before each."""

    def train(config: dict[str, Any]) -> None:
        saved = tune.get_checkpoint()
        for step in range(saved.to_dict()["step"] + 1 if saved else 0, 6):
            seen(config, step)
            tune.report({"loss": config["x"] / (step + 1), "step": step}, checkpoint={"step": step})

    common = {"name": "x", "storage_path": root, "config": {"x": tune.grid_search([1, 2])}, "executor": "inline", "resume": "AUTO"}
    return tune.run(train, **{**common, "metric": "loss", "mode": "min", "verbose": 0, **arguments})


def rows(root: Path) -> list[list[dict[str, Any]]]:
    """result.json of each trial, which progress.csv agrees with."""
    found = []
    for place in sorted(path for path in (root / "x").iterdir() if path.is_dir()):
        lines = [json.loads(line) for line in (place / "result.json").read_text().splitlines()]
        table = list(csv.DictReader((place / "progress.csv").read_text().splitlines()))
        assert [int(row["timestamp"]) for row in table] == [line["timestamp"] for line in lines]
        found.append(lines)
    return found


def check_order_and_durations(root: Path, sessions: int) -> None:
    with open_reader(root / "x" / "experiment.db") as reader:
        records = list(reader.read())
    at = [record.event.at for record in records]
    assert at == sorted(at)
    assert at[0] >= 0
    assert at[-1] < HOUR
    assert sum(isinstance(record.event, ExperimentStarted) for record in records) == sessions
    for lines in rows(root):
        assert [line["step"] for line in lines] == list(range(6))
        assert [line["training_iteration"] for line in lines] == list(range(1, 7))
        totals = [line["time_total_s"] for line in lines]
        assert totals == sorted(totals)
        assert 0 <= totals[0] <= totals[-1] < HOUR
        assert all(0 <= line["time_this_iter_s"] < HOUR for line in lines)
    seen = tune.open_experiment(root / "x")
    assert 0 <= seen.stats()["total_time_s"] < HOUR
    assert [trial.status for trial in seen.trials] == ["TERMINATED"] * 2


def test_between_two_sessions(tmp_path: Path, clock: WallClock, faults: Any) -> None:
    def interrupted(config: dict[str, Any], step: int) -> None:
        if config["x"] == 2 and step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    first = time.time()
    go(tmp_path, interrupted)
    clock.off = BACK
    with faults.tried("the clock set back three days between two sessions: order, durations and budgets as without") as results:
        second = time.time()
        assert second < first
        analysis = go(tmp_path, time_budget_s=HOUR)
        assert {trial.status for trial in analysis.trials} == {"TERMINATED"}
        check_order_and_durations(tmp_path, sessions=2)
        one, two = rows(tmp_path)
        split = [line["timestamp"] for line in one + two]
        in_first = [stamp for stamp in split if abs(stamp - first) < HOUR]
        in_second = [stamp for stamp in split if abs(stamp - second) < HOUR]
        assert in_first + in_second == split, "each session's results have the time that its clock showed"
        assert 9 <= len(in_first) <= 10
        assert [line["date"][:10] for line in two][-1] == time.strftime("%Y-%m-%d", time.localtime(second))
        results(len(split))


@pytest.mark.parametrize("off", [BACK, -BACK])
def test_in_the_middle_of_a_session(tmp_path: Path, clock: WallClock, off: float, faults: Any) -> None:
    def seen(config: dict[str, Any], step: int) -> None:
        if (config["x"], step) == (1, 3):
            clock.off = off

    began = time.time()
    with faults.tried("the clock set three days back or forth in a session: order, durations and budgets as without") as results:
        analysis = go(tmp_path, seen, time_budget_s=HOUR)
        assert {trial.status for trial in analysis.trials} == {"TERMINATED"}, "no budget is used up by it"
        check_order_and_durations(tmp_path, sessions=1)
        stamps = [line["timestamp"] for lines in rows(tmp_path) for line in lines]
        assert stamps == sorted(stamps)
        assert all(abs(stamp - began) < HOUR for stamp in stamps), "a session's results go on from the time at which it began"
        results(len(stamps))
    third = time.time()
    go(tmp_path, config={"x": tune.grid_search([1, 2, 3])})
    assert all(abs(line["timestamp"] - third) < HOUR for line in rows(tmp_path)[2]), "the next session has the new time"


def test_a_budget_ends_the_run_whatever_the_clock_shows(tmp_path: Path, clock: WallClock) -> None:
    def train(config: dict[str, Any]) -> None:
        clock.off = BACK
        while True:
            tune.report(loss=1.0)

    began = time.monotonic()
    analysis = tune.run(train, name="x", storage_path=tmp_path, time_budget_s=0.2, executor="inline", verbose=0)
    assert 0.2 <= time.monotonic() - began < 30
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"]


def test_in_the_middle_of_a_session_with_workers(tmp_path: Path, clock: WallClock) -> None:
    def moved(result: Any) -> bool:
        clock.off += BACK  # in the driver, at each result
        return False

    began = time.time()
    go(tmp_path, executor="local", stop=lambda trial_id, result: moved(result), time_budget_s=HOUR, max_trial_s=HOUR, max_silence_s=HOUR)
    assert clock.off == 12 * BACK
    check_order_and_durations(tmp_path, sessions=1)
    assert all(abs(line["timestamp"] - began) < HOUR for lines in rows(tmp_path) for line in lines)
