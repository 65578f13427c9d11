"""Programs as trials of whole experiments: schedulers, retries, populations, kills, and no process that is left."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.testing import Gate
from tunesmith.trainable.command import command

pytestmark = pytest.mark.e2e

TRAIN = """
import argparse, json, os
import tunesmith as tune

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--steps", type=int, default=9)
args = parser.parse_args()
open(os.path.join(os.path.dirname(__file__), f"pid_{os.getpid()}"), "w").close()
start = tune.get_checkpoint()
step, score = (start.to_dict()["step"], start.to_dict()["score"]) if start else (0, 0.0)
print("begins at", step)
while step < args.steps:
    step, score = step + 1, score + args.lr
    once = os.path.join(os.path.dirname(__file__), "fail_once")
    if step == 4 and os.path.exists(once):
        os.unlink(once)
        raise SystemExit("no luck")
    if step == 4 and os.path.exists(once.replace("fail", "wait")):
        tune.testing.Gate.at(int(open(once.replace("fail", "wait")).read())).wait()
    tune.report(score=score, checkpoint={"step": step, "score": score})
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(TRAIN, encoding="utf-8")
    return path


def program(script, *words, **arguments):
    return command([sys.executable, str(script), "--lr", "{lr}", *words], **arguments)


def run(made, tmp_path, executor="local", **arguments):
    arguments = {"metric": "score", "mode": "max", "config": {"lr": tune.grid_search([0.1, 0.2])}, "name": "x", **arguments}
    return tune.run(made, storage_path=tmp_path / "results", verbose=0, executor=executor, **arguments)


def gone(pid, seconds=5.0):
    """Waits for the end of a process that is nobody's child here."""
    with contextlib.suppress(ProcessLookupError):
        handle = os.pidfd_open(pid)
        ready, _, _ = select.select([handle], [], [], seconds)
        os.close(handle)
        return bool(ready)
    return True


def nothing_is_left(folder):
    pids = [int(path.name.partition("_")[2]) for path in folder.glob("pid_*")]
    assert pids
    assert all(gone(pid) for pid in pids)


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_programs_are_trials(script, tmp_path, executor):
    analysis = run(program(script), tmp_path, executor, log_to_file=("out.log", "err.log"))
    assert analysis.best_config == {"lr": 0.2}
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [9, 9]
    assert [trial.trainable_name for trial in analysis.trials] == ["train", "train"]
    assert [path.read_text() for path in sorted((tmp_path / "results").glob("*/*/out.log"))] == ["begins at 0\n"] * 2
    nothing_is_left(tmp_path)


def test_a_scheduler_stops_them(script, tmp_path):
    analysis = run(
        program(script), tmp_path, config={"lr": tune.grid_search([0.4, 0.3, 0.2, 0.1])}, max_concurrent_trials=1,
        scheduler=tune.ASHAScheduler(max_t=9, grace_period=1, reduction_factor=3),
    )  # fmt: skip
    lasts = [trial.last_result["training_iteration"] for trial in analysis.trials]
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 4
    assert lasts[0] == 9
    assert min(lasts) == 1
    nothing_is_left(tmp_path)


def test_a_population_copies_their_checkpoints(script, tmp_path):
    scheduler = tune.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"lr": tune.uniform(0, 1)}, quantile_fraction=0.5,
        synch=True,  # nobody has ended when another one copies it
    )  # fmt: skip
    analysis = run(program(script, "--steps", "12"), tmp_path, scheduler=scheduler, config={"lr": tune.grid_search([0.01, 0.5])}, seed=1)
    starts = "".join(path.read_text() for path in (tmp_path / "results").glob("*/*/stdout.log"))
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert starts.count("begins at") > 2
    assert min(trial.last_result["score"] for trial in analysis.trials) > 12 * 0.01 + 0.1


def test_a_failure_is_retried_from_the_checkpoint_and_says_what_was_printed(script, tmp_path):
    (tmp_path / "fail_once").touch()
    analysis = run(program(script), tmp_path, max_failures=1, config={"lr": 0.1})
    (trial,) = analysis.trials
    assert trial.last_result["training_iteration"] == 9
    assert [path.read_text() for path in (tmp_path / "results").glob("*/*/stdout.log")] == ["begins at 0\nbegins at 3\n"]
    assert "exit code 1: no luck" in "".join(path.read_text() for path in (tmp_path / "results").glob("*/*/error.txt"))


def test_a_trial_that_is_silent_is_ended_with_its_program(script, tmp_path):
    gate = Gate()
    (tmp_path / "wait_once").write_text(str(gate.port))
    analysis = run(program(script), tmp_path, config={"lr": 0.1}, max_silence_s=3, raise_on_failed_trial=False, grace_s=1)
    assert [trial.status for trial in analysis.trials] == ["ERROR"]
    nothing_is_left(tmp_path)
    gate.open()


SCRIPT = """
import sys
import tunesmith as tune
from tunesmith.trainable.command import command

if __name__ == "__main__":
    analysis = tune.run(
        command([sys.executable, sys.argv[2], "--lr", "{lr}"]), config={"lr": 0.1}, name="x", metric="score", mode="max",
        storage_path=sys.argv[1], verbose=0, executor=sys.argv[3], resume="AUTO",
    )
    print(analysis.trials[0].last_result["training_iteration"], analysis.trials[0].status)
"""


@pytest.mark.parametrize("executor", ["local", "inline"])
def test_after_kill_9_they_go_on_from_their_checkpoints(program_files, executor, script, tmp_path):
    driver, arguments = program_files(SCRIPT, str(tmp_path / "results"), str(script), executor)
    gate = Gate()
    (tmp_path / "wait_once").write_text(str(gate.port))
    process = driver(*arguments)
    gate.arrived(1, 30, unless_gone=process.pid)
    process.kill()
    process.communicate()
    nothing_is_left(tmp_path)
    gate.open()
    (tmp_path / "wait_once").unlink()
    again = driver(*arguments)
    printed, _ = again.communicate(timeout=60)
    assert (again.returncode, printed.split()[-2:]) == (0, ["9", "TERMINATED"])
    if executor == "local":
        assert [path.read_text() for path in (tmp_path / "results").glob("*/*/stdout.log")] == ["begins at 0\nbegins at 3\n"]


@pytest.fixture
def program_files(tmp_path):
    def make(source, *arguments):
        path = tmp_path / "driver.py"
        path.write_text(source, encoding="utf-8")
        return lambda *words: subprocess.Popen([sys.executable, str(path), *words], stdout=subprocess.PIPE, text=True), arguments

    return make


def test_what_the_config_has_not_is_said_before_anything_starts(script, tmp_path):
    with pytest.raises(SpecError, match=r"the config has no entry 'lrate'\. Did you mean 'rate'"):
        run(command("train.py {lrate}"), tmp_path, config={"rate": tune.uniform(0, 1)})
    assert not (tmp_path / "results").exists()


def test_a_preflight_looks_at_them_too(script, tmp_path):
    config = {"lr": tune.uniform(0, 1), "momentum": tune.uniform(0, 1)}
    found = tune.preflight(
        program(script), config=config, metric="score", mode="max", storage_path=tmp_path / "results", executor="local", timeout_s=60
    )
    assert found.problems == ()
    assert found.unread == ("momentum",)


def test_torchrun_is_a_program(tmp_path):
    """Without torch: what it does is to start processes with their ranks in the environment."""
    launcher = tmp_path / "torchrun"
    launcher.write_text(
        f"#!{sys.executable}\nimport os, subprocess, sys\nsize = int(sys.argv[2])\n"
        "ranks = [subprocess.Popen([sys.executable, *sys.argv[3:]], env={**os.environ, 'RANK': str(r), 'WORLD_SIZE': str(size)},"
        " start_new_session=True) for r in range(size)]\nsys.exit(max(rank.wait() for rank in ranks))\n",
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    (tmp_path / "train.py").write_text(
        "import os, sys\nimport tunesmith as tune\nopen(f'pid_{os.getpid()}', 'w').close()\n"
        "for i in range(100):\n    tune.report(score=float(sys.argv[2]), rank=tune.get_context().get_world_rank())\n",
        encoding="utf-8",
    )
    made = command(f"{launcher} --nproc-per-node 2 train.py --lr {{lr}}", cwd=tmp_path)
    analysis = run(made, tmp_path, stop={"training_iteration": 5})
    assert [(trial.last_result["training_iteration"], trial.last_result["rank"]) for trial in analysis.trials] == [(5, 0)] * 2
    assert len(list(tmp_path.glob("pid_*"))) == 4
    nothing_is_left(tmp_path)
    assert Path(tmp_path, "train.py").exists()
