"""A disk that runs out of room for checkpoints: trials go on, one line says so, and when there is room again, they are saved again.

On a small file system of its own, mounted where a process may do that; elsewhere the trial is shown a disk of that size.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

pytestmark = pytest.mark.e2e

MOUNT = 'mount -t tmpfs -o size=8m none "$1" && shift && exec "$@"'

SCRIPT = """
import errno, json, os, sys
from types import SimpleNamespace
import tunesmith as tune

root, kind, mounted, min_free = sys.argv[1], sys.argv[2], sys.argv[3] == "mounted", json.loads(sys.argv[4])
SIZE, MB = 8 << 20, 1 << 20
ballast = os.path.join(root, "ballast")

def left():
    return SIZE - sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(root) for name in names)

def pretend():
    def fsync(handle):
        if left() < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
    os.statvfs = lambda place: SimpleNamespace(f_blocks=SIZE, f_frsize=1, f_bavail=left())
    os.fsync = fsync

def turn(number, step):
    if not mounted and step == 1:
        pretend()
    if number == 0 and step == 6:
        os.remove(ballast)

def write(folder, number):
    size = MB if number == 0 else 10
    with open(os.path.join(folder, "weights"), "wb") as file:
        # asked for at once: a disk that is full until this file is gone would now and then stop others that write, too
        os.posix_fallocate(file.fileno(), 0, size)
        file.write(os.urandom(size))

def train(config):
    for step in range(1, 9):
        turn(config["n"], step)
        with tune.checkpoint_dir(step=step) as folder:
            write(folder, config["n"])
        tune.report(step=step)

class Steps(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        self.n += 1
        turn(self.config["n"], self.n)
        return {"step": self.n, "done": self.n == 8}

    def save_checkpoint(self, folder):
        write(folder, self.config["n"])

    def load_checkpoint(self, folder):
        pass

if __name__ == "__main__":
    with open(ballast, "wb") as file:
        file.write(os.urandom(4 * MB))
    analysis = tune.run(
        Steps if kind == "class" else train, name="x", storage_path=root, config={"n": tune.grid_search([0, 1])}, verbose=0,
        max_concurrent_trials=1,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=kind == "class" and 1 or 0, min_free_bytes=min_free),
    )
    found = []
    for trial in analysis.trials:
        saved, others = [], []
        for name in os.listdir(trial.path):
            if name.startswith("checkpoint"):
                with open(os.path.join(trial.path, name, ".tunesmith.json")) as file:
                    saved.append(json.load(file)["iteration"])
            elif name.startswith("."):
                others.append(name)
        found.append([trial.status, analysis.trial_dataframes[trial.path]["step"].tolist(), sorted(saved), others])
    print(json.dumps(found))
"""


@cache
def mounts() -> bool:
    """Whether a process may have file systems of its own here."""
    try:
        command = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", "/mnt", "true"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("min_free", [None, 0], ids=["by default", "no limit"])
@pytest.mark.parametrize("kind", ["function", "class"])
def test_saves_stop_and_go_on_and_trials_do_not_notice(tmp_path: Path, kind: str, min_free: int | None) -> None:
    script, root = tmp_path / "script.py", tmp_path / "root"
    script.write_text(SCRIPT, encoding="utf-8")
    root.mkdir()
    command: list[Any] = [sys.executable, "-W", "error", script, root, kind, "mounted" if mounts() else "pretended", json.dumps(min_free)]
    if mounts():
        command = ["unshare", "-Urm", "sh", "-c", MOUNT, "sh", root, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    big, small = json.loads(done.stdout)
    rows = [1, 2, 3, 4, 5, 6, 7, 8]
    assert big == ["TERMINATED", rows, [1, 2, 3, 6, 7, 8], []]
    assert small == ["TERMINATED", rows, rows, []]
    warning, again = done.stderr.splitlines()
    assert "Nothing is saved: " in warning
    assert "no space is left under" in warning or "min_free_bytes=168 kB" in warning
    assert "starts from iteration 3. Free some space" in warning
    assert again.endswith("Checkpoints are saved again: there is room for them.")


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report({"step": step}, checkpoint={"step": step})


def test_a_limit_that_no_disk_meets(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def go(**arguments: Any) -> tune.ExperimentAnalysis:
        return tune.run(train, storage_path=tmp_path, config={"x": tune.grid_search([1, 2, 3])}, verbose=0, **arguments)

    never = go(name="never", checkpoint_config=tune.CheckpointConfig(min_free_bytes="1000TB"))
    (said,) = caplog.messages
    assert "min_free_bytes=1 PB. Trials go on; " in said
    assert [(trial.status, trial.checkpoint) for trial in never.trials] == [("TERMINATED", None)] * 3
    assert [len(frame) for frame in never.trial_dataframes.values()] == [3] * 3
    assert not list(tmp_path.rglob("*checkpoint_*"))
    always = go(name="always", checkpoint_config=tune.CheckpointConfig(min_free_bytes=0))
    assert caplog.messages == [said]
    assert len(list(tmp_path.rglob("checkpoint_*"))) == 9
    assert [trial.checkpoint.to_dict() for trial in always.trials] == [{"step": 2}] * 3
