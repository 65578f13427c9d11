"""One experiment whose driver is killed fifty times, and its folder moved each time: it ends as if nobody had disturbed it."""

from __future__ import annotations

import csv
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.journal import open_reader

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TRIALS, STEPS, KILLS = 40, 4, 50

SCRIPT = """
import os, signal, subprocess, sys
import tunesmith as tune

root, kind, calls, begun = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "begun"

def train(config):
    saved = tune.get_checkpoint()
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    for step in range(saved.to_dict()["step"] + 1 if saved else 0, 4):
        tune.report({"loss": config["lr"] / (step + 1), "step": step}, checkpoint={"step": step, "lr": config["lr"]} if step % 2 else None)
    child.kill()

class Steps(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        self.n += 1
        return {"loss": self.config["lr"] / self.n, "step": self.n - 1, "done": self.n == 4}

    def save_checkpoint(self, folder):
        with open(os.path.join(folder, "state"), "w") as file:
            file.write(f"{self.n} {self.config['lr']}")

    def load_checkpoint(self, folder):
        with open(os.path.join(folder, "state")) as file:
            self.n = int(file.read().split()[0])

left = calls
def count(frame, event, argument):  # what the driver's thread calls in our code: each a moment to be killed at
    global left
    if "tunesmith" in frame.f_code.co_filename:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

class Begun(tune.Callback):
    def on_trial_result(self, **info):
        if begun and sys.getprofile() is None:
            sys.setprofile(count)

if __name__ == "__main__":
    more = {"checkpoint_freq": 1, "keep_checkpoints_num": 2} if kind == "class" else {}
    if not begun:
        sys.setprofile(count)
    tune.run(
        Steps if kind == "class" else train, name="x", storage_path=root, resume="AUTO", seed=7, verbose=0, executor="local",
        config={"x": tune.choice([1, 2, 3]), "lr": tune.loguniform(1e-3, 1)}, num_samples=40, max_concurrent_trials=3,
        metric="loss", mode="min", search_alg="random", callbacks=[Begun()], **more,
    )
    sys.setprofile(None)
    print(calls - left)
"""


class Chain:
    """Sessions of one experiment, each a process."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder, kind
        self.root = folder / "begin"
        self.root.mkdir(parents=True)
        self.script = folder / "script.py"
        self.script.write_text(SCRIPT, encoding="utf-8")
        self.mark = f"PROOF_{uuid.uuid4().hex}"

    def run(self, calls: int, begun: bool) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(self.script), str(self.root), self.kind, str(calls), "begun" if begun else "anywhere"]
        environment = {**os.environ, self.mark: "1"}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)

    def move(self, number: int) -> None:
        self.root = self.root.rename(self.folder / f"moved {number}")

    def nothing_runs(self) -> None:
        """Two seconds after at most."""
        deadline = time.monotonic() + 2
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    handle = os.pidfd_open(pid)
                    ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
                    os.close(handle)
                    assert ready, f"process {pid} is left"

    def processes(self) -> list[int]:
        found = []
        for place in Path("/proc").iterdir():
            with suppress(OSError):
                if place.name.isdecimal() and f"{self.mark}=1".encode() in (place / "environ").read_bytes().split(b"\0"):
                    found.append(int(place.name))
        return found

    def checkpoints_are_whole(self) -> None:
        """What can be seen can be loaded, and is what its trial wrote."""
        for path in self.root.rglob("checkpoint_*"):
            if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(self.root).parts):
                if self.kind == "class":
                    assert len((path / "state").read_text().split()) == 2
                else:
                    assert set(tune.Checkpoint(str(path)).to_dict()) == {"step", "lr"}

    def journal_is_whole(self) -> set[tuple[int, int, int]]:
        """No record is missing; nothing ended twice; no iteration counts twice in one attempt. Returns the results that are there."""
        ended: set[int] = set()
        rows: set[tuple[int, int, int]] = set()
        with open_reader(self.root / "x" / "experiment.db") as reader:
            for number, record in enumerate(reader.read(), 1):
                assert record.seq == number
                if isinstance(record.event, ev.Reported):
                    key = (record.event.trial, record.event.attempt, record.event.iteration)
                    assert key not in rows
                    rows.add(key)
                for decision in record.decisions:
                    if decision.do == "end":
                        assert decision.trial not in ended
                        ended.add(decision.trial or 0)
        return rows

    def result(self) -> list[Any]:
        """Of each trial: configuration, rows (less what a clock says) and the step of its last checkpoint."""
        found = []
        for place in sorted(path for path in (self.root / "x").iterdir() if path.is_dir() and not path.name.startswith(".")):
            rows = list(csv.DictReader((place / "progress.csv").read_text(encoding="utf-8").splitlines()))
            kept = [(row["training_iteration"], row["step"], row["loss"], row["done"]) for row in rows]
            found.append((place.name[5:], json.loads((place / "params.json").read_text()), kept))
        return found


@pytest.mark.parametrize(("kind", "seed"), [("saving", 1), ("class", 2)])
def test_killed_fifty_times(tmp_path: Path, kind: str, seed: int, faults: Any) -> None:
    quiet = Chain(tmp_path / "quiet", kind)
    done = quiet.run(0, begun=True)
    assert (done.returncode, done.stderr) == (0, "")
    expected, each = quiet.result(), int(done.stdout) // (TRIALS * STEPS)  # calls for one report and what belongs to it
    assert [len(rows) for _, _, rows in expected] == [STEPS] * TRIALS
    chain, moments, kills = Chain(tmp_path / "killed", kind), random.Random(seed), 0
    there: set[tuple[int, int, int]] = set()
    for number in range(KILLS):
        early = number % 5 == 4
        killed = chain.run(moments.randrange(1, 3000) if early else moments.randrange(1, 3 * each), begun=not early)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        kills += 1
        with faults.tried("kill -9 of a real driver at a random moment, the folder moved") as results:
            chain.nothing_runs()
            chain.move(number)
            assert not there or (chain.root / "x" / "experiment.db").exists()
            if (chain.root / "x" / "experiment.db").exists():
                chain.checkpoints_are_whole()
                found = chain.journal_is_whole()
                assert there <= found
                results(len(there))
                there = found
    done = chain.run(0, begun=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert kills == KILLS
    assert there <= chain.journal_is_whole()
    chain.checkpoints_are_whole()
    with faults.tried("all of these together: the results are those of an undisturbed run") as results:
        assert chain.result() == expected
        results(TRIALS * STEPS)
