"""What a machine holds: affinity, quotas and limits of every version of control groups, and what the user says against it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tunesmith.errors import ExecutorError
from tunesmith.executors.cgroups import own_cgroup
from tunesmith.executors.gpus import Card, Cards
from tunesmith.executors.machine import machine_totals
from tunesmith.executors.overrides import overrides

NOTHING: dict[str, str] = {}
NO_CARDS = Cards([])
UNLIMITED = 9223372036854771712  # what version 1 says where there is no limit

Tree = Callable[[dict[str, str]], str]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Files of a machine of its own: path -> contents. Returns its root."""

    def plant(files: dict[str, str]) -> str:
        for path, text in {"proc/meminfo": "MemFree: 1 kB\nMemTotal:  8388608 kB\n", **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return str(tmp_path)

    return plant


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def totals(root: str) -> tuple[float, float]:
    found = machine_totals(NO_CARDS, environ=NOTHING, root=root)
    return found["cpu"], found["memory"] / 2**30


V2_MOUNT = "29 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "31 23 0:28 / /sys/fs/cgroup ro,nosuid shared:5 - tmpfs tmpfs ro,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:6 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)


def test_no_groups_at_all(tree: Tree) -> None:
    assert totals(tree({})) == (16.0, 8.0)


def test_version_2_own_group_and_all_around_it(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "0::/user.slice/me/job\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/user.slice/me/job/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/me/job/memory.max": f"{3 * 2**30}\n",
        "sys/fs/cgroup/user.slice/me/cpu.max": "650000 100000\n",
        "sys/fs/cgroup/user.slice/cpu.max": "900000 100000\n",
        "sys/fs/cgroup/user.slice/memory.max": f"{2 * 2**30}\n",
    }
    assert totals(tree(files)) == (6.0, 2.0)


def test_a_container_with_a_name_space_of_its_own(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/cpu.max": "200000 100000",
        "sys/fs/cgroup/memory.max": "max",
    }
    assert totals(tree(files)) == (2.0, 8.0)


def test_version_1(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/jobs/one\n3:cpu,cpuacct:/jobs\n1:name=systemd:/\n0::/\n",
        "proc/self/mountinfo": V1_MOUNTS,
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_quota_us": "400000\n",
        "sys/fs/cgroup/cpu,cpuacct/jobs/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{UNLIMITED}\n",
        "sys/fs/cgroup/memory/jobs/memory.limit_in_bytes": f"{4 * 2**30}\n",
        "sys/fs/cgroup/memory/jobs/one/memory.limit_in_bytes": f"{UNLIMITED}\n",
        "sys/fs/cgroup/unified/cpu.max": "100000 100000",  # not in use: version 1 has the controller
    }
    assert totals(tree(files)) == (4.0, 4.0)


def test_a_container_that_sees_its_own_part_only(tree: Tree) -> None:
    """The group is named as the host sees it; the mount shows it as its top."""
    mount = "33 31 0:30 /docker/ab12 /sys/fs/cgroup/memory ro,relatime master:15 - cgroup cgroup rw,memory\n"
    files = {
        "proc/self/cgroup": "4:memory:/docker/ab12/inner\n",
        "proc/self/mountinfo": mount,
        "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{5 * 2**30}",
        "sys/fs/cgroup/memory/inner/memory.limit_in_bytes": f"{1 * 2**30}",
    }
    root = tree(files)
    assert totals(root) == (16.0, 1.0)
    assert own_cgroup("cpu", root) is None


@pytest.mark.parametrize("path", ["/../outside", "/docker/gone"])
def test_a_group_that_cannot_be_seen_counts_as_the_mount_point(tree: Tree, path: str) -> None:
    files = {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/cpu.max": "300000 100000"}
    assert totals(tree(files)) == (3.0, 8.0)


def test_a_mount_point_with_a_blank_in_it(tree: Tree) -> None:
    files = {
        "proc/self/cgroup": "0::/a b\n",
        "proc/self/mountinfo": "29 23 0:26 / /my\\040groups rw - cgroup2 none rw\n",
        "my groups/a b/cpu.max": "100000 100000",
    }
    assert totals(tree(files)) == (1.0, 8.0)


@pytest.mark.parametrize(("quota", "cpus"), [("50000 100000", 1.0), ("250000 100000", 2.0), ("99999999 100000", 16.0), ("nonsense", 16.0)])
def test_quotas_are_rounded_down_but_never_to_nothing(tree: Tree, quota: str, cpus: float) -> None:
    files = {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT, "sys/fs/cgroup/cpu.max": quota}
    assert totals(tree(files))[0] == cpus


def test_this_machine() -> None:
    found = machine_totals(environ=NOTHING)
    assert found["cpu"] >= 1
    assert found["memory"] > 2**28
    assert found["gpu"] >= 0


def test_overrides_win_over_what_was_found(tree: Tree) -> None:
    environ = {"TUNESMITH_RESOURCES": '{"memory": 1e9, "GPU": 3, "license": 2, "cpu": 5}', "TUNESMITH_NUM_CPUS": "64"}
    assert machine_totals(NO_CARDS, environ=environ, root=tree({})) == {"cpu": 64.0, "gpu": 3.0, "memory": 1e9, "license": 2.0}
    environ = {"TUNESMITH_NUM_GPUS": "1", "TUNESMITH_NUM_CPUS": ""}
    assert machine_totals(Cards([Card("0"), Card("1")]), environ=environ, root=tree({}))["gpu"] == 1.0


def test_totals_without_cards_given_look_for_them(tree: Tree) -> None:
    assert machine_totals(environ={"TUNESMITH_NUM_GPUS": "2"}, root=tree({}))["gpu"] == 2.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NUM_CPUS", "many", "a number >= 0"),
        ("NUM_CPUS", "nan", "a number >= 0"),
        ("NUM_GPUS", "-1", "a whole number >= 0"),
        ("NUM_GPUS", "1.5", "a whole number >= 0"),
        ("RESOURCES", "[1]", "a JSON object of numbers >= 0"),
        ("RESOURCES", "{", "a JSON object of numbers >= 0"),
        ("RESOURCES", '{"a": "b"}', "a JSON object of numbers >= 0"),
        ("RESOURCES", '{"gpu": 0.5}', "a whole number of GPUs"),
    ],
)
def test_wrong_overrides_are_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(ExecutorError, match=f"TUNESMITH_{name} is .*; expected {expected}.*Correct or unset it"):
        overrides({f"TUNESMITH_{name}": value})
