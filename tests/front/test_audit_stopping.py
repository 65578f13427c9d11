"""Stop criteria and limits as scripts use them, through the whole stack."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.execute import SystemClock

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


def test_a_time_budget_ends_a_trial_that_would_go_on_for_ever(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(SystemClock, "now", lambda clock: float(next(ticks)))

    def train(config: Config) -> None:
        for step in itertools.count():
            tune.report(step=step)

    analysis = go(train, num_samples=-1, config={"x": tune.uniform(0, 1)}, time_budget_s=100)
    (trial,) = analysis.trials
    assert trial.status == "TERMINATED"
    assert 10 < trial.last_result["step"] < 100


def test_a_stop_function_sees_the_report_with_its_trial_and_configuration(go: Go) -> None:
    seen: list[tuple[str, Any]] = []

    def stop(trial_id: str, result: Config) -> bool:
        seen.append((result["trial_id"], result["config"]))
        return not result["done"] and result["training_iteration"] >= result["config"]["steps"]

    def train(config: Config) -> None:
        for _ in range(9):
            tune.report(loss=1.0)

    analysis = go(train, config={"steps": tune.grid_search([2, 4]), "kind": str}, stop=stop)
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [2, 4]
    assert seen[0] == (analysis.trials[0].trial_id, {"steps": 2, "kind": str})


def test_a_resume_shows_the_stop_function_what_was_reported_and_forgets_ended_trials(go: Go) -> None:
    class Counts(tune.Stopper):
        def __init__(self) -> None:
            self.seen: list[tuple[str, Any]] = []
            self.over: list[str] = []

        def __call__(self, trial_id: str, result: Config) -> bool:
            self.seen.append((trial_id[-1], result["config"]["x"]))
            return False

        def forget(self, trial_id: str) -> None:
            self.over.append(trial_id[-1])

    space = {"x": tune.grid_search([5, 6])}
    go(lambda config: 1.0, name="a", config=space)
    stopper = Counts()
    go(lambda config: 1.0, name="a", config=space, stop=stopper, resume=True)
    assert stopper.seen == [("0", 5), ("1", 6)]
    assert stopper.over == ["0", "1"]


def test_a_stop_function_that_raises_at_a_resume_is_named(go: Go) -> None:
    def stop(trial_id: str, result: Config) -> bool:
        raise ValueError("still broken")

    go(lambda config: 1.0, name="a")
    with pytest.raises(tune.UserCodeError, match=r"a stop criterion raised ValueError: still broken at \S+\.py:\d+, .* resume again"):
        go(lambda config: 1.0, name="a", stop=stop, resume=True, num_samples=2)
    assert len(go(lambda config: 1.0, name="a", resume=True, num_samples=2).trials) == 2


@pytest.mark.parametrize("stop", [{"time_total_s": 3}, [{"loss": 1}, {"time_total_s": 3}]])
def test_determinism_refuses_bounds_in_seconds_wherever_they_stand(go: Go, tmp_path: Path, stop: Any) -> None:
    with pytest.raises(tune.SpecError, match="time_total_s"):
        go(lambda config: 1.0, stop=stop, deterministic=True)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_the_circuit_breaker_ended_says_so(go: Go) -> None:
    def train(config: Config) -> float:
        return float(config["typo"])

    with pytest.raises(tune.TrialsFailed, match="The first 5 trials all failed alike, so no more were started") as caught:
        go(train, config={"x": tune.uniform(0, 1)}, num_samples=50)
    assert len(caught.value.trials) == 5


def test_an_error_of_many_lines_is_told_in_one(go: Go) -> None:
    def train(config: Config) -> None:
        raise ValueError("shapes differ.\n  left: 3\n  right: 4")

    with pytest.raises(tune.TrialsFailed, match=r"ValueError: shapes differ \.\.\. at \S+\.py:\d+") as caught:
        go(train, name="a")
    assert "\n" not in str(caught.value)
    error_file = Path(caught.value.trials[0].logdir) / "error.txt"
    assert "right: 4" in error_file.read_text()


def test_an_infeasible_configuration_is_replaced(go: Go) -> None:
    def train(config: Config) -> float:
        if config["x"] < 0.5:
            raise tune.Infeasible("too small")
        return float(config["x"])

    analysis = go(train, config={"x": tune.uniform(0, 1)}, num_samples=6, mode="min", seed=1)
    assert sum("_metric" in (trial.last_result or {}) for trial in analysis.trials) == 6 < len(analysis.trials)
    assert analysis.best_config["x"] >= 0.5
    assert {trial.status for trial in analysis.trials} == {"TERMINATED"}


def test_when_nothing_is_feasible_the_run_ends_after_ten_tries_per_sample_and_says_so(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    def train(config: Config) -> None:
        raise tune.Infeasible("never")

    assert len(go(train, config={"x": tune.uniform(0, 1)}, num_samples=3).trials) == 30
    assert "30 configurations were infeasible" in caplog.text


def test_retries_go_on_from_the_newest_checkpoint(go: Go) -> None:
    begins: list[int] = []

    def train(config: Config) -> None:
        saved = tune.get_checkpoint()
        step = saved.to_dict()["step"] if saved else 0
        begins.append(step)
        while step < 6:
            step += 1
            if step == 2 * len(begins) + 1 < 6:
                raise ValueError("again")
            tune.report({"step": step}, checkpoint=tune.Checkpoint.from_dict({"step": step}))

    (trial,) = go(train, max_failures=2).trials
    assert (begins, trial.status, trial.num_failures) == ([0, 2, 4], "TERMINATED", 2)
    assert trial.last_result["training_iteration"] == 6
    begins.clear()
    with pytest.raises(tune.TrialsFailed):
        go(train, max_failures=1)


def test_fail_fast_ends_at_the_first_failure(go: Go) -> None:
    def train(config: Config) -> float:
        return 1 / (config["x"] - 2)

    analysis = go(train, config={"x": tune.grid_search([1, 2, 3])}, fail_fast=True, raise_on_failed_trial=False)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED", "ERROR"]
