"""Where an analysis reads from: a path, opened anew for each pass so that nothing stays open; or a journal that is open already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith.errors import JournalError
from tunesmith.places import JOURNAL, experiments_in

if TYPE_CHECKING:
    from tunesmith.journal.projections import Reader

__all__ = ["Source", "experiment_path"]


def experiment_path(given: str | os.PathLike[str]) -> str:
    """The absolute directory of the experiment at ``given``: its directory, or its journal file; ``~`` is expanded.

    Raises:
        JournalError: there is no experiment; names those nearby.
    """
    path = os.path.abspath(os.path.expanduser(os.fspath(given)))
    if os.path.isfile(path):
        path = os.path.dirname(path)
    if os.path.isfile(os.path.join(path, JOURNAL)):
        return path
    if not os.path.isdir(path):
        raise JournalError(f"there is no experiment at {path}: no such directory. Give the directory that holds {JOURNAL}.")
    parent = os.path.dirname(path)
    if os.path.isfile(os.path.join(parent, JOURNAL)):
        raise JournalError(f"{path} is the directory of a trial; open the experiment that it belongs to: {parent}.")
    names = experiments_in(path)
    hint = f" Experiments below it: {', '.join(names[:10])}." if names else f" Give the directory that holds {JOURNAL}."
    raise JournalError(f"{path} holds no experiment: there is no {JOURNAL}.{hint}")


class Source:
    """The journal of an experiment.

    Args:
        given: a path (see :func:`experiment_path`), or an object with ``header`` and ``read`` as a ``Journal`` has.
        path: the experiment's directory, where ``given`` is no path.
    """

    def __init__(self, given: str | os.PathLike[str] | Reader, path: str | None = None) -> None:
        if isinstance(given, (str, os.PathLike)):
            self._journal: Reader | None = None
            self.path = experiment_path(given)
        else:
            self._journal = given
            found = path if path is not None else getattr(given, "path", None)
            self.path = os.path.abspath(os.fspath(found)) if found is not None else ""
            if os.path.isfile(self.path):
                self.path = os.path.dirname(self.path)

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """The journal, to be read from within the block."""
        if self._journal is not None:
            yield self._journal
            return
        from tunesmith.journal.reader import open_reader

        with closing(open_reader(os.path.join(self.path, JOURNAL))) as reader:
            yield reader

    @property
    def read(self) -> Any:
        """The ``read`` of a journal that is open already; None where one is opened for each pass."""
        return None if self._journal is None else self._journal.read

    def __reduce__(self) -> tuple[Any, ...]:
        """An open journal stays behind: the copy reads the file, if there is one."""
        return _unpickle, (self.path,)


def _unpickle(path: str) -> Source:
    source = Source.__new__(Source)
    source.path = path
    source._journal = None
    return source
