"""Extending an experiment: more samples, and higher bounds: whom a bound has ended goes on where it was, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.execute import execute
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.schedulers import Scheduler
from tunesmith.testing.faults import Crash, crash_at

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]
BOTH = pytest.mark.parametrize("executor", ["inline", "local"])


class Steps(tune.Trainable):
    """Counts on from its checkpoint; says how many steps its process has made."""

    def setup(self, config: Config) -> None:
        self.made = 0

    def step(self) -> Config:
        self.made += 1
        return {"loss": 1.0, "made": self.made, "done": self.iteration + 1 >= self.config.get("most", 99)}

    def save_checkpoint(self, checkpoint_dir: str) -> Config:
        return {"made": self.made}

    def load_checkpoint(self, checkpoint: Config) -> None:
        """``made`` counts from 0 in each process."""


def forever(config: Config) -> None:
    """Saves nothing."""
    for _ in range(config.get("most", 99)):
        tune.report(loss=1.0)


def iterations(analysis: tune.ExperimentAnalysis) -> list[int]:
    return [trial.last_result["training_iteration"] for trial in analysis.trials]


def reopened(path: Path) -> list[tuple[int, str]]:
    with open_reader(path / "x" / JOURNAL_FILE) as reader:
        return [(record.event.trial, record.event.why) for record in reader.read() if isinstance(record.event, ev.Reopened)]


@BOTH
def test_a_higher_bound_goes_on_from_the_checkpoint(go: Go, executor: str, tmp_path: Path) -> None:
    arguments = {"name": "x", "num_samples": 2, "executor": executor, "checkpoint_at_end": True}
    assert iterations(go(Steps, stop={"training_iteration": 2}, **arguments)) == [2, 2]
    analysis = go(Steps, stop={"training_iteration": 4}, resume=True, **arguments)
    assert iterations(analysis) == [4, 4]
    assert [trial.last_result["made"] for trial in analysis.trials] == [2, 2], "two more steps each, from the checkpoint of the second"
    assert reopened(tmp_path) == [(0, "criterion"), (1, "criterion")]
    assert [list(frame.training_iteration) for frame in analysis.trial_dataframes.values()] == [[1, 2, 3, 4]] * 2
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2


@BOTH
def test_without_a_checkpoint_they_begin_anew(go: Go, executor: str) -> None:
    arguments = {"name": "x", "executor": executor, "loggers": None}
    go(forever, stop={"training_iteration": 2}, **arguments)
    analysis = go(forever, stop={"training_iteration": 4}, resume=True, **arguments)
    (frame,) = analysis.trial_dataframes.values()
    assert list(frame.training_iteration) == [1, 2, 3, 4]
    assert len(Path(analysis.trials[0].path, "progress.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("before", "now", "ends"),
    [
        ({"training_iteration": 2}, {"training_iteration": 2}, [2]),
        ({"training_iteration": 2}, {"training_iteration": 1}, [2]),
        ({"training_iteration": 2}, None, [9]),
        ({"training_iteration": 2}, [{"training_iteration": 7}, tune.MaximumIterationStopper(5)], [5]),
        (tune.MaximumIterationStopper(2), tune.MaximumIterationStopper(5), [5]),
        (lambda trial_id, result: result["training_iteration"] > 1, lambda trial_id, result: result["training_iteration"] > 4, [5]),
        (lambda trial_id, result: result["training_iteration"] > 1, lambda trial_id, result: result["training_iteration"] > 0, [2]),
        (tune.TrialPlateauStopper("loss", num_results=2, grace_period=2), tune.TrialPlateauStopper("loss", num_results=5), [5]),
        ({"training_iteration": 20}, {"training_iteration": 40}, [9]),  # it ended by itself
        ({"training_iteration": 9}, {"training_iteration": 40}, [9]),  # and at once with the bound
    ],
)
def test_who_goes_on_under_another_criterion(go: Go, before: Any, now: Any, ends: list[int]) -> None:
    arguments = {"name": "x", "config": {"most": 9}, "checkpoint_at_end": True}
    go(Steps, stop=before, **arguments)
    assert iterations(go(Steps, stop=now, resume=True, **arguments)) == ends


def test_what_has_not_changed_is_not_judged_again(go: Go) -> None:
    """A stopper may say something else each time: whom it has ended stays so."""

    class Moody(tune.Stopper):
        def __call__(self, trial_id: str, result: Any) -> bool:
            return bad

    bad = True
    go(forever, name="x", stop=Moody(), config={"most": 3})
    bad = False
    assert iterations(go(forever, name="x", stop=Moody(), config={"most": 3}, resume=True)) == [1]


def test_step_by_step(go: Go, tmp_path: Path) -> None:
    for session, bound in enumerate((1, 3, 3, 4, 8)):
        analysis = go(Steps, name="x", stop=[{"training_iteration": 99}, tune.MaximumIterationStopper(bound)], resume="AUTO")
        assert iterations(analysis) == [bound]
        assert analysis.trials[0].attempt == (0, 1, 1, 2, 3)[session]
    assert len(reopened(tmp_path)) == 3


def test_a_bound_that_was_raised_while_only_failed_ones_ran_is_not_forgotten(go: Go) -> None:
    arguments = {"name": "x", "config": {"x": tune.grid_search([0, 1])}}

    def train(config: Config) -> None:
        for _ in range(9):
            tune.report(loss=1.0)
            if config["x"] and broken:
                raise RuntimeError("broken")

    broken = True
    go(train, stop={"training_iteration": 2}, raise_on_failed_trial=False, **arguments)
    broken = False
    assert iterations(go(train, stop={"training_iteration": 4}, resume="ERRORED_ONLY", **arguments)) == [2, 4]
    assert iterations(go(train, stop={"training_iteration": 4}, resume=True, **arguments)) == [4, 4]


class Bounded(Scheduler):
    """Stops at ``max_t``; and losers (odd numbers) after the first step."""

    changeable: ClassVar[tuple[str, ...]] = ("max_t",)
    last: ClassVar[Bounded]

    def __init__(self, max_t: int | None = 2) -> None:
        super().__init__()
        self.max_t = max_t
        self.shown: list[tuple[int, int]] = []
        self.again: list[int] = []
        Bounded.last = self

    def __deepcopy__(self, memo: Any) -> Bounded:
        return Bounded(self.max_t)  # as new: a run has one of its own

    def on_result(self, trial: Any, result: Any) -> Any:
        self.shown = [*self.shown, (trial.number, trial.iteration)]
        if trial.number % 2:
            return self.stop("a loser")
        if self.max_t is not None and trial.iteration >= self.max_t:
            return self.stop(f"reached max_t={self.max_t}", bound=("max_t", self.max_t))
        return self.CONTINUE

    def on_trial_reopen(self, trial: Any) -> None:
        self.again = [*self.again, trial.number]


def test_the_scheduler_raises_its_own_bound(go: Go, tmp_path: Path) -> None:
    arguments = {"name": "x", "config": {"most": 9}, "num_samples": 3}
    assert iterations(go(forever, scheduler=Bounded(), **arguments)) == [2, 1, 2]
    assert iterations(go(forever, scheduler=Bounded(4), resume=True, **arguments)) == [4, 1, 4]
    scheduler = Bounded.last
    assert scheduler.again == [0, 2]
    assert scheduler.shown == [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2), (0, 3), (0, 4), (2, 3), (2, 4)], "repeats are not shown again"
    assert reopened(tmp_path) == [(0, "bound"), (2, "bound")]
    assert iterations(go(forever, scheduler=Bounded(3), resume=True, **arguments)) == [4, 1, 4]
    assert iterations(go(forever, scheduler=Bounded(None), resume=True, **arguments)) == [9, 1, 9]


def test_a_longer_time_budget(go: Go, tmp_path: Path) -> None:
    """The first session ends in the middle of its trial; the clock stands still between sessions."""

    def train(config: Config) -> None:
        while short:
            tune.report(loss=1.0)
        tune.report(loss=0.5)

    short = True
    (trial,) = go(train, name="x", time_budget_s=0.2).trials
    assert (trial.status, trial.outcome, trial.reason) == ("TERMINATED", "stopped", "time budget of 0.2 s is used up")
    short = False
    (trial,) = go(train, name="x", time_budget_s=600, resume=True).trials
    assert reopened(tmp_path) == [(0, "budget")]
    assert (trial.status, trial.outcome, trial.last_result["loss"]) == ("TERMINATED", "finished", 0.5)


def test_never_who_was_given_up_by_a_person_or_is_not_allowed(go: Go) -> None:
    def train(config: Config) -> None:
        tune.report(loss=1.0)
        if config["x"]:
            raise tune.Infeasible("no such thing")
        tune.report(loss=1.0)

    arguments = {"name": "x", "config": {"x": tune.grid_search([0, 1])}}
    first = go(train, stop={"training_iteration": 9}, **arguments)
    again = go(train, stop={"training_iteration": 10}, resume="AUTO+ERRORED", **arguments)
    assert [trial.outcome for trial in again.trials] == [trial.outcome for trial in first.trials] == ["finished", "infeasible"]
    assert [trial.attempt for trial in again.trials] == [0, 0]


def test_more_samples_and_a_higher_bound_at_once(go: Go) -> None:
    go(forever, name="x", stop={"training_iteration": 1}, num_samples=2)
    analysis = go(forever, name="x", stop={"training_iteration": 3}, num_samples=4, resume=True)
    assert iterations(analysis) == [3, 3, 3, 3]


def test_through_the_tuner(go: Go, tmp_path: Path) -> None:
    arguments = {"stop": {"training_iteration": 2}, "num_samples": 2, "scheduler": Bounded(5), "config": {"most": 9}}
    go(forever, name="x", **arguments)
    restore = tune.Tuner.restore
    path = tmp_path / "x"
    assert len(restore(path, forever, num_samples=3).fit()) == 3
    assert [result.metrics["training_iteration"] for result in restore(path, forever, stop={"training_iteration": 4}).fit()] == [4, 1, 4]
    results = restore(path, forever, stop=None, scheduler=Bounded(7), max_concurrent_trials=1, time_budget_s=60).fit()
    assert [result.metrics["training_iteration"] for result in results] == [7, 1, 7]
    spec = restore(path, forever)._restored
    assert spec is not None
    assert (spec.num_samples, spec.stop, spec.max_concurrent, spec.time_budget_s) == (3, None, 1, 60.0), "that is what it is now"
    for wrong, message in (
        ({"num_samples": 0}, "num_samples must be a whole number >= 1"),
        ({"max_concurrent_trials": 0}, "max_concurrent_trials must be"),
        ({"stop": "never"}, "stop: expected a dict"),
        ({"scheduler": "asap"}, "scheduler='asap' is not known"),
        ({"time_budget_s": -1}, "time_budget_s must be"),
    ):
        with pytest.raises(tune.SpecError, match=message):
            restore(path, forever, **wrong)
    with pytest.raises(tune.SpecError, match="the scheduler was 'Bounded' and is now 'FIFOScheduler'"):
        restore(path, forever, scheduler="fifo").fit()


def test_restore_keeps_how_classes_save(go: Go, tmp_path: Path) -> None:
    go(Steps, name="x", stop={"training_iteration": 1}, checkpoint_freq=2, checkpoint_at_end=False, config={"most": 9})
    result = tune.Tuner.restore(tmp_path / "x", Steps, stop={"training_iteration": 5}).fit()[0]
    assert result.checkpoint is not None
    assert result.checkpoint_iteration == 4


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
def test_a_crash_around_the_first_commit_of_the_session_that_extends(tmp_path: Path, point: str) -> None:
    from tunesmith.build import build

    def spec(bound: int, resume: bool = True) -> Any:
        arguments = {"storage_path": tmp_path, "executor": "inline", "verbose": 0, "loggers": (), "resume": resume}
        return build(forever, name="x", num_samples=2, stop=tune.MaximumIterationStopper(bound), config={"most": 9}, **arguments)

    execute(spec(2, resume=False))
    with crash_at(point, 0), pytest.raises(Crash):
        execute(spec(4))
    finished = execute(spec(4))
    assert finished.counts["TERMINATED"] == 2
    assert reopened(tmp_path) == [(0, "criterion"), (1, "criterion")], "each once"
    with tune.open_experiment(tmp_path / "x")._source.reader() as reader:
        assert max(record.event.iteration for record in reader.read() if isinstance(record.event, ev.Reported)) == 4


@pytest.mark.parametrize("turn", range(1, 11))
def test_a_crash_anywhere_before_and_a_higher_bound_after_it(tmp_path: Path, turn: int) -> None:
    """Also between a trial's last report and its end: told to stop by the old bound, it goes on by the new one."""
    from tunesmith.build import build

    def spec(bound: int, resume: bool = True) -> Any:
        arguments = {"storage_path": tmp_path, "executor": "local", "verbose": 0, "loggers": (), "resume": resume}
        stop = tune.MaximumIterationStopper(bound)
        return build(Steps, name="x", num_samples=2, stop=stop, config={"most": 9}, max_concurrent_trials=1, **arguments)

    with crash_at("after_commit", turn), suppress(Crash):  # how many turns there are depends on timing: the last may not come
        execute(spec(2, resume=False))
    assert execute(spec(4)).counts["TERMINATED"] == 2
    analysis = tune.open_experiment(tmp_path / "x")
    assert iterations(analysis) == [4, 4]


@pytest.mark.parametrize("turn", range(1, 5))
def test_a_crash_between_the_decision_and_the_end_is_not_forgotten(tmp_path: Path, turn: int) -> None:
    """With rounds an attempt that was told to stop ends in its turn, in the new session: too late there, and the next one sees to it."""
    from tunesmith.build import build

    def spec(bound: int, resume: bool = True) -> Any:
        arguments = {"storage_path": tmp_path, "executor": "inline", "verbose": 0, "loggers": (), "resume": resume}
        return build(Steps, name="x", stop=tune.MaximumIterationStopper(bound), config={"most": 9}, deterministic=True, **arguments)

    with crash_at("after_commit", turn), pytest.raises(Crash):
        execute(spec(2, resume=False))
    execute(spec(4))
    assert execute(spec(4)).counts["TERMINATED"] == 1
    assert iterations(tune.open_experiment(tmp_path / "x")) == [4]
