"""Trials that never come back: the limits of a run end them, say where they were, and the others go on."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

pytestmark = pytest.mark.e2e


def spins(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    while config["x"] == 1:
        pass


def sits(config: dict[str, Any]) -> None:
    tune.report(loss=config["x"])
    try:
        if config["x"] == 1:
            threading.Event().wait()
    finally:
        Path(os.environ["UNWOUND"]).touch()


def dies_once(config: dict[str, Any]) -> None:
    place = Path(os.environ["DIED"])
    if config["x"] == 1 and not place.exists():
        place.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    tune.report(loss=config["x"])


@pytest.mark.parametrize(("trainable", "limit"), [(spins, "max_trial_s"), (sits, "max_silence_s")])
def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainable: Any, limit: str) -> None:
    monkeypatch.setenv("UNWOUND", str(tmp_path / "unwound"))
    result = tune.run(
        trainable, config={"x": tune.grid_search([0, 1, 2])}, storage_path=str(tmp_path), metric="loss", mode="min", verbose=0,
        executor="local", raise_on_failed_trial=False, **{limit: 3.0},
    )  # fmt: skip
    by_x = {trial.config["x"]: trial for trial in result.trials}
    assert {x: trial.status for x, trial in by_x.items()} == {0: "TERMINATED", 1: "ERROR", 2: "TERMINATED"}
    text = Path(by_x[1].logdir, "error.txt").read_text()
    assert f"in {trainable.__name__}" in text
    assert trainable is spins or (tmp_path / "unwound").exists()


def test_a_lost_worker_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    result = tune.run(
        dies_once, config={"x": tune.grid_search([0, 1])}, storage_path=str(tmp_path), metric="loss", mode="min", verbose=0,
        executor="local",
    )  # fmt: skip
    assert [trial.status for trial in result.trials] == ["TERMINATED"] * 2
    assert (tmp_path / "died").exists()
