"""On Ray the same is decided as on one machine, from the first draw to the last stop: `deterministic=True`, one seed, two executors."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.executors import RayExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.usefixtures("ray_cluster")]

AT_ONCE = 3
"""Fewer than either side has room for: else the number of trials at once, and so the order of events, would be another."""

PHYSICAL = {"at", "info", "wall"}
"""What is about machines and clocks, in events."""


@pytest.fixture(autouse=True)
def as_many_cpus(monkeypatch):
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", str(AT_ONCE))


def told(folder):
    """What the journal says, but for clocks, machines, and what there is to run on."""
    with open_reader(folder / JOURNAL_FILE) as reader:
        for record in reader.read():
            event = {key: value for key, value in asdict(record.event).items() if key not in PHYSICAL}
            if isinstance(record.event, tune.core.events.CapacityChanged):
                continue
            if isinstance(record.event, tune.core.events.ExperimentStarted):
                event["spec"] = {key: value for key, value in event["spec"].items() if key not in ("name", "executor", "growing")}
            if "metrics" in event:
                event["metrics"] = {key: value for key, value in event["metrics"].items() if not key.startswith("time")}
            yield type(record.event).__name__, event, record.decisions


def both(folder, trainable, scheduler=lambda: None, **options):
    """Runs it on either, and returns the two stories and the two analyses."""
    found = {}
    for name, executor in (("local", "local"), ("ray", RayExecutor())):
        analysis = tune.run(
            trainable, name=name, storage_path=folder, executor=executor, deterministic=True, max_concurrent_trials=AT_ONCE, metric="loss",
            mode="min", verbose=0, scheduler=scheduler(), **options,
        )  # fmt: skip
        found[name] = list(told(folder / name)), analysis
    return found["local"], found["ray"]


def alike(local, ray):
    (here, mine), (there, theirs) = local, ray
    for number, (one, other) in enumerate(zip(here, there, strict=False)):
        assert one == other, f"record {number} differs:\n{one}\n{other}"
    assert len(here) == len(there)
    assert [trial.config for trial in mine] == [trial.config for trial in theirs]
    assert mine.best_config == theirs.best_config


def rows(trial_dir):
    """Lines of ``result.json``, without what is about clocks and machines."""
    lines = [json.loads(line) for line in Path(trial_dir, "result.json").read_text().splitlines()]
    keep = lambda key: not key.startswith(("time", "date", "pid", "hostname", "node_ip", "trial_id", "experiment"))  # noqa: E731
    return [{key: value for key, value in line.items() if keep(key)} for line in lines]


def test_the_quick_start(tmp_path):
    def train(config):
        for epoch in range(1, 4):
            tune.report(loss=(config["lr"] - 0.1) ** 2 + config["width"] / 1000 / epoch)

    space = {"lr": tune.loguniform(1e-3, 1), "width": tune.choice([16, 32, 64])}
    local, ray = both(tmp_path, train, config=space, num_samples=6, seed=3)
    alike(local, ray)
    assert [name for name, _, _ in local[0]].count("Reported") == 18
    for mine, theirs in zip(local[1].trials, ray[1].trials, strict=True):
        assert rows(mine.path) == rows(theirs.path)
        files = [sorted(path.name for path in Path(trial.path).iterdir()) for trial in (mine, theirs)]
        assert [name.split(".tfevents.")[0] for name in files[0]] == [name.split(".tfevents.")[0] for name in files[1]]


@pytest.mark.parametrize("form", ["stop", "promote"])
def test_asha(tmp_path, form):
    def train(config):
        for epoch in range(1, 10):
            tune.report(loss=(config["x"] - 0.3) ** 2 + 1 / epoch)

    def scheduler():
        return tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3, form=form)

    local, ray = both(tmp_path, train, scheduler, config={"x": tune.uniform(0, 1)}, num_samples=12, seed=1)
    alike(local, ray)
    decided = {decision.do for _, _, decisions in ray[0] for decision in decisions}
    assert ("pause" if form == "promote" else "stop") in decided


def test_pbt_with_weights_that_travel(tmp_path):
    def train(config):
        checkpoint = tune.get_checkpoint()
        state = checkpoint.to_dict() if checkpoint else {"weight": 0.0, "epoch": 0}
        for epoch in range(state["epoch"] + 1, 13):
            state = {"weight": state["weight"] + config["lr"] * (1 - state["weight"]), "epoch": epoch}
            tune.report({"loss": 1 - state["weight"], "lr": config["lr"]}, checkpoint=tune.Checkpoint.from_dict(state))

    def scheduler():
        return tune.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations={"lr": tune.loguniform(1e-3, 0.5)}
        )

    space = {"lr": tune.loguniform(1e-3, 0.5)}
    local, ray = both(tmp_path, train, scheduler, config=space, num_samples=AT_ONCE, seed=7)
    alike(local, ray)
    exploits = [decision for _, _, decisions in ray[0] for decision in decisions if decision.do == "exploit"]
    assert exploits
    for mine, theirs in zip(local[1].trials, ray[1].trials, strict=True):
        assert mine.checkpoint.to_dict() == theirs.checkpoint.to_dict()
        assert rows(mine.path) == rows(theirs.path)
