"""``with tune.checkpoint_dir(...)`` and ``kill -9``: after a resume each epoch has been reported once, under its own number."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, signal, sys, time
import tunesmith as tune

root, executor, place, first, moment = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
killed = os.path.join(root, "killed")

def kill(now):
    if now == moment and not os.path.exists(killed):
        open(killed, "w").close()
        os.kill(int(os.environ["DRIVER"]), signal.SIGKILL)
        time.sleep(60)  # until the template notices

def save(epoch):
    with tune.checkpoint_dir(step=epoch) as folder:
        with open(os.path.join(folder, "epoch"), "w") as file:
            file.write(str(epoch))

def train(config, checkpoint_dir=None):
    start = first
    if checkpoint_dir:
        with open(os.path.join(checkpoint_dir, "epoch")) as file:
            start = int(file.read()) + 1
    for epoch in range(start, first + 4):
        if place == "before":
            save(epoch)
        kill(f"before report {epoch - first}")
        tune.report(loss=epoch)
        kill(f"after report {epoch - first}")
        if place == "after":
            save(epoch)
        kill(f"after all of {epoch - first}")

if __name__ == "__main__":
    os.environ["DRIVER"] = str(os.getpid())
    tune.run(train, name="x", storage_path=root, resume="AUTO", executor=executor, verbose=0)
"""


@pytest.mark.parametrize(
    ("executor", "place", "first", "moment"),
    [
        ("local", "after", 0, "after report 2"),
        ("local", "after", 1, "after report 2"),
        ("local", "before", 0, "after report 2"),
        ("local", "before", 1, "before report 2"),
        ("local", "after", 1, "after all of 2"),
        ("inline", "after", 0, "after report 2"),
        ("inline", "before", 1, "after all of 2"),
    ],
)
def test_four_epochs_are_four_rows(tmp_path: Path, executor: str, place: str, first: int, moment: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    root = tmp_path / "root"
    root.mkdir()
    codes = []
    for _ in range(2):
        command = [sys.executable, "-W", "error", script, root, executor, place, str(first), moment]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60, check=False)
        codes.append(done.returncode)
    assert codes == [-signal.SIGKILL, 0], done.stderr
    (table,) = root.glob("x/*/progress.csv")
    rows = [(int(row["training_iteration"]), int(row["loss"])) for row in csv.DictReader(table.read_text(encoding="utf-8").splitlines())]
    assert rows == [(iteration, iteration - 1 + first) for iteration in (1, 2, 3, 4)]
