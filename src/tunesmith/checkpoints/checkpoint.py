"""The handle that users get and give: a directory with a trial's state in it."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["DICT_FILE", "METADATA_FILE", "SIDECAR_FILE", "Checkpoint", "read_dict", "read_json", "write_dict", "write_json"]

DICT_FILE = "_dict_checkpoint.pkl"
METADATA_FILE = ".metadata.json"
SIDECAR_FILE = ".tunesmith.json"
"""What the store notes beside the user's files: the checkpoint's id, the trial's counters, what ``save_checkpoint`` returned."""

_NAMED = 5
"""Files of a folder that an error names."""


class Checkpoint:
    """A directory that holds a trial's state. Cheap to copy and to pickle: it holds the path only.

    Args:
        path: an existing directory.

    Raises:
        SpecError: there is no such directory.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = pathlib.Path(folder, "weights.txt").write_text("1 2 3")
        ...     checkpoint = Checkpoint.from_directory(folder)
        ...     with checkpoint.as_directory() as path:
        ...         pathlib.Path(path, "weights.txt").read_text()
        '1 2 3'
        >>> Checkpoint.from_dict({"epoch": 3}).to_dict()
        {'epoch': 3}
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        if not os.path.isdir(self.path):
            what = "a file, and a checkpoint is a directory" if os.path.exists(self.path) else "not there"
            raise SpecError(
                f"Checkpoint({os.fspath(path)!r}): {what}. Write the trial's state into a directory of its own and pass that, "
                f"as in tune.Checkpoint.from_directory(folder)."
            )

    @classmethod
    def from_directory(cls, path: str | os.PathLike[str]) -> Checkpoint:
        """The checkpoint in the existing directory ``path``. Nothing is copied until it is reported."""
        return cls(path)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Checkpoint:
        """A checkpoint with the entries of ``data``, pickled into a temporary directory that lives as long as this object."""
        folder = tempfile.mkdtemp(prefix="tunesmith_checkpoint_")
        write_dict(folder, dict(data))
        checkpoint = cls(folder)
        weakref.finalize(checkpoint, shutil.rmtree, folder, ignore_errors=True)
        return checkpoint

    def to_dict(self) -> dict[str, Any]:
        """The dict that :meth:`from_dict`, or a ``save_checkpoint`` that returned a dict, stored.

        Raises:
            SpecError: this checkpoint is made of files.
        """
        if not os.path.exists(os.path.join(self.path, DICT_FILE)):
            names = sorted(name for name in os.listdir(self.path) if not name.startswith("."))
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            held = f"{', '.join(names[:_NAMED])}{more}" if names else "nothing"
            raise SpecError(f"{self}: was not made from a dict; it holds {held}. Use as_directory() or to_directory().")
        return read_dict(self.path)

    def to_directory(self, path: str | os.PathLike[str] | None = None) -> str:
        """Copy into ``path`` (made if needed; None: a new temporary directory); returns it. The copies are writable."""
        target = tempfile.mkdtemp(prefix="tunesmith_checkpoint_") if path is None else os.path.abspath(os.fspath(path))
        for folder, _, names in os.walk(self.path):
            inside = os.path.normpath(os.path.join(target, os.path.relpath(folder, self.path)))
            os.makedirs(inside, exist_ok=True)
            for name in names:
                copy = shutil.copy2(os.path.join(folder, name), os.path.join(inside, name))
                os.chmod(copy, os.stat(copy).st_mode | 0o200)
        return target

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """The files as a directory to read from, without a copy."""
        yield self.path

    def get_metadata(self) -> dict[str, Any]:
        """The metadata set by :meth:`set_metadata`; empty if none was."""
        return read_json(os.path.join(self.path, METADATA_FILE))

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replace the metadata (JSON) that is kept beside the files."""
        write_json(os.path.join(self.path, METADATA_FILE), dict(metadata))

    def update_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add ``metadata`` to what is there; equal keys are replaced."""
        self.set_metadata({**self.get_metadata(), **metadata})

    @property
    def value(self) -> str:
        """The path, under the name that it had in Ray 1.x (``trial.checkpoint.value``)."""
        return self.path

    def __fspath__(self) -> str:
        return self.path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Checkpoint) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __reduce__(self) -> tuple[Any, ...]:
        # By path, unchecked: unpickling an old result must work after its checkpoint was deleted.
        return _unpickle, (type(self), self.path)

    def __repr__(self) -> str:
        return f"Checkpoint(path={self.path!r})"


def _unpickle(cls: type[Checkpoint], path: str) -> Checkpoint:
    checkpoint = cls.__new__(cls)
    checkpoint.path = path
    return checkpoint


def write_dict(folder: str, data: dict[str, Any]) -> None:
    """Pickle ``data`` into ``folder``; by value where plain pickle can't (lambdas, the script's own classes)."""
    try:
        blob = pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError, TypeError):
        import cloudpickle

        blob = cloudpickle.dumps(data)
    with open(os.path.join(folder, DICT_FILE), "wb") as file:
        file.write(blob)


def read_dict(folder: str) -> dict[str, Any]:
    """What :func:`write_dict` wrote."""
    with open(os.path.join(folder, DICT_FILE), "rb") as file:
        data: dict[str, Any] = pickle.load(file)
    return data


def read_json(path: str) -> dict[str, Any]:
    """The object in the file; empty if there is no file."""
    try:
        with open(path, encoding="utf-8") as file:
            data: dict[str, Any] = json.load(file)
    except FileNotFoundError:
        return {}
    return data


def write_json(path: str, data: dict[str, Any]) -> None:
    """Replace the file in one step: it may be a read-only one, and one that shares its blocks with another checkpoint."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(data, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
