"""Resources that change, through the whole stack: real processes that end and begin again with more, from where they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core.events import AttemptStarted, Reported
from tunesmith.errors import SpecError
from tunesmith.executors import LocalExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.testing.gpus import FakeNvml

Go = Callable[..., tune.ExperimentAnalysis]
MOST = 400
"""Steps after which a trial gives up waiting for more."""


def size() -> dict[str, float]:
    """What the trial holds, as it sees it itself."""
    held = tune.get_context().get_trial_resources() or {}
    return {"cpus": held["cpu"], "threads": float(os.environ["OMP_NUM_THREADS"]), "attempt_pid": os.getpid()}


def meet(config: dict[str, Any], first: bool) -> None:
    """The two trials wait here for each other, once: so that neither is over before the other has its share."""
    met = Path(config["folder"], "met")
    if not met.exists():
        with open(Path(config["folder"], "meet"), "rb" if first else "wb"):
            met.touch()


def grows(config: dict[str, Any]) -> None:
    """Trial 0 ends once both have their shares; trial 1 goes on until it has everything."""
    before = tune.get_checkpoint()
    step = before.to_dict()["step"] if before is not None else 0
    saves = config.get("saves", True)
    while step < (MOST if saves else 5):
        step += 1
        tune.report({"step": step, **size()}, checkpoint={"step": step} if saves else None)
        if size()["cpus"] == 2:
            meet(config, first=config["until"] == 2)
        if size()["cpus"] >= config["until"]:
            break
    if config.get("fails"):
        raise ValueError("so it goes")


class Grows(tune.Trainable):
    """The same as a class, which saves when it is asked to."""

    def setup(self, config: dict[str, Any]) -> None:
        self.steps, self.given, self.restored = 0, [], False

    def update_resources(self, new_resources: tune.PlacementGroupFactory) -> None:
        assert not self.restored, "it must know its size before it is restored"
        self.given.append(new_resources.head_cpus)

    def step(self) -> dict[str, Any]:
        self.steps += 1
        assert self.given == [self.trial_resources["cpu"]]
        if self.given == [2]:
            meet(self.config, first=self.config["until"] == 2)
        done = self.steps >= MOST or self.trial_resources["cpu"] >= self.config["until"]
        return {"step": self.steps, **size(), "done": done}

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, int]:
        return {"steps": self.steps}

    def load_checkpoint(self, checkpoint: dict[str, int]) -> None:
        self.restored = True
        self.steps = checkpoint["steps"]


@pytest.fixture
def local(go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """A run on a machine of four CPUs, with equal shares."""
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "4")
    os.mkfifo(tmp_path / "meet")

    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        scheduler = tune.ResourceChangingScheduler()
        given = {"name": "x", "executor": "local", "scheduler": scheduler, "metric": "step", "mode": "max", **arguments}
        config = {"until": tune.grid_search([2, 4]), "folder": str(tmp_path), **given.pop("config", {})}
        return go(trainable, config=config, **given)

    return run


def story(folder: Path, trial: int) -> tuple[list[int], list[float]]:
    """The iterations that it has reported, in order, and what each attempt held."""
    with open_reader(folder / "x" / JOURNAL_FILE) as reader:
        events = [record.event for record in reader.read()]
    reports = [event for event in events if isinstance(event, Reported) and event.trial == trial]
    attempts = [event.attempt for event in events if isinstance(event, AttemptStarted) and event.trial == trial]
    held = {event.attempt: event.metrics["cpus"] for event in reports}
    assert all(event.metrics["cpus"] == event.metrics["threads"] for event in reports), "its libraries were told another number"
    assert set(held) <= set(attempts)
    return [event.iteration for event in reports], [held[attempt] for attempt in sorted(held)]


@pytest.mark.parametrize("trainable", [grows, Grows])
def test_cpus_grow_as_others_end_and_nothing_is_lost(trainable: Any, local: Go, tmp_path: Path) -> None:
    analysis = local(trainable)
    for number, sizes in ((0, [1.0, 2.0]), (1, [1.0, 2.0, 4.0])):
        iterations, held = story(tmp_path, number)
        assert held == sizes
        assert iterations == list(range(1, len(iterations) + 1)), "an iteration is missing, or was done twice"
        trial = analysis.trials[number]
        assert trial.status == "TERMINATED"
        assert trial.resources == {"cpu": sizes[-1]}
        assert trial.num_failures == 0
        assert trial.last_result["step"] == len(iterations)  # its own count went along
        assert trial.attempt == len(sizes) - 1


def on_cards(config: dict[str, Any]) -> None:
    before = tune.get_checkpoint()
    step = before.to_dict()["step"] if before is not None else 0
    held = tune.get_context().get_trial_resources() or {}
    while step < MOST:
        step += 1
        tune.report(step=step, gpus=held["gpu"], visible=os.environ["CUDA_VISIBLE_DEVICES"], checkpoint={"step": step})
        if held["gpu"] == 1:
            meet(config, first=config["until"] == 1)
        if held["gpu"] >= config["until"]:
            return


def test_from_a_part_of_a_card_to_whole_ones(local: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each attempt sees the cards that it was given, and none is given to two at a time."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    config = {"until": tune.grid_search([1, 2])}
    analysis = local(on_cards, config=config, resources_per_trial={"cpu": 1, "gpu": 0.5}, executor=LocalExecutor(nvml=FakeNvml(2)))
    assert [trial.resources["gpu"] for trial in analysis.trials] == [1.0, 2.0]
    with open_reader(tmp_path / "x" / JOURNAL_FILE) as reader:
        reports = [record.event for record in reader.read() if isinstance(record.event, Reported)]
    seen = {(event.trial, event.metrics["gpus"]): str(event.metrics["visible"]) for event in reports}
    assert (seen[0, 0.5], seen[1, 0.5], seen[1, 2.0]) == ("0", "0", "0,1")
    assert {seen[0, 1.0], seen[1, 1.0]} == {"0", "1"}
    assert [event.iteration for event in reports if event.trial == 1] == list(range(1, analysis.trials[1].iteration + 1))


def test_what_is_said(local: Go, capsys: pytest.CaptureFixture[str]) -> None:
    local(grows, verbose=1)
    said = capsys.readouterr().out
    assert "00001 goes on with cpu 2: cpu 2 instead of cpu 1, says DistributeResources(): 2 trials are live, there is cpu 4" in said
    assert "00001 goes on with cpu 4: cpu 4 instead of cpu 2, says DistributeResources(): no other trial is live, there is cpu 4" in said


def test_without_checkpoints_it_runs_as_it_is_and_is_told_why(local: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local(grows, config={"saves": False})
    assert [story(tmp_path, number)[1] for number in (0, 1)] == [[1.0], [1.0]]
    said = [message for message in caplog.messages if "resources are changed only where a trial can go on from a checkpoint" in message]
    assert len(said) == 1


def test_a_resume_goes_on_with_what_it_has(local: Go, tmp_path: Path) -> None:
    """The run ended with trial 0's failure. The other one, which has grown meanwhile, keeps that, and gets the rest."""
    broken = {"fails": tune.sample_from(lambda spec: spec.config.until == 2)}
    first = local(grows, config=broken, fail_fast=True, raise_on_failed_trial=False)
    assert [trial.status for trial in first.trials] == ["ERROR", "PENDING"]
    before, _ = story(tmp_path, 1)
    size_then = first.trials[1].resources["cpu"]
    again = local(grows, config=broken, fail_fast=True, resume=True, raise_on_failed_trial=False)
    iterations, held = story(tmp_path, 1)
    assert (again.trials[1].status, again.trials[1].resources) == ("TERMINATED", {"cpu": 4.0})
    assert iterations == list(range(1, len(iterations) + 1))
    assert len(iterations) > len(before)
    assert held[-1] == 4.0
    assert size_then in held


def test_workers_that_are_used_again_cannot_grow(local: Go) -> None:
    with pytest.raises(SpecError, match=r"reuse_actors=True cannot be kept with ResourceChangingScheduler: .* Remove reuse_actors\."):
        local(grows, reuse_actors=True)


def test_top_job_needs_a_metric(go: Go) -> None:
    with pytest.raises(SpecError, match="ResourceChangingScheduler needs a metric and a mode"):
        go(grows, scheduler=tune.ResourceChangingScheduler(None, tune.DistributeResourcesToTopJob()))


def test_another_function_is_another_experiment(local: Go) -> None:
    local(grows)
    with pytest.raises(SpecError, match=r"resources_allocation_function was 'DistributeResources\(\)' and is now '.*\(add_bundles=True"):
        local(grows, resume=True, scheduler=tune.ResourceChangingScheduler(None, tune.DistributeResources(add_bundles=True)))
