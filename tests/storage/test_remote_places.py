"""What a storage path names, what it is called, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import fs as arrow

from tunesmith.errors import SpecError
from tunesmith.storage.remote import _shown, remote_from


@pytest.mark.parametrize("given", [None, "results", "~/results", "/tmp/x", Path("results"), 3, b"x"])
def test_what_is_local(given: Any) -> None:
    assert remote_from(given) is None


@pytest.mark.parametrize(
    ("given", "shown", "folder"),
    [
        ("memory://a/b", "memory://a/b", "memory/a/b"),
        ("memory://a/b/", "memory://a/b", "memory/a/b"),
        ("memory://a/../b", "memory://a/../b", "memory/a/b"),
    ],
)
def test_urls(tmp_path: Path, given: str, shown: str, folder: str) -> None:
    remote = remote_from(given)
    assert remote is not None
    assert (str(remote), remote.folder) == (shown, str(tmp_path / "here" / folder))
    assert remote.below("x/y").name == "y"
    assert str(remote.below("x").above) == shown


def test_passwords_are_not_shown() -> None:
    assert _shown("sftp://me:secret@host/x/y") == "sftp://host/x/y"
    assert _shown("abfs://container@account/x") == "abfs://container@account/x"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere://x/y", "there is no such storage"),
        ("s3://bucket/x?endpoint_override=http://me", "settings in a URL are not supported.*storage_filesystem"),
        ("simplecache::s3://bucket/x", "chained URLs"),
        ("memory://", "names no place"),
        (Path("s3://bucket/x"), "a Path cannot hold a URL"),
    ],
)
def test_what_is_refused(given: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        remote_from(given)


@pytest.mark.parametrize(("scheme", "module", "advice"), [("s3", "s3fs", r"tunesmith\[s3\]"), ("memory", "fsspec", r"tunesmith\[remote\]")])
def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, module: str, advice: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SpecError, match=f"needs the package {module}.*{advice}"):
        remote_from(f"{scheme}://bucket/x")


@pytest.mark.parametrize(
    ("filesystem", "path", "shown"),
    [
        (MemoryFileSystem(), "bucket/x", "memory://bucket/x"),
        (LocalFileSystem(), "/some/where", "file:///some/where"),
        (arrow.LocalFileSystem(), "/some/where", "local:///some/where"),
    ],
)
def test_file_systems(filesystem: Any, path: str, shown: str) -> None:
    remote = remote_from(path, filesystem)
    assert remote is not None
    assert (str(remote), remote.given) == (shown, False)
    assert remote.whole == (shown.startswith("memory"))


@pytest.mark.parametrize(
    ("path", "filesystem", "message"),
    [
        ("s3://bucket", MemoryFileSystem(), "give the path without the scheme"),
        (None, MemoryFileSystem(), "needs a path in it"),
        ("bucket", "s3", "must be a file system of fsspec's or pyarrow's, got str 's3'"),
    ],
)
def test_file_systems_that_are_refused(path: Any, filesystem: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        remote_from(path, filesystem)
