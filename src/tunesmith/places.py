"""Where an experiment lives: its name, its directory, and the promise that a new run never writes over an old one."""

from __future__ import annotations

import itertools
import logging
import os
import time
from contextlib import suppress
from typing import Any

from tunesmith.errors import SpecError, StorageFull
from tunesmith.hints import did_you_mean

__all__ = ["JOURNAL", "check_name", "choose_directory", "default_name", "given_storage", "is_url", "storage_root", "text_of"]

JOURNAL = "experiment.db"
"""Its presence makes a directory an experiment's."""

_LOCK = "experiment.lock"  # the journal's; made first of all
_PROBE = ".tunesmith_write_test_"


def default_name(trainable_name: str) -> str:
    """The trainable's name and the local date and time, as in ``train_2031-05-04_13-37-00``."""
    return f"{trainable_name}_{time.strftime('%Y-%m-%d_%H-%M-%S')}"


def check_name(name: Any) -> str:
    """``name`` if it can be a directory below the storage path ("a/b" is fine).

    Raises:
        SpecError: no string, empty, absolute, or with "..".
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise SpecError(f"name must be a string that is not empty, got {name!r}.")
    if os.path.isabs(name) or ".." in name.replace(os.sep, "/").split("/"):
        raise SpecError(f"name={name!r} leads out of the storage path; give the directory as storage_path and a plain name.")
    return name


def is_url(given: Any) -> bool:
    """Whether it names a place by a scheme, as in "s3://bucket/results"."""
    return isinstance(given, str | os.PathLike) and "://" in str(given)


def given_storage(storage_path: Any, local_dir: Any = None) -> Any:
    """The one that is given of two names of one argument.

    Raises:
        SpecError: both are, and differ.
    """
    if storage_path is not None and local_dir is not None and storage_path != local_dir:
        raise SpecError(f"storage_path={storage_path!r} and local_dir={local_dir!r} are two names of one argument: give one of them.")
    return storage_path if storage_path is not None else local_dir


def storage_root(storage_path: Any, local_dir: Any = None) -> str:
    """The absolute directory of all experiments.

    Args:
        storage_path, local_dir: two names of one argument; relative to the working directory, ``~`` is expanded.
            None: the environment's ``TUNESMITH_RESULTS_DIR``, else ``~/tunesmith_results``.

    Raises:
        SpecError: both given and different, not a path, or a URL.
    """
    given = given_storage(storage_path, local_dir)
    if given is None:
        given = os.environ.get("TUNESMITH_RESULTS_DIR") or os.path.join("~", "tunesmith_results")
    try:
        path = os.fspath(given)
    except TypeError:
        path = b""
    if not isinstance(path, str) or not path:
        raise SpecError(f"storage_path must be a directory (a string or a Path), got {given!r}.")
    if "://" in path:
        raise SpecError(f"{path!r} is a URL, and a local directory is needed here.")
    return os.path.abspath(os.path.expanduser(path))


def choose_directory(root: str, name: str, *, chosen: bool, resume: bool | str) -> tuple[str, str, bool]:
    """Make the directory of a new experiment, or find the one to resume.

    Args:
        root: absolute directory of all experiments; made if it is not there.
        name: of the experiment.
        chosen: the user gave the name. Then an empty directory of that name is taken, else only one that is new.
        resume: False: a new experiment; True: one that is there; "AUTO": that if it is there, else new.

    Returns:
        The experiment's name (with ``_2``, ``_3`` ... if it was taken), its absolute path, and whether it is resumed.

    Raises:
        SpecError: nothing is there to resume.
        StorageFull: the directory cannot be made or written.
    """
    path = os.path.join(root, name)
    if resume and os.path.isfile(os.path.join(path, JOURNAL)):
        _check_writable(path)
        return name, path, True
    if resume is True:
        there = experiments_in(root)
        hint = did_you_mean(name, there) or (f" There are: {', '.join(map(repr, there[:10]))}." if there else " No experiment is there.")
        raise SpecError(f"resume: there is no experiment {name!r} in {root}.{hint} Leave resume out to begin a new one.")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    for number in itertools.count(1):
        candidate = path if number == 1 else f"{path}_{number}"
        if _claim(candidate, take_empty=chosen, again=number == 1 and bool(resume)):
            break
    try:
        _check_writable(candidate)
    except StorageFull:
        with suppress(OSError):
            os.unlink(os.path.join(candidate, _LOCK))
            os.rmdir(candidate)
        raise
    if number > 1 and chosen:
        logging.getLogger("tunesmith").warning(
            "%s exists already and is left as it is; this run is %s_%d. To go on with the old one: resume=True, name=%r.",
            path, name, number, name,
        )  # fmt: skip
    return os.path.relpath(candidate, root), candidate, False


def experiments_in(root: str) -> list[str]:
    """Names of the experiments directly below ``root``, sorted; none if it cannot be read."""
    try:
        return sorted(entry.name for entry in os.scandir(root) if os.path.isfile(os.path.join(entry.path, JOURNAL)))
    except OSError:
        return []


def text_of(path: str) -> str:
    """What is in a file that a user names; "~" is the home.

    Raises:
        OSError: it cannot be read.
    """
    with open(os.path.expanduser(path), encoding="utf-8") as file:
        return file.read()


def _claim(path: str, *, take_empty: bool, again: bool) -> bool:
    """Make ``path``, or take it if it is empty. Of two runs that start together one makes the lock file, and the other looks further.

    Args:
        take_empty: whether a directory that is there may be taken.
        again: whether also one with nothing in it but what a run leaves that is killed before its journal is there.
    """
    try:
        os.mkdir(path)
    except FileExistsError:
        left = [name for name in os.listdir(path) if not name.startswith(_PROBE)] if take_empty and os.path.isdir(path) else [path]
        if again and left == [_LOCK]:
            return True
        if left:
            return False
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        os.close(os.open(os.path.join(path, _LOCK), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
    except FileExistsError:
        return False
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def _check_writable(path: str) -> None:
    probe = os.path.join(path, f"{_PROBE}{os.getpid()}")
    try:
        with open(probe, "xb") as file:
            file.write(b"tunesmith")
        os.unlink(probe)
    except OSError as error:
        with suppress(OSError):
            os.unlink(probe)
        raise _unwritable(path, error) from error


def _unwritable(path: str, error: OSError) -> StorageFull:
    return StorageFull(
        f"the experiment's directory {path} cannot be written: {error.strerror or error}. Nothing was started. "
        "Give a directory that you can write as storage_path, or free some space."
    )
