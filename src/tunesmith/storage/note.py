"""The note in an experiment's local directory that says where it is stored, and whether all of it is in the directory, too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tunesmith.errors import RemoteStorageError
from tunesmith.storage.files import NOTE, beside
from tunesmith.storage.objects import Objects
from tunesmith.storage.remote import remote_from

__all__ = ["is_whole", "place_of", "remember"]

_known: dict[str, Objects] = {}
"""Where the experiment in a local directory is stored, as far as this process has had to do with it."""


def remember(path: str, objects: Objects, *, whole: bool = False) -> None:
    """Take note, here and in the directory, of where the experiment in ``path`` is stored.

    Args:
        whole: all that there is of it is in ``path``, too.
    """
    _known[path] = objects
    note = os.path.join(path, NOTE)
    fresh = beside(note, "tmp")  # half of a note would be none, and say that the directory is whole
    Path(fresh).write_text(json.dumps({"url": objects.remote.url, "by_url": objects.remote.given, "whole": whole}), encoding="utf-8")
    os.replace(fresh, note)


def is_whole(path: str) -> bool:
    """What :func:`remember` was told of the directory, or that nobody else is known to have any of it."""
    try:
        return bool(_read(path)["whole"])
    except (OSError, ValueError, KeyError, TypeError):
        return True


def place_of(path: str) -> Objects | None:
    """Where the experiment in ``path`` is stored; None: nowhere else.

    Raises:
        RemoteStorageError: only by a file system that is not known here.
    """
    if path not in _known:
        try:
            note = _read(path)
        except (OSError, ValueError):
            return None
        if not note["by_url"]:
            raise RemoteStorageError(
                f"{path} is stored in {note['url']}, through a storage_filesystem that this process was not given. Open it by that, with "
                "open_experiment(path, storage_filesystem=...)."
            )
        remote = remote_from(note["url"])
        assert remote is not None, "it was written for one"
        _known[path] = Objects(remote)
    return _known[path]


def _read(path: str) -> Any:
    return json.loads(Path(path, NOTE).read_text(encoding="utf-8"))
