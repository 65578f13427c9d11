"""What all trials of an experiment share: who it is, where it lies, how values become configs, and where its records are."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from tunesmith.core.events import Suggested
from tunesmith.core.flat import unflatten
from tunesmith.core.ports import Header, Record

if TYPE_CHECKING:
    from tunesmith.checkpoints.checkpoint import Checkpoint

__all__ = ["Experiment", "trial_id_of"]

Resolve = Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]]
Read = Callable[..., Iterable[Record]]


def trial_id_of(header: Header, number: int) -> str:
    """``trial_id`` of trial ``number``: five hex digits of the experiment's uuid, and the number.

    Example:
        >>> trial_id_of(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0), 12)
        '3f2a9_00012'
    """
    return f"{header.uuid[:5]}_{number:05d}"


class Experiment:
    """What all trials of an experiment share; one object per :class:`TrialBook`.

    Args:
        header: of the journal.
        path: the experiment's directory as it is now (it may have been moved since the run).
        trainable_name: None: as recorded.
        resolve: drawn values, and the description of the version of the space that they belong to (None: there is none) -> a fresh
            config; None: from that description, without unpickling anything.
        read: the journal's ``read``; None: the journal is opened at ``path`` when it is needed.

    Attributes:
        spec: the experiment's description as it is now.
        spaces: the descriptions of all versions of the search space, oldest first.
    """

    __slots__ = ("_begun_at", "_detached", "_read", "_resolve", "_sessions", "_trainable_name", "header", "path", "spaces", "spec")

    def __init__(
        self, header: Header, path: str = "", trainable_name: str | None = None, resolve: Resolve | None = None, read: Read | None = None
    ) -> None:
        self.header = header
        self.path = path
        self.spec: dict[str, Any] = {}
        self.spaces: list[dict[str, Any]] = []
        self._begun_at: list[int] = []  # ``seq`` of the record since which each of them holds
        self._sessions: list[tuple[float, float]] = []  # (first moment, wall time of the experiment's second 0 as seen from it)
        self._trainable_name = trainable_name
        self._resolve = resolve
        self._read = read
        self._detached: Experiment | None = None

    def begun(self, at: float, wall: float) -> None:
        """A session began at ``at`` seconds of the experiment's clock, ``wall`` since the epoch. The clock stood still before it."""
        if wall and (not self._sessions or self._sessions[-1][0] < at):
            self._sessions.append((at, wall - at))

    def wall(self, at: float) -> float:
        """Seconds since the epoch at ``at`` seconds of the experiment's clock."""
        for first, origin in reversed(self._sessions):
            if first <= at:
                return origin + at
        return self.header.created + at

    @property
    def trainable_name(self) -> str:
        return self._trainable_name or self.spec.get("trainable_name") or "trainable"

    def new_space(self, description: dict[str, Any], seq: int) -> None:
        """From record ``seq`` on trials are drawn from this version of the space. Told again, it is the same one."""
        if not self.spaces or not seq or seq > self._begun_at[-1]:
            self.spaces.append(description)
            self._begun_at.append(seq)

    def version(self, seq: int) -> int:
        """Number of the version of the space that held at record ``seq``."""
        return max(0, bisect_right(self._begun_at, seq) - 1)

    def _description(self, version: int) -> dict[str, Any] | None:
        return self.spaces[version] if self.spaces else None

    def config(self, values: dict[str, Any], version: int) -> dict[str, Any]:
        """The configuration that ``values`` of this version of the space stand for."""
        return self.shown(values, version) if self._resolve is None else self._resolve(values, self._description(version))

    def shown(self, values: dict[str, Any], version: int) -> dict[str, Any]:
        """The configuration as the journal describes it, whether or not the space itself is at hand: objects by their labels."""
        description = self._description(version)
        if description is None:
            return unflatten(values)
        from tunesmith.space import config_from_description

        return config_from_description(description, values)

    def records(self, trial: int, after: int = 0, limit: int | None = None, also: tuple[int, ...] = ()) -> list[Record]:
        """Records of the trial's own events, at most ``limit`` with ``seq > after``, and those numbered ``also``, in order."""
        with self.opened() as read:
            found = {record.seq: record for record in read(after, limit, trial)}
            for seq in also:
                found.update((record.seq, record) for record in read(seq - 1, 1, None))
        return [found[seq] for seq in sorted(found)] if also else list(found.values())

    @contextmanager
    def opened(self) -> Iterator[Read]:
        """The journal's ``read``; within the block the journal is opened once at most."""
        if self._read is not None:
            yield self._read
            return
        from tunesmith.journal.reader import open_reader
        from tunesmith.journal.schema import JOURNAL_FILE

        with closing(open_reader(os.path.join(self.path, JOURNAL_FILE))) as reader:
            self._read = reader.read
            try:
                yield reader.read
            finally:
                self._read = None

    def dirname(self, number: int) -> str:
        """Directory of trial ``number``, relative to the experiment's."""
        for record in self.records(number, limit=1):
            if isinstance(record.event, Suggested) and record.event.dirname:
                return record.event.dirname
        return trial_id_of(self.header, number)

    def checkpoint(self, identity: str, owner: int, dirname: str) -> Checkpoint | None:
        """The checkpoint of that id, if it is still there; ``owner`` is the trial that asks, in directory ``dirname``."""
        from tunesmith.checkpoints.checkpoint import Checkpoint

        number, _, name = identity.rpartition("/")
        home = self.dirname(int(number)) if number.isdigit() and int(number) != owner else dirname
        path = os.path.join(self.path, home, name)
        if os.path.isdir(path):
            return Checkpoint(path)
        from tunesmith.storage.copies import stored_checkpoint

        return stored_checkpoint(self.path, os.path.join(home, name))

    def detached(self) -> Experiment:
        """The same without what cannot be pickled; one object however often it is asked for."""
        if self._detached is None:
            self._detached = Experiment(self.header, self.path, self.trainable_name)
        self._detached.spec, self._detached.spaces = self.spec, self.spaces
        self._detached._sessions, self._detached._begun_at = self._sessions, self._begun_at
        return self._detached

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            "spec": self.spec, "spaces": self.spaces, "_begun_at": self._begun_at, "_sessions": self._sessions, "_detached": None,
        }  # fmt: skip
        return Experiment, (self.header, self.path, self.trainable_name), (None, state)
