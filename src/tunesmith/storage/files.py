"""Which local files are stored beside journal and checkpoints, and which of them have changed since."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["CURSOR", "NOTE", "Stamp", "beside", "changed", "experiment_files", "stamp", "trial_files"]

CURSOR = ".files.json"
"""Up to which record the loggers' files are written; sent behind them."""
NOTE = ".remote.json"
"""In the working folder: where its experiment is stored."""

Stamp = tuple[int, int]
"""Size and time of modification (ns) of a file."""

_OF_EXPERIMENT = re.compile(r"spec\.pkl|\.callbacks\.pkl|pbt_.*\.txt|.*\.json|.*\.md|.*\.csv")
_OF_TRIAL = re.compile(r"params\.json|params\.pkl|progress\.csv|result\.json|error\.txt|events\.out\.tfevents\..*|pbt_.*\.txt")
_STAGED = re.compile(r"\.stage_.*|\.checkpoint_.*|checkpoint_\d{6,}|.*\.tmp|.*\.part|.*\.new")


def experiment_files(path: str) -> list[str]:
    """Names of the files in the experiment's own directory that are stored; not the loggers' cursor."""
    names = (entry.name for entry in os.scandir(path) if entry.is_file())
    return sorted(name for name in names if _OF_EXPERIMENT.fullmatch(name) and name not in (CURSOR, NOTE))


def trial_files(path: str, trial: str, logs: Iterable[str], artifacts: bool) -> Iterator[str]:
    """Names, from the experiment's directory on, of the files of a trial that are stored.

    Args:
        path: the experiment's directory.
        trial: the trial's, in it.
        logs: names of the files that take what it prints.
        artifacts: whatever else it has written there, too.
    """
    try:
        entries = sorted(os.scandir(os.path.join(path, trial)), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    known = frozenset(logs)
    for entry in entries:
        if _STAGED.fullmatch(entry.name):
            continue
        if entry.is_file():
            if artifacts or entry.name in known or _OF_TRIAL.fullmatch(entry.name):
                yield f"{trial}/{entry.name}"
        elif artifacts and entry.is_dir(follow_symlinks=False):  # nor does the walk enter links
            for inside, _, names in os.walk(entry.path):
                yield from (os.path.relpath(os.path.join(inside, name), path).replace(os.sep, "/") for name in sorted(names))


def beside(path: str, suffix: str) -> str:
    """A name for what is written before it takes the place of ``path``; no other thread or process has the same."""
    return f"{path}.{os.urandom(4).hex()}.{suffix}"


def stamp(path: str) -> Stamp | None:
    """Of a file; None: it is gone, or is none that can be read to its end (a pipe, a socket)."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns


def changed(path: str, names: Iterable[str], stored: Mapping[str, Stamp], remote: Mapping[str, int]) -> dict[str, Stamp]:
    """Those of ``names`` that have to be sent, with their stamps.

    Args:
        path: the experiment's directory.
        stored: stamps of what was sent, or fetched.
        remote: sizes of what lay there when the session began: a file that nothing is known of, and that has the same size, is the same
            (those that change are written by rows, and grow).
    """
    found = {}
    for name in names:
        now = stamp(os.path.join(path, name))
        if now is None or stored.get(name) == now or (name not in stored and remote.get(name) == now[0]):
            continue
        found[name] = now
    return found
