"""What dies on a cluster: an actor, a node, the driver. No report is lost or counted twice, and nobody is charged for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.executors import RayExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.testing import Gate, until_gone

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

STEPS = 6


def train(config):
    """Steps with a checkpoint each. After the third it waits until the test has done what it does."""
    checkpoint = tune.get_checkpoint()
    start = checkpoint.to_dict()["step"] if checkpoint else 0
    for step in range(start + 1, STEPS + 1):
        if step == 4:
            config["gate"].wait()
        place = tune.get_context().get_trial_dir()
        metrics = {"loss": 1 / step, "start": start, "pid": os.getpid(), "dir": place, "node": node()}
        tune.report(metrics, checkpoint=tune.Checkpoint.from_dict({"step": step, "draw": config["x"]}))


def node():
    import ray

    return ray.get_runtime_context().get_node_id()


def run(folder, cause, trials, **options):
    options = {"executor": RayExecutor(), "max_failures": 0, **options}
    return tune.run(
        train, name="exp", storage_path=folder, config={"x": tune.uniform(0, 1), "gate": cause.gate}, num_samples=trials, seed=1,
        metric="loss", mode="min", callbacks=[cause], verbose=0, **options,
    )  # fmt: skip


def records(folder):
    with open_reader(folder / "exp" / JOURNAL_FILE) as reader:
        return [record.event for record in reader.read()]


def ends(folder):
    """(trial, attempt) -> outcome."""
    return {(event.trial, event.attempt): event.outcome for event in records(folder) if type(event).__name__ == "AttemptEnded"}


def whole(analysis):
    """Every trial has finished, and its table has each step once, in order."""
    for trial in analysis.trials:
        assert trial.status == "TERMINATED", trial.error
        lines = [json.loads(line) for line in Path(trial.path, "result.json").read_text().splitlines()]
        assert [line["training_iteration"] for line in lines] == list(range(1, STEPS + 1))
        assert trial.checkpoint.to_dict() == {"step": STEPS, "draw": trial.config["x"]}
        stored = sorted(path.name for path in Path(trial.path).glob("checkpoint_*"))
        assert len(stored) >= STEPS


def test_a_node_is_taken_away(tmp_path, ray_cluster, at_step_three):
    """Its trials go on elsewhere, from their last checkpoints; the others notice nothing."""
    lost = {}

    def take_away(results):
        lost.update({name: result for name, result in results.items() if result["node"] == there["NodeID"]})
        ray_cluster.remove("extra")
        until_gone(result["pid"] for result in lost.values())  # and none of them has gone on

    import ray

    ray_cluster.add("extra", cpus=2)
    [there] = [node for node in ray.nodes() if node["Alive"] and "extra" in node["Resources"]]
    cause = at_step_three(6, take_away, Gate())
    analysis = run(tmp_path, cause, 6)
    assert not cause.failed
    whole(analysis)
    assert lost, "no trial was on that node"
    outcomes = ends(tmp_path)
    for trial in analysis.trials:
        number = int(trial.trial_id[-5:])
        if trial.trial_id in lost:
            assert outcomes[number, 0] == "node_lost"
            assert trial.last_result["start"] == 3
            assert trial.last_result["node"] != there["NodeID"]
        else:
            assert [outcome for (one, _), outcome in outcomes.items() if one == number] == ["finished"]
    assert Counter(outcomes.values()) == {"node_lost": len(lost), "finished": 6}


@pytest.mark.parametrize("direct", [True, False])
def test_an_actor_is_killed(tmp_path, ray_cluster, at_step_three, direct):
    def kill(results):
        for result in results.values():
            os.kill(result["pid"], signal.SIGKILL)

    cause = at_step_three(2, kill, Gate())
    analysis = run(tmp_path, cause, 2, executor=RayExecutor(direct=direct))
    assert not cause.failed
    whole(analysis)
    assert Counter(ends(tmp_path).values()) == {"worker_lost": 2, "finished": 2}
    assert {trial.last_result["start"] for trial in analysis.trials} == {3}


def test_a_trial_that_never_returns(tmp_path, ray_cluster):
    def hangs(config):
        tune.report(loss=1.0)
        while config["hang"]:
            pass

    began = time.monotonic()
    analysis = tune.run(
        hangs, name="exp", storage_path=tmp_path, config={"hang": tune.grid_search([True, False])}, max_trial_s=3, grace_s=2,
        raise_on_failed_trial=False, metric="loss", mode="min", verbose=0, executor=RayExecutor(),
    )  # fmt: skip
    assert time.monotonic() - began < 60
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    assert ends(tmp_path) == {(0, 0): "timeout", (1, 0): "finished"}


def test_a_trial_that_hangs_where_python_has_no_say(tmp_path, ray_cluster):
    """It cannot unwind, so it is ended by force; the next attempt of the same kind finds its place."""

    def hangs(config):
        import ctypes

        tune.report(loss=1.0)
        if config["hang"]:
            mutex = ctypes.create_string_buffer(64)
            for _ in range(2):
                ctypes.PyDLL(None).pthread_mutex_lock(mutex)

    analysis = tune.run(
        hangs, name="exp", storage_path=tmp_path, config={"hang": tune.grid_search([True, False])}, max_trial_s=3, grace_s=1,
        resources_per_trial={"cpu": 1, "right": 6}, raise_on_failed_trial=False, metric="loss", mode="min", verbose=0,
        executor=RayExecutor(),
    )  # fmt: skip
    assert [trial.status for trial in analysis.trials] == ["ERROR", "TERMINATED"]
    assert ends(tmp_path) == {(0, 0): "timeout", (1, 0): "finished"}


SCRIPT = """
    import os, pathlib, sys
    import tunesmith as tune
    from tunesmith.testing import Gate

    folder, gate, steps = pathlib.Path(sys.argv[1]), Gate.at(int(sys.argv[2])), 6

    def train(config):
        checkpoint = tune.get_checkpoint()
        start = checkpoint.to_dict()["step"] if checkpoint else 0
        for step in range(start + 1, steps + 1):
            if step == 4:
                (folder / f"there_{os.getpid()}").touch()
                gate.wait()
            tune.report({"loss": config["x"] / step, "start": start}, checkpoint=tune.Checkpoint.from_dict({"step": step}))

    if __name__ == "__main__":
        analysis = tune.run(
            train, name="exp", storage_path=folder, config={"x": tune.uniform(0, 1)}, num_samples=4, max_concurrent_trials=2, seed=1,
            metric="loss", mode="min", resume="AUTO", max_failures=0,
        )
        print([trial.last_result["start"] for trial in analysis.trials])
"""


def test_the_driver_is_killed_and_another_goes_on(tmp_path, ray_cluster):
    """Its actors end by themselves, before anybody comes to look after them."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    environment = {**os.environ, "TUNESMITH_EXECUTOR": "ray", "RAY_ADDRESS": ray_cluster.address}
    gate = Gate()
    command = [sys.executable, str(script), str(tmp_path), str(gate.port)]
    with (tmp_path / "first.log").open("w") as log:
        driver = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        gate.arrived(2, unless_gone=driver.pid)
    except ProcessLookupError:
        pytest.fail((tmp_path / "first.log").read_text())
    finally:
        driver.kill()
        driver.wait()
    left = [int(path.name.removeprefix("there_")) for path in tmp_path.glob("there_*")]
    until_gone(left, 20.0)
    committed = [(event.trial, event.iteration) for event in records(tmp_path) if type(event).__name__ == "Reported"]
    assert sorted(committed) == [(trial, step) for trial in (0, 1) for step in (1, 2, 3)]

    gate.open()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[3, 3, 0, 0]"
    analysis = tune.open_experiment(tmp_path / "exp")
    for trial in analysis.trials:
        lines = [json.loads(line) for line in Path(trial.path, "result.json").read_text().splitlines()]
        assert [line["training_iteration"] for line in lines] == list(range(1, STEPS + 1))
    assert Counter(ends(tmp_path).values()) == {"driver_lost": 2, "finished": 4}
