"""Room on the disk: asked before each save, and what comes out of a save that had none."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from tunesmith.checkpoints import DiskLow, LocalStore
from tunesmith.checkpoints.room import Room

GB = 10**9


@pytest.fixture
def disk(monkeypatch):
    """A disk of 100 GB: ``disk.free = bytes``; ``disk.asked``: the directories that were asked about."""
    disk = SimpleNamespace(free=50 * GB, blocks=100 * GB // 1000, asked=[])

    def statvfs(place):
        disk.asked.append(place)
        return SimpleNamespace(f_blocks=disk.blocks, f_frsize=1000, f_bavail=disk.free // 1000)

    monkeypatch.setattr(os, "statvfs", statvfs)
    return disk


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"x" * 5000)
    (folder / "sub" / "b.bin").write_bytes(b"x" * 3000)
    return folder


def make(tmp_path, min_free):
    return LocalStore(str(tmp_path / "exp"), lambda trial: f"trial_{trial}", min_free)


def left(tmp_path):
    return sorted(os.listdir(tmp_path / "exp" / "trial_0"))


def test_a_save_leaves_min_free(tmp_path, source, disk):
    store = make(tmp_path, 5 * GB)
    disk.free = 5 * GB + 8000
    assert store.save(0, source, 1).bytes == 8000
    disk.free -= 1000
    with pytest.raises(DiskLow) as caught:
        store.save(0, source, 2)
    assert str(caught.value) == f"5 GB are free under {tmp_path}/exp, 8 kB are to be written, min_free_bytes=5 GB"
    disk.free = 1_234_567_890
    with pytest.raises(DiskLow, match=r"^1\.23 GB are free under .*/exp, min_free_bytes=5 GB$"):
        store.save(0, {"a": 1}, 2)
    assert left(tmp_path) == ["checkpoint_000000"]
    assert set(disk.asked) == {str(tmp_path / "exp")}


def test_what_was_staged_is_measured_by_what_it_has_left(tmp_path, disk):
    store = make(tmp_path, 5 * GB)
    folder = store.stage(0)
    (tmp_path / "exp" / "trial_0" / os.path.basename(folder) / "w").write_bytes(b"x" * 10)
    disk.free = 4 * GB
    with pytest.raises(DiskLow):
        store.save(0, folder, 1)
    assert left(tmp_path) == []


def test_files_that_are_in_the_store_need_no_room(tmp_path, source, disk):
    store = make(tmp_path, 5 * GB)
    first = store.open(store.save(0, source, 1).id)
    disk.free = 0
    assert store.save(1, first, 2) == ("1/checkpoint_000000", 8000)


@pytest.mark.parametrize(("blocks", "least"), [(10**6, 0.02 * 10**9), (10**9, 1 << 30)])
def test_unless_told_it_is_a_gibibyte_or_a_fiftieth_of_the_disk(tmp_path, disk, blocks, least):
    room, disk.blocks = Room(str(tmp_path)), blocks
    disk.free = int(least) + 1000
    room.check()
    assert room.is_there()
    disk.free -= 2000
    assert not room.is_there()
    with pytest.raises(DiskLow):
        room.check()


def test_zero_asks_nobody_and_a_file_system_that_does_not_say_has_room(tmp_path, disk):
    disk.free = 0
    Room(str(tmp_path), 0).check(10**15)
    assert disk.asked == []
    disk.blocks = 0
    Room(str(tmp_path), 5 * GB).check(10**15)


def test_the_nearest_directory_that_is_there_is_asked_about(tmp_path, disk):
    Room(str(tmp_path / "not" / "yet"), 1).check()
    assert disk.asked == [str(tmp_path)]


class TorchError(RuntimeError):
    pass


def wrapped(cause, context=False):
    try:
        try:
            raise cause
        except OSError as error:
            if context:
                raise TorchError("could not write")  # noqa: B904 - as libraries do
            raise TorchError("could not write") from error
    except TorchError as error:
        return error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [FULL, wrapped(FULL), wrapped(OSError(errno.EDQUOT, "Quota"), context=True)])
def test_that_space_ran_out_is_seen_through_wrappings(tmp_path, disk, error):
    assert "under" in str(Room(str(tmp_path), 1).lacked(error))
    assert "under" in str(Room(str(tmp_path), 0).lacked(error, had_room=False))


def test_other_errors_are_blamed_on_the_disk_only_if_it_has_become_low(tmp_path, disk):
    room = Room(str(tmp_path), 5 * GB)
    loop = ValueError("a")
    loop.__cause__ = loop
    assert room.lacked(loop) is None
    disk.free = GB
    assert str(room.lacked(RuntimeError("x"))) == f"1 GB are free under {tmp_path}, min_free_bytes=5 GB (RuntimeError while it was written)"
    assert room.lacked(RuntimeError("x"), had_room=False) is None
