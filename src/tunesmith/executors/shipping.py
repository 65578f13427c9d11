"""Checkpoints on their way between machines that share no storage.

On the worker's side :class:`ShippedStore` is a :class:`~tunesmith.checkpoints.store.LocalStore` that hands over what it saves, in parts
(:mod:`tunesmith.executors.parts`); on the driver's, :func:`receive` stores it in the trial's directory under the same id, with the same
files and the same notes. How the parts travel is somebody else's business.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tunesmith.checkpoints.checkpoint import SIDECAR_FILE, Checkpoint
from tunesmith.checkpoints.files import fsync, seal, size_of
from tunesmith.checkpoints.room import full
from tunesmith.checkpoints.store import Kept, LocalStore
from tunesmith.executors.parts import PART, Damaged, Part, fill, pack, unpack

__all__ = ["PART", "Damaged", "ShippedStore", "pack", "receive", "unpack"]


def receive(store: LocalStore, trial: int, parts: Iterable[Part]) -> Kept:
    """Store a checkpoint that a :class:`ShippedStore` has sent, under the id that it has there. It is durable when this returns.

    What has been received before may come again: nothing changes. May be called from any thread.

    Args:
        store: has the trial's directory.
        trial: the number of the trial.
        parts: as in :func:`unpack`.

    Returns:
        its id and size. The id belongs to what was sent: compare it with the one that was announced.

    Raises:
        Damaged: as in :func:`unpack`; or it is another trial's; or another checkpoint has its id.
        DiskLow: there is no room. Nothing is left behind, whatever is raised.
    """
    staged = store.stage(trial)
    try:
        fill(staged, parts, store.room.check)
        notes = store.notes_in(staged)
        identity = str(notes.get("id"))
        if identity.partition("/")[0] != str(trial):
            raise Damaged(f"what came is checkpoint {identity!r}, and not one of trial {trial}")
        kept = Kept(identity, size_of(staged, but=SIDECAR_FILE))
        seal(staged, files=True)
        _settle(staged, store.path(identity), notes)
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if (low := full(error, os.path.dirname(staged))) is not None:
            raise low from error
        raise
    return kept


class ShippedStore(LocalStore):
    """A worker's store on a machine whose disk the driver does not see: what is saved is handed over, too.

    Ids are the driver's: it says from which index on they are free (:meth:`free_index`). The machine keeps the newest checkpoint only,
    which ``get_checkpoint()`` gives; all others are the driver's.

    Args:
        trial_dir: the trial's directory on this machine.
        put: takes each part of a checkpoint and gives what is to be sent instead, e.g. ``ray.put``.
        first: index of the first checkpoint to be saved.
        min_free: as of :class:`~tunesmith.checkpoints.store.LocalStore`, for this machine's disk.
        size: bytes of content in a part.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as here, tempfile.TemporaryDirectory() as there:
        ...     worker = ShippedStore(f"{here}/trial_7", put=lambda part: part, first=ShippedStore.free_index(f"{there}/trial_7"))
        ...     saved = worker.save(7, {"epoch": 3}, iteration=3)
        ...     driver = LocalStore.of_trial(f"{there}/trial_7")
        ...     assert receive(driver, 7, worker.take(saved.id)) == saved
        ...     saved.id, driver.open(saved.id).to_dict()
        ('7/checkpoint_000000', {'epoch': 3})
    """

    def __init__(
        self, trial_dir: str, put: Callable[[bytes], Any], *, first: int = 0, min_free: int | None = None, size: int = PART
    ) -> None:
        home = os.path.abspath(trial_dir)
        super().__init__(os.path.dirname(home), lambda _: home, min_free)
        self._put = put
        self._first = first
        self._size = size
        self._shipped: dict[str, list[Any]] = {}
        self._newest = ""

    def save(
        self,
        trial: int,
        source: str | os.PathLike[str] | Checkpoint | Mapping[str, Any],
        iteration: int,
        notes: Mapping[str, Any] | None = None,
        *,
        after: str | None = None,
    ) -> Kept:
        """As :meth:`~tunesmith.checkpoints.store.LocalStore.save`; then its parts wait for :meth:`take`.

        Raises whatever ``put`` raises, too; then nothing was saved. A :class:`~tunesmith.checkpoints.room.DiskLow` of its means that the
        trial goes on without this checkpoint.
        """
        kept = super().save(trial, source, iteration, notes, after=after)
        path = self.path(kept.id)
        try:
            self._shipped[kept.id] = [self._put(part) for part in pack(path, self._size)]
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        if self._newest:
            shutil.rmtree(self._newest, ignore_errors=True)
        self._newest = path
        return kept

    def take(self, checkpoint: str) -> list[Any]:
        """What ``put`` gave for the parts of this checkpoint, in their order. Once: parts that were sent are let go of."""
        return self._shipped.pop(checkpoint)

    @staticmethod
    def free_index(trial_dir: str) -> int:
        """The index from which on no checkpoint in the driver's ``trial_dir`` has ever had one; 0 if there is no such directory.

        To be asked when all that earlier attempts of the trial have sent was received, or will never be.
        """
        try:
            return LocalStore.of_trial(trial_dir)._index(0, trial_dir, None)
        except FileNotFoundError:
            return 0

    def _index(self, trial: int, home: str, after: str | None) -> int:
        return max(self._first, super()._index(trial, home, after))


def _settle(staged: str, path: str, notes: dict[str, Any]) -> None:
    """Give the directory its name, for good."""
    try:
        os.rename(staged, path)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        if LocalStore.notes_in(path) != notes:
            raise Damaged(f"there is another checkpoint {notes['id']!r} already") from None
        shutil.rmtree(staged, ignore_errors=True)
    fsync(os.path.dirname(path))
