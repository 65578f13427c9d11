"""What processes hold, by a made-up /proc and by this machine's; who is above a limit, by a reader and a clock that are made up, too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.executors import memory
from tunesmith.executors.memory import Memory, RamWatch, excess

PAGE = os.sysconf("SC_PAGE_SIZE")


class Machine:
    """A /proc of processes that do not exist."""

    def __init__(self, root: Path, lists_children: bool) -> None:
        self.root = root
        self.lists_children = lists_children
        (root / "proc/self").mkdir(parents=True)
        if lists_children:
            (root / "proc/thread-self").mkdir()
            (root / "proc/thread-self/children").write_text("")

    def add(self, pid: int, parent: int, pages: int, share: int | None = None, threads: int = 1) -> None:
        """``share`` in kB; None: it can't be read. Children belong to the last of a process's threads."""
        place = self.root / "proc" / str(pid)
        for thread in range(threads):
            (place / "task" / str(pid + thread)).mkdir(parents=True)
            if self.lists_children:
                (place / "task" / str(pid + thread) / "children").write_text("")
        (place / "stat").write_text(f"{pid} (x) S {parent} {' '.join(map(str, range(60)))}\n")
        (place / "statm").write_text(f"{pages * 10} {pages} 0 0 0 0 0\n")
        if share is not None:
            (place / "smaps_rollup").write_text(f"0-7ffd [rollup]\nRss: {pages * PAGE >> 10} kB\nPss:  {share} kB\nPss_Dirty: 1 kB\n")
        if self.lists_children and (parents := sorted((self.root / "proc" / str(parent) / "task").glob("*"))):
            with (parents[-1] / "children").open("a") as file:
                file.write(f"{pid} ")


@pytest.fixture(params=[True, False], ids=["children", "parents"])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    return Machine(tmp_path, request.param)


def test_a_tree_is_all_that_comes_from_a_process(machine: Machine) -> None:
    for pid, parent in ((100, 1), (200, 100), (300, 200), (400, 100), (500, 1)):
        machine.add(pid, parent, pages=1, threads=3)
    reads = Memory(str(machine.root))
    assert sorted(reads.tree(100)) == [100, 200, 300, 400]
    assert sorted(reads.tree(200)) == [200, 300]
    assert reads.tree(999) == [999]


def test_memory_is_counted_by_share_only_where_that_matters(machine: Machine) -> None:
    machine.add(100, 1, pages=1000, share=PAGE * 400 >> 10)
    machine.add(200, 100, pages=1000, share=PAGE * 500 >> 10)
    reads = Memory(str(machine.root))
    assert reads.read(100, limit=2000 * PAGE) == (2000 * PAGE, 2)
    assert reads.read(100, limit=2000 * PAGE - 1) == (900 * PAGE, 2)


def test_what_cannot_be_read_counts_in_full_and_what_is_gone_not_at_all(machine: Machine) -> None:
    machine.add(100, 1, pages=1000)
    machine.add(200, 100, pages=0)  # a process that has ended, and nobody has taken note
    assert Memory(str(machine.root)).held([100, 200, 300], limit=0) == (1000 * PAGE, 1)


def test_this_machine() -> None:
    """A child of a child, in a session of its own, and its memory are found."""
    script = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]], start_new_session=True).wait()"
    holds = "data = b'x' * (50 << 20); print('there', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script, holds], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        reads = Memory()
        in_full, processes = reads.read(process.pid, limit=1 << 50)
        by_share, _ = reads.read(process.pid, limit=0)
        process.stdin.close()
    assert processes == 2
    assert 50 << 20 < by_share < in_full
    assert reads.read(process.pid, limit=0) == (0, 0)


# -- the watch -------------------------------------------------------------------------------------------------------------


class Watched:
    """A watch over numbers that the test sets."""

    def __init__(self) -> None:
        self.held: dict[int, int] = {}
        self.now = 0.0
        self.takes = 0.0
        self.woken = 0
        self.during: Callable[[], None] = lambda: None
        self.watch = RamWatch(self.read, lambda: self.now, self.wake)
        self.watch._thread = threading.current_thread()  # none of its own: the test looks

    def read(self, pid: int, limit: int) -> tuple[int, int]:
        self.now += self.takes
        self.during()
        return self.held[pid], 2

    def wake(self) -> None:
        self.woken += 1


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_who_is_above_the_limit_is_told_once_for_each_look(watched: Watched) -> None:
    watched.held = {10: 100, 20: 101}
    watched.watch.watch(1, 10, 100)
    watched.watch.watch(2, 20, 100)
    watched.watch.look()
    assert watched.woken == 1
    assert watched.watch.exceeded() == [(2, 101, 2)]
    assert watched.watch.exceeded() == []
    watched.held = {10: 50, 20: 150}
    watched.watch.look()
    assert (watched.woken, watched.watch.exceeded()) == (2, [(2, 150, 2)])


@pytest.mark.parametrize(("held", "rest"), [(10, 0.2), (80, 0.2), (81, 0.05), (300, 0.05)])
def test_near_a_limit_it_looks_more_often(watched: Watched, held: int, rest: float) -> None:
    watched.held = {10: 1, 20: held}
    watched.watch.watch(1, 10, 100)
    watched.watch.watch(2, 20, 100)
    assert watched.watch.look() == rest


@given(st.integers(1, 20), st.floats(0.0, 1.0))
def test_looking_takes_a_tenth_of_a_core_at_most(count: int, takes: float) -> None:
    watched = Watched()
    watched.takes = takes
    watched.held = dict.fromkeys(range(count), 99)
    for number in range(count):
        watched.watch.watch(number, number, 100)
    rest = watched.watch.look()
    assert watched.now <= 0.1001 * (watched.now + rest)


def test_what_is_forgotten_is_not_told(watched: Watched) -> None:
    watched.held = {10: 200}
    watched.watch.watch(1, 10, 100)
    watched.watch.look()
    watched.watch.forget(1)
    assert watched.watch.exceeded() == []
    watched.watch.look()
    assert watched.woken == 1
    watched.watch.forget(1)


def test_an_attempt_does_not_answer_for_the_one_before(watched: Watched) -> None:
    """While it is being looked at the process gets another."""
    watched.held = {10: 200}
    watched.watch.watch(1, 10, 100)

    def next_attempt() -> None:
        watched.watch.forget(1)
        watched.watch.watch(1, 10, 100)

    watched.during = next_attempt
    watched.watch.look()
    assert (watched.woken, watched.watch.exceeded()) == (0, [])


def test_nothing_is_told_after_the_end(watched: Watched) -> None:
    watched.held = {10: 200}
    watched.watch._thread = None
    watched.watch.watch(1, 10, 100)
    watched.watch.close()
    watched.watch.look()
    assert (watched.woken, watched.watch.exceeded()) == (0, [])
    watched.watch.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_REST_S", 0.001)
    monkeypatch.setattr(memory, "_NEAR_S", 0.001)


def test_a_thread_looks_as_long_as_there_is_something_to_look_at(quick: None) -> None:
    looked, told = threading.Semaphore(0), threading.Event()
    held = [50]

    def read(pid: int, limit: int) -> tuple[int, int]:
        looked.release()
        return held[0], 1

    before = threading.active_count()
    watch = RamWatch(read, lambda: 0.0, told.set)
    assert threading.active_count() == before
    for number in range(2):  # the second time after a while in which there was nothing
        watch.watch(number, 10, 100)
        assert looked.acquire(timeout=10)
        held[0] = 200
        assert told.wait(10)
        assert watch.exceeded() == [(number, 200, 1)]
        watch.forget(number)
        told.clear()
        held[0] = 50
    assert threading.active_count() == before + 1
    watch.close()
    assert threading.active_count() == before


@given(st.integers(1, 10**14), st.integers(1, 10**9), st.integers(1, 9))
def test_what_is_said_is_more_than_the_limit(limit: int, more: int, processes: int) -> None:
    text = excess(limit + more, processes, limit)
    held, _, most = text.partition(" held ")[2].partition(", more than max_ram=")
    assert in_bytes(held) > in_bytes(most)
    assert in_bytes(most) == pytest.approx(limit)
    assert text.startswith("its process held" if processes == 1 else f"its {processes} processes held")


def in_bytes(text: str) -> float:
    number, unit = text.split()
    return float(number) * 1000 ** ("B", "kB", "MB", "GB", "TB").index(unit)
