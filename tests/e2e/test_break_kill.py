"""``kill -9`` at any moment: the same script with ``resume`` ends with exactly the rows of a run that nobody disturbed."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tunesmith as tune
from tunesmith.journal import open_reader

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, signal, sys
import tunesmith as tune

root, kind, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
failed = os.path.join(root, "failed")

def fail_once(config, step):
    if config["x"] == 2 and step == 2 and not os.path.exists(failed):
        open(failed, "w").close()
        raise ValueError("once")

def train(config):
    saved = tune.get_checkpoint()
    for step in range(saved.to_dict()["step"] + 1 if saved else 0, 4):
        fail_once(config, step)
        tune.report({"loss": config["lr"] / (step + 1), "step": step}, checkpoint={"step": step} if kind == "saving" and step % 2 else None)

class Steps(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        fail_once(self.config, self.n)
        self.n += 1
        return {"loss": self.config["lr"] / self.n, "step": self.n - 1, "done": self.n == 4}

    def save_checkpoint(self, folder):
        return {"n": self.n}

    def load_checkpoint(self, saved):
        self.n = saved["n"]

left = calls
def count(frame, event, argument):  # what the driver's thread calls in our code: each a moment to be killed at
    global left
    if "tunesmith" in frame.f_code.co_filename:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    more = {"checkpoint_freq": 1, "keep_checkpoints_num": 2} if kind == "class" else {}
    sys.setprofile(count)
    tune.run(
        Steps if kind == "class" else train, name="x", storage_path=root, resume="AUTO", seed=7, max_failures=2, verbose=0,
        config={"x": tune.grid_search([1, 2, 3]), "lr": tune.loguniform(1e-3, 1)}, metric="loss", mode="min", **more,
    )
    sys.setprofile(None)
    print(calls - left)
"""

OF_THE_CLOCK = {
    "timestamp", "date", "time_this_iter_s", "time_total_s", "pid", "time_since_restore", "iterations_since_restore", "trial_id",
}  # fmt: skip


def run(script: Path, root: Path, kind: str, calls: int = 0) -> subprocess.CompletedProcess[str]:
    root.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "error", str(script), str(root), kind, str(calls)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def curves(place: Path) -> list[Any]:
    """What TensorBoard shows of the trial."""
    events = EventAccumulator(str(place))
    events.Reload()
    return list(events.Scalars("loss"))


def left_by(root: Path) -> list[Any]:
    """What is on disk of each trial, less what differs from run to run."""
    found = []
    for place in sorted(path for path in root.joinpath("x").iterdir() if path.is_dir()):
        table = list(csv.DictReader(place.joinpath("progress.csv").read_text(encoding="utf-8").splitlines()))
        lines = [json.loads(line) for line in place.joinpath("result.json").read_text().splitlines()]
        rows = [[{key: row[key] for key in row if key not in OF_THE_CLOCK} for row in rows] for rows in (table, lines)]
        names = sorted(path.name for path in place.iterdir() if path.name != "error.txt")  # killed just before it raised, it never did
        curve = [(one.step, one.value) for one in curves(place)]
        names = [name.partition(".tfevents.")[0] for name in names]
        found.append((place.name[5:], json.loads(place.joinpath("params.json").read_text()), rows, names, curve))
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[list[Any], int]]:
    """Kind of trainable -> what its run leaves when nobody disturbs it, and how many moments it has."""

    @cache
    def ran(kind: str) -> tuple[list[Any], int]:
        folder = tmp_path_factory.mktemp(kind)
        script = folder / "script.py"
        script.write_text(SCRIPT, encoding="utf-8")
        done = run(script, folder / "root", kind)
        assert (done.returncode, done.stderr) == (0, "")
        return left_by(folder / "root"), int(done.stdout)

    return ran


@pytest.mark.parametrize(("kind", "seed"), [("plain", 1), ("plain", 2), ("saving", 3), ("saving", 4), ("class", 5), ("class", 6)])
def test_nothing_is_lost_or_doubled(
    tmp_path: Path, undisturbed: Callable[[str], tuple[list[Any], int]], kind: str, seed: int, faults: Any
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    expected, calls = undisturbed(kind)
    moments = random.Random(seed)
    root = tmp_path / "killed"
    for number, (first, last) in enumerate([(calls // 3, calls * 2 // 3), (1, calls // 3)]):
        killed = run(script, root, kind, moments.randrange(first, last))
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        root = root.rename(tmp_path / f"moved {number}")
    with faults.tried("two kills of a driver, the folder moved: files and journal as without") as results:
        done = run(script, root, kind)
        assert (done.returncode, done.stderr) == (0, "")
        assert left_by(root) == expected
        results(12)
    with open_reader(root / "x" / "experiment.db") as reader:
        assert [record.seq for record in reader.read()] == list(range(1, reader.last() + 1))


@pytest.mark.parametrize("calls", [1, 500, 2000, 4000])
def test_killed_before_anything_was_recorded(tmp_path: Path, calls: int) -> None:
    """Or just after: "AUTO" finds the place again, and begins."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    assert run(script, tmp_path / "root", "plain", calls).returncode == -signal.SIGKILL
    done = run(script, tmp_path / "root", "plain")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["failed", "x"]
    assert len(tune.open_experiment(tmp_path / "root" / "x").trials) == 3


def test_a_running_experiment_is_watched_from_another_process(tmp_path: Path) -> None:
    """And belongs to the first one, of which the second is told."""
    code = f"""
import sys, tunesmith as tune
def train(config):
    tune.report(loss=0.5)
    print("reported", flush=True)
    sys.stdin.readline()
    return 1.0
tune.run(train, name="x", storage_path={str(tmp_path)!r}, resume="AUTO", verbose=0, executor="inline")
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "reported\n"
        (trial,) = tune.open_experiment(tmp_path / "x").trials
        assert (trial.status, trial.last_result["loss"]) == ("RUNNING", 0.5)
        stored = (tmp_path / "x" / "spec.pkl").read_bytes()
        second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 1
        message = second.stderr.splitlines()[-1]
        assert message.startswith("tunesmith.errors.JournalLocked: the experiment in ")
        assert f"is being written by process {first.pid} on host" in message
        assert "or start this run under another name" in message
        assert (tmp_path / "x" / "spec.pkl").read_bytes() == stored
        first.communicate("\n", timeout=60)
    assert first.returncode == 0
    assert [trial.status for trial in tune.open_experiment(tmp_path / "x").trials] == ["TERMINATED"]
