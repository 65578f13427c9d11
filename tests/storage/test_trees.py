"""Checkpoints: whole or not there, byte for byte."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunesmith.errors import RemoteStorageError
from tunesmith.storage import trees
from tunesmith.storage.fetch import bring_file
from tunesmith.storage.objects import Objects, Retry
from tunesmith.storage.remote import Remote

if TYPE_CHECKING:
    from tests.storage.conftest import FaultyFileSystem

FOLDER = "t/checkpoint_000001"


def tree(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def contents(path: Path) -> dict[str, bytes | None]:
    return {str(one.relative_to(path)): one.read_bytes() if one.is_file() else None for one in path.rglob("*")}


NAMES = st.text("ab .é[*?%#", min_size=1, max_size=5).filter(lambda name: name.strip(" .") and name == name.strip())


@given(st.dictionaries(st.tuples(NAMES, NAMES), st.binary(max_size=50), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_comes_back_is_what_was_sent(
    place: Remote, tmp_path_factory: pytest.TempPathFactory, files: dict[tuple[str, str], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    source = tree(folder / "source", {f"d{first}/{second}": data for (first, second), data in files.items()} | {"weights": b"w"})
    (source / "empty" / "inner").mkdir(parents=True)
    objects = Objects(place)
    sizes = trees.send(objects, FOLDER, str(source))
    assert {name: size for name, size in objects.sizes().items() if name in sizes} == sizes
    assert trees.fetch(objects, FOLDER, str(folder / "back"))
    assert contents(folder / "back") == contents(source)
    trees.delete(objects, FOLDER)
    assert objects.sizes() == {}


def test_permissions_come_back(place: Remote, tmp_path: Path) -> None:
    source = tree(tmp_path / "source", {"run.sh": b"#!", "data": b"1"})
    (source / "run.sh").chmod(0o555)
    (source / "data").chmod(0o444)
    trees.send(Objects(place), FOLDER, str(source))
    assert trees.fetch(Objects(place), FOLDER, str(tmp_path / "back"))
    assert (os.stat(tmp_path / "back" / "run.sh").st_mode & 0o777, os.stat(tmp_path / "back" / "data").st_mode & 0o777) == (0o555, 0o444)


@pytest.mark.parametrize("count", range(4))
def test_without_its_manifest_it_does_not_exist(faulty: FaultyFileSystem, place: Remote, tmp_path: Path, hasty: Retry, count: int) -> None:
    source = tree(tmp_path / "source", {"a": b"1", "b": b"2", "c/d": b"3"})

    def before(what: str, path: str) -> None:
        if what == "write" and sum(call[0] == "write" for call in faulty.calls) > count:
            raise PermissionError

    faulty.before = before
    with pytest.raises(RemoteStorageError):
        trees.send(Objects(place, hasty), FOLDER, str(source))
    faulty.before = lambda what, path: None
    assert not trees.fetch(Objects(place), FOLDER, str(tmp_path / "back"))
    assert set(trees.checkpoints_in(Objects(place).sizes()).values()) <= {False}
    assert sorted(os.listdir(tmp_path)) == ["source"]


@pytest.mark.parametrize("harm", ["less", "others", "gone"])
def test_what_is_not_what_was_stored_is_refused(faulty: FaultyFileSystem, place: Remote, tmp_path: Path, hasty: Retry, harm: str) -> None:
    objects = Objects(place, hasty)
    trees.send(objects, FOLDER, str(tree(tmp_path / "source", {"a": b"12345"})))
    if harm == "gone":
        objects.delete(f"{FOLDER}/a")
    else:
        objects.write(f"{FOLDER}/a", b"123" if harm == "less" else b"12346")
    with pytest.raises(RemoteStorageError, match=r"is not what was stored|names what is not there"):
        trees.fetch(objects, FOLDER, str(tmp_path / "back"))
    assert sorted(os.listdir(tmp_path)) == ["source"]


OUTSIDE = ["/{outside}", "../outside", "a/../../outside", "", "a//b", "./a", "a\0b"]


@pytest.mark.parametrize("part", ["files", "folders"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_cannot_name_what_is_outside_of_its_checkpoint(place: Remote, tmp_path: Path, name: str, part: str) -> None:
    name = name.format(outside=str(tmp_path / "outside").lstrip("/"))
    objects = Objects(place)
    objects.write(f"{FOLDER}/a", b"data")
    entry = trees._entry(str(tree(tmp_path / "like", {"a": b"data"}) / "a"))
    manifest = {"files": {"a": entry, **({name: entry} if part == "files" else {})}, "folders": [name] if part == "folders" else []}
    objects.write(f"{FOLDER}/{trees.MANIFEST}", json.dumps(manifest).encode())
    with pytest.raises(RemoteStorageError, match=r"checkpoint_000001/\.tunesmith_manifest\.json names .*expected was a path inside"):
        trees.fetch(objects, FOLDER, str(tmp_path / "in" / "here" / "back"))
    assert sorted(os.listdir(tmp_path)) == ["like"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_object_cannot_be_fetched_to_a_place_outside(faulty: FaultyFileSystem, place: Remote, tmp_path: Path, name: str) -> None:
    name = name.format(outside=str(tmp_path / "outside").lstrip("/"))
    with pytest.raises(RemoteStorageError, match=r"memory://bucket/results/x names .*expected was a path inside"):
        bring_file(Objects(place), name, str(tmp_path / "in" / "here"))
    assert not os.listdir(tmp_path)
    assert not faulty.calls


def test_only_what_lies_in_a_folder_of_the_experiment_is_a_checkpoint() -> None:
    names = ["t/checkpoint_000001/a", f"t/checkpoint_000002/{trees.MANIFEST}", "t/checkpoint_000003", "checkpoint_000004/a", "t/x_000005/a"]
    deeper = [f"b/t/checkpoint_000006/{trees.MANIFEST}", "t/out/checkpoint_000007/w.txt"]
    assert trees.checkpoints_in([*names, *deeper]) == {"t/checkpoint_000001": False, "t/checkpoint_000002": True}


def test_the_manifest_goes_first(faulty: FaultyFileSystem, place: Remote, tmp_path: Path) -> None:
    trees.send(Objects(place), FOLDER, str(tree(tmp_path / "source", {"a": b"1", "b": b"2"})))
    trees.delete(Objects(place), FOLDER)
    deleted = [path.rpartition("/")[2] for what, path in faulty.calls if what == "delete"]
    assert deleted[0] == trees.MANIFEST
    assert sorted(deleted[1:]) == ["a", "b"]


def test_a_tree_that_is_gone_is_said_to_be(place: Remote, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        trees.send(Objects(place), FOLDER, str(tmp_path / "none"))
