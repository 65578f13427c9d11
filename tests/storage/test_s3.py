"""The S3 protocol, by a server in this process: runs that are killed and taken up elsewhere, servers that fail and are slow."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tunesmith as tune
from tunesmith.journal import open_reader
from tunesmith.storage.segments import parse

if TYPE_CHECKING:
    from tests.storage.conftest import S3

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SCRIPT = """
import os, sys
import tunesmith as tune

url, kind, resume = sys.argv[1], sys.argv[2], sys.argv[3]
steps = int(sys.argv[4])

def train(config):
    checkpoint = tune.get_checkpoint()
    state = checkpoint.to_dict() if checkpoint else {"step": 0, "weights": os.urandom(200_000), "score": 0.0}
    print("begins after", state["step"], flush=True)
    while state["step"] < steps:
        state["step"] += 1
        state["score"] += config["lr"]
        tune.report({"score": state["score"], "step": state["step"]}, checkpoint=dict(state))
        if resume == "False" and state["step"] == 6:
            print("reached", flush=True)
            open(os.environ["REACHED"] + str(os.getpid()), "w").close()
            import threading; threading.Event().wait()

if __name__ == "__main__":
    scheduler = None
    config = {"lr": tune.grid_search([0.1, 0.2, 0.3, 0.4])}
    if kind == "pbt":
        scheduler = tune.schedulers.PopulationBasedTraining(
            time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)},
        )
    tune.run(
        train, name="x", config=config, storage_path=url, metric="score", mode="max", scheduler=scheduler, seed=3, resume=eval(resume),
        keep_checkpoints_num=2, max_concurrent_trials=4, resources_per_trial={"cpu": 0.25}, verbose=0, executor="local",
        sync_config=tune.SyncConfig(sync_period=0.2),
    )
"""


class Machine:
    """A folder for results of its own, and drivers in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
        self.environment = {**os.environ, "TUNESMITH_RESULTS_DIR": str(folder / "results"), "REACHED": str(folder / "reached_")}

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", str(self.folder / "script.py"), *map(str, arguments)]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: object) -> str:
        driver = self.start(*arguments)
        out, err = driver.communicate(timeout=240)
        assert driver.returncode == 0, f"{out}\n{err}"
        return err


def wait_for(reached: Callable[[], bool], driver: subprocess.Popen[str], wake: threading.Event, seconds: float = 120.0) -> None:
    for _ in range(int(seconds / 0.2)):
        if reached():
            return
        assert driver.poll() is None, driver.communicate()
        wake.wait(0.2)
    raise AssertionError("it took too long")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("kind", ["plain", "pbt"])
def test_killed_and_taken_up_on_another_machine(s3: S3, tmp_path: Path, kind: str) -> None:
    url = s3.bucket(f"killed-{kind}")
    first, second = Machine(tmp_path / "first"), Machine(tmp_path / "second")
    driver = first.start(url, kind, False, 12)
    moment = threading.Event()

    def reached() -> bool:
        return bool(list(first.folder.glob("reached_*")))

    wait_for(reached, driver, moment)

    def stored() -> bool:
        logs = [data for name, data in s3.objects(url).items() if name.endswith("/stdout.log")]
        return max((one.last for one in parse(names(s3, url))), default=0) >= 20 and sum(b"begins after 0" in log for log in logs) == 4

    wait_for(stored, driver, moment)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate()
    there = s3.objects(url)
    records = parse(names(s3, url))[-1].last

    second.run(url, kind, True, 12)
    folder = second.folder / "results" / "s3" / f"killed-{kind}" / "x"
    with open_reader(folder / "experiment.db") as journal:
        sessions = [record.seq for record in journal.read() if type(record.event).__name__ == "ExperimentStarted"]
    assert sessions == [1, records + 1]
    analysis = tune.open_experiment(f"{url}/x")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    logs = {name: data.decode() for name, data in s3.objects(url).items() if name.endswith("/stdout.log")}
    for trial in analysis.trials:  # who copied a finished donor has nothing left to do, and its results are its own
        copied_all = any(trial.trial_id in name and text.endswith("begins after 12\n") for name, text in logs.items())
        assert trial.last_result["step"] == 12 or (kind == "pbt" and copied_all)
    best = analysis.best_checkpoint
    assert best is not None
    assert best.to_dict()["score"] == analysis.best_result["score"]
    for name, data in there.items():  # what never changes is as it was before the kill
        if name.startswith("x/journal/") or ("/checkpoint_" in name and name in s3.objects(url)):
            assert s3.objects(url)[name] == data
    assert all("begins after 0\n" in log for log in logs.values()), "what the first machine has logged is kept"
    assert sum("begins after 0" not in log.splitlines()[-1] for log in logs.values()) >= 1, "work was taken up, not begun anew"


def names(s3: S3, url: str) -> list[str]:
    return [name.removeprefix("x/") for name in s3.objects(url)]


def train(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    step = checkpoint.to_dict()["step"] if checkpoint is not None else 0
    rng = random.Random(config["x"])
    while step < 6:
        step += 1
        tune.report({"loss": config["x"] / step}, checkpoint={"step": step, "data": rng.randbytes(1000)})
        Path(tune.get_context().get_trial_dir(), "notes.txt").write_text(f"{step}\n")


def go(url: str, **arguments: Any) -> tune.ExperimentAnalysis:
    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "name": "x", "keep_checkpoints_num": 2}
    return tune.run(train, storage_path=url, **{"config": {"x": tune.grid_search([1, 2, 3])}, **settings, **arguments})


def test_errors_and_slow_downs_cost_time_only(s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    url = s3.bucket("errors")
    rng, pause = random.Random(11), threading.Event()
    refused = []

    def meet(method: str, path: str) -> int | None:
        if rng.random() < 0.1:
            pause.wait(0.2)
        if rng.random() < 0.25:
            refused.append(path)
            return rng.choice([500, 503])
        return None

    s3.meet = meet
    analysis = go(url, sync_config=tune.SyncConfig(sync_period=0.05, sync_artifacts=True))
    s3.meet = lambda method, path: None
    assert len(refused) > 10
    assert_same(s3, url, Path(analysis.experiment_path))
    assert [record.getMessage() for record in caplog.records if "not stored" in record.getMessage()] == []


def assert_same(s3: S3, url: str, folder: Path) -> None:
    """Every local file that counts is there, byte for byte."""
    there = {name.removeprefix("x/"): data for name, data in s3.objects(url).items()}
    local = contents(folder)
    ours = {name for name in local if not name.startswith("experiment.") and name != ".remote.json" and not name.endswith(".gone")}
    assert ours <= set(there)
    assert {name: there[name] for name in ours} == {name: local[name] for name in ours}
    assert {name for name in set(there) - ours if not name.startswith("journal/") and "manifest" not in name} == set()


def test_two_places_do_not_meet(s3: S3, machine: Callable[[str], Path]) -> None:
    """Names that are taken, listings of many objects, prefixes of one another."""
    url = s3.bucket("places")
    go(f"{url}/a")
    again = go(f"{url}/a")
    assert Path(again.experiment_path).name == "x_2"
    go(f"{url}/a/x", name="inner")
    machine("elsewhere")
    third = go(f"{url}/a")
    assert Path(third.experiment_path).name == "x_3"
    assert len(tune.open_experiment(f"{url}/a/x").trials) == 3


def test_a_bucket_that_is_not_there_is_named(s3: S3, tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match=r"s3://no-such-bucket/x/.lease.json could not be written .*[Bb]ucket.*make it"):
        go("s3://no-such-bucket")
    assert not list(tmp_path.rglob("experiment*"))
