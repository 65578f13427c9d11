"""Mixing: every scheduler with every searcher on real runs, trainables of all kinds. Everything ends; what is written is in order."""

from __future__ import annotations

import csv
import importlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

Config = dict[str, Any]
STEPS = 9
STEP = {"time_attr": "training_iteration"}

SCHEDULERS: dict[str, dict[str, Any]] = {
    "fifo": {},
    "asha": {"max_t": STEPS, "reduction_factor": 3},
    "asha, promoting": {"max_t": STEPS, "reduction_factor": 3, "form": "promote"},
    "async_hyperband": {"max_t": STEPS, "reduction_factor": 3, "brackets": 2, "seed": 1},
    "pasha": {"max_t": STEPS, "reduction_factor": 3},
    "successive_halving": {"max_t": STEPS, "reduction_factor": 3},
    "hyperband": {"max_t": STEPS, "reduction_factor": 3},
    "hb_bohb": {"max_t": STEPS, "reduction_factor": 3},
    "median_stopping_rule": {**STEP, "grace_period": 2, "min_samples_required": 2},
    "median_stopping_rule, soft": {**STEP, "grace_period": 2, "min_samples_required": 2, "hard_stop": False},
    "percentile": {**STEP, "grace_period": 1, "min_samples_required": 1, "percentile": 25, "compare": "value"},
    "patience": {"patience": 2, "min_delta": 0.05},
    "fixed_cut": {"max_t": STEPS, "cut_at": 2, "keep": 2},
    "pbt": {**STEP, "perturbation_interval": 2, "hyperparam_mutations": {"x": [0.1, 0.3, 0.5]}},
    "pbt, synchronous": {**STEP, "perturbation_interval": 2, "hyperparam_mutations": {"x": [0.1, 0.3, 0.5]}, "synch": True},
    "pb2": {**STEP, "perturbation_interval": 2, "hyperparam_bounds": {"x": [0.0, 1.0]}},
    "resource_changing": {},
}
PAUSING = {"asha, promoting", "pasha", "successive_halving", "hyperband", "hb_bohb", "median_stopping_rule, soft", "fixed_cut"}
STOPPING = {*PAUSING, "asha", "async_hyperband", "median_stopping_rule", "percentile", "patience"} - {"median_stopping_rule, soft"}
SEARCHERS: dict[str, dict[str, Any]] = {
    "random": {"config": {"x": tune.uniform(0, 1)}, "num_samples": 9},
    "grid": {"config": {"x": tune.grid_search([round(0.1 * k, 1) for k in (7, 3, 9, 1, 5, 2, 8, 4, 6)])}},
}


def loss_of(x: float, step: int) -> float:
    return x + (1.2 - x) / step


def plain(config: Config) -> None:
    """Never saves anything: who is paused is held, or runs again."""
    for step in range(1, STEPS + 1):
        tune.report(loss=loss_of(config["x"], step))


def saving(config: Config) -> None:
    """Saves at each second step, and goes on from there: what was in between is repeated."""
    start, checkpoint = 0, tune.get_checkpoint()
    if checkpoint is not None:
        start = checkpoint.to_dict()["step"]
    for step in range(start + 1, STEPS + 1):
        saved = tune.Checkpoint.from_dict({"step": step}) if step % 2 == 0 else None
        tune.report({"loss": loss_of(config["x"], step), "step": step}, checkpoint=saved)


class Steps(tune.Trainable):
    """A class, which can be asked to save."""

    def setup(self, config: Config) -> None:
        self.n = 0

    def step(self) -> Config:
        self.n += 1
        return {"loss": loss_of(self.config["x"], self.n), "step": self.n, "done": self.n == STEPS}

    def save_checkpoint(self, checkpoint_dir: str) -> Config:
        return {"n": self.n}

    def load_checkpoint(self, checkpoint: Config) -> None:
        self.n = checkpoint["n"]


TRAINABLES: dict[str, Any] = {"plain": plain, "saving": saving, "class": Steps}


def scheduler(name: str) -> Any:
    return tune.create_scheduler(name.partition(",")[0], **SCHEDULERS[name])


@pytest.fixture
def mix(tmp_path: Path) -> Callable[..., tune.ExperimentAnalysis]:
    """One experiment: names of scheduler, searcher, trainable and executor."""

    def run(schedule: str, search: str, trainable: str, executor: str, **more: Any) -> tune.ExperimentAnalysis:
        analysis = tune.run(
            TRAINABLES[trainable], scheduler=scheduler(schedule), metric="loss", mode="min", executor=executor, seed=3,
            storage_path=tmp_path, verbose=0, **SEARCHERS[search], **more,
        )  # fmt: skip
        in_order(analysis, schedule)
        return analysis

    return run


def in_order(analysis: tune.ExperimentAnalysis, schedule: str) -> None:
    """All trials have ended as they should, decisions say why, and the files are what the journal says."""
    assert len(analysis) == 9
    assert {trial.status for trial in analysis} == {"TERMINATED"}
    decisions = analysis.decisions()
    assert not [step for step in decisions if step["do"] in ("stop", "pause", "exploit", "resize") and not step["reason"]]
    assert all(trial.reason for trial in analysis if trial.outcome != "finished")
    assert not [step for step in decisions if "nothing was left" in step["reason"]], "it has forgotten a paused trial"
    done = Counter(step["do"] for step in decisions)
    assert bool(done["pause"]) >= (schedule in PAUSING)
    lost = sum(trial.outcome == "stopped" and trial.iteration < STEPS for trial in analysis)
    assert bool(lost) == (schedule in STOPPING)
    if schedule not in ("pasha", "patience"):  # they go as far as it is worth it
        assert max(trial.iteration for trial in analysis) == STEPS, "somebody is trained to the end"
    exploited = {step["trial"] for step in decisions if step["do"] == "exploit"}
    best = min(analysis, key=lambda trial: trial.last_result["loss"])
    assert analysis.best_trial.trial_id == best.trial_id
    for trial in analysis:
        rows = [json.loads(line) for line in (Path(trial.path) / "result.json").read_text(encoding="utf-8").splitlines()]
        steps = [row["training_iteration"] for row in rows]
        if trial.number in exploited:  # it goes on from where another one was
            assert steps == sorted(set(steps))
        else:
            assert steps == list(range(1, trial.iteration + 1))
        assert rows[-1]["loss"] == trial.last_result["loss"]
        with (Path(trial.path) / "progress.csv").open(encoding="utf-8", newline="") as file:
            assert [float(row["loss"]) for row in csv.DictReader(file)] == [row["loss"] for row in rows]
        for row in rows:
            assert row.get("step", row["training_iteration"]) == row["training_iteration"], "it has gone on from where it was"


def cases(*quick: tuple[str, str]) -> list[Any]:
    """All pairs of searcher and trainable; those that are not among the quick ones are slow together."""
    return [
        pytest.param(search, trainable, marks=() if (search, trainable) in quick else pytest.mark.slow)
        for search in sorted(SEARCHERS)
        for trainable in sorted(TRAINABLES)
    ]


@pytest.mark.parametrize(("search", "trainable"), cases(("random", "plain"), ("grid", "saving"), ("random", "class")))
@pytest.mark.parametrize("schedule", sorted(SCHEDULERS))
def test_inline(mix: Callable[..., Any], schedule: str, search: str, trainable: str) -> None:
    mix(schedule, search, trainable, "inline")


@pytest.mark.e2e
@pytest.mark.parametrize(("search", "trainable"), cases(("random", "plain")))
@pytest.mark.parametrize("schedule", sorted(SCHEDULERS))
def test_in_processes(mix: Callable[..., Any], schedule: str, search: str, trainable: str) -> None:
    """Functions that never save are held while they are paused, each in its process."""
    mix(schedule, search, trainable, "local")


# -- real training -------------------------------------------------------------------------------------------------------


class Digits(tune.Trainable):
    """A small network on pictures of digits; a step is an epoch."""

    def setup(self, config: Config) -> None:
        from sklearn.datasets import load_digits
        from sklearn.neural_network import MLPClassifier

        pictures, digits = load_digits(return_X_y=True)
        self.train_x, self.test_x = pictures[:1300] / 16, pictures[1300:] / 16
        self.train_y, self.test_y = digits[:1300], digits[1300:]
        self.net = MLPClassifier((config.get("width", 32),), learning_rate_init=config["lr"], random_state=1)

    def step(self) -> Config:
        self.net.learning_rate_init = self.config["lr"]
        if hasattr(self.net, "_optimizer"):
            self.net._optimizer.learning_rate_init = self.config["lr"]
        self.net.partial_fit(self.train_x, self.train_y, classes=range(10))
        return {"accuracy": self.net.score(self.test_x, self.test_y), "done": self.training_iteration + 1 >= 9}

    def save_checkpoint(self, checkpoint_dir: str) -> Config:
        return {"net": self.net}

    def load_checkpoint(self, checkpoint: Config) -> None:
        self.net = checkpoint["net"]


TRAINING: dict[str, dict[str, Any]] = {
    "hyperband": {"max_t": 9, "reduction_factor": 3},
    "asha": {"max_t": 9, "reduction_factor": 3},
    "asha, promoting": {"max_t": 9, "reduction_factor": 3, "form": "promote"},
    "median_stopping_rule": {**STEP, "grace_period": 2},
    "pbt": {**STEP, "perturbation_interval": 2, "hyperparam_mutations": {"lr": tune.loguniform(1e-4, 0.1)}},
}


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.parametrize("schedule", sorted(TRAINING))
def test_a_network_learns_digits(schedule: str, tmp_path: Path) -> None:
    """Good ones are found for less than what training all to the end takes (but PBT's: all members are trained)."""
    importlib.import_module("sklearn.neural_network")  # what is loaded here is there when a trial begins
    made = tune.create_scheduler(schedule.partition(",")[0], **TRAINING[schedule])
    analysis = tune.run(
        Digits, config={"lr": tune.loguniform(1e-5, 0.3), "width": tune.choice([8, 32])}, num_samples=12, metric="accuracy", mode="max",
        scheduler=made, storage_path=tmp_path, verbose=0, seed=2,
    )  # fmt: skip
    assert {trial.status for trial in analysis} == {"TERMINATED"}
    assert analysis.best_result["accuracy"] > 0.88
    done = Counter(step["do"] for step in analysis.decisions())
    if schedule == "pbt":
        assert done["exploit"]
        assert {trial.iteration for trial in analysis} == {9}
    else:
        assert sum(trial.iteration for trial in analysis) < 0.8 * 12 * 9
        assert done["stop"]
