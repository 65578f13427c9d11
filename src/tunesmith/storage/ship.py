"""What one round of a mirror sends and deletes, and the proof at the end that everything is there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from contextlib import closing
from dataclasses import dataclass, field

from tunesmith.errors import JournalCorrupt
from tunesmith.journal.reader import open_reader
from tunesmith.places import JOURNAL
from tunesmith.storage import segments as seg
from tunesmith.storage import trees
from tunesmith.storage.crew import each
from tunesmith.storage.fetch import Listing
from tunesmith.storage.files import CURSOR, Stamp, changed, experiment_files
from tunesmith.storage.objects import Objects

__all__ = ["Shipper"]

_LARGEST = 200_000
"""Records of a segment at most."""
_EVENTS = "events.out.tfevents."
_MANY = 32
"""Segments, from which on small ones are put together."""


@dataclass
class Shipper:
    """Knows what is remote.

    Args:
        objects: of the experiment's place.
        path: its local directory.
        listing: what lay there at the beginning.
        stored: stamps of files that are known to be there.

    Attributes:
        segments: of the journal, in order.
        complete: folders of checkpoints that are there; ``orphans``: those that nobody knows of, or halves.
        lost: folders of checkpoints that were to be sent and had gone from the disk.
    """

    objects: Objects
    path: str
    listing: Listing
    stored: dict[str, Stamp] = field(default_factory=dict)
    segments: list[seg.Segment] = field(init=False)
    complete: set[str] = field(init=False)
    orphans: set[str] = field(init=False)
    lost: set[str] = field(default_factory=set)
    _sent: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.segments = list(self.listing.segments)
        there = trees.checkpoints_in(self.listing.sizes)
        self.complete = {folder for folder, whole in there.items() if whole}
        self.orphans = {folder for folder, whole in there.items() if not whole}

    @property
    def last(self) -> int:
        """Number of the last record that is remote."""
        return self.segments[-1].last if self.segments else 0

    # -- checkpoints -----------------------------------------------------------------------------------------------------

    def checkpoint(self, folder: str) -> None:
        """Send a checkpoint."""
        if folder in self.orphans:  # of another session, under the same name
            self.forget(folder)
        try:
            self._sent.update(trees.send(self.objects, folder, os.path.join(self.path, folder)))
        except FileNotFoundError:
            self.lost.add(folder)
            return
        self.complete.add(folder)

    def forget(self, folder: str) -> None:
        """Delete a checkpoint there."""
        self.complete.discard(folder)
        trees.delete(self.objects, folder)
        self.orphans.discard(folder)
        for name in [name for name in self._sent if name.startswith(f"{folder}/")]:
            del self._sent[name]

    # -- the journal -----------------------------------------------------------------------------------------------------

    def journal(self, last: int) -> bool:
        """Send the records up to ``last``; false: they cannot be read yet (a journal on a network disk shows them late)."""
        if last <= self.last:
            return True
        with closing(open_reader(os.path.join(self.path, JOURNAL))) as reader:
            if reader.last() < last:
                return False
            while self.last < last:
                first, merged = self.last + 1, 0
                end = min(last, self.last + _LARGEST)
                while len(self.segments) - merged >= _MANY and len(self.segments[-1 - merged]) <= end - first + 1 <= _LARGEST // 2:
                    merged += 1
                    first = self.segments[-merged].first
                segment, data = seg.cut(reader, first, end)
                self.objects.write(segment.name, data)
                small = self.segments[len(self.segments) - merged :] if merged else []
                self.segments[len(self.segments) - merged :] = [segment]
                self._sent[segment.name] = len(data)
                for one in small:
                    self._sent.pop(one.name, None)
                    self.objects.delete(one.name)
        return True

    # -- files -----------------------------------------------------------------------------------------------------------

    def note(self) -> tuple[bytes | None, int]:
        """The loggers' note of how far their files are, and up to which record that is. To be taken before files are looked for."""
        try:
            with open(os.path.join(self.path, CURSOR), "rb") as file:
                data = file.read()
            return data, int(json.loads(data)["seq"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, 0  # they have not begun

    def files(self, names: Iterable[str], note: bytes | None) -> None:
        """Send those files that have changed, and the loggers' note behind them."""
        wanted = changed(self.path, [*experiment_files(self.path), *names], self.stored, self.listing.sizes)

        def send(name: str) -> None:
            try:
                self._sent[name] = self.objects.send(name, os.path.join(self.path, name))
            except FileNotFoundError:  # written anew just now: its next stamp is another one
                return
            self.stored[name] = wanted[name]

        each(send, wanted, self.objects.hands)
        if note is not None and note != self._noted:
            self.objects.write(CURSOR, note)
            self._noted = note

    def superseded(self, trials: Collection[str]) -> None:
        """Delete event files of TensorBoard's that were written anew here under another name: together they would show everything twice.

        Args:
            trials: names of the trials' directories.
        """
        for name in {*self.listing.sizes, *self.stored}:
            folder, _, own = name.rpartition("/")
            if own.startswith(_EVENTS) and folder in trials and not os.path.exists(os.path.join(self.path, name)):
                here = os.path.join(self.path, folder)
                if os.path.isdir(here) and any(other.startswith(_EVENTS) for other in os.listdir(here)):
                    self.objects.delete(name)
                    for known in (self.listing.sizes, self.stored, self._sent):
                        known.pop(name, None)

    _noted: bytes | None = None

    # -- the end ---------------------------------------------------------------------------------------------------------

    def missing(self, live: Iterable[str], last: int) -> list[str]:
        """Compares a new listing with what has to be there: names of what is not, or is of another size. They are to be sent again."""
        there = self.objects.sizes()
        gone = []
        wanted: dict[str, int | None] = {one.name: self._sent.get(one.name) for one in self.segments}
        wanted.update({f"{folder}/{trees.MANIFEST}": None for folder in live})
        wanted.update(self._sent)
        for name, size in wanted.items():
            if name not in there or (size is not None and there[name] != size):
                gone.append(name)
                self._unsent(name)
        if self.last < last:
            gone.append(f"{seg.FOLDER}/ (records {self.last + 1} to {last})")
        return gone

    def _unsent(self, name: str) -> None:
        self._sent.pop(name, None)
        self.stored.pop(name, None)
        self.listing.sizes.pop(name, None)
        folder = trees.checkpoint_of(name)
        if folder is not None:
            self.complete.discard(folder)
        kept = [one for one in self.segments if one.name != name]
        if len(kept) < len(self.segments):
            lost = next(one for one in self.segments if one.name == name)
            self.segments = [one for one in self.segments if one.last < lost.first]


def check_parted(shipper: Shipper) -> None:
    """Look whether somebody else has added records.

    Raises:
        TwoHistories: there are segments that this session did not write, with other records.
    """
    found = seg.parse(shipper.objects.sizes(seg.FOLDER))
    mine = set(shipper.segments)
    others = [one for one in found if one not in mine]
    if not others:
        return
    with closing(open_reader(os.path.join(shipper.path, JOURNAL))) as reader:
        last = reader.last()
        for one in others:
            try:
                strange = one.last > last or seg.cut(reader, one.first, one.last)[0] != one
            except JournalCorrupt:
                strange = True
            if strange:
                raise seg.two_histories(str(shipper.objects.remote), one)
