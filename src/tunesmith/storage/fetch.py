"""From remote storage to a local folder: the journal, and what those need who go on with the experiment."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.codec import KINDS
from tunesmith.core.trial import TERMINATED
from tunesmith.errors import RemoteStorageError
from tunesmith.journal.experiment import trial_id_of
from tunesmith.journal.lease import Lease, Owner
from tunesmith.journal.reader import JournalReader, open_reader
from tunesmith.journal.trials import TrialBook
from tunesmith.places import JOURNAL
from tunesmith.storage import segments as seg
from tunesmith.storage import trees
from tunesmith.storage.crew import each
from tunesmith.storage.files import CURSOR, Stamp, beside, stamp
from tunesmith.storage.lease import NAME as LEASE
from tunesmith.storage.note import remember
from tunesmith.storage.objects import Objects, inside

__all__ = ["Listing", "bring", "bring_file", "bring_journal", "exists", "trial_folders"]

_log = logging.getLogger("tunesmith")
_ROW = "SELECT seq, handled, decided, kind, at, trial, attempt, iteration, keyset, body FROM records WHERE seq = ?"
_SUGGESTED = next(kind for kind, cls in KINDS.items() if cls is ev.Suggested)


class Listing:
    """What lies in a remote place.

    Args:
        objects: of the place.

    Attributes:
        sizes: name -> bytes.
        segments: those of the journal that are needed; ``others``: those that are not.
        last: number of the last record.
    """

    def __init__(self, objects: Objects, below: str = "") -> None:
        self.sizes = objects.sizes(below)
        self.segments, self.others = seg.chain(seg.parse(self.sizes), str(objects.remote))
        self.last = self.segments[-1].last if self.segments else 0


def exists(objects: Objects) -> bool:
    """Whether an experiment lies there."""
    return bool(seg.parse(objects.sizes(seg.FOLDER)))


def bring(objects: Objects, listing: Listing, path: str, *, aside: bool = False) -> dict[str, Stamp] | None:
    """Make the directory ``path`` one that goes on with the experiment, if more of it is remote than is there.

    That takes the journal, and of trials that are not over their files and newest checkpoints.

    Args:
        aside: a local experiment that has other records, or more, is renamed; else the first is an error, and the second stays.

    Returns:
        Stamps of the files that were fetched; None: nothing had to be.

    Raises:
        RemoteStorageError: the two have parted, or what is remote cannot be read.
        JournalLocked: another process writes there.
    """
    file = os.path.join(path, JOURNAL)
    local = _common(file, objects, listing, aside)
    if local is None:
        _set_aside(path)
        local = 0
    if local >= listing.last:
        return None
    os.makedirs(path, exist_ok=True)
    lease = Lease.acquire(Path(path, "experiment.lock"), take_over=True)
    fresh = beside(file, "tmp")
    try:
        bring_journal(objects, listing, fresh)
        fetched = _bring_trials(objects, listing, path, fresh, local)
        remember(path, objects)  # before the journal is here: after that nobody would see that not all is
        _remove(file)  # only now: with it here the rest is taken to be here, too
        os.replace(fresh, file)
    finally:
        _remove(fresh)
        lease.release()
    return fetched


def bring_journal(objects: Objects, listing: Listing, file: str) -> None:
    """Write the remote journal into a new file.

    Raises:
        RemoteStorageError: it cannot be read, or contradicts itself. Nothing is left of the file.
    """
    try:
        seg.build(file, listing.segments, objects.read, str(objects.remote))
        seg.check_redundant(file, listing.others, str(objects.remote))
    except BaseException:
        _remove(file)
        raise


def bring_file(objects: Objects, name: str, path: str) -> bool:
    """Fetch one file into the experiment's directory, in the place of what is there. False: there is none any more."""
    target = os.path.join(path, inside(name, str(objects.remote)))
    os.makedirs(os.path.dirname(target), exist_ok=True)
    fresh = beside(target, "part")
    try:
        objects.fetch(name, fresh)
        os.replace(fresh, target)
    except FileNotFoundError:
        return False
    finally:
        with suppress(OSError):
            os.unlink(fresh)
    return True


# -- what is here and what is there -------------------------------------------------------------------------------------------


def _common(file: str, objects: Objects, listing: Listing, aside: bool) -> int | None:
    """The last record of the local journal if it and the remote one tell one story; None: it is to be set aside."""
    local = seg.last_of(file)
    if not local or not listing.last:
        return local
    with closing(open_reader(file)) as reader:
        other = reader.header.uuid[:8] != listing.segments[0].uuid
        parted = listing.segments[0] if other else seg.differs(reader, [one for one in listing.segments if one.last <= local])
        if parted is None:
            partly = [one for one in listing.segments if one.first <= local < one.last]
            parted = partly[0] if partly and _begins_otherwise(reader, objects, partly[0], local) else None
    if aside:
        return None if parted is not None or local > listing.last else local
    if parted is None:
        return local
    folder = os.path.dirname(file)
    if other:
        raise RemoteStorageError(
            f"the working folder {folder} and {objects.remote} hold different experiments. Begin the run under another name, or take what "
            f"is remote: resume='REMOTE' renames the folder."
        )
    raise RemoteStorageError(
        f"the working folder {folder} has {local} records, {objects.remote} has {listing.last}, and they part between {parted.first} and "
        f"{min(local, parted.last)}: the run was taken up elsewhere before all of this folder's was stored. To go on with what is remote: "
        f"resume='REMOTE', which renames the folder. To keep what is local, copy the folder and give the copy's path."
    )


def _begins_otherwise(reader: JournalReader, objects: Objects, segment: seg.Segment, local: int) -> bool:
    """Whether ``segment``, which goes on beyond the local journal's end, has other records up to there."""
    scratch = beside(str(reader.path), "part")
    try:
        seg.build(scratch, [segment], objects.read, str(objects.remote))
        with closing(sqlite3.connect(f"{Path(scratch).as_uri()}?mode=ro", uri=True)) as theirs:
            for page, _ in reader.read_pages(segment.first - 1):
                if any(theirs.execute(_ROW, (row[0],)).fetchone() != tuple(row) for row in page if row[0] <= local):
                    return True
    finally:
        _remove(scratch)
    return False


def _set_aside(path: str) -> None:
    number = 1
    while os.path.lexists(to := f"{path}.aside_{number}"):
        number += 1
    os.rename(path, to)
    _log.warning("%s has other records than remote storage, or more; it is now %s.", path, to)


# -- trials -------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trial:
    """What a trial needs in a folder that goes on with it.

    Args:
        over: nothing more will happen to it unless it is taken up again.
        folder: its directory's name.
        base: id of the checkpoint that it goes on from.
        highest: the highest index of its checkpoints, as in "000003".
        newer: names of checkpoints of which only the remote journal knows.
        told: the loggers' files that are there may lack something of it.
    """

    over: bool = True
    folder: str = ""
    base: str | None = None
    highest: str = ""
    newer: list[str] = field(default_factory=list)
    told: bool = True


def _bring_trials(objects: Objects, listing: Listing, path: str, file: str, known: int) -> dict[str, Stamp]:
    """Files and checkpoints of trials that are not over, or that the local files do not know to their end."""
    remote = _cursor(objects.read(CURSOR)) if CURSOR in listing.sizes else 0
    trials = _trials(file, path, known, min(remote, _local_cursor(path)) if known else remote)
    bases: dict[str, None] = {}
    for number, trial in trials.items():
        if trial.over and trial.told:
            continue
        home = os.path.join(path, trial.folder)
        os.makedirs(home, exist_ok=True)
        for name in trial.newer:  # what is here under its name was never recorded
            shutil.rmtree(os.path.join(home, name), ignore_errors=True)
        if trial.highest:
            with open(os.path.join(home, f".checkpoint_{trial.highest}.gone"), "wb"):
                pass  # no later one takes the name of one that was deleted
        if not trial.over and trial.base is not None:
            owner, _, name = trial.base.partition("/")
            bases[f"{trials[int(owner)].folder if int(owner) != number else trial.folder}/{name}"] = None
    folders = {trial.folder for trial in trials.values() if not (trial.over and trial.told)}
    names = [name for name in listing.sizes if _wanted(name, folders)]
    each(lambda name: bring_file(objects, name, path), names, objects.hands)
    complete = trees.checkpoints_in(listing.sizes)
    for folder in bases:
        if complete.get(folder) and not os.path.isdir(os.path.join(path, folder)):
            trees.fetch(objects, folder, os.path.join(path, folder))
    if remote:  # files of trials that were left where they are need not be made anew
        Path(path, CURSOR).write_text(json.dumps({"seq": remote, "boot": Owner.here().boot}), encoding="utf-8")
    return {name: found for name in names if (found := stamp(os.path.join(path, name))) is not None}


def trial_folders(path: str) -> set[str]:
    """Names of the directories of all trials in the journal of the experiment in ``path``; none: there is no journal yet."""
    file = os.path.join(path, JOURNAL)
    if not os.path.isfile(file):
        return set()
    with closing(open_reader(file)) as reader:
        made = [record.event for record in reader.read_kinds(_SUGGESTED)]
        return {event.dirname or trial_id_of(reader.header, event.trial) for event in made if isinstance(event, ev.Suggested)}


def _trials(file: str, path: str, known: int, cursor: int) -> dict[int, _Trial]:
    found: dict[int, _Trial] = {}
    with closing(open_reader(file)) as reader:
        book = TrialBook(reader.header, path)
        for record in reader.read():
            book.apply(record)
            event = record.event
            if record.seq > cursor:
                for number in {getattr(event, "trial", None), *(decision.trial for decision in record.decisions)} - {None}:
                    found.setdefault(int(number), _Trial()).told = False  # type: ignore[arg-type]
            if record.handled and isinstance(event, (ev.Reported, ev.CheckpointSaved)) and event.checkpoint is not None:
                trial, name = found.setdefault(event.trial, _Trial()), event.checkpoint.rpartition("/")[2]
                trial.highest = max(trial.highest, name.rpartition("_")[2])
                if record.seq > known:
                    trial.newer.append(name)
        for one in book.trials:
            trial = found.setdefault(one.number, _Trial())
            trial.over, trial.folder, trial.base = one.status == TERMINATED, one.relative_logdir, one.checkpoint_id
    return found


def _wanted(name: str, folders: set[str]) -> bool:
    """Whether the object is a file of the experiment's own, or of one of these trials."""
    parts = name.split("/")
    if len(parts) == 1:
        return name not in (CURSOR, LEASE)
    return trees.checkpoint_of(name) is None and any("/".join(parts[:count]) in folders for count in range(1, len(parts)))


def _cursor(data: bytes | str) -> int:
    """Up to which record the loggers' files are certain, by their note."""
    try:
        return int(json.loads(data)["seq"])
    except (ValueError, KeyError, TypeError):
        return 0


def _local_cursor(path: str) -> int:
    """The same of the local files; 0 if the machine was started anew since."""
    try:
        data: dict[str, Any] = json.loads(Path(path, CURSOR).read_text(encoding="utf-8"))
        return _cursor(json.dumps(data)) if data.get("boot") and data["boot"] == Owner.here().boot else 0
    except (OSError, ValueError, AttributeError):
        return 0


def _remove(file: str) -> None:
    """A database and the files beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            os.unlink(file + suffix)
