from __future__ import annotations

import errno
import os
import shutil
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunesmith.checkpoints import Checkpoint, DiskLow, LocalStore
from tunesmith.errors import SpecError, StorageFull


@pytest.fixture
def store(tmp_path):
    return LocalStore(str(tmp_path / "exp"), lambda trial: f"trial_{trial}")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"x" * 100_000)
    (folder / "sub" / "b.txt").write_text("b")
    (folder / "run.sh").write_text("true")
    os.chmod(folder / "run.sh", 0o755)
    return folder


def test_saves_a_copy_under_an_id(store, source, tmp_path):
    assert store.save(3, source, 1) == ("3/checkpoint_000000", 100_005)
    assert store.save(3, Checkpoint(source), 2).id == "3/checkpoint_000001"
    assert store.save(4, str(source), 1).id == "4/checkpoint_000000"
    path = store.path("3/checkpoint_000001")
    assert path == str(tmp_path / "exp" / "trial_3" / "checkpoint_000001")
    assert (tmp_path / "exp" / "trial_3" / "checkpoint_000001" / "sub" / "b.txt").read_text() == "b"
    assert store.notes_in(path) == {"id": "3/checkpoint_000001", "iteration": 2, "bytes": 100_005}
    assert store.known() == ["3/checkpoint_000000", "3/checkpoint_000001", "4/checkpoint_000000"]


def test_the_users_files_and_the_stored_ones_are_apart(store, source):
    checkpoint = store.open(store.save(0, source, 1).id)
    (source / "a.bin").write_bytes(b"changed")
    shutil.rmtree(source / "sub")
    assert os.stat(os.path.join(checkpoint, "a.bin")).st_nlink == 1
    with open(os.path.join(checkpoint, "a.bin"), "rb") as file:
        assert file.read() == b"x" * 100_000
    assert os.path.exists(os.path.join(checkpoint, "sub", "b.txt"))


def test_stored_files_are_read_only(store, source):
    path = store.path(store.save(0, source, 1).id)
    assert stat.S_IMODE(os.stat(os.path.join(path, "a.bin")).st_mode) & 0o222 == 0
    assert stat.S_IMODE(os.stat(os.path.join(path, "run.sh")).st_mode) & 0o111
    assert os.access(source / "a.bin", os.W_OK)


def test_links_in_the_users_directory_are_followed(store, source, tmp_path):
    (tmp_path / "outside.txt").write_text("outside")
    (source / "link.txt").symlink_to(tmp_path / "outside.txt")
    path = store.path(store.save(0, source, 1).id)
    (tmp_path / "outside.txt").unlink()
    with open(os.path.join(path, "link.txt")) as file:
        assert file.read() == "outside"


def test_copies_by_hand_where_the_kernel_cannot(store, source, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EXDEV, "across devices")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    path = store.path(store.save(0, source, 1).id)
    assert os.path.getsize(os.path.join(path, "a.bin")) == 100_000


@pytest.mark.parametrize("inside", [".", "trial_0"])
def test_a_directory_that_holds_the_stored_checkpoints_is_refused(store, tmp_path, inside):
    store.save(0, {"epoch": 1}, 1)
    (tmp_path / "link").symlink_to(tmp_path / "exp")
    with pytest.raises(SpecError, match=r"copy would go into itself, for .* in .*/trial_0\. .* directory of its own"):
        store.save(0, tmp_path / "link" / inside, 2)
    assert os.listdir(tmp_path / "exp" / "trial_0") == ["checkpoint_000000"]


def test_a_dict_and_an_empty_directory(store, tmp_path):
    (tmp_path / "empty").mkdir()
    assert store.open(store.save(0, {"epoch": 1}, 1).id).to_dict() == {"epoch": 1}
    assert store.open(store.save(0, tmp_path / "empty", 2).id).get_metadata() == {}


def test_a_staged_directory_is_moved(store):
    folder = store.stage(5)
    with open(os.path.join(folder, "w.txt"), "w") as file:
        file.write("w")
    saved = store.save(5, folder, 3, {"returned": "dict"}).id
    assert not os.path.exists(folder)
    assert store.notes_in(store.path(saved)) == {"id": saved, "iteration": 3, "returned": "dict", "bytes": 1}


def test_from_store_to_store_files_are_shared(store, source):
    first = store.open(store.save(0, source, 1).id)
    second = store.open(store.save(1, first, 2).id)
    assert os.path.samefile(os.path.join(first, "a.bin"), os.path.join(second, "a.bin"))
    assert store.notes_in(first.path)["id"] == "0/checkpoint_000000"
    assert store.notes_in(second.path)["id"] == "1/checkpoint_000000"
    store.delete("0/checkpoint_000000")
    assert os.path.getsize(os.path.join(second, "a.bin")) == 100_000


def test_setting_metadata_of_a_shared_copy_leaves_the_other(store, source):
    first = store.open(store.save(0, source, 1).id)
    first.set_metadata({"a": 1})
    second = store.open(store.save(1, first, 1).id)
    second.set_metadata({"a": 2})
    assert (first.get_metadata(), second.get_metadata()) == ({"a": 1}, {"a": 2})


def test_indices_go_on_in_a_new_process_and_after_the_newest_was_deleted(store, tmp_path):
    for iteration in range(3):
        store.save(0, {}, iteration)
    again = LocalStore(str(tmp_path / "exp"), lambda trial: f"trial_{trial}")
    assert again.save(0, {}, 3).id == "0/checkpoint_000003"
    for name in store.known():
        store.delete(name)
    assert store.known() == []
    third = LocalStore.of_trial(str(tmp_path / "exp" / "trial_0"))
    assert third.save(0, {}, 4).id == "0/checkpoint_000004"


def test_indices_lie_above_the_one_that_an_attempt_starts_from(store):
    assert store.save(0, {}, 5, after="0/checkpoint_000007").id == "0/checkpoint_000008"
    assert store.save(1, {}, 5, after="0/checkpoint_000007").id == "1/checkpoint_000000"


def test_a_name_taken_meanwhile_is_passed_over(store, tmp_path):
    store.save(0, {}, 0)
    other = LocalStore(str(tmp_path / "exp"), lambda trial: f"trial_{trial}")
    assert other.save(0, {}, 1).id == "0/checkpoint_000001"
    assert store.save(0, {}, 2).id == "0/checkpoint_000002"


def test_deleting_twice_or_nothing_is_fine(store):
    saved = store.save(0, {}, 0).id
    store.delete(saved)
    store.delete(saved)
    store.delete("9/checkpoint_000000")
    with pytest.raises(SpecError, match="not there"):
        store.open(saved)


def test_sweep_takes_orphans_and_leftovers_and_nothing_else(store, tmp_path):
    kept, orphan = store.save(0, {}, 0).id, store.save(0, {}, 1).id
    store.stage(0)
    theirs = tmp_path / "exp" / "trial_0" / "checkpoint_000009"
    theirs.mkdir()
    (theirs / "own.txt").write_text("the user's")
    assert store.sweep({kept}) == [orphan]
    assert store.known() == [kept]
    assert sorted(os.listdir(tmp_path / "exp" / "trial_0")) == ["checkpoint_000000", "checkpoint_000009"]
    assert LocalStore(str(tmp_path / "nowhere"), str).sweep(set()) == []


@pytest.mark.parametrize("call", ["fsync", "rename", "mkdir"])
@pytest.mark.parametrize(
    ("code", "error", "said"),
    [
        (errno.ENOSPC, DiskLow, "no space is left under .*exp"),
        (errno.EDQUOT, DiskLow, "your quota is used up under .*exp"),
        (errno.EROFS, StorageFull, r"What was saved before is kept.*resume"),
    ],
)
def test_a_full_disk_leaves_nothing_behind(store, source, tmp_path, monkeypatch, call, code, error, said):
    store.save(0, source, 0)

    def full(*args):
        raise OSError(code, os.strerror(code))

    for what in (source, {"a": 1}):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(StorageFull, match=said) as caught:
                store.save(0, what, 1)
        assert type(caught.value) is error
    assert os.listdir(tmp_path / "exp" / "trial_0") == ["checkpoint_000000"]
    assert store.save(0, source, 1).id == "0/checkpoint_000001"


def test_a_disk_that_is_full_only_after_the_rename_leaves_nothing_either(store, tmp_path, monkeypatch):
    whole = os.fsync

    def full(handle):
        if os.path.exists(tmp_path / "exp" / "trial_0" / "checkpoint_000000"):
            raise OSError(errno.ENOSPC, "full")
        whole(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskLow):
        store.save(0, {"a": 1}, 0)
    assert os.listdir(tmp_path / "exp" / "trial_0") == []


def test_what_cannot_be_pickled_leaves_nothing_behind(store, tmp_path):
    class Refuses:
        def __reduce__(self):
            raise ValueError("not me")

    with pytest.raises(ValueError, match="not me"):
        store.save(0, {"a": Refuses()}, 0)
    assert os.listdir(tmp_path / "exp" / "trial_0") == []


def test_a_crash_while_saving_leaves_no_half_checkpoint(store, source, tmp_path, monkeypatch):
    def crash(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        store.save(0, source, 0)
    assert store.known() == []
    assert os.listdir(tmp_path / "exp" / "trial_0") == []


@pytest.mark.parametrize("bad", ["", "3", "x/checkpoint_000001", "3/../../etc", "3/checkpoint_1", "3/checkpoint_000001/x"])
def test_only_ids_are_paths(store, bad):
    with pytest.raises(SpecError, match="no checkpoint's id"):
        store.path(bad)


def test_a_source_must_be_a_directory(store, source):
    with pytest.raises(SpecError, match=r"nowhere'\): not there"):
        store.save(0, "nowhere", 0)
    with pytest.raises(SpecError, match="a file; a checkpoint is a directory"):
        store.save(0, source / "a.bin", 0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["save", "delete", "new"]), st.integers(0, 3)), max_size=25))
def test_no_id_is_ever_given_out_twice(tmp_path_factory, steps):
    root = str(tmp_path_factory.mktemp("store"))
    store = LocalStore(root, lambda trial: f"t{trial}")
    given_out: list[str] = []
    alive: set[str] = set()
    for what, number in steps:
        if what == "save":
            saved = store.save(0, {"n": number}, number).id
            assert saved not in given_out
            given_out.append(saved)
            alive.add(saved)
        elif what == "delete" and given_out:
            gone = given_out[number % len(given_out)]
            store.delete(gone)
            alive.discard(gone)
        else:
            store = LocalStore(root, lambda trial: f"t{trial}")
    assert set(store.known()) == alive
