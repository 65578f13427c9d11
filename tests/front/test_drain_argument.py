"""``drain_s``: where it is given, what it may be, what becomes of it where nothing can be ended by force; and runs in a row."""

from __future__ import annotations

import logging
import signal
from datetime import timedelta
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.build import build
from tunesmith.core.settings import Settings
from tunesmith.errors import SpecError
from tunesmith.executors.base import ExecutorCapabilities
from tunesmith.executors.inline import InlineExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader


class Forceful(InlineExecutor):
    """Says that it can kill."""

    capabilities = ExecutorCapabilities(name="forceful", slots=1, kill=True)


def train(config: dict[str, Any]) -> dict[str, float]:
    return {"loss": 1.0}


def recorded(path: Any) -> Settings:
    reader = open_reader(path / JOURNAL_FILE)
    try:
        return Settings.parse(next(iter(reader.read())).event.spec)
    finally:
        reader.close()


@pytest.mark.parametrize(("given", "seconds"), [({}, 30.0), ({"drain_s": timedelta(minutes=1)}, 60.0), ({"drain_s": None}, None)])
def test_given_and_recorded(tmp_path: Any, given: dict[str, Any], seconds: float | None) -> None:
    tune.run(train, name="x", storage_path=tmp_path, executor=Forceful(), verbose=0, **given)
    assert recorded(tmp_path / "x").drain_s == seconds


def test_the_other_fronts(tmp_path: Any) -> None:
    run_config = tune.RunConfig(name="x", storage_path=str(tmp_path), drain_s=7, executor=Forceful(), verbose=0)
    tune.Tuner(train, run_config=run_config).fit()
    assert recorded(tmp_path / "x").drain_s == 7.0
    tune.run_experiments(tune.Experiment("y", train, drain_s=8, storage_path=str(tmp_path)), executor=Forceful(), verbose=0)
    assert recorded(tmp_path / "y").drain_s == 8.0


@pytest.mark.parametrize("more", [{"executor": "inline"}, {"executor": Forceful(), "deterministic": True}])
def test_what_is_not_asked_for_is_left_where_it_cannot_be(tmp_path: Any, more: dict[str, Any]) -> None:
    tune.run(train, name="x", storage_path=tmp_path, verbose=0, **more)
    assert recorded(tmp_path / "x").drain_s is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drain_s": 0}, "drain_s must be a number of seconds > 0"),
        ({"drain_s": "1m"}, "drain_s must be a number of seconds > 0"),
        ({"drain_s": 5, "executor": "inline"}, "drain_s=5 needs an executor that can end a trial by force"),
        ({"drain_s": 5, "executor": Forceful(), "deterministic": True}, "deterministic=True cannot be kept with drain_s"),
    ],
)
def test_refused(tmp_path: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build(train, storage_path=tmp_path, **arguments)


def test_a_run_of_before_goes_on_with_the_bound_of_today(tmp_path: Any) -> None:
    tune.run(train, name="x", storage_path=tmp_path, executor=Forceful(), verbose=0, drain_s=5)
    again = tune.run(train, name="x", storage_path=tmp_path, executor=Forceful(), verbose=0, num_samples=2, resume=True)
    assert [trial.status for trial in again.trials] == ["TERMINATED", "TERMINATED"]


def test_ctrl_c_is_meant_for_all_experiments_of_a_row(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    def presses(config: dict[str, Any]) -> dict[str, float]:
        signal.raise_signal(signal.SIGINT)
        return {"loss": 1.0}

    experiments = [tune.Experiment(name, what, storage_path=str(tmp_path)) for name, what in (("a", presses), ("b", train), ("c", train))]
    with caplog.at_level(logging.WARNING, "tunesmith"):
        trials = tune.run_experiments(experiments, executor="inline", verbose=0)
    assert [trial.status for trial in trials] == ["TERMINATED"]
    assert caplog.messages[-1] == "not begun: b, c; to go on with all: the same again with resume='AUTO'."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert len(tune.run_experiments(experiments, executor="inline", verbose=0, resume="AUTO")) == 3
