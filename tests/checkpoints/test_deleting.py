"""Deleted checkpoints are gone at once; their files are removed by another thread, and by the next session's sweep after a crash."""

from __future__ import annotations

import errno
import os
import shutil
import threading

import pytest

from tunesmith.checkpoints import LocalStore


@pytest.fixture
def store(tmp_path):
    store = LocalStore(str(tmp_path), lambda trial: f"trial_{trial}", 0)
    for iteration in range(3):
        store.save(0, {"n": iteration}, iteration)
    return store


def names(tmp_path):
    return sorted(os.listdir(tmp_path / "trial_0"))


def test_the_caller_does_not_wait_and_close_does(store, tmp_path, monkeypatch):
    go, threads = threading.Event(), []
    whole = shutil.rmtree

    def slow(path, **options):
        threads.append(threading.current_thread())
        assert go.wait(10)
        whole(path, **options)

    monkeypatch.setattr(shutil, "rmtree", slow)
    for index in (0, 1):
        store.delete(f"0/checkpoint_{index:06d}")
    assert store.known() == ["0/checkpoint_000002"]
    assert names(tmp_path) == [".checkpoint_000000.deleted", ".checkpoint_000001.deleted", "checkpoint_000002"]
    go.set()
    store.close()
    store.close()
    assert names(tmp_path) == ["checkpoint_000002"]
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()
    assert threads[0].daemon
    assert not threads[0].is_alive()


def test_a_store_that_deletes_nothing_has_no_thread(store):
    before = threading.active_count()
    store.delete("0/checkpoint_000099")
    assert threading.active_count() == before
    store.close()


def test_it_can_delete_again_after_close(store, tmp_path):
    store.delete("0/checkpoint_000000")
    store.close()
    store.delete("0/checkpoint_000001")
    store.close()
    assert names(tmp_path) == ["checkpoint_000002"]


def test_what_a_crash_left_of_deleting_is_swept(store, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: None)  # the process dies before it could
    store.delete("0/checkpoint_000000")
    store.close()
    monkeypatch.undo()
    assert ".checkpoint_000000.deleted" in names(tmp_path)
    LocalStore(str(tmp_path), lambda trial: f"trial_{trial}").sweep(store.known())
    assert names(tmp_path) == ["checkpoint_000001", "checkpoint_000002"]


def test_a_full_disk_can_be_emptied_and_no_index_is_given_out_again(store, tmp_path, monkeypatch):
    """The note of the newest index needs space, which is there once its files are gone."""
    full = [True]
    opened, removed = open, shutil.rmtree

    def refuses(path, mode="r", **options):
        if full[0] and mode == "wb":
            raise OSError(errno.ENOSPC, "full")
        return opened(path, mode, **options)

    def frees(path, **options):
        removed(path, **options)
        full[0] = False

    monkeypatch.setattr("builtins.open", refuses)
    monkeypatch.setattr(shutil, "rmtree", frees)
    store.delete("0/checkpoint_000002")
    store.close()
    monkeypatch.undo()
    assert names(tmp_path) == [".checkpoint_000002.gone", "checkpoint_000000", "checkpoint_000001"]
    assert LocalStore(str(tmp_path), lambda trial: f"trial_{trial}", 0).save(0, {}, 3).id == "0/checkpoint_000003"


def test_what_cannot_be_removed_now_is_left_to_the_next_sweep(store, tmp_path, monkeypatch):
    def refuses(*args):
        raise PermissionError(errno.EACCES, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuses)
        store.delete("0/checkpoint_000000")
    store.close()
    assert len(store.known()) == 3
    assert store.sweep(store.known()[1:]) == ["0/checkpoint_000000"]
