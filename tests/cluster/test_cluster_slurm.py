"""The page's batch script and the page's program, as they stand there, with programs in place of Slurm's own that play three nodes here."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import tunesmith as tune
from tunesmith.testing import Gate, until_gone

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")

SHIMS = {
    "srun": 'while [[ "${1:-}" == --* ]]; do shift; done\nexec "$@"\n',
    "scontrol": 'case $1 in show) printf "n0\\nn1\\nn2\\n" ;; requeue) echo "$2" >> "$REQUEUED" ;; esac\n',
}


def block(language):
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


class Job:
    """One job of the batch script.

    Args:
        folder: where it is submitted; results are there, too.
    """

    def __init__(self, folder):
        self.folder = folder
        self.number = os.getpid()
        commands = folder / "bin"
        commands.mkdir(exist_ok=True)
        for name, text in SHIMS.items():
            (commands / name).write_text(f"#!/bin/bash\n{text}")
            (commands / name).chmod(0o755)
        (folder / "tune.sbatch").write_text(block("bash"))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}", "SLURM_JOB_ID": str(self.number),
            "SLURM_JOB_NODELIST": "n[0-2]", "SLURM_CPUS_PER_TASK": "1", "REQUEUED": str(folder / "requeued"),
            "TUNESMITH_RESULTS_DIR": str(folder / "results"), "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }  # fmt: skip

    def start(self):
        command = ["bash", "tune.sbatch", "train.py"]
        with (self.folder / "job.log").open("w") as log:
            return subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)

    def left(self):
        """Processes of its Ray."""
        mark, found = f"ray_{self.number}/".encode(), []
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdecimal() and mark in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
        return found


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def statuses(folder):
    return Counter(trial.status for trial in tune.open_experiment(folder / "results" / "digits").trials)


def test_the_script_of_the_page_runs_on_three_nodes_and_leaves_nothing(job):
    (job.folder / "train.py").write_text(block("python"))
    process = job.start()
    assert process.wait(150) == 0, (job.folder / "job.log").read_text()[-3000:]
    text = (job.folder / "job.log").read_text()
    assert "executor ray" in text
    assert re.search(r"^\{'lr': ", text, re.MULTILINE)
    assert statuses(job.folder) == {"TERMINATED": 8}
    until_gone(job.left(), 20)
    assert not job.left()
    assert not (job.folder / "requeued").exists()


def test_when_time_is_up_it_drains_and_goes_back_into_the_queue(job):
    gate = Gate()
    slow = block("python").replace("    for epoch in", "    import time\n    for epoch in").replace(
        "        loss =", f"        tune.testing.Gate.at({gate.port}).arrive()\n        time.sleep(SLOW)\n        loss ="
    )
    (job.folder / "train.py").write_text(slow.replace("SLOW", "0.5"))
    process = job.start()
    gate.arrived(1, 120, unless_gone=process.pid)
    process.send_signal(signal.SIGTERM)  # what --signal=B:TERM has Slurm do
    assert process.wait(90) == 143, (job.folder / "job.log").read_text()[-3000:]
    assert (job.folder / "requeued").read_text().split() == [str(job.number)]
    until_gone(job.left(), 20)
    assert not job.left()
    assert statuses(job.folder)["TERMINATED"] < 8
    gate.open()
    (job.folder / "train.py").write_text(slow.replace("SLOW", "0"))
    assert job.start().wait(150) == 0, (job.folder / "job.log").read_text()[-3000:]
    assert statuses(job.folder) == {"TERMINATED": 8}
    until_gone(job.left(), 20)
    assert not job.left()
