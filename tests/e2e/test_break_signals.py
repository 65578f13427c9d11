"""Ctrl-C and SIGTERM: what is printed, what is left, and that the same script goes on."""

from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, signal, sys, time
import tunesmith as tune

root, executor, kind, presses = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]
os.environ.setdefault("DRIVER", str(os.getpid()))

def press():
    for name in filter(None, presses.split(",")):
        os.kill(int(os.environ["DRIVER"]), getattr(signal, name))
        time.sleep(0.2)

def often(config):
    for step in range(6):
        if config["x"] == 2 and step == 3:
            press()
        tune.report(loss=config["x"] / (step + 1), step=step)

def never(config):
    if config["x"] == 2:
        press()
    return {"loss": config["x"]}

class Steps(tune.Trainable):
    def setup(self, config):
        self.n = 0

    def step(self):
        if self.config["x"] == 2 and self.n == 3:
            press()
        self.n += 1
        return {"loss": self.config["x"] / self.n, "step": self.n - 1, "done": self.n == 6}

    def save_checkpoint(self, folder):
        return {"n": self.n}

    def load_checkpoint(self, saved):
        self.n = saved["n"]
        print("loaded", self.n, flush=True)

def clings(config):
    tune.report(loss=1)
    if presses:
        press()
        while True:
            time.sleep(0.01)

if __name__ == "__main__":
    trainable = {"often": often, "never": never, "class": Steps, "clings": clings}[kind]
    analysis = tune.run(
        trainable, name="x", storage_path=root, resume="AUTO", config={"x": tune.grid_search([1, 2, 3])}, metric="loss", mode="min",
        executor=executor, max_concurrent_trials=1, log_to_file=False, **({"drain_s": 0.5} if kind == "clings" else {}),
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


WHAT = {
    "inline": "ending at the next report",
    "local": r"trials have until \d\d:\d\d:\d\d \(30 s\) to report and save, then they are killed",
}
EXECUTORS = pytest.mark.parametrize("executor", WHAT)


@EXECUTORS
@pytest.mark.parametrize("kind", ["often", "class"])
def test_ctrl_c_ends_at_the_next_report_and_the_same_script_goes_on(script: Path, tmp_path: Path, executor: str, kind: str) -> None:
    done = run(script, tmp_path, executor, kind, "SIGINT")
    assert done.returncode == 0, done.stderr
    assert "RETURNED ['TERMINATED', 'PENDING']" in done.stdout, "what was started is there; nothing more was"
    assert "ended because: interrupted by Ctrl-C" in done.stdout
    first, second = done.stderr.splitlines()
    assert re.fullmatch(f"Ctrl-C: {WHAT[executor]}; press it again to break off at once\\.", first)
    assert second == "interrupted by Ctrl-C; unfinished trials can go on: resume=True, name='x'."
    again = run(script, tmp_path, executor, kind, "")
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr
    assert again.stderr == ""
    assert ("loaded 4" in again.stdout) == (kind == "class"), "a class saves itself before it ends"
    assert steps(tmp_path) == [[str(step) for step in range(6)]] * 3, "each step once"


@EXECUTORS
def test_what_a_function_returns_after_ctrl_c_is_its_result(script: Path, tmp_path: Path, executor: str) -> None:
    done = run(script, tmp_path, executor, "never", "SIGINT")
    assert "RETURNED ['TERMINATED', 'TERMINATED']" in done.stdout, "it was at its end: nothing of it has to be done again"
    again = run(script, tmp_path, executor, "never", "")
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout
    assert again.stdout.count("started") == 1


@EXECUTORS
def test_a_second_ctrl_c_breaks_off_at_once(script: Path, tmp_path: Path, executor: str) -> None:
    done = run(script, tmp_path, executor, "often", "SIGINT,SIGINT")
    assert done.returncode == -signal.SIGINT
    assert "RETURNED" not in done.stdout
    assert "broken off by Ctrl-C. What was reported is kept; to go on: resume=True, name='x'." in done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")
    assert len(steps(tmp_path)[1]) == 3
    again = run(script, tmp_path, executor, "often", "")
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr
    assert steps(tmp_path) == [[str(step) for step in range(6)]] * 3


@EXECUTORS
@pytest.mark.parametrize("signals", ["SIGTERM", "SIGTERM,SIGTERM"], ids=["once", "as timeout(1) sends it"])
def test_sigterm_drains_too_and_then_the_process_ends_by_it(script: Path, tmp_path: Path, executor: str, signals: str) -> None:
    done = run(script, tmp_path, executor, "class", signals)
    assert done.returncode == 128 + signal.SIGTERM
    assert "RETURNED" not in done.stdout
    first, second = done.stderr.splitlines()
    assert re.fullmatch(f"SIGTERM: {WHAT[executor]}; send it again to break off at once\\.", first)
    assert second == "interrupted by SIGTERM; unfinished trials can go on: resume=True, name='x'."
    again = run(script, tmp_path, executor, "class", "")
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr
    assert "loaded 4" in again.stdout


def test_a_trial_that_does_not_end_is_killed_in_time_and_goes_on_next_time(script: Path, tmp_path: Path) -> None:
    done = run(script, tmp_path, "local", "clings", "SIGINT")
    assert done.returncode == 0, done.stderr
    assert "RETURNED ['PENDING']" in done.stdout
    assert "killed, as it had not ended within drain_s=0.5; a resume starts it anew" in done.stdout
    assert "(0.5 s)" in done.stderr
    again = run(script, tmp_path, "local", "clings", "")
    assert "RETURNED ['TERMINATED', 'TERMINATED', 'TERMINATED']" in again.stdout, again.stderr


HANDLERS = """
import asyncio, os, signal, sys, threading
import tunesmith as tune

os.environ["DRIVER"] = str(os.getpid())

def train(config):
    for step in range(4):
        if config["press"] and step == 1:
            os.kill(int(os.environ["DRIVER"]), config["press"])
        tune.report(loss=step)

def go(press=signal.SIGINT):
    analysis = tune.run(train, config={"press": int(press)}, storage_path=sys.argv[1], verbose=0, executor=sys.argv[2])
    return analysis.trials[0].status, analysis.trials[0].last_result["loss"]

seen = []
def mine(number, frame):
    seen.append(number)

signal.signal(signal.SIGINT, mine)
print("own handler", go(), seen, signal.getsignal(signal.SIGINT) is mine)

signal.signal(signal.SIGTERM, mine)
print("own SIGTERM", go(signal.SIGTERM), seen, signal.getsignal(signal.SIGTERM) is mine)
signal.signal(signal.SIGTERM, signal.SIG_DFL)

def raises(number, frame):
    raise KeyboardInterrupt("mine")

signal.signal(signal.SIGINT, raises)
try:
    go()
except KeyboardInterrupt as error:
    print("raising", error, signal.getsignal(signal.SIGINT) is raises)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("ignored", go(), signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)
print("default", go(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)

found = []
thread = threading.Thread(target=lambda: found.append(go(press=0)))
thread.start()
thread.join()
print("thread", *found)

async def main():
    return go(press=0), await asyncio.to_thread(go, press=0)

print("asyncio", *asyncio.run(main()))

async def interrupted():
    print("asyncio, interrupted", go())
    await asyncio.sleep(0)
    print("not reached: asyncio has cancelled the task")

try:
    asyncio.run(interrupted())
except KeyboardInterrupt:
    print("KeyboardInterrupt, as ever")

async def handles():
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "asyncio's handler")
    print("asyncio handles it", go(signal.SIGTERM))
    await asyncio.sleep(0.01)

asyncio.run(handles())
"""


@EXECUTORS
def test_whose_ctrl_c_it_is_and_where_a_run_may_be_started(tmp_path: Path, executor: str) -> None:
    done = run("-", tmp_path, executor, stdin=HANDLERS)  # a script without a file
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "own handler ('PENDING', 1) [2] True",
        "own SIGTERM ('PENDING', 1) [2, 15] True",
        "raising mine True",
        "ignored ('TERMINATED', 3) True",
        "default ('PENDING', 1) True",
        "thread ('TERMINATED', 3)",
        "asyncio ('TERMINATED', 3) ('TERMINATED', 3)",
        "asyncio, interrupted ('PENDING', 1)",
        "KeyboardInterrupt, as ever",
        "asyncio handles it ('PENDING', 1)",
        "asyncio's handler",
    ]


def test_from_the_command_line(tmp_path: Path) -> None:
    code = "import sys, tunesmith as tune; print(tune.run(lambda c: c['x'], config={'x': 3}, storage_path=sys.argv[1], verbose=0).trials)"
    done = run("-c", code, tmp_path)
    assert (done.stdout.count("TERMINATED"), done.stderr) == (1, "")
