"""Where checkpoints are kept: immutable directories with ids, under the trial's directory.

``"<trial>/checkpoint_000003"`` is the id of ``<trial directory>/checkpoint_000003``. A save is all or nothing: the files are
copied under a temporary name, made read-only, forced to disk and renamed; only then is it reported. A user's files are never
hard-linked, so what he does to them later cannot reach the store; files that are in the store already are.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from tunesmith.checkpoints.checkpoint import SIDECAR_FILE, Checkpoint, read_json, write_dict, write_json
from tunesmith.checkpoints.files import Remover, copy_file, copy_tree, fsync, seal, size_of
from tunesmith.checkpoints.room import Room, full
from tunesmith.errors import SpecError, StorageFull

__all__ = ["Kept", "LocalStore"]

_CHECKPOINT = re.compile(r"checkpoint_(\d{6,})")
_USED = re.compile(r"\.?checkpoint_(\d{6,})(\.gone)?")
_LEFTOVER = re.compile(r"\.(checkpoint_\d{6,}\.deleted|stage_checkpoint_.*)")


class Kept(NamedTuple):
    """A stored checkpoint: its id, and the bytes of the user's files in it (those that it shares with others count in full)."""

    id: str
    bytes: int


class LocalStore:
    """Checkpoints on a file system that all workers see.

    Args:
        experiment_path: the experiment's directory.
        trial_dir: directory of a trial by its number: absolute, or relative to ``experiment_path``.
        min_free: bytes that a save leaves free on the file system; 0: as few as there are; None: 1 GiB, or 2 % of it if that is less.

    One object serves one thread of one process; several (the driver's and each worker's) may work on the same directories.
    """

    def __init__(self, experiment_path: str, trial_dir: Callable[[int], str], min_free: int | None = None) -> None:
        self.experiment_path = os.path.abspath(experiment_path)
        self._trial_dir = trial_dir
        self.room = Room(self.experiment_path, min_free)
        self._next: dict[int, int] = {}
        self._remover = Remover()

    @classmethod
    def of_trial(cls, trial_dir: str, min_free: int | None = None) -> LocalStore:
        """A store for the one trial whose directory is ``trial_dir``: what a worker needs."""
        return cls(os.path.dirname(os.path.abspath(trial_dir)), lambda _: trial_dir, min_free)

    def save(
        self,
        trial: int,
        source: str | os.PathLike[str] | Checkpoint | Mapping[str, Any],
        iteration: int,
        notes: Mapping[str, Any] | None = None,
        *,
        after: str | None = None,
    ) -> Kept:
        """Store ``source`` for good; returns its new id, and its size. It is durable when this returns.

        Args:
            trial: number of the trial that owns it.
            source: a directory (a path that :meth:`stage` gave is moved, all others are copied), or a dict to pickle.
            iteration: of the trial's state in it.
            notes: more to remember beside the files (JSON), read again by :meth:`notes_in`, beside the size in ``bytes``.
            after: id of an earlier checkpoint of the trial: the new one gets a higher index even if that one is gone.

        Raises:
            SpecError: ``source`` is no directory.
            DiskLow: there is no room; nothing is left behind, nor of what :meth:`stage` gave.
            StorageFull: read-only; likewise.
        """
        home = self._home(trial)
        with _full_disk(home):
            os.makedirs(home, exist_ok=True)
            staged, ours = self._staged(trial, source)
            try:
                if ours:
                    self.room.check()
                size = size_of(staged, but=SIDECAR_FILE)
                index = self._index(trial, home, after)
                while True:
                    name = f"checkpoint_{index:06d}"
                    record = {**(notes or {}), "id": f"{trial}/{name}", "iteration": iteration, "bytes": size}
                    write_json(os.path.join(staged, SIDECAR_FILE), record)
                    seal(staged, files=ours)
                    path = os.path.join(home, name)
                    try:
                        os.rename(staged, path)
                        staged = path
                        break
                    except OSError as error:
                        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                            raise
                        index += 1
                fsync(home)
            except BaseException:
                shutil.rmtree(staged, ignore_errors=True)
                raise
        self._next[trial] = index + 1
        return Kept(f"{trial}/{name}", size)

    def stage(self, trial: int) -> str:
        """A new empty directory on the trial's file system; :meth:`save` moves it instead of copying."""
        home = self._home(trial)
        with _full_disk(home):
            os.makedirs(home, exist_ok=True)
            folder = os.path.join(home, f".stage_checkpoint_{os.getpid()}_{os.urandom(4).hex()}")
            os.mkdir(folder)  # not tempfile's: others may read a checkpoint as far as the umask says
        return folder

    def path(self, checkpoint: str) -> str:
        """Absolute path of the directory with this id, whether or not it is there."""
        trial, _, name = checkpoint.partition("/")
        if not trial.isdecimal() or not _CHECKPOINT.fullmatch(name):
            raise SpecError(f"{checkpoint!r} is no checkpoint's id: expected the form '3/checkpoint_000001'.")
        return os.path.join(self._home(int(trial)), name)

    def open(self, checkpoint: str) -> Checkpoint:
        """The stored checkpoint. Raises SpecError if it is gone."""
        return Checkpoint(self.path(checkpoint))

    @staticmethod
    def notes_in(path: str) -> dict[str, Any]:
        """What :meth:`save` noted beside the files of the checkpoint at ``path``: ``id``, ``iteration``, and the caller's own."""
        return read_json(os.path.join(path, SIDECAR_FILE))

    @staticmethod
    def discard(staged: str) -> None:
        """Remove what :meth:`stage` made, unsaved."""
        shutil.rmtree(staged, ignore_errors=True)

    def delete(self, checkpoint: str) -> None:
        """Remove it; nothing happens if it is gone already. Its index is not given out again.

        It is gone at once; its files are removed by another thread (seconds, if they are many or large), which :meth:`close` waits for.
        """
        path = self.path(checkpoint)
        home, name = os.path.split(path)
        doomed, mark = os.path.join(home, f".{name}.deleted"), os.path.join(home, f".{name}.gone")
        try:
            newest = max(self._indices(home), default=-1) == int(name[len("checkpoint_") :])
            marked = not newest or _marked(mark)
            os.rename(path, doomed)
        except OSError:  # it is gone; or it can't be removed now, and the sweep of the next session takes it
            return
        self._remover.remove(doomed, None if marked else lambda: _marked(mark))

    def close(self) -> None:
        """Wait until the files of what was deleted are gone. Idempotent."""
        self._remover.close()

    def known(self) -> list[str]:
        """Ids of all checkpoints of the experiment, by trial and index."""
        return sorted(self._found(), key=lambda id_: (int(id_.partition("/")[0]), id_))

    def sweep(self, keep: Collection[str]) -> list[str]:
        """Delete every checkpoint whose id is not in ``keep``, and what interrupted saves and deletes left; returns the ids.

        Only while no trial runs. Directories that the store did not make are left alone, whatever their name.
        """
        found = self._found()
        for home in self._homes():
            for name in os.listdir(home):
                if _LEFTOVER.fullmatch(name):
                    shutil.rmtree(os.path.join(home, name), ignore_errors=True)
        orphans = sorted(set(found) - set(keep))
        for orphan in orphans:
            shutil.rmtree(found[orphan], ignore_errors=True)
        return orphans

    def _home(self, trial: int) -> str:
        return os.path.join(self.experiment_path, self._trial_dir(trial))

    def _homes(self) -> list[str]:
        try:
            return [entry.path for entry in os.scandir(self.experiment_path) if entry.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def _found(self) -> dict[str, str]:
        found = {}
        for home in self._homes():
            for name in os.listdir(home):
                sidecar = os.path.join(home, name, SIDECAR_FILE)
                if _CHECKPOINT.fullmatch(name) and os.path.exists(sidecar):
                    found[str(read_json(sidecar)["id"])] = os.path.join(home, name)
        return found

    def _indices(self, home: str) -> Iterator[int]:
        for name in os.listdir(home):
            match = _USED.fullmatch(name)
            if match:
                yield int(match[1])

    def _index(self, trial: int, home: str, after: str | None) -> int:
        known = self._next.get(trial)
        if known is None:
            known = max(self._indices(home), default=-1) + 1
        if after is not None and after.startswith(f"{trial}/"):
            known = max(known, int(after.rpartition("_")[2]) + 1)
        return known

    def _staged(self, trial: int, source: str | os.PathLike[str] | Checkpoint | Mapping[str, Any]) -> tuple[str, bool]:
        """The files under a temporary name in the trial's directory, and whether any of them is new to the store."""
        if isinstance(source, Mapping):
            self.room.check()
            return self._filled(trial, lambda folder: write_dict(folder, dict(source))), True
        path = os.path.abspath(os.fspath(source))
        if not os.path.isdir(path):
            raise SpecError(
                f"report(checkpoint={os.fspath(source)!r}): {'a file' if os.path.exists(path) else 'not there'}; "
                f"a checkpoint is a directory with the trial's state in it."
            )
        home, name = os.path.split(path)
        if home == self._home(trial) and name.startswith(".stage_checkpoint_"):
            return path, True
        stored = os.path.dirname(home) == self.experiment_path and os.path.exists(os.path.join(path, SIDECAR_FILE))
        if not stored:
            self.room.check(size_of(path))
        return self._filled(trial, lambda folder: copy_tree(path, folder, os.link if stored else copy_file)), not stored

    def _filled(self, trial: int, fill: Callable[[str], None]) -> str:
        """A staged directory that ``fill`` has written into."""
        folder = self.stage(trial)
        try:
            fill(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return folder


@contextlib.contextmanager
def _full_disk(home: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if (low := full(error, home)) is not None:
            raise low from error
        if error.errno != errno.EROFS:
            raise
        raise StorageFull(
            f"A checkpoint could not be written under {home}: {error.strerror}. What was saved before is kept. Make it writable, then "
            f"resume the experiment."
        ) from error


def _marked(mark: str) -> bool:
    """Leave a note that an index was given out, so that no later checkpoint takes the id of a deleted one. False: the disk is full."""
    try:
        open(mark, "wb").close()
    except OSError:
        return False
    return True
