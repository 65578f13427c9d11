"""Requests: tried again with growing pauses, given up with an error that says what, where and what to do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs as arrow

from tunesmith.errors import RemoteStorageError, StorageFull
from tunesmith.storage.objects import Objects, Retry
from tunesmith.storage.remote import Remote, remote_from

if TYPE_CHECKING:
    from tests.storage.conftest import FaultyFileSystem


@pytest.fixture(params=["memory", "local", "arrow"])
def objects(request: pytest.FixtureRequest, place: Remote, tmp_path: Path) -> Objects:
    kinds: dict[str, Any] = {"local": LocalFileSystem(), "arrow": arrow.LocalFileSystem()}
    if request.param == "memory":
        return Objects(place)
    remote = remote_from(str(tmp_path / "store"), kinds[request.param])
    assert remote is not None
    return Objects(remote.below("x"))


def test_objects_come_and_go(objects: Objects, tmp_path: Path) -> None:
    assert objects.sizes() == {}
    assert objects.folders() == []
    objects.write("a/b.txt", b"one")
    objects.write("a/b.txt", b"three")
    objects.write("empty", b"")
    (tmp_path / "file").write_bytes(bytes(9 << 20))
    assert objects.send("a/large", str(tmp_path / "file")) == 9 << 20
    assert objects.sizes() == {"a/b.txt": 5, "empty": 0, "a/large": 9 << 20}
    assert objects.sizes("a") == {"a/b.txt": 5, "a/large": 9 << 20}
    assert objects.folders() == ["a"]
    assert objects.read("a/b.txt") == b"three"
    objects.fetch("a/b.txt", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"three"
    objects.delete("a/b.txt")
    objects.delete("a/b.txt")
    assert objects.sizes("a") == {"a/large": 9 << 20}
    with pytest.raises(FileNotFoundError):
        objects.read("a/b.txt")
    with pytest.raises(FileNotFoundError):
        objects.send("a/none", str(tmp_path / "none"))


def failing(faulty: FaultyFileSystem, *errors: Exception) -> None:
    left = list(errors)

    def before(what: str, path: str) -> None:
        if left:
            raise left.pop(0)

    faulty.before = before


def test_a_failure_is_tried_again(faulty: FaultyFileSystem, place: Remote) -> None:
    pauses: list[float] = []
    failing(faulty, OSError("500"), TimeoutError())
    Objects(place, Retry(wait=lambda seconds: bool(pauses.append(seconds)), draw=lambda: 1.0)).write("a", b"x")
    assert faulty.names() == {"x/a"}
    assert pauses == [0.5, 1.0]


def test_after_some_tries_it_is_an_error(faulty: FaultyFileSystem, place: Remote, hasty: Retry) -> None:
    failing(faulty, *[OSError("internal error.")] * 9)
    clock = iter([0.0, 7.0])
    with pytest.raises(RemoteStorageError) as caught:
        Objects(place, hasty, clock=lambda: next(clock)).write("a", b"x")
    said = "memory://bucket/results/x/a could not be written (OSError: internal error, 3 tries in 7 s). Check the network"
    assert str(caught.value).startswith(said)
    assert len(faulty.calls) == 3


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (PermissionError("denied"), "credentials in use may read, list, write and delete"),
        (FileNotFoundError("bucket"), "make it if it is not"),
        (NotImplementedError(), "use another one"),
        (type("NoCredentialsError", (Exception,), {})("none"), "environment variables, a profile"),
    ],
)
def test_what_is_hopeless_is_tried_once(faulty: FaultyFileSystem, place: Remote, hasty: Retry, error: Exception, advice: str) -> None:
    failing(faulty, error)
    with pytest.raises(RemoteStorageError, match=advice):
        Objects(place, hasty).write("a", b"x")
    assert len(faulty.calls) == 1


def test_a_full_disk_is_told_apart(faulty: FaultyFileSystem, place: Remote, tmp_path: Path) -> None:
    Objects(place).write("a", b"x")
    failing(faulty, OSError(errno.ENOSPC, "no space left"))
    with pytest.raises(StorageFull, match="Free some space"):
        Objects(place).fetch("a", str(tmp_path / "a"))


def test_waiting_can_be_broken_off(faulty: FaultyFileSystem, place: Remote) -> None:
    failing(faulty, *[OSError()] * 9)
    with pytest.raises(RemoteStorageError):
        Objects(place, Retry(wait=lambda seconds: True)).write("a", b"x")
    assert len(faulty.calls) == 1


@given(st.integers(1, 2000), st.floats(0, 1, exclude_max=True))
def test_pauses_are_bounded(tried: int, drawn: float) -> None:
    retry = Retry(first_s=0.5, longest_s=20.0, draw=lambda: drawn)
    bound = min(20.0, 0.5 * 2.0 ** min(tried - 1, 100))
    assert bound / 2 <= retry.pause(tried) <= bound
