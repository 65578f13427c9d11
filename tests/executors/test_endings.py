"""What is done with a process that holds more memory than it may, and what happens to one that does not end, by a clock of their own."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import pytest

from tunesmith.core.events import AttemptEnded
from tunesmith.executors.alarms import Alarms
from tunesmith.executors.base import Assignment, ExecutorSetup
from tunesmith.executors.endings import Endings
from tunesmith.executors.unwinding import DUMP

LIMIT = 1000


class Process:
    """As the endings see one."""

    def __init__(self) -> None:
        self.number, self.pid, self.launches = 7, 1 << 30, 1
        self.assignment = Assignment(3, 0, "abcde_00003", "x", "x", {}, "/nowhere", max_ram=LIMIT)
        self.doom = self.excess = ""
        self.ended: Any = None
        self.dump_at: int | None = None
        self.leaving = self.signalled = self.gone = self.idle = False
        self.signals: list[int] = []

    def signal(self, what: int) -> None:
        self.signalled = True
        self.signals.append(what)


class Case:
    """Endings with a clock of their own, and one process."""

    def __init__(self, dumps: bool = True) -> None:
        self.now = 0.0
        self.process = Process()
        self.alarms = Alarms(lambda: self.now)
        nursery: Any = SimpleNamespace(processes={7: self.process}, hurry=lambda process: None)
        autopsy: Any = SimpleNamespace(reads_dumps=dumps, log_size=lambda assignment: 12)
        setup = ExecutorSetup(None, lambda events: None, grace_s=5.0)
        self.endings = Endings(nursery, self.alarms, setup, autopsy, lambda: None)
        self.found: list[tuple[int, int, int]] = []
        watch: Any = SimpleNamespace(exceeded=lambda: self.found, close=lambda: None)
        self.endings._ram = watch

    def holds(self, held: int) -> list[int]:
        self.found = [(7, held, 2)]
        self.endings.look()
        self.found = []
        return self.process.signals

    def at(self, moment: float) -> list[int]:
        self.now = moment
        self.alarms.ring()
        return self.process.signals


@pytest.fixture
def case() -> Case:
    return Case()


def test_too_much_memory_is_an_end_with_a_second_to_unwind(case: Case) -> None:
    assert case.holds(1001) == [signal.SIGTERM]
    assert case.holds(1002) == [signal.SIGTERM]
    assert (case.process.doom, case.process.excess) == ("oom_ram", "its 2 processes held 1.001 kB, more than max_ram=1 kB")
    assert case.at(0.99) == [signal.SIGTERM]
    assert case.at(1.0) == [signal.SIGTERM, DUMP]
    assert case.process.dump_at == 12
    assert case.at(1.19) == [signal.SIGTERM, DUMP]
    assert case.at(1.2) == [signal.SIGTERM, DUMP, signal.SIGKILL]


def test_far_too_much_is_the_end_at_once(case: Case) -> None:
    assert case.holds(1201) == [DUMP]
    assert case.at(0.2) == [DUMP, signal.SIGKILL]
    assert case.process.doom == "oom_ram"


def test_who_goes_on_growing_while_it_unwinds_is_not_left_the_time(case: Case) -> None:
    case.holds(1200)
    assert case.at(0.5) == [signal.SIGTERM]
    assert case.holds(1201) == [signal.SIGTERM, DUMP]
    assert case.holds(1400) == [signal.SIGTERM, DUMP, signal.SIGKILL]


def test_without_a_log_there_is_nothing_to_be_said() -> None:
    assert Case(dumps=False).holds(2000) == [signal.SIGKILL]


def test_whose_end_is_decided_keeps_its_outcome(case: Case) -> None:
    case.endings.kill(case.process, "timeout")  # type: ignore[arg-type]
    assert case.holds(1100) == [signal.SIGTERM]
    assert case.holds(1300) == [signal.SIGTERM, DUMP]
    assert (case.process.doom, case.process.excess) == ("timeout", "")


def test_whoever_was_told_to_stop_has_stopped(case: Case) -> None:
    case.endings.unwinding(case.process)  # type: ignore[arg-type]
    assert case.holds(1100) == [signal.SIGTERM]
    assert case.at(1.0) == [signal.SIGTERM, DUMP]
    event = AttemptEnded(3, 0, "worker_lost", {"type": "SIGKILL", "message": "", "where": "", "traceback": ""})
    case.endings.judge(case.process, event)  # type: ignore[arg-type]
    assert event == AttemptEnded(3, 0, "stopped")


def test_a_process_that_outlives_its_attempt_has_no_claim_to_time(case: Case) -> None:
    case.process.ended = AttemptEnded(3, 0, "finished")
    assert case.holds(1001) == [signal.SIGKILL]
    assert case.process.doom == ""


@pytest.mark.parametrize("found", [None, {"type": "Terminated", "message": "so", "where": "a.py:3", "traceback": "in a"}])
def test_the_error_says_how_much_and_where(case: Case, found: dict[str, str] | None) -> None:
    case.holds(1100)
    event = AttemptEnded(3, 0, "worker_lost" if found else "finished", found)
    case.endings.judge(case.process, event)  # type: ignore[arg-type]
    case.endings.judge(case.process, event)  # type: ignore[arg-type]
    message = "its 2 processes held 1.1 kB, more than max_ram=1 kB"
    places = {"where": "a.py:3", "traceback": f"in a\nMemoryLimit: {message}\n"} if found else {"where": "", "traceback": ""}
    assert event == AttemptEnded(3, 0, "oom_ram", {"type": "MemoryLimit", "message": message, **places})


def test_a_kill_is_a_signal_and_the_end_after_the_grace(case: Case) -> None:
    for outcome in ("silent", "timeout"):
        case.endings.kill(case.process, outcome)  # type: ignore[arg-type]
    assert (case.process.doom, case.process.signals) == ("silent", [signal.SIGTERM])
    assert case.at(4.99) == [signal.SIGTERM]
    assert case.at(5.0) == [signal.SIGTERM, DUMP]
    case.process.gone = True
    assert case.at(9.0) == [signal.SIGTERM, DUMP]
