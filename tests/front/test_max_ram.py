"""``max_ram``, through the whole stack: who holds too much ends, says so, and is tried again as often as its class of failure may be."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.events import AttemptEnded
from tunesmith.journal import JOURNAL_FILE, open_reader

Go = Callable[..., tune.ExperimentAnalysis]
LIMIT = "250MB"


def hoards(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    if config["x"] == 1:
        held = b"x" * 300_000_000
        threading.Event().wait(len(held))


def hoards_once(config: dict[str, Any]) -> None:
    first = Path(str(tune.get_context().get_trial_dir()), "first")
    if first.exists():
        tune.report(loss=1)
        return
    first.touch()
    hoards({"x": 1})


@pytest.fixture
def local(go: Go, tmp_path: Path) -> Go:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        return go(trainable, name="x", max_ram=LIMIT, **{"executor": "local", "metric": "loss", "mode": "min", **arguments})

    return run


def ends_in(folder: Path) -> list[tuple[int, int, str]]:
    """(trial, attempt, outcome) of each attempt, by the journal."""
    with open_reader(folder / JOURNAL_FILE) as reader:
        ends = [record.event for record in reader.read() if isinstance(record.event, AttemptEnded)]
    return sorted((event.trial, event.attempt, event.outcome) for event in ends)


def test_one_that_holds_too_much_ends_and_the_others_go_on(local: Go, tmp_path: Path) -> None:
    analysis = local(hoards, config={"x": tune.grid_search([0, 1, 2])}, raise_on_failed_trial=False)
    assert {trial.config["x"]: trial.status for trial in analysis.trials} == {0: "TERMINATED", 1: "ERROR", 2: "TERMINATED"}
    assert ends_in(tmp_path / "x") == [(0, 0, "finished"), (1, 0, "oom_ram"), (2, 0, "finished")]
    text = Path(analysis.trials[1].logdir, "error.txt").read_text()
    assert "MemoryLimit: its process held " in text
    assert "more than max_ram=250 MB" in text
    assert "in hoards" in text


def test_what_is_said_of_it(local: Go) -> None:
    told = r"MemoryLimit: its process held \d+ MB, more than max_ram=250 MB at \S*test_max_ram.py:\d+"
    with pytest.raises(tune.TrialsFailed, match=told):
        local(hoards, config={"x": 1})


def test_it_is_tried_again_as_often_as_its_class_may_be(local: Go, tmp_path: Path) -> None:
    analysis = local(hoards_once, max_failures={"oom_ram": 1})
    assert analysis.trials[0].status == "TERMINATED"
    assert ends_in(tmp_path / "x") == [(0, 0, "oom_ram"), (0, 1, "finished")]


def test_what_is_within_the_limit_does_not_end(local: Go) -> None:
    assert local(hoards, config={"x": 0}).trials[0].status == "TERMINATED"
