"""Runs with searchers as users write them, resumed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.search import FINISHED, Searcher

Go = Callable[..., tune.ExperimentAnalysis]
SPACE = {"x": tune.uniform(0, 1)}


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def run(searcher: Searcher, **arguments: Any) -> tune.ExperimentAnalysis:
        given = {"name": "x", "storage_path": tmp_path, "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, **arguments}
        return tune.run(train, search_alg=searcher, **{"config": SPACE, "metric": "loss", "mode": "min", **given})

    return run


def train(config: dict[str, Any]) -> None:
    for step in range(2):
        tune.report(loss=abs(config["x"] - 0.3) + 1 / (step + 1))


class RayStyle(Searcher):
    """Steps on from the best so far; knows its trials by what it filled into a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = random.Random(4)
        self.live: dict[str, float] = {}
        self.best = (9e9, 0.9)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.live[trial_id] = min(max(self.best[1] + self.rng.uniform(-0.2, 0.1), 0.0), 1.0)
        return {"x": self.live[trial_id]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        x = self.live.pop(trial_id)
        if result is not None:
            self.best = min(self.best, (result["loss"], x))


class Counting(Searcher):
    count = 0

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.count += 1
        return {"x": self.count / 100}


def xs(analysis: tune.ExperimentAnalysis) -> list[float]:
    return [trial.config["x"] for trial in analysis.trials]


@pytest.mark.parametrize("make", [RayStyle, Counting])
def test_a_resume_goes_on_as_if_nothing_had_been(go: Go, make: type[Searcher], caplog: pytest.LogCaptureFixture) -> None:
    whole = xs(go(make(), num_samples=7, name="whole"))
    for total in (2, 3, 7):
        found = go(make(), num_samples=total, resume=total > 2)
    assert xs(found) == whole
    assert not caplog.messages


def test_a_resume_of_several_at_once(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    """What it proposes depends on when it was told what: it is told so again, so it proposes what is on record."""
    for total in (6, 9, 12):
        found = go(RayStyle(), num_samples=total, resume=total > 6, executor="local", max_concurrent_trials=3)
    assert [trial.status for trial in found.trials] == ["TERMINATED"] * 12
    assert not caplog.messages


def test_one_that_raised_and_was_mended_goes_on(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    class Brittle(Counting):
        mended = False

        def suggest(self, trial_id: str) -> dict[str, Any]:
            if self.count == 2 and not Brittle.mended:
                raise ValueError("a bug")
            return super().suggest(trial_id)

    assert len(go(Brittle(), num_samples=5).trials) == 2
    assert any("Brittle raised ValueError: a bug" in message for message in caplog.messages)
    assert len(go(Brittle(), num_samples=5, resume=True).trials) == 2, "it still raises"
    Brittle.mended = True
    caplog.clear()
    assert xs(go(Brittle(), num_samples=5, resume=True)) == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert not caplog.messages


def test_one_that_had_no_more_is_asked_again(go: Go) -> None:
    class Few(Counting):
        most = 2

        def suggest(self, trial_id: str) -> Any:
            return FINISHED if self.count == Few.most else super().suggest(trial_id)

    assert len(go(Few(), num_samples=5).trials) == 2
    assert len(go(Few(), num_samples=5, resume=True).trials) == 2
    Few.most = 4
    assert len(go(Few(), num_samples=5, resume=True).trials) == 4


def test_one_without_a_seed_is_not_told_of_what_it_would_not_propose(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    class Unseeded(RayStyle):
        def __init__(self) -> None:
            super().__init__()
            self.rng = random.Random(os.urandom(8))

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            told.append("nothing" if result is None else "result")
            super().on_trial_complete(trial_id, result, error)

    go(Unseeded(), num_samples=3)
    told.clear()
    found = go(Unseeded(), num_samples=5, resume=True)
    assert len(found.trials) == 5
    assert told == ["nothing"] * 3 + ["result"] * 2
    assert [message.split(":")[0] for message in caplog.messages] == ["Unseeded does not repeat itself"]


def test_a_wider_space(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    """It has a range of its own, so it goes on as if nothing had changed; what it proposed lies inside."""
    whole = xs(go(RayStyle(), num_samples=6, name="whole"))
    go(RayStyle(), num_samples=3)
    assert xs(go(RayStyle(), num_samples=6, resume=True, config={"x": tune.uniform(-1, 2), "n": 7})) == whole
    assert not caplog.messages


def test_a_space_without_what_was_tried(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    go(Counting(), num_samples=3)
    found = go(Counting(), num_samples=5, resume=True, config={"x": tune.uniform(0.02, 2)})
    assert xs(found) == [0.01, 0.02, 0.03, 0.04, 0.05]
    assert caplog.messages == ["1 of 3 earlier trials lie outside the new space and are not used by the search"]
