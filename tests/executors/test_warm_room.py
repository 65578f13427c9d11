"""How many paused trials have room in memory: measured at the first reports of the first trials."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunesmith.core.events import CapacityChanged
from tunesmith.executors import LocalExecutor
from tunesmith.executors.machine import spare_memory
from tunesmith.executors.warmth import WarmRoom
from tunesmith.testing.executor_rig import Rig, kinds
from tunesmith.trainable.session import report


class Machine:
    """Processes of so many bytes, in full and by their share; and what is free."""

    def __init__(self, sizes: dict[int, tuple[int, int]], spare: float) -> None:
        self.sizes, self.free = sizes, spare
        self.reads: list[tuple[int, bool]] = []
        self.woken, self.asked = threading.Event(), threading.Event()

    def read(self, pid: int, limit: int) -> tuple[int, int]:
        if not limit:
            assert self.asked.wait(5)
        full, share = self.sizes.get(pid, (0, 0))
        self.reads.append((pid, full > limit))
        return (share if full > limit else full), 1

    def room(self, most: int = 64) -> WarmRoom:
        return WarmRoom(self.woken.set, self.read, lambda: self.free, most)


def shares_known(machine: Machine, room: WarmRoom) -> None:
    machine.asked.set()
    assert machine.woken.wait(5)
    room.close()


def test_half_of_what_is_free_over_what_a_trial_holds() -> None:
    machine = Machine({7: (1000, 400)}, 8000)
    room = machine.room()
    room.look(0, 7)
    assert room.news() == 4  # at once, with everything counted in full
    shares_known(machine, room)
    assert room.news() == 10  # by its share
    assert room.news() is None


def test_who_shares_what_is_not_asked_where_there_is_room_enough() -> None:
    machine = Machine({7: (1000, 400)}, 8_000_000)
    room = machine.room()
    room.look(0, 7)
    assert room.news() == 64
    assert machine.reads == [(7, False)]


def test_the_largest_of_the_first_three_counts() -> None:
    machine = Machine({pid: (size, size) for pid, size in enumerate((100, 1000, 200, 4000))}, 8000)
    machine.asked.set()
    room = machine.room(most=40)
    told = []
    for trial in range(4):
        room.look(trial, trial)
        told.append(room.news())
    assert (told, room.done) == ([40, 4, None, None], True)
    room.close()


def test_only_its_first_report_is_of_interest() -> None:
    machine = Machine({7: (10, 10)}, 8000)
    room = machine.room()
    for _ in range(3):
        room.look(0, 7)
    assert len(machine.reads) == 1
    assert not room.done


def test_no_room_at_all() -> None:
    machine = Machine({7: (10_000, 9_000)}, 8000)
    machine.asked.set()
    room = machine.room()
    room.look(0, 7)
    assert room.news() == 0
    room.close()


def test_a_process_that_has_ended_tells_nothing() -> None:
    room = Machine({}, 8000).room()
    room.look(0, 7)
    assert room.news() is None
    assert not room.done


def test_what_is_free_cannot_be_told() -> None:
    room = Machine({7: (10, 10)}, float("inf")).room(most=5)
    room.look(0, 7)
    assert room.news() == 5


def test_each_takes_an_open_file() -> None:
    room = WarmRoom(lambda: None, lambda pid, limit: (1, 1), lambda: 1 << 60)
    room.look(0, 7)
    assert 8 <= (room.news() or 0) < 1 << 20


# -- what is free --------------------------------------------------------------------------------------------------------


def machine_files(root: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


MEMINFO = {"proc/meminfo": "MemTotal:  8000 kB\nMemFree:  100 kB\nMemAvailable:  5000 kB\n"}


def test_what_the_machine_has_left(tmp_path: Path) -> None:
    assert spare_memory(machine_files(tmp_path, MEMINFO)) == 5_000 * 1024


@pytest.mark.parametrize(("limit", "expected"), [("3000000", 3_000_000 - 2_500_000 + 200_000), ("2000000", 0.0), ("max", 5_000 * 1024)])
def test_what_the_control_group_has_left(limit: str, expected: float, tmp_path: Path) -> None:
    root = machine_files(tmp_path, {
        **MEMINFO,
        "proc/self/cgroup": "0::/job\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n",
        "sys/fs/cgroup/job/memory.max": limit,
        "sys/fs/cgroup/job/memory.current": "2500000",
        "sys/fs/cgroup/job/memory.stat": "anon 100\ninactive_file 200000\n",
    })  # fmt: skip
    assert spare_memory(root) == expected


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    root = machine_files(tmp_path, {
        **MEMINFO,
        "proc/self/cgroup": "5:memory:/job\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
        "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "3000000",
        "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "2500000",
        "sys/fs/cgroup/memory/job/memory.stat": "inactive_file 7\ntotal_inactive_file 100000\n",
    })  # fmt: skip
    assert spare_memory(root) == 600_000


def test_nothing_can_be_told(tmp_path: Path) -> None:
    assert spare_memory(str(tmp_path)) == float("inf")


def test_here() -> None:
    assert 1e6 < spare_memory() < 1e15
    assert os.path.exists("/proc/self/statm")


# -- the local executor --------------------------------------------------------------------------------------------------


def big(config: dict[str, int]) -> None:
    held = b"x" * config["bytes"]
    report(value=len(held))
    report(value=len(held))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**setup: bool) -> Rig:
        made.append(Rig(LocalExecutor(), big, tmp_path, **setup))
        return made[-1]

    yield make
    for one in made:
        one.executor.close()


def test_it_is_told_before_the_first_report(rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.executors.warmth.spare_memory", lambda: 3e9)
    one = rig(warm=True)
    one.run(config={"bytes": 200_000_000})
    known = [event for event in one.events if isinstance(event, CapacityChanged)]
    assert isinstance(one.events[kinds(one.events).index("Reported") - 1], CapacityChanged)
    assert known[0].totals == one.totals
    assert 1 <= (known[0].warm or 0) <= 7  # 1.5 GB for trials of 200 MB and Python
    assert [event.warm for event in known] == sorted(event.warm or 0 for event in known)  # by its share it is less that each takes


def test_nobody_asks(rig: Callable[..., Rig]) -> None:
    one = rig()
    one.run(config={"bytes": 10})
    assert "CapacityChanged" not in kinds(one.events)
