"""Ctrl-C, as a terminal sends it: what is printed, what is left, and that the same script goes on."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, signal, sys
import tunesmith as tune

root, kind, presses = sys.argv[1], sys.argv[2], int(sys.argv[3])

def ctrl_c():
    for _ in range(presses):
        os.kill(os.getpid(), signal.SIGINT)

def often(config):
    for step in range(6):
        if config["x"] == 2 and step == 3:
            ctrl_c()
        tune.report(loss=config["x"] / (step + 1), step=step)

def never(config):
    if config["x"] == 2:
        ctrl_c()
    return {"loss": config["x"]}

class Steps(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        if self.config["x"] == 2 and self.n == 3:
            ctrl_c()
        self.n += 1
        return {"loss": self.config["x"] / self.n, "step": self.n - 1, "done": self.n == 6}

    def save_checkpoint(self, folder):
        return {"n": self.n}

    def load_checkpoint(self, saved):
        self.n = saved["n"]
        print("loaded", self.n)

if __name__ == "__main__":
    trainable = {"often": often, "never": never, "class": Steps}[kind]
    analysis = tune.run(
        trainable, name="x", storage_path=root, resume="AUTO", config={"x": tune.grid_search([1, 2, 3])}, metric="loss", mode="min",
        checkpoint_freq=2 if kind == "class" else 0,
    )
    print("RETURNED", [trial.status for trial in analysis.trials])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def run(*command: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, command)], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def steps(root: Path) -> list[list[str]]:
    """The column "step" of each trial's progress.csv."""
    tables = [path.read_text(encoding="utf-8").splitlines() for path in sorted(root.glob("x/*/progress.csv"))]
    return [[row["step"] for row in csv.DictReader(table)] for table in tables]


@pytest.mark.parametrize("kind", ["often", "class"])
def test_ctrl_c_ends_at_the_next_report_and_the_same_script_goes_on(script: Path, tmp_path: Path, kind: str) -> None:
    done = run(script, tmp_path, kind, 1)
    assert done.returncode == 0, done.stderr
    assert "RETURNED ['TERMINATED', 'PENDING']" in done.stdout, "what was started is there; nothing more was"
    assert "ended because: interrupted by Ctrl-C" in done.stdout
    assert done.stderr.splitlines() == [
        "Ctrl-C: ending at the next report; press it again to break off at once.",
        "interrupted by Ctrl-C; unfinished trials can go on: resume=True, name='x'.",
    ]
    again = run(script, tmp_path, kind, 0)
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr
    assert again.stderr == ""
    assert ("loaded 4" in again.stdout) == (kind == "class")
    assert steps(tmp_path) == [[str(step) for step in range(6)]] * 3, "each step once"


def test_what_a_function_returns_after_ctrl_c_is_its_result(script: Path, tmp_path: Path) -> None:
    done = run(script, tmp_path, "never", 1)
    assert "RETURNED ['TERMINATED', 'TERMINATED']" in done.stdout, "it was at its end: nothing of it has to be done again"
    again = run(script, tmp_path, "never", 0)
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout
    assert again.stdout.count("started") == 1


def test_a_second_ctrl_c_breaks_off_at_once(script: Path, tmp_path: Path) -> None:
    done = run(script, tmp_path, "often", 2)
    assert done.returncode == -signal.SIGINT
    assert "RETURNED" not in done.stdout
    assert "broken off by Ctrl-C. What was reported is kept; to go on: resume=True, name='x'." in done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert len(steps(tmp_path)[1]) == 3
    again = run(script, tmp_path, "often", 0)
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr
    assert steps(tmp_path) == [[str(step) for step in range(6)]] * 3


HANDLERS = """
import asyncio, os, signal, sys, threading
import tunesmith as tune

def train(config):
    for step in range(4):
        if config["press"] and step == 1:
            os.kill(os.getpid(), signal.SIGINT)
        tune.report(loss=step)

def go(press=True):
    analysis = tune.run(train, config={"press": press}, storage_path=sys.argv[1], verbose=0)
    return analysis.trials[0].status, analysis.trials[0].last_result["loss"]

seen = []
def mine(number, frame):
    seen.append(number)

signal.signal(signal.SIGINT, mine)
print("own handler", go(), seen, signal.getsignal(signal.SIGINT) is mine)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ignored", go(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)
print("default", go(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)

found = []
thread = threading.Thread(target=lambda: found.append(go(press=False)))
thread.start()
thread.join()
print("thread", *found)

async def main():
    return go(press=False), await asyncio.to_thread(go, press=False)

print("asyncio", *asyncio.run(main()))
"""


def test_whose_ctrl_c_it_is_and_where_a_run_may_be_started(tmp_path: Path) -> None:
    done = run("-", tmp_path, stdin=HANDLERS)  # a script without a file
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "own handler ('TERMINATED', 3) [2] True",
        "ignored ('TERMINATED', 3) True",
        "default ('PENDING', 1) True",
        "thread ('TERMINATED', 3)",
        "asyncio ('TERMINATED', 3) ('TERMINATED', 3)",
    ]


def test_from_the_command_line(tmp_path: Path) -> None:
    code = "import sys, tunesmith as tune; print(tune.run(lambda c: c['x'], config={'x': 3}, storage_path=sys.argv[1], verbose=0).trials)"
    done = run("-c", code, tmp_path)
    assert (done.stdout.count("TERMINATED"), done.stderr) == (1, "")
