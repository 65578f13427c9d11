"""A store for checkpoints that lets those live which remote storage has not taken in yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from tunesmith.checkpoints.store import LocalStore

__all__ = ["MirroredStore"]


class MirroredStore(LocalStore):
    """Checkpoints of a session that are also stored remotely: deleted once nobody waits for them.

    Args:
        experiment_path, trial_dir: as for :class:`LocalStore`.
        folder: id -> the checkpoint's directory, from the experiment's on.
    """

    def __init__(self, experiment_path: str, trial_dir: Callable[[int], str], folder: Callable[[str], str]) -> None:
        super().__init__(experiment_path, trial_dir)
        self._folder = folder
        self._lock = threading.Lock()
        self._doomed: list[str] = []
        self._kept: list[str] = []
        self._ids: dict[str, str] = {}

    def delete(self, checkpoint: str) -> None:
        """Remove it when the records that allow it are being told, if it need not be stored first."""
        with self._lock:
            self._doomed.append(checkpoint)

    def take_doomed(self) -> set[str]:
        """Folders of what was to be deleted since the last call."""
        with self._lock:
            doomed, self._doomed = self._doomed, []
            found = {self._folder(one): one for one in doomed}
            self._ids.update(found)
        return set(found)

    def remove(self, folders: Collection[str]) -> None:
        """Delete these."""
        for folder in sorted(folders):
            with self._lock:
                checkpoint = self._ids.pop(folder)
            super().delete(checkpoint)

    def keep(self, folders: Collection[str]) -> None:
        """These are deleted later."""
        with self._lock:
            self._kept += folders

    def remove_kept(self) -> None:
        """Now."""
        with self._lock:
            kept, self._kept = self._kept, []
        self.remove(kept)
