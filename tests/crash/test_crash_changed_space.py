"""The driver dies at every point of the session that brings another space: the next one goes on as if nothing had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.build import build
from tunesmith.execute import execute
from tunesmith.search import Searcher
from tunesmith.testing.faults import POINTS, Crash, crash_at


class Net:
    def __init__(self, size: int) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"Net({self.size})"


NETS = [Net(size) for size in range(5)]


def train(config: dict[str, Any]) -> None:
    for _ in range(2):
        tune.report(size=config["net"].size, n=config["n"])


class Counting(Searcher):
    """Ray-style, and nothing that it does can be done twice."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.live: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        self.live[trial_id] = self.count
        self.count += 1
        return {"net": NETS[(2, 4, 2, 4, 2, 4)[self.live[trial_id]]]}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.live.pop(trial_id)


def go(path: Path, kind: str, sizes: list[int], n: int, resume: bool) -> None:
    """One session; its directory is new, or there."""
    options = [NETS[size] for size in sizes]
    config = {"net": tune.grid_search(options) if kind == "grid" else tune.choice(options), "n": n}
    more: dict[str, Any] = {} if kind == "grid" else {"search_alg": Counting(), "num_samples": 3 + (n == 3)}
    more |= {"name": "run", "storage_path": str(path), "executor": "inline", "verbose": 0, "loggers": (), "resume": resume}
    execute(build(train, config=config, **more))


def trials(path: Path) -> list[Any]:
    """What each trial ran with, twice: as it is shown, and as it reported it."""
    shown = tune.open_experiment(path / "run").trials
    return [(trial.config, trial.status, trial.last_result["size"], trial.last_result["n"], trial.iteration) for trial in shown]


def first(path: Path, kind: str) -> None:
    with crash_at("after_commit", 6), pytest.raises(Crash):
        go(path, kind, [1, 2, 4], 2, False)


@pytest.mark.parametrize("kind", ["grid", "choice"])
@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_turn_of_it(tmp_path: Path, kind: str, point: str) -> None:
    first(tmp_path / "whole", kind)
    begun = tune.open_experiment(tmp_path / "whole" / "run").trials
    assert [trial.status == "TERMINATED" for trial in begun] == [True, False], "the second goes on in the new session"
    with crash_at("after_commit", 10**9) as plan:
        go(tmp_path / "whole", kind, [0, 4, 2], 3, True)
    expected = trials(tmp_path / "whole")
    assert {config["n"] for config, *_ in expected} == {2, 3}
    assert all(config == {"net": f"Net({size})", "n": n} for config, _, size, n, _ in expected)
    assert all(status == "TERMINATED" and iterations == 2 for _, status, *_, iterations in expected)
    for turn in range(plan.turns):
        path = tmp_path / str(turn)
        first(path, kind)
        with crash_at(point, turn), pytest.raises(Crash):
            go(path, kind, [0, 4, 2], 3, True)
        go(path, kind, [0, 4, 2], 3, True)
        assert trials(path) == expected
