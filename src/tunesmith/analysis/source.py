"""Where an analysis reads from: a path, opened anew for each pass so that nothing stays open; or a journal that is open already.

A folder that Ray Tune wrote is a journal, too: it is read once, and again when the analysis is refreshed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from tunesmith.errors import JournalError
from tunesmith.journal.reading import record_of
from tunesmith.places import JOURNAL, experiments_in, is_url

if TYPE_CHECKING:
    from tunesmith.analysis.ray_views import RayExperiment
    from tunesmith.core.ports import Record
    from tunesmith.journal.experiment import Resolve
    from tunesmith.journal.memory import MemoryJournal
    from tunesmith.journal.projections import Reader
    from tunesmith.journal.reading import Columns, Page
    from tunesmith.journal.trials import TrialBook

__all__ = ["Source", "decided", "experiment_path", "is_ray_experiment"]


def experiment_path(given: str | os.PathLike[str]) -> str:
    """The absolute directory of the experiment at ``given``: its directory, its journal file or Ray's state; ``~`` is expanded.

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
    if is_ray_experiment(path):
        return path
    parent = os.path.dirname(path)
    if os.path.isfile(os.path.join(parent, JOURNAL)) or (os.path.isfile(os.path.join(path, "params.json")) and is_ray_experiment(parent)):
        raise JournalError(f"{path} is the directory of a trial; open the experiment that it belongs to: {parent}.")
    names = experiments_in(path) + [name for name in _folders(path) if is_ray_experiment(os.path.join(path, name))]
    hint = f" Experiments below it: {', '.join(names[:10])}." if names else f" Give the directory that holds {JOURNAL}."
    raise JournalError(f"{path} holds no experiment: there is no {JOURNAL}.{hint}")


def is_ray_experiment(path: str) -> bool:
    """Whether Ray Tune wrote an experiment into this directory."""
    if any(os.path.isfile(os.path.join(path, name)) for name in (JOURNAL, "spec.pkl")):  # ours, even if the journal is lost
        return False
    from tunesmith.analysis.ray_folder import is_ray_folder

    return is_ray_folder(path)


def _folders(path: str) -> list[str]:
    """Names of the directories directly below ``path``, sorted; the first hundred."""
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())[:100]
    except OSError:
        return []


def decided(reader: Reader) -> Iterator[Record]:
    """The records at which something was decided; only they are decoded."""
    if not hasattr(reader, "read_pages"):
        yield from (record for record in reader.read() if record.decisions)
        return
    for rows, keysets in reader.read_pages():
        yield from (record_of(row, keysets) for row in rows if row[2] is not None)


def _bounded(reader: Reader, until: int | None) -> Reader:
    return reader if until is None else _Bounded(reader, until)


class _Bounded:
    """A journal up to record ``until``: a run that goes on adds to it."""

    def __init__(self, reader: Reader, until: int) -> None:
        self.header = reader.header
        self._reader: Any = reader
        self._until = until
        for name, bounded in (("read_columns", self._columns), ("read_pages", self._pages), ("read_kinds", self._kinds)):
            if hasattr(reader, name):  # not every journal has these
                setattr(self, name, bounded)

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        return takewhile(self._within, self._reader.read(after, limit, trial))

    def _within(self, record: Record) -> bool:
        return record.seq <= self._until

    def _kinds(self, *kinds: int) -> Iterator[Record]:
        return takewhile(self._within, self._reader.read_kinds(*kinds))

    def _columns(self, after: int = 0) -> Iterator[Columns]:
        return takewhile(lambda row: row[0] <= self._until, self._reader.read_columns(after))

    def _pages(self, after: int = 0) -> Iterator[Page]:
        for rows, keysets in self._reader.read_pages(after):
            there = rows if not rows or rows[-1][0] <= self._until else [row for row in rows if row[0] <= self._until]
            yield there, keysets
            if there is not rows:
                return


class Source:
    """The journal of an experiment.

    Args:
        given: a path (see :func:`experiment_path`), or an object with ``header`` and ``read`` as a ``Journal`` has.
        path: the experiment's directory, where ``given`` is no path.
        filesystem: in which ``given`` is a path; None: it is local, or a URL. Then ``path`` is that of a local copy.

    Attributes:
        path: the experiment's directory.
        of_ray: Ray Tune wrote it.
    """

    def __init__(self, given: str | os.PathLike[str] | Reader, path: str | None = None, filesystem: Any = None) -> None:
        self._copied = False
        if isinstance(given, (str, os.PathLike)) and (filesystem is not None or is_url(given)):
            from tunesmith.storage.copies import open_copy

            given, self._copied = open_copy(given, filesystem)[0], True
        self._folder: tuple[MemoryJournal, RayExperiment] | None = None
        self.of_ray = False
        if isinstance(given, (str, os.PathLike)):
            self._journal: Reader | None = None
            self.path = experiment_path(given)
            self.of_ray = not os.path.isfile(os.path.join(self.path, JOURNAL))
        else:
            self._journal = given
            found = path if path is not None else getattr(given, "path", None)
            self.path = os.path.abspath(os.fspath(found)) if found is not None else ""
            if os.path.isfile(self.path):
                self.path = os.path.dirname(self.path)

    @contextmanager
    def reader(self, until: int | None = None) -> Iterator[Reader]:
        """The journal, to be read from within the block; ``until``: no further than that record."""
        if self._journal is not None:
            yield _bounded(self._journal, until)
            return
        if self.of_ray:
            yield _bounded(self._read_folder()[0], until)
            return
        from tunesmith.journal.reader import open_reader

        with closing(open_reader(os.path.join(self.path, JOURNAL))) as reader:
            yield _bounded(reader, until)

    def book(self, reader: Reader, resolve: Resolve | None) -> TrialBook:
        """An empty book for the experiment in ``reader``; ``resolve``: see :class:`~tunesmith.journal.experiment.Experiment`."""
        from tunesmith.journal.trials import TrialBook

        if self.of_ray:
            from tunesmith.analysis.ray_views import book_of

            return book_of(self._read_folder()[1])
        return TrialBook(reader.header, self.path, resolve=resolve, reader=None if self._journal is None else self._journal.read)

    def _read_folder(self) -> tuple[MemoryJournal, RayExperiment]:
        if self._folder is None:
            from tunesmith.analysis.ray_folder import read_folder

            self._folder = read_folder(self.path)
        return self._folder

    def forget(self) -> bool:
        """Whether what was read is of no use to what follows, as Ray's files are read as a whole. A copy is renewed."""
        self._folder = None
        if self._copied:
            from tunesmith.storage.copies import renew_copy

            renew_copy(self.path)
        return self.of_ray

    def __reduce__(self) -> tuple[Any, ...]:
        """An open journal stays behind: the copy reads the file, if there is one."""
        return _unpickle, (self.path, self.of_ray)


def _unpickle(path: str, of_ray: bool = False) -> Source:
    source = Source.__new__(Source)
    source.path = path
    source.of_ray, source._copied = of_ray, False
    source._journal = source._folder = None
    return source
