"""Nothing grows with the number of trials: descriptors, processes, threads, memory; of the driver and of the template."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tunesmith.executors import LocalExecutor
from tunesmith.testing.executor_rig import Rig, ended_of
from tunesmith.trainable.session import report

pytestmark = pytest.mark.slow

MiB = 1 << 20


@pytest.fixture(autouse=True)
def nothing_is_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have imported in this process would still be imported by the template while it is measured."""
    monkeypatch.setattr("tunesmith.executors.forker.loaded", lambda *_: [])



def one_report(_config: dict[str, Any]) -> None:
    report(loss=1.0, template=os.getppid())


def fails(config: dict[str, Any]) -> None:
    report(loss=1.0, template=os.getppid())
    if config["how"] == "exit":
        os._exit(1)
    if config["how"] == "kill":
        os.abort()
    raise ValueError("x" * 1000)


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def children(pid: int) -> int:
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def descriptors(pid: int | str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def measured(rig: Rig, template: int) -> dict[str, int]:
    rig.events.clear()
    gc.collect()
    own = os.getpid()
    return {
        "fds": descriptors(own), "threads": threading.active_count(), "children": children(own), "rss": resident(own),
        "template fds": descriptors(template), "template children": children(template), "template rss": resident(template),
        "template threads": len(os.listdir(f"/proc/{template}/task")),
    }  # fmt: skip


def flat(rig: Rig, trials: int, configs: list[dict[str, Any]], at_once: int = 2) -> None:
    """Measured after a tenth of the trials, and at the end."""
    rig.run(0, config=configs[0])
    template = rig.reports(0)[0].metrics["template"]
    first: dict[str, int] = {}
    for start in range(1, trials, at_once):
        for trial in range(start, start + at_once):
            rig.launch(trial, config=configs[trial % len(configs)])
        rig.finish()
        if len(rig.events) > 300:
            rig.events.clear()
        if not first and start > trials / 10:
            first = measured(rig, template)
    last = measured(rig, template)
    for what in first:
        most = 5 * MiB if what.endswith("rss") else at_once if what == "template children" else 0
        assert last[what] - first[what] <= most, (what, first, last)


def test_5000_trials_in_used_workers(tmp_path: Path) -> None:
    executor = LocalExecutor()
    try:
        flat(Rig(executor, one_report, tmp_path, log_to_file=("stdout.log", "stderr.log")), 5000, [{}])
    finally:
        executor.close()


def test_500_fresh_workers(tmp_path: Path) -> None:
    executor = LocalExecutor()
    try:
        flat(Rig(executor, one_report, tmp_path, reuse=False), 500, [{}])
    finally:
        executor.close()


def test_300_that_fail(tmp_path: Path) -> None:
    executor = LocalExecutor()
    try:
        rig = Rig(executor, fails, tmp_path, log_to_file=("stdout.log", "stderr.log"))
        flat(rig, 300, [{"how": how} for how in ("exit", "kill", "raise")])
    finally:
        executor.close()


def test_50_executors(tmp_path: Path) -> None:
    before = None
    for index in range(50):
        executor = LocalExecutor()
        rig = Rig(executor, one_report, tmp_path / str(index))
        assert ended_of(rig.run(0)).outcome == "finished"
        executor.close()
        now = descriptors("self"), threading.active_count(), children(os.getpid())
        if index == 5:
            before = now
        if index > 5:
            assert now == before
