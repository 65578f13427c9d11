"""Checkpoints between machines that share no storage: what arrives is what was sent, or nothing."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.checkpoints import DiskLow, LocalStore
from tunesmith.checkpoints.checkpoint import SIDECAR_FILE
from tunesmith.errors import ExecutorError
from tunesmith.executors.parts import _TREE, fill
from tunesmith.executors.shipping import Damaged, ShippedStore, pack, receive, unpack

NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..") and len(name.encode()) < 100
)
TREES = st.recursive(
    st.binary(max_size=300), lambda inner: st.dictionaries(NAMES, inner, max_size=4), max_leaves=8
).filter(lambda tree: isinstance(tree, dict))


def grow(folder, tree):
    folder.mkdir()
    for name, what in tree.items():
        if isinstance(what, dict):
            grow(folder / name, what)
        else:
            (folder / name).write_bytes(what)


def seen(folder):
    """What a reader finds: files with their bytes and modes, folders as such, nothing followed."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        mode = path.lstat().st_mode
        found[str(path.relative_to(folder))] = (path.read_bytes(), stat.S_IMODE(mode)) if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "mine"
    grow(folder, {"a.bin": bytes(range(256)) * 40, "sub": {"b.txt": b"b", "none": {}}, "empty": b"", "run.sh": b"true"})
    os.chmod(folder / "run.sh", 0o755)
    return folder


@pytest.fixture
def parts(source):
    found = list(pack(source, 1000))
    assert len(found) > 5
    return found


@given(TREES, st.integers(1, 400))
def test_any_tree_arrives_as_it_was_sent(tree, size):
    with tempfile.TemporaryDirectory() as home:
        there = Path(home, "there")
        grow(there, tree)
        unpack(pack(there, size), f"{home}/deep/down/here")
        assert seen(f"{home}/deep/down/here") == seen(there)


@given(TREES, st.data())
def test_parts_that_are_not_those_that_were_sent_make_nothing(tree, data):
    with tempfile.TemporaryDirectory() as home:
        grow(Path(home, "there"), tree)
        parts = list(pack(f"{home}/there", data.draw(st.integers(1, 100))))
        at = data.draw(st.integers(0, len(parts) - 1))
        kind = data.draw(st.sampled_from(["missing", "twice", "bit", "short", "long", "swapped"]))
        if kind == "missing":
            del parts[at]
        elif kind == "twice":
            parts.insert(at, parts[at])
        elif kind == "bit":
            where = data.draw(st.integers(0, len(parts[at]) - 1))
            parts[at] = parts[at][:where] + bytes([parts[at][where] ^ (1 << data.draw(st.integers(0, 7)))]) + parts[at][where + 1 :]
        elif kind == "short":
            parts[at] = parts[at][: data.draw(st.integers(0, len(parts[at]) - 1))]
        elif kind == "long":
            parts[at] += b"x"
        elif at == 0:
            parts.append(parts.pop(0)) if len(parts) > 1 else parts.clear()
        else:
            parts[at - 1], parts[at] = parts[at], parts[at - 1]
        with pytest.raises(Damaged):
            unpack(parts, f"{home}/here")
        assert os.listdir(home) == ["there"]


def test_parts_of_two_directories_do_not_mix(source, tmp_path, parts):
    (source / "a.bin").write_bytes(b"y" * 10240)
    other = list(pack(source, 1000))
    assert len(other) == len(parts)
    with pytest.raises(Damaged, match="part 4"):
        unpack([*parts[:4], *other[4:]], tmp_path / "here")


def test_it_ends_where_it_should(tmp_path, source, parts, monkeypatch):
    for count in (3, 0):
        with pytest.raises(Damaged, match=f"after {count} parts is missing"):
            unpack(parts[:count], tmp_path / "here")
    with pytest.raises(Damaged, match="part 2 came where part 3 should"):
        unpack([*parts[:3], *parts[2:]], tmp_path / "here")
    with pytest.raises(Damaged, match="part 1 is something else"):
        unpack([parts[0], b"x" * 1000], tmp_path / "here")

    class Fewer:
        size, unpack = _TREE.size, _TREE.unpack

        @staticmethod
        def pack(count, total):
            return _TREE.pack(count - 1, total)

    monkeypatch.setattr("tunesmith.executors.parts._TREE", Fewer)
    with pytest.raises(Damaged, match="there is more"):
        unpack(pack(source), tmp_path / "here")


def test_equal_directories_make_equal_parts(source, tmp_path, parts):
    unpack(parts, tmp_path / "again")
    assert list(pack(tmp_path / "again", 1000)) == parts


def test_links_are_followed_as_a_save_does(source, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.bin").write_bytes(b"w")
    os.symlink(tmp_path / "outside", source / "folder")
    os.symlink(tmp_path / "outside" / "w.bin", source / "file")
    unpack(pack(source), tmp_path / "here")
    store = LocalStore.of_trial(str(tmp_path / "exp" / "trial"))
    saved = store.path(store.save(0, source, 1).id)
    os.remove(tmp_path / "outside" / "w.bin")
    assert seen(tmp_path / "here").keys() == seen(saved).keys() - {SIDECAR_FILE}
    assert seen(tmp_path / "here")["folder/w.bin"][0] == b"w" == seen(saved)["folder/w.bin"][0]


def test_what_is_no_file_is_refused(source, tmp_path):
    os.mkfifo(source / "pipe")
    with pytest.raises(ExecutorError, match="pipe is no file"):
        unpack(pack(source), tmp_path / "here")
    os.remove(source / "pipe")
    os.symlink("nowhere", source / "dangling")
    with pytest.raises(FileNotFoundError):
        unpack(pack(source), tmp_path / "here")
    with pytest.raises(FileNotFoundError):
        list(pack(tmp_path / "nowhere"))
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("size", [2, 20])
def test_a_file_that_is_still_written_is_found_out(source, tmp_path, size):
    parts = pack(source, 1000)
    next(parts)
    os.truncate(source / "run.sh", size)
    with pytest.raises(ExecutorError, match=r"run\.sh has changed its size"):
        list(parts)


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a//b", "."])
def test_a_path_that_leads_out_is_refused(tmp_path, name, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "x").write_bytes(b"x")
    found = os.stat(tmp_path / "there" / "x")
    monkeypatch.setattr("tunesmith.executors.parts._entries", lambda _: [(name, found)])
    monkeypatch.setattr("os.path.join", lambda folder, inside: f"{tmp_path}/there/x" if inside == name else f"{folder}/{inside}")
    parts = list(pack(tmp_path / "there"))
    monkeypatch.undo()
    with pytest.raises(Damaged, match="no path inside"):
        unpack(parts, tmp_path / "here")
    assert sorted(os.listdir(tmp_path)) == ["there"]


def test_large_files_are_never_held_as_a_whole(tmp_path):
    (tmp_path / "there").mkdir()
    with open(tmp_path / "there" / "weights.bin", "wb") as file:
        file.truncate(64 << 20)
    tracemalloc.start()
    unpack(pack(tmp_path / "there", 1 << 20), tmp_path / "here")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    assert (tmp_path / "here" / "weights.bin").stat().st_size == 64 << 20


def test_parts_are_fetched_one_by_one(parts, tmp_path):
    alive = []

    def fetched():
        for part in parts:
            alive.append(len(os.listdir(tmp_path / "home")))
            yield part

    (tmp_path / "home").mkdir()
    unpack(fetched(), tmp_path / "home" / "here")
    assert len(alive) == len(parts)
    assert set(alive) == {1}  # the hidden folder that is being filled


class Cluster:
    """A worker's disk and the driver's, with nothing between them but parts."""

    def __init__(self, home):
        self.there, self.here = home / "node" / "trial_3", home / "driver" / "trial_3"
        self.driver = LocalStore.of_trial(str(self.here))

    def worker(self, **options):
        options = {"first": ShippedStore.free_index(str(self.here)), "size": 1000, "put": lambda part: part, **options}
        return ShippedStore(str(self.there), **options)


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path / "cluster")


def test_id_files_and_notes_are_the_same_on_both_sides(cluster, source):
    worker = cluster.worker()
    kept = worker.save(3, source, 7, {"time_total_s": 1.5}, after="3/checkpoint_000004")
    assert kept == ("3/checkpoint_000005", 10245)
    assert receive(cluster.driver, 3, iter(worker.take(kept.id))) == kept
    assert seen(cluster.driver.path(kept.id)) == seen(worker.path(kept.id))
    assert cluster.driver.notes_in(cluster.driver.path(kept.id))["id"] == kept.id
    assert cluster.driver.known() == [kept.id]
    assert stat.S_IMODE(os.stat(cluster.here / "checkpoint_000005" / "a.bin").st_mode) & 0o222 == 0


def test_another_worker_goes_on_behind_what_the_driver_has(cluster, source):
    for _ in range(2):
        worker = cluster.worker()
        receive(cluster.driver, 3, worker.take(worker.save(3, source, 1).id))
        os.rename(cluster.there, cluster.there.with_name(f"lost{os.urandom(2).hex()}"))
    assert cluster.driver.known() == ["3/checkpoint_000000", "3/checkpoint_000001"]
    cluster.driver.delete("3/checkpoint_000001")
    cluster.driver.close()
    assert cluster.worker().save(3, source, 1).id == "3/checkpoint_000002"


def test_the_node_keeps_the_newest_only(cluster, source):
    worker = cluster.worker()
    first, second = worker.save(3, source, 1), worker.save(3, source, 2)
    assert os.listdir(cluster.there) == ["checkpoint_000001"]
    for kept in (first, second):
        receive(cluster.driver, 3, worker.take(kept.id))
    assert cluster.driver.known() == [first.id, second.id]
    with pytest.raises(KeyError):
        worker.take(first.id)


def test_what_cannot_be_handed_over_is_not_saved(cluster, source):
    def put(_):
        raise DiskLow("the object store is full")

    worker = cluster.worker(put=put)
    with pytest.raises(DiskLow, match="object store"):
        worker.save(3, source, 1)
    assert os.listdir(cluster.there) == []


def test_the_same_may_come_again_and_another_may_not(cluster, source):
    worker = cluster.worker()
    kept = worker.save(3, source, 1)
    parts = worker.take(kept.id)
    assert receive(cluster.driver, 3, parts) == receive(cluster.driver, 3, parts) == kept
    assert os.listdir(cluster.here) == ["checkpoint_000000"]
    other = ShippedStore(str(cluster.there.with_name("other")), lambda part: part)
    twin = other.save(3, source, 2)
    with pytest.raises(Damaged, match="another checkpoint '3/checkpoint_000000'"):
        receive(cluster.driver, 3, other.take(twin.id))
    assert os.listdir(cluster.here) == ["checkpoint_000000"]
    assert cluster.driver.notes_in(cluster.driver.path(kept.id))["iteration"] == 1


def test_another_trials_checkpoint_is_refused(cluster, source):
    worker = cluster.worker()
    parts = worker.take(worker.save(3, source, 1).id)
    with pytest.raises(Damaged, match="not one of trial 4"):
        receive(cluster.driver, 4, parts)
    assert os.listdir(cluster.here) == []
    with pytest.raises(Damaged, match="'None'"):
        receive(cluster.driver, 3, pack(source))


def test_without_room_nothing_is_written(cluster, source, monkeypatch):
    worker = cluster.worker()
    parts = worker.take(worker.save(3, source, 1).id)
    asked = []

    def check(need=0):
        asked.append((need, os.listdir(next(cluster.here.iterdir()))))
        raise DiskLow("no room")

    monkeypatch.setattr(cluster.driver.room, "check", check)
    with pytest.raises(DiskLow):
        receive(cluster.driver, 3, parts)
    [(need, there)] = asked
    assert need > 10245
    assert not there
    assert os.listdir(cluster.here) == []


def test_a_disk_that_fills_up_in_the_midst_leaves_nothing(cluster, source):
    worker = cluster.worker()
    parts = worker.take(worker.save(3, source, 1).id)

    def fetched():
        yield parts[0]
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(DiskLow, match="no space is left under"):
        receive(cluster.driver, 3, fetched())
    assert os.listdir(cluster.here) == []


def test_a_driver_that_dies_in_the_midst_leaves_nothing_readable(cluster, source):
    worker = cluster.worker()
    parts = worker.take(worker.save(3, source, 1).id)
    pid = os.fork()
    if not pid:

        def fetched():
            yield from parts[:5]
            os._exit(9)

        receive(cluster.driver, 3, fetched())
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert cluster.driver.known() == []
    [left] = os.listdir(cluster.here)
    assert left.startswith(".stage_")
    cluster.driver.sweep([])
    assert os.listdir(cluster.here) == []
    assert receive(cluster.driver, 3, parts).id == "3/checkpoint_000000"


def test_it_is_on_disk_when_it_is_received(cluster, source, monkeypatch):
    """Files first, then the folders, then the name: whatever a power cut leaves under a checkpoint's name is whole."""
    worker = cluster.worker()
    parts = worker.take(worker.save(3, source, 1).id)
    done = []
    rename, sync = os.rename, os.fsync
    monkeypatch.setattr("os.fsync", lambda handle: (done.append(os.readlink(f"/proc/self/fd/{handle}")), sync(handle)))
    monkeypatch.setattr("os.rename", lambda *names: (done.append("renamed"), rename(*names)))
    receive(cluster.driver, 3, parts)
    at = done.index("renamed")
    assert {os.path.basename(path) for path in done[:at]} >= {"a.bin", "b.txt", "empty", "run.sh", SIDECAR_FILE, "sub", "none"}
    assert done[at + 1 :] == [str(cluster.here)]


def test_a_start_checkpoint_travels_the_other_way(cluster, source, tmp_path):
    kept = cluster.driver.save(3, source, 4, {"blocks": "x"})
    start = tmp_path / "scratch" / "start"
    unpack(pack(cluster.driver.path(kept.id), 1000), start)
    assert seen(start) == seen(cluster.driver.path(kept.id))
    assert LocalStore.notes_in(str(start)) == cluster.driver.notes_in(cluster.driver.path(kept.id))
    saved = cluster.worker().save(3, start, 5)  # reported again: copied, its sidecar is of the new one
    assert LocalStore.notes_in(str(cluster.there / "checkpoint_000001"))["iteration"] == 5
    assert saved.bytes == kept.bytes


def test_views_are_parts_too(parts, tmp_path):
    (tmp_path / "here").mkdir()
    fill(str(tmp_path / "here"), [memoryview(part) for part in parts], lambda _: None)
    assert list(pack(tmp_path / "here", 1000)) == parts
