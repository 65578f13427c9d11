"""What a resume gives another value: refused with both values named, or recorded; and who is asked what it was then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.errors import SpecError
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.restore import recorded
from tunesmith.schedulers import Scheduler
from tunesmith.stopper import stopper_from

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


def train(config: Config) -> None:
    for step in range(3):
        tune.report(loss=1 / (step + 1))


def other(config: Config) -> None:
    tune.report(loss=1.0)


class Own(tune.search.Searcher):
    def suggest(self, trial_id: str) -> Config | None:
        return {}


class Halves(Scheduler):
    """Stops at ``max_t`` and, at ``rung``, what is above ``cut``."""

    changeable: ClassVar[tuple[str, ...]] = ("max_t",)

    def __init__(self, metric: str | None = None, mode: str | None = None, max_t: int = 2, rung: int = 1, cut: float | None = None) -> None:
        super().__init__(metric, mode)
        self.max_t, self._rung, self.cut = max_t, rung, cut

    def on_result(self, trial: Any, result: Any) -> Any:
        if self.cut is not None and trial.iteration == self._rung and result["loss"] > self.cut:
            return self.stop(f"above {self.cut}")
        if trial.iteration >= self.max_t:
            return self.stop(f"max_t={self.max_t}", bound=("max_t", self.max_t))
        return self.CONTINUE


class Others(Halves):
    pass


def records(path: Path) -> list[Any]:
    with open_reader(path / JOURNAL_FILE) as reader:
        return list(reader.read())


FIRST = {"name": "x", "metric": "loss", "mode": "min"}


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({}, {"metric": "acc"}, r"metrics were \['loss'\] and are now \['acc'\]; results before and after could not be compared"),
        ({}, {"metric": None, "mode": None}, r"metrics were \['loss'\] and are now \[\]"),
        ({}, {"mode": "max"}, r"modes were \['min'\] and are now \['max'\]"),
        ({}, {"search_alg": Own()}, r"the searcher was 'BasicVariantGenerator' and is now 'Own'.*, with search_alg='random'"),
        ({}, {"scheduler": Halves()}, r"the scheduler was 'FIFOScheduler' and is now 'Halves'"),
        ({"scheduler": Halves()}, {"scheduler": Others()}, r"the scheduler was 'Halves' and is now 'Others'"),
        ({"scheduler": Halves()}, {"scheduler": Halves(rung=2)}, r"Halves's rung was 1 and is now 2; what it decided before would"),
        ({"scheduler": Halves()}, {"scheduler": Halves(cut=0.5)}, r"Halves's cut was None and is now 0\.5"),
    ],
)
def test_what_cannot_differ_is_refused(go: Go, tmp_path: Path, before: Config, now: Config, message: str) -> None:
    go(train, **{**FIRST, **before})
    size = len(records(tmp_path / "x"))
    with pytest.raises(SpecError, match=rf"resume of {tmp_path}/x: {message}.* begin a new experiment\."):
        go(train, **{**FIRST, **now}, resume=True, num_samples=2)
    assert len(records(tmp_path / "x")) == size, "nothing was begun"
    assert len(go(train, **{**FIRST, **before}, resume=True, num_samples=2).trials) == 2


def test_another_trainable_is_refused(go: Go) -> None:
    go(train, name="x")
    with pytest.raises(SpecError, match="the trainable was 'train' and is now 'other'"):
        go(other, name="x", resume="AUTO", num_samples=2)


def test_another_seed_is_named_and_not_used(go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    space = {"x": tune.uniform(0, 1)}
    whole = go(train, name="whole", config=space, num_samples=2, seed=7)
    go(train, name="x", config=space, seed=7)
    with caplog.at_level(logging.WARNING, "tunesmith"):
        again = go(train, name="x", config=space, num_samples=2, seed=8, resume=True)
        go(train, name="x", config=space, num_samples=2, seed=7, resume=True)
    assert [trial.config for trial in again.trials] == [trial.config for trial in whole.trials]
    assert caplog.messages == [f"{tmp_path / 'x'} began with seed=7 and goes on with it; seed=8 is not used."]


def test_what_may_differ_is_recorded_once(go: Go, tmp_path: Path) -> None:
    go(train, **FIRST, scheduler=Halves(), stop={"training_iteration": 9})
    given = {
        "num_samples": 3, "stop": {"training_iteration": 8}, "max_concurrent_trials": 2, "time_budget_s": 100, "max_failures": {"nan": 1},
        "resources_per_trial": {"cpu": 0.5}, "scheduler": Halves(max_t=3),
    }  # fmt: skip
    go(train, **FIRST, **given, resume=True)
    go(train, **FIRST, **{**given, "scheduler": Halves(max_t=3)}, resume=True)
    events = [record.event for record in records(tmp_path / "x")]
    sessions = [event.spec for event in events if isinstance(event, ev.ExperimentStarted)]
    assert (sessions[0]["num_samples"], sessions[0]["scheduler_options"]) == (1, {"max_t": 2, "rung": 1, "cut": None})
    assert sessions[1:] == [{}, {}], "later ones record what differs"
    assert [event.changes for event in events if isinstance(event, ev.SpecChanged)] == [
        {
            "num_samples": 3,
            "stop": {"training_iteration": 8},
            "max_concurrent": 2,
            "time_budget_s": 100.0,
            "retries": {"nan": 1},
            "resources": {"cpu": 0.5},
            "scheduler_options": {"max_t": 3, "rung": 1, "cut": None},
        }
    ]
    _, description = recorded(str(tmp_path / "x"))
    assert (description["num_samples"], description["scheduler_options"]["max_t"], description["trainable_name"]) == (3, 3, "train")


def test_the_console_says_what_has_changed(go: Go, capsys: pytest.CaptureFixture[str]) -> None:
    go(train, **FIRST, stop={"training_iteration": 2})
    stop = [{"training_iteration": 2}, tune.TrialPlateauStopper("loss"), tune.TrialPlateauStopper("acc")]
    go(train, **FIRST, stop=stop, num_samples=3, max_concurrent_trials=1, time_budget_s=60, resume=True, verbose=1, loggers=())
    go(train, **FIRST, stop={"loss": 0.2}, num_samples=3, resume=True)
    go(train, **FIRST, stop={"loss": 0.1}, num_samples=3, resume=True, verbose=1, loggers=())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("x goes on: 3 trials, BasicVariantGenerator, FIFOScheduler, executor inline, seed ")
    assert lines[1] == "changed since: num_samples 1 -> 3, stop, max_concurrent None -> 1, time_budget_s None -> 60.0"
    assert "changed since: stop {'loss': 0.2} -> {'loss': 0.1}" in lines


def test_a_script_that_says_now_what_was_not_said_then_changes_nothing_of_then(go: Go, tmp_path: Path) -> None:
    """Rungs are those of the record: the decisions of the first session are computed again, and are the same."""
    go(train, **FIRST, scheduler=Halves(max_t=2), num_samples=2)
    analysis = go(train, **FIRST, scheduler=Halves(max_t=3), num_samples=3, resume=True)
    assert [trial.iteration for trial in analysis.trials] == [3, 3, 3]
    again = Halves(max_t=1)
    from tunesmith.testing.loop import fold

    assert fold(records(tmp_path / "x"), again).difference == ""
    assert again.max_t == 3


def test_secret_options_are_not_recorded(go: Go, tmp_path: Path) -> None:
    class Asks(Scheduler):
        def __init__(self, patience: int = 3, api_key: str = "hush") -> None:
            super().__init__()
            self.patience, self.api_key = patience, api_key

    go(train, name="x", scheduler=Asks())
    assert recorded(str(tmp_path / "x"))[1]["scheduler_options"] == {"patience": 3}
    assert go(train, name="x", scheduler=Asks(api_key="other"), resume=True).trials


def test_options_of_a_scheduler() -> None:
    class Odd(Scheduler):
        def __init__(self, patience: int = 3, names: tuple[str, ...] = (), **rest: Any) -> None:
            super().__init__()
            self._patience, self.names = patience, names

    assert Odd().options() == {"patience": 3}
    assert Halves("loss", "min", 5).options() == {"max_t": 5, "rung": 1, "cut": None}
    assert tune.schedulers.FIFOScheduler().options() == {}


@pytest.mark.parametrize(
    ("stop", "description"),
    [
        ({"loss": 0.5, "val/acc": 1}, {"loss": 0.5, "val/acc": 1}),
        (tune.MaximumIterationStopper(4), {"stopper": "MaximumIterationStopper", "max_iter": 4}),
        (tune.TimeoutStopper(4), {"stopper": "TimeoutStopper", "timeout": 4.0}),
        ([{"loss": 1}, tune.MaximumIterationStopper(4)], [{"loss": 1}, {"stopper": "MaximumIterationStopper", "max_iter": 4}]),
        (
            tune.ExperimentPlateauStopper("loss", top=5),
            {"stopper": "ExperimentPlateauStopper", "metric": "loss", "std": 0.001, "top": 5, "mode": "min", "patience": 0},
        ),
        (
            tune.TrialPlateauStopper("loss", std=0.1),
            {
                "stopper": "TrialPlateauStopper", "metric": "loss", "std": 0.1, "num_results": 4, "grace_period": 4,
                "metric_threshold": None, "mode": None,
            },
        ),
    ],
)  # fmt: skip
def test_stoppers_describe_themselves(stop: Any, description: Any) -> None:
    stopper = stopper_from(stop)
    assert stopper is not None
    assert stopper.describe() == description


def test_a_stopper_of_ones_own_is_its_name() -> None:
    class Mine(tune.Stopper):
        def __init__(self) -> None:
            self.count = 0

    assert Mine().describe() == {"stopper": "Mine"}


def made(bound: float) -> Callable[[str, Any], bool]:
    return lambda trial_id, result: bool(result["loss"] < bound)


def above(trial_id: str, result: Any, least: float = 1) -> bool:
    return bool(result["loss"] > least)


def described(function: Any) -> Any:
    stopper = stopper_from(function)
    assert stopper is not None
    return stopper.describe()


def test_functions_are_told_apart_by_what_they_do() -> None:
    assert described(made(1)) == described(made(1))
    assert described(made(1)) != described(made(2)), "another number in its closure"
    assert described(lambda trial_id, result: result["loss"] < 1) != described(lambda trial_id, result: result["loss"] < 2)
    assert described(above)["function"] == "above"

    class Calls:
        def __call__(self, trial_id: str, result: Any) -> bool:
            return True

    assert described(Calls())["function"] == "Calls"
    assert described(Calls()) == described(Calls())
    assert described(print)["code"] == ""


def test_the_hint_after_a_move_names_the_directory_of_now(go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(tune.Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        go(train, name="x", num_samples=2, callbacks=[Breaks()])
    (tmp_path / "x").rename(tmp_path / "moved")
    with caplog.at_level(logging.WARNING, "tunesmith"), pytest.raises(KeyboardInterrupt):
        tune.Tuner.restore(tmp_path / "moved", train).fit()
    assert "to go on: resume=True, name='moved'" in caplog.messages[-1]
    assert [trial.status for trial in go(train, name="moved", num_samples=2, resume=True).trials] == ["TERMINATED"] * 2


def test_take_over_reaches_the_journal(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith.journal import lease

    go(train, name="x")
    here = lease.Owner.here()
    monkeypatch.setattr(lease.Owner, "here", classmethod(lambda cls: lease.Owner("elsewhere", 1, "1", "another boot", "", 0.0)))
    (tmp_path / "x" / "experiment.lock").write_text("")
    held = lease.Lease.acquire(tmp_path / "x" / "experiment.lock")
    monkeypatch.setattr(lease.Owner, "here", classmethod(lambda cls: here))
    try:
        with pytest.raises(tune.TuneError, match="take_over=True"):
            go(train, name="x", num_samples=2, resume=True)
        assert len(go(train, name="x", num_samples=2, resume=True, take_over=True).trials) == 2
    finally:
        held.release()
    with open(tmp_path / "x" / "spec.pkl", "rb") as file:
        assert b"take_over" not in file.read(), "it was said once, about one driver that was dead"
