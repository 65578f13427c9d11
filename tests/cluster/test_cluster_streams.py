"""A node that does not see the driver's disk: what its trials save comes to the driver all the same, and goes back to where it is needed.

The node is a real one: its raylet is started in a mount namespace of its own, in which an empty file system lies over the place of all
experiments.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest

import tunesmith as tune
from tunesmith.executors import RayExecutor
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.testing import Gate, until_gone

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

STEPS = 6


class Node:
    """A node with ten of its name, and as many of whatever else is asked for.

    Args:
        hidden: a folder of which it sees nothing.
    """

    def __init__(self, name, address, folder, hidden=None, **resources):
        ray = Path(sys.executable).with_name("ray")
        start = f"{ray} start --address={address} --num-cpus=3 --object-store-memory=100000000 --disable-usage-stats --block"
        start = f"exec {start} --resources='{json.dumps({name: 10, **resources})}'"
        command = ["bash", "-c", start]
        if hidden is not None:
            command = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m", "bash", "-c", f"mount -t tmpfs none {hidden} && {start}"]
        environment = {**os.environ, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"}
        self.name, self.log = name, folder / f"{name}.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)

    def die(self):
        """All of it at once, as if the power had gone."""
        whole = [psutil.Process(self.process.pid)]
        for process in [*whole, *whole[0].children(recursive=True)]:
            process.kill()

    def __enter__(self):
        import ray

        @ray.remote(num_cpus=0, resources={self.name: 0.01})
        class Watch:
            def begun(self):
                pass

            def lasts(self):
                threading.Event().wait()

        watch = Watch.remote()
        try:
            ray.get(watch.begun.remote(), timeout=60)
        except ray.exceptions.GetTimeoutError:
            pytest.fail(self.log.read_text())
        self._end = watch.lasts.remote()
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.die()
            self.process.wait()
        import ray

        with pytest.raises(ray.exceptions.RayActorError):  # now Ray knows, too
            ray.get(self._end, timeout=60)


@pytest.fixture
def storage(tmp_path):
    """The driver's, which the far node sees as an empty folder."""
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


def train(config):
    """Saves 3 MB in two files at each step, and says what is in them. After the third step it waits for the test."""
    import os
    import random

    sees = os.path.exists(os.path.join(config["storage"], "exp", "experiment.db"))
    start, found = 0, ""
    if (checkpoint := tune.get_checkpoint()) is not None:
        with checkpoint.as_directory() as folder:
            start = int(Path(folder, "deep", "step.txt").read_text())
            found = hashlib.sha256(Path(folder, "weights.bin").read_bytes()).hexdigest()
    for step in range(start + 1, STEPS + 1):
        if step == 4:
            config["gate"].wait()
        folder = Path(str(tune.get_context().get_trial_dir()), "scratch")
        (folder / "deep" / "empty").mkdir(parents=True, exist_ok=True)
        weights = random.Random(step + 100 * config["x"]).randbytes(3_000_000)
        (folder / "weights.bin").write_bytes(weights)
        (folder / "deep" / "step.txt").write_text(str(step))
        print(f"at step {step}", flush=True)
        metrics = {"loss": 1 / step, "sees": sees, "start": start, "found": found, "pid": os.getpid()}
        tune.report({**metrics, "saved": hashlib.sha256(weights).hexdigest()}, checkpoint=str(folder))


def run(storage, cause, trials, **options):
    space = {"x": tune.grid_search(list(range(trials))), "storage": str(storage), "gate": cause.gate}
    options = {"executor": RayExecutor(), "max_failures": 0, **options}
    return tune.run(
        train, name="exp", storage_path=storage, config=space, metric="loss", mode="min", callbacks=[cause], verbose=0, seed=1, **options
    )  # fmt: skip


def outcomes(storage):
    with open_reader(storage / "exp" / JOURNAL_FILE) as reader:
        return Counter(record.event.outcome for record in reader.read() if type(record.event).__name__ == "AttemptEnded")


def rows(trial):
    return [json.loads(line) for line in Path(trial.path, "result.json").read_text().splitlines()]


def whole(analysis):
    """Each step is there once, with the bytes that the worker has saved under the id that it has told."""
    for trial in analysis.trials:
        assert trial.status == "TERMINATED", trial.error
        lines = rows(trial)
        assert [line["training_iteration"] for line in lines] == list(range(1, STEPS + 1))
        saved = {line["training_iteration"]: line["saved"] for line in lines}
        folders = sorted(Path(trial.path).glob("checkpoint_*"))
        assert len(folders) == STEPS
        for folder in folders:
            step = int((folder / "deep" / "step.txt").read_text())
            assert hashlib.sha256((folder / "weights.bin").read_bytes()).hexdigest() == saved.pop(step)
            assert (folder / "deep" / "empty").is_dir()
            sidecar = json.loads((folder / ".tunesmith.json").read_text())
            assert (sidecar["id"].partition("/")[2], sidecar["iteration"]) == (folder.name, step)
        assert not saved


@pytest.mark.parametrize("direct", [True, False])
def test_checkpoints_and_output_come_from_where_nothing_is_shared(tmp_path, storage, ray_cluster, at_step_three, direct):
    with Node("far", ray_cluster.address, tmp_path, hidden=storage):
        cause = at_step_three(2, lambda _: None, Gate())
        analysis = run(storage, cause, 2, resources_per_trial={"cpu": 1, "far": 1}, executor=RayExecutor(direct=direct))
    whole(analysis)
    for trial in analysis.trials:
        assert not any(row["sees"] for row in rows(trial))
        assert Path(trial.path, "stdout.log").read_text().splitlines() == [f"at step {step}" for step in range(1, STEPS + 1)]


def test_a_killed_actor_gets_its_checkpoint_back(tmp_path, storage, ray_cluster, at_step_three):
    def kill(results):
        for result in results.values():
            os.kill(result["pid"], signal.SIGKILL)

    with Node("far", ray_cluster.address, tmp_path, hidden=storage):
        cause = at_step_three(2, kill, Gate())
        analysis = run(storage, cause, 2, resources_per_trial={"cpu": 1, "far": 1})
    assert not cause.failed
    whole(analysis)
    assert outcomes(storage) == {"worker_lost": 2, "finished": 2}
    for trial in analysis.trials:
        lines = rows(trial)
        assert trial.last_result["start"] == 3
        assert trial.last_result["found"] == lines[2]["saved"]
        assert not any(row["sees"] for row in lines)


def test_a_trial_moves_from_there_to_a_node_that_sees_the_disk(tmp_path, storage, ray_cluster, at_step_three):
    def move(results):
        far.die()
        until_gone(result["pid"] for result in results.values())
        stack.enter_context(Node("near", ray_cluster.address, tmp_path, roam=10))

    with contextlib.ExitStack() as stack, Node("far", ray_cluster.address, tmp_path, hidden=storage, roam=10) as far:
        cause = at_step_three(2, move, Gate())
        analysis = run(storage, cause, 2, resources_per_trial={"cpu": 1, "roam": 1})
    assert not cause.failed
    whole(analysis)
    assert outcomes(storage) == {"node_lost": 2, "finished": 2}
    for trial in analysis.trials:
        lines = rows(trial)
        assert [row["sees"] for row in lines] == [False] * 3 + [True] * 3
        assert trial.last_result["start"] == 3
        assert trial.last_result["found"] == lines[2]["saved"]


def test_pbt_decides_there_as_it_does_here(tmp_path, storage, ray_cluster, monkeypatch):
    """Every exploit takes another trial's weights from the driver."""
    monkeypatch.setenv("TUNESMITH_NUM_CPUS", "3")
    monkeypatch.setenv("TUNESMITH_RESOURCES", '{"far": 10}')

    def weigh(config):
        checkpoint = tune.get_checkpoint()
        state = checkpoint.to_dict() if checkpoint else {"weight": 0.0, "epoch": 0}
        for epoch in range(state["epoch"] + 1, 10):
            state = {"weight": state["weight"] + config["lr"] * (1 - state["weight"]), "epoch": epoch}
            tune.report({"loss": 1 - state["weight"], "lr": config["lr"]}, checkpoint=tune.Checkpoint.from_dict(state))

    def story(name, executor):
        mutations = {"lr": tune.loguniform(1e-3, 0.5)}
        scheduler = tune.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=3, hyperparam_mutations=mutations
        )
        analysis = tune.run(
            weigh, name=name, storage_path=storage, executor=executor, deterministic=True, max_concurrent_trials=3, num_samples=3, seed=7,
            metric="loss", mode="min", verbose=0, config=mutations, scheduler=scheduler, resources_per_trial={"cpu": 1, "far": 1},
        )  # fmt: skip
        with open_reader(storage / name / JOURNAL_FILE) as reader:
            decided = [(getattr(record.event, "trial", None), record.decisions) for record in reader.read() if record.decisions]
        return decided, [trial.checkpoint.to_dict() for trial in analysis.trials]

    here = story("here", "local")
    with Node("far", ray_cluster.address, tmp_path, hidden=storage):
        there = story("there", RayExecutor())
    assert here == there
    assert any(decision.do == "exploit" for _, decisions in here[0] for decision in decisions)
