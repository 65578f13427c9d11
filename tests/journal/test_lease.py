"""One writer at a time, and no dead one stands in the way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.ports import Header
from tunesmith.errors import JournalLocked, StorageFull
from tunesmith.journal import SqliteJournal
from tunesmith.journal import lease as lease_module
from tunesmith.journal.lease import Lease, Owner
from tunesmith.testing.journal_kit import report


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "experiment.lock"


def leave(path: Path, **changes: Any) -> Owner:
    """What an owner that differs from this process by ``changes`` would have left behind."""
    owner = replace(Owner.here(), **changes)
    path.write_text(json.dumps(asdict(owner)))
    return owner


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """The lock held through another open file, as another process would hold it."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


def dead_process() -> int:
    """The number of a process that has ended."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    return pid


def test_a_second_writer_in_the_same_process_is_refused_and_told_who_has_it(path: Path) -> None:
    lease = Lease.acquire(path)
    with pytest.raises(JournalLocked, match=rf"process {os.getpid()} on host '{lease.owner.host}' \(since \d{{4}}-.*any number can read"):
        Lease.acquire(path, take_over=True)
    lease.release()
    Lease.acquire(path).release()


def test_released_leaves_nothing_behind_and_twice_does_no_harm(path: Path) -> None:
    lease = Lease.acquire(path)
    assert lease.held()
    lease.release()
    lease.release()
    assert not lease.held()
    assert not path.exists()


def test_the_lease_of_a_process_that_died_is_free_at_once(path: Path) -> None:
    leave(path, pid=dead_process())
    Lease.acquire(path).release()


def test_a_lock_that_outlived_its_owner_in_a_child_is_free(path: Path) -> None:
    leave(path, pid=dead_process())
    with locked(path):
        lease = Lease.acquire(path)
        assert lease.held()
        lease.release()


def test_a_process_with_the_number_of_a_dead_one_is_not_taken_for_it(path: Path) -> None:
    leave(path, started="1")
    with locked(path):
        Lease.acquire(path).release()


def test_a_process_number_of_another_container_proves_nothing(path: Path) -> None:
    leave(path, pid=dead_process(), space="pid:[1]", host="container")
    with locked(path), pytest.raises(JournalLocked, match="container"):
        Lease.acquire(path)
    Lease.acquire(path).release()  # the same machine: there the lock alone decides


def test_a_machine_that_was_started_anew_has_no_owners_left(path: Path) -> None:
    leave(path, boot="an earlier one")
    Lease.acquire(path).release()


def test_the_lease_of_another_host_needs_take_over(path: Path) -> None:
    leave(path, host="elsewhere", boot="another", pid=77)
    with pytest.raises(JournalLocked, match=r"process 77 on host 'elsewhere'.*another machine.*take_over=True"):
        Lease.acquire(path)
    with locked(path):
        lease = Lease.acquire(path, take_over=True)
    assert lease.held()
    lease.release()


def test_a_lease_that_is_just_being_taken_is_refused(path: Path) -> None:
    with locked(path), pytest.raises(JournalLocked, match="just being opened"):
        Lease.acquire(path)


def test_a_text_cut_short_by_a_crash_is_no_owner(path: Path) -> None:
    path.write_text('{"host": "x", "pi')
    Lease.acquire(path).release()


def test_without_locks_the_text_decides(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(fd: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    lease = Lease.acquire(path)
    with pytest.raises(JournalLocked, match="is being written by process"):
        Lease.acquire(path)
    lease.release()
    leave(path, pid=dead_process())
    Lease.acquire(path).release()


def test_a_copy_in_a_forked_child_gives_nothing_back(path: Path) -> None:
    lease = Lease.acquire(path)
    copy = Lease(path, os.dup(lease._fd or 0), replace(lease.owner, pid=lease.owner.pid + 1))
    copy.release()
    assert lease.held()
    lease.release()


def test_start_times_of_processes_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module.os.path, "exists", lambda path: False)
    assert lease_module._started(os.getpid()) == lease_module._started(os.getpid()) is not None
    assert lease_module._started(dead_process()) is None


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match=r"missing.*experiment.lock.*cannot be written"):
        Lease.acquire(tmp_path / "missing" / "experiment.lock")


def test_a_writer_that_lost_its_lease_writes_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "experiment.db"
    journal = SqliteJournal.create(path, Header("0" * 32, "x", 0.0), mode="network")
    journal.append([report(0)], durable=True)
    leave(path.with_suffix(".lock"), host="elsewhere", boot="another")
    with pytest.raises(JournalLocked, match="taken over"):
        journal.append([report(0, 2)], durable=True)
    assert journal.last() == 1
    journal.close()
    assert json.loads(path.with_suffix(".lock").read_text())["host"] == "elsewhere"


def test_a_failed_open_gives_the_lease_back(tmp_path: Path) -> None:
    path = tmp_path / "experiment.db"
    path.write_bytes(b"no database at all, but long enough to look like one" * 100)
    for _ in range(2):
        with pytest.raises(Exception, match="no journal, or is damaged"):
            SqliteJournal.open(path)
    assert not path.with_suffix(".lock").exists()


def abandoned(tmp_path: Path, **owner: Any) -> Path:
    """A journal with one record and the lease of an owner that differs from this process by ``owner``."""
    path = tmp_path / "experiment.db"
    with SqliteJournal.create(path, Header("0" * 32, "x", 0.0)) as journal:
        journal.append([report(0)])
    leave(path.with_suffix(".lock"), **owner)
    return path


def test_take_over_opens_what_another_host_has_left(tmp_path: Path) -> None:
    path = abandoned(tmp_path, host="elsewhere", boot="another", pid=77)
    for _ in range(2):
        with pytest.raises(JournalLocked, match=r"process 77 on host 'elsewhere'.*another machine.*take_over=True"):
            SqliteJournal.open(path)
    with SqliteJournal.open(path, take_over=True) as journal:
        assert json.loads(path.with_suffix(".lock").read_text())["pid"] == os.getpid()
        assert journal.append([report(0, 2)]) == 2
        assert [record.event for record in journal.read()] == [report(0).event, report(0, 2).event]
        with pytest.raises(JournalLocked, match=rf"is being written by process {os.getpid()} "):
            SqliteJournal.open(path, take_over=True)
    with SqliteJournal.open(path) as journal:
        assert journal.last() == 2


@pytest.mark.parametrize("change", [{}, {"host": "a new name of this host"}])
def test_take_over_does_not_take_a_live_process_of_this_host_for_dead(tmp_path: Path, change: dict[str, Any]) -> None:
    parent = os.getppid()
    path = abandoned(tmp_path, pid=parent, started=lease_module._started(parent), **change)
    before = path.with_suffix(".lock").read_bytes()
    with (
        locked(path.with_suffix(".lock")),
        pytest.raises(JournalLocked, match=rf"is being written by process {parent} .*stop it") as caught,
    ):
        SqliteJournal.open(path, take_over=True)
    assert "take_over=True" not in str(caught.value)
    assert path.with_suffix(".lock").read_bytes() == before, "its lease stays its own"


def test_take_over_is_not_needed_where_nobody_is(tmp_path: Path) -> None:
    path = abandoned(tmp_path, pid=dead_process())
    with SqliteJournal.open(path, take_over=True) as journal:
        assert journal.last() == 1
    path.with_suffix(".lock").unlink(missing_ok=True)
    with SqliteJournal.open(path, take_over=True) as journal:
        assert journal.last() == 1


def test_a_driver_that_was_taken_over_though_it_lived_ends_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "experiment.db"
    here = Owner.here()
    with monkeypatch.context() as patch:
        patch.setattr(Owner, "here", classmethod(lambda cls: replace(here, host="elsewhere", boot="another")))
        old = SqliteJournal.create(path, Header("0" * 32, "x", 0.0), mode="network")
        old.append([report(0)], durable=True)
        old._connection.execute("PRAGMA locking_mode=NORMAL").fetchall()  # as where locks do not reach other hosts
        old._connection.execute("SELECT * FROM header").fetchall()
    with SqliteJournal.open(path, take_over=True) as new:
        assert new.append([report(0, 2)], durable=True) == 2
        with pytest.raises(JournalLocked, match=r"was taken over by another process while this one was running: nothing more is written"):
            old.append([report(0, 99)], durable=True)
        old.close()
        assert [record.event for record in new.read()] == [report(0).event, report(0, 2).event]
    with SqliteJournal.open(path) as again:
        assert again.last() == 2
