"""Whether the kernel's killer has struck: from the files of every version of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.executors.oom import OomWatch

V2 = {"proc/self/cgroup": "0::/job\n", "proc/self/mountinfo": "29 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"}
V1 = {"proc/self/cgroup": "4:memory:/job\n", "proc/self/mountinfo": "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"}


class Kernel:
    def __init__(self, root: Path, files: dict[str, str], counter: str) -> None:
        self.now = 0.0
        self.root = root
        self.counter = root / counter
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        self.counter.parent.mkdir(parents=True, exist_ok=True)
        self.count(7)
        self.watch = OomWatch(str(root), clock=lambda: self.now)

    def count(self, kills: int) -> None:
        self.counter.write_text(f"low 0\noom 3\noom_kill {kills}\noom_group_kill 0\n")


@pytest.fixture(
    params=[
        (V2, "sys/fs/cgroup/job/memory.events"),
        (V1, "sys/fs/cgroup/memory/job/memory.oom_control"),
        ({}, "proc/vmstat"),
        (V2, "proc/vmstat"),  # the outermost group counts nothing
    ]
)
def kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Kernel:
    return Kernel(tmp_path, *request.param)


def test_each_kill_answers_for_one_worker(kernel: Kernel) -> None:
    assert not kernel.watch.struck()
    kernel.count(9)
    assert [kernel.watch.struck() for _ in range(3)] == [True, True, False]


def test_a_kill_of_long_ago_answers_for_none(kernel: Kernel) -> None:
    kernel.count(9)
    assert kernel.watch.struck()
    kernel.now = 10.0
    assert not kernel.watch.struck()
    kernel.count(10)
    assert kernel.watch.struck()
    assert not kernel.watch.struck()


def test_counters_that_go_away_or_make_no_sense(kernel: Kernel) -> None:
    kernel.counter.write_text("oom_kill many\n")
    assert not kernel.watch.struck()
    kernel.counter.unlink()
    assert not kernel.watch.struck()


def test_nothing_to_read(tmp_path: Path) -> None:
    assert not OomWatch(str(tmp_path)).struck()


def test_this_machine() -> None:
    assert OomWatch().struck() is False
