"""From a URL and a name to a place: is the name free, is there something to go on with, and which local folder is worked in."""

from __future__ import annotations

import logging
import os

from tunesmith.errors import SpecError
from tunesmith.hints import did_you_mean
from tunesmith.places import JOURNAL, choose_directory, experiments_in
from tunesmith.storage.copies import experiments_at
from tunesmith.storage.fetch import Listing, bring, exists
from tunesmith.storage.note import is_whole, remember
from tunesmith.storage.objects import Objects
from tunesmith.storage.remote import Remote

__all__ = ["arrive", "choose_place", "resumable"]


def resumable(remote: Remote, name: str) -> bool:
    """Whether an experiment ``name`` is there, or in the folder in which it worked on this machine."""
    return os.path.isfile(os.path.join(remote.folder, name, JOURNAL)) or exists(Objects(remote.below(name)))


def choose_place(remote: Remote, name: str, *, chosen: bool, resume: bool | str, fetched: bool) -> tuple[str, str, bool]:
    """As :func:`tunesmith.places.choose_directory`, for all experiments below ``remote``.

    Args:
        fetched: what is resumed has to be remote.

    Raises:
        SpecError: nothing is there to resume.
        StorageFull: the working folder cannot be written.
        RemoteStorageError: it cannot be looked up.
    """
    path = os.path.join(remote.folder, name)
    if resume and (exists(Objects(remote.below(name))) or (not fetched and os.path.isfile(os.path.join(path, JOURNAL)))):
        os.makedirs(path, exist_ok=True)
        return name, path, True
    if resume is True:
        there = sorted({*experiments_at(remote), *experiments_in(remote.folder)})
        hint = did_you_mean(name, there) or (f" There are: {', '.join(map(repr, there[:10]))}." if there else " No experiment is there.")
        raise SpecError(f"resume: there is no experiment {name!r} in {remote}.{hint} Leave resume out to begin a new one.")
    number = 1
    while True:
        candidate = name if number == 1 else f"{name}_{number}"
        free = number == 1 and bool(resume)  # nothing but what a run leaves that was killed before its first record
        if free or not (Objects(remote.below(candidate)).sizes() or _taken(os.path.join(remote.folder, candidate))):
            break
        number += 1
    if number > 1 and chosen:
        logging.getLogger("tunesmith").warning(
            "%s/%s (or its working folder) exists already and is left as it is; this run is %s. To go on with the old one: resume=True, "
            "name=%r.", remote, name, candidate, name,
        )  # fmt: skip
    return choose_directory(remote.folder, candidate, chosen=chosen, resume="AUTO" if resume else False)


def _taken(path: str) -> bool:
    """Whether a local directory holds anything."""
    return os.path.isdir(path) and bool(os.listdir(path))


def arrive(remote: Remote) -> str:
    """The working folder of the experiment at ``remote``, with all that is needed to go on with it; nothing is claimed.

    Raises:
        SpecError: there is none.
        RemoteStorageError: it cannot be read, or local and remote records contradict each other.
    """
    objects = Objects(remote)
    path = remote.folder
    listing = Listing(objects)
    if not listing.last and not os.path.isfile(os.path.join(path, JOURNAL)):
        raise SpecError(f"there is no experiment at {remote}.")
    whole = is_whole(path)
    brought = bring(objects, listing, path)
    remember(path, objects, whole=whole and brought is None)
    return path
