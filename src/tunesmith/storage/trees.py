"""Checkpoints as remote objects: a folder of files, and a manifest that is sent last. Without its manifest a checkpoint does not exist."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from typing import Any

from tunesmith.errors import RemoteStorageError
from tunesmith.storage.crew import each
from tunesmith.storage.objects import Objects, inside, names_below

__all__ = ["MANIFEST", "checkpoint_of", "checkpoints_in", "delete", "fetch", "send"]

MANIFEST = ".tunesmith_manifest.json"
_CHECKPOINT = re.compile(r"([^/]+/checkpoint_\d{6,})/.+")
"""Of a trial, whose directory is the experiment's child. What lies deeper is an artifact, or of an experiment whose name goes on."""


def checkpoint_of(name: str) -> str | None:
    """The folder of the checkpoint that the object belongs to.

    Example:
        >>> checkpoint_of("a/checkpoint_000001/weights/w.bin"), checkpoint_of("a/progress.csv")
        ('a/checkpoint_000001', None)
    """
    found = _CHECKPOINT.match(name)
    return found[1] if found else None


def checkpoints_in(names: Iterable[str]) -> dict[str, bool]:
    """The folders of checkpoints that there is anything of, and whether they are complete."""
    found: dict[str, bool] = {}
    for name in names:
        folder = checkpoint_of(name)
        if folder is not None:
            found[folder] = found.get(folder, False) or name == f"{folder}/{MANIFEST}"
    return found


def send(objects: Objects, folder: str, path: str) -> dict[str, int]:
    """Store the local directory ``path`` as the checkpoint ``folder``.

    Returns:
        Names and sizes of its objects.

    Raises:
        FileNotFoundError: the directory is gone.
        RemoteStorageError: it could not be stored.
    """
    names = names_below(path)
    if not os.path.isdir(path):
        raise FileNotFoundError(path)
    files = {name: _entry(os.path.join(path, name)) for name in names}
    folders = [os.path.relpath(empty, path) for empty, below, there in os.walk(path) if not below and not there and empty != path]
    each(lambda name: objects.send(f"{folder}/{name}", os.path.join(path, name)), names, objects.hands)
    manifest = json.dumps({"files": files, "folders": sorted(folders)}).encode()
    objects.write(f"{folder}/{MANIFEST}", manifest)
    return {**{f"{folder}/{name}": entry[0] for name, entry in files.items()}, f"{folder}/{MANIFEST}": len(manifest)}


def fetch(objects: Objects, folder: str, path: str) -> bool:
    """Make the local directory ``path``, which is not there, from the checkpoint ``folder``: whole or not at all.

    Returns:
        False: there is no such checkpoint, or no whole one.

    Raises:
        RemoteStorageError: it could not be read, or what was read is not what was stored.
        StorageFull: there is no room for it.
    """
    try:
        manifest = json.loads(objects.read(f"{folder}/{MANIFEST}"))
        files: dict[str, list[Any]] = manifest["files"]
    except (FileNotFoundError, ValueError, KeyError):
        return False
    for one in (*files, *manifest["folders"]):
        inside(one, f"{objects.remote}/{folder}/{MANIFEST}")
    parent, name = os.path.split(path)
    os.makedirs(parent, exist_ok=True)
    staged = os.path.join(parent, f".stage_{name}_{os.getpid()}_{os.urandom(4).hex()}")
    try:
        for one in {staged, *(os.path.join(staged, one) for one in manifest["folders"])}:
            os.makedirs(one, exist_ok=True)
        for one in files:
            os.makedirs(os.path.dirname(os.path.join(staged, one)), exist_ok=True)
        each(lambda one: _fetch_file(objects, f"{folder}/{one}", os.path.join(staged, one), files[one]), files, objects.hands)
        os.rename(staged, path)
    except FileNotFoundError as error:
        raise RemoteStorageError(f"{objects.remote}/{folder} is damaged: its manifest names what is not there ({error}).") from error
    except OSError:
        if not os.path.isdir(path):  # else another process was faster
            raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return True


def delete(objects: Objects, folder: str) -> None:
    """Take a checkpoint away, or what there is of one: its manifest first, so that half of it is none.

    Raises:
        RemoteStorageError: that was not possible.
    """
    objects.delete(f"{folder}/{MANIFEST}")
    names = [name for name in objects.sizes(folder) if not name.endswith(f"/{MANIFEST}")]
    each(objects.delete, names, objects.hands)


def _entry(path: str) -> list[Any]:
    """Size, digest and permissions of a file."""
    stat = os.stat(path)
    return [stat.st_size, _digest(path), stat.st_mode & 0o555]


def _digest(path: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fetch_file(objects: Objects, name: str, path: str, entry: list[Any]) -> None:
    size, digest, mode = entry
    objects.fetch(name, path)
    if os.stat(path).st_size != size or _digest(path) != digest:
        raise RemoteStorageError(
            f"{objects.remote}/{name} is not what was stored: {os.stat(path).st_size} bytes where {size} were, or others. Something else "
            "has written there; restore the object, or take the whole checkpoint away and go on from an older one."
        )
    os.chmod(path, mode)
