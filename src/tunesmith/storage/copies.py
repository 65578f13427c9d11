"""Reading an experiment where it is stored: a local copy of its journal, and of checkpoints and files what is asked for."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.errors import JournalError, RemoteStorageError
from tunesmith.places import JOURNAL, storage_root
from tunesmith.storage import segments as seg
from tunesmith.storage import trees
from tunesmith.storage.fetch import Listing, bring_file, bring_journal, exists
from tunesmith.storage.files import beside
from tunesmith.storage.note import is_whole, place_of, remember
from tunesmith.storage.objects import Objects
from tunesmith.storage.remote import Remote, remote_from

__all__ = [
    "StoredCheckpoint", "bring_checkpoint", "bring_trial", "experiment_at", "experiments_at", "open_copy", "renew_copy",
    "stored_checkpoint",
]  # fmt: skip

_turns: dict[str, threading.Lock] = {}
"""By what is fetched, a local path: one thread at a time does that, and the others find it there."""
_complete: dict[tuple[str, str], tuple[float, set[str]]] = {}
"""Checkpoints of a trial that are stored, and when that was found out: who looks for one often looks for its neighbours, too."""
_COPIES = ".opened"
_FRESH_S = 10.0


def open_copy(storage_path: Any, filesystem: Any = None, above: bool = False) -> tuple[str, str]:
    """A local directory with the journal of the experiment at ``storage_path`` as it is now; what was there before is renewed.

    Args:
        storage_path, filesystem: as for :func:`~tunesmith.storage.remote.remote_from`.
        above: it may also be the place of a trial, or of anything else in an experiment.

    Returns:
        The directory; and the rest of the path, from the experiment's place on ("").

    Raises:
        JournalError: there is no experiment; names those nearby.
        RemoteStorageError: it cannot be read.
    """
    remote = remote_from(storage_path, filesystem)
    assert remote is not None, "whoever calls this has looked"
    objects, rest = Objects(remote), ""
    if remote.name == JOURNAL:
        above = True
    while not exists(objects):
        up = objects.remote.above if above else None
        if up is None:
            names = [name for name in Objects(remote).folders() if exists(Objects(remote.below(name)))][:10]
            hint = f" Experiments below it: {', '.join(names)}." if names else ""
            raise JournalError(f"there is no experiment at {remote}: there are no segments of a journal in {remote}/{seg.FOLDER}.{hint}")
        rest = f"{objects.remote.name}/{rest}".rstrip("/")
        objects = Objects(up)
    inside = os.path.relpath(objects.remote.folder, storage_root(None))
    path = os.path.join(storage_root(None), _COPIES, inside)
    os.makedirs(path, exist_ok=True)
    remember(path, objects)
    renew(objects, path)
    return path, rest


def experiment_at(storage_path: Any, filesystem: Any = None) -> bool:
    """Whether there is an experiment at a URL.

    Raises:
        SpecError: there is no such storage; RemoteStorageError: it does not answer.
    """
    remote = remote_from(storage_path, filesystem)
    return remote is not None and exists(Objects(remote))


def renew(objects: Objects, path: str) -> None:
    """Bring the copy of the journal in ``path`` up to what is remote."""
    with _turn(path):
        listing = Listing(objects, seg.FOLDER)
        file, held = os.path.join(path, JOURNAL), os.path.join(path, ".segments")
        names = json.dumps([one.name for one in listing.segments])
        if os.path.isfile(file) and os.path.isfile(held) and Path(held).read_text(encoding="utf-8") == names:
            return
        fresh = beside(file, "tmp")
        bring_journal(objects, listing, fresh)
        os.replace(fresh, file)
        Path(held).write_text(names, encoding="utf-8")
        for known in [one for one in list(_complete) if one[0] == path]:  # newer records may speak of checkpoints that were not there then
            _complete.pop(known, None)


def renew_copy(path: str) -> None:
    """The same, if ``path`` is such a copy."""
    if os.path.isfile(os.path.join(path, ".segments")) and (objects := place_of(path)) is not None:
        renew(objects, path)


def bring_checkpoint(path: str, folder: str) -> bool:
    """Fetch a checkpoint of the experiment in the directory ``path``, if it is stored somewhere.

    Args:
        folder: the checkpoint's, from ``path`` on.

    Returns:
        Whether it is there now.

    Raises:
        RemoteStorageError: it is stored, and cannot be read.
    """
    objects, target = _having(path, folder), os.path.join(path, folder)
    if objects is None:
        return False
    with _turn(target):
        return os.path.isdir(target) or trees.fetch(objects, folder.replace(os.sep, "/"), target)


def stored_checkpoint(path: str, folder: str) -> Checkpoint | None:
    """A handle on a checkpoint that is not in the experiment's directory; its files come when they are asked for. None: it is nowhere.

    Args:
        path: the experiment's directory; ``folder``: the checkpoint's, from there on.

    Raises:
        RemoteStorageError: that cannot be found out.
    """
    return None if _having(path, folder) is None else StoredCheckpoint(path, folder)


class StoredCheckpoint(Checkpoint):
    """A checkpoint in remote storage. It is fetched into the experiment's directory when its path or its content is asked for.

    Args:
        experiment_path: the experiment's local directory.
        folder: the checkpoint's, from there on.
    """

    def __init__(self, experiment_path: str, folder: str) -> None:
        self._experiment_path, self._folder = experiment_path, folder

    @property
    def path(self) -> str:  # type: ignore[override]
        """Of its local directory, which is there.

        Raises:
            RemoteStorageError: it cannot be fetched, or is not stored any more.
        """
        path = os.path.join(self._experiment_path, self._folder)
        if not os.path.isdir(path) and not bring_checkpoint(self._experiment_path, self._folder):
            raise RemoteStorageError(f"the checkpoint {self._folder} is not stored any more: the run has deleted it since.")
        return path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and other.path == self.path

    def __hash__(self) -> int:
        return hash(os.path.join(self._experiment_path, self._folder))

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredCheckpoint, (self._experiment_path, self._folder)

    def __repr__(self) -> str:
        return f"Checkpoint(path={os.path.join(self._experiment_path, self._folder)!r})"


def _turn(target: str) -> threading.Lock:
    return _turns.setdefault(target, threading.Lock())


def _having(path: str, folder: str) -> Objects | None:
    """The place where a checkpoint is stored; None: nowhere."""
    if is_whole(path) or (objects := place_of(path)) is None:
        return None
    folder = folder.replace(os.sep, "/")
    trial = folder.rpartition("/")[0]
    at, complete = _complete.get((path, trial), (-_FRESH_S, set()))
    if folder not in complete and time.monotonic() - at >= _FRESH_S:
        complete = {one for one, whole in trees.checkpoints_in(objects.sizes(trial)).items() if whole}
        _complete[path, trial] = time.monotonic(), complete
    return objects if folder in complete else None


def bring_trial(path: str, folder: str) -> None:
    """Fetch the files of a trial that are not there, checkpoints excepted.

    Args:
        path: the experiment's directory.
        folder: the trial's, from ``path`` on.

    Raises:
        RemoteStorageError: they cannot be read.
    """
    if is_whole(path) or (objects := place_of(path)) is None:
        return
    with _turn(os.path.join(path, folder)):
        for name, size in objects.sizes(folder.replace(os.sep, "/")).items():
            local = os.path.join(path, name)
            if trees.checkpoint_of(name) is None and not (os.path.isfile(local) and os.path.getsize(local) == size):
                bring_file(objects, name, path)


def experiments_at(remote: Remote) -> list[str]:
    """Names of the experiments directly below a place; the first ten."""
    return [name for name in Objects(remote).folders() if exists(Objects(remote.below(name)))][:10]
