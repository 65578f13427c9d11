"""A configuration that notes what is read of it: by this a preflight knows the parameters that a trial never looks at.

``config["lr"]``, ``config.get("lr")`` and the like read one entry. What hands on or walks through a level (``f(**config)``,
``dict(config)``, a loop, ``json.dumps``, a pickle, a copy) reads all of it and all below: who has it then may read anything. What only
shows it (``print``, ``len``) reads nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from tunesmith.checkpoints.checkpoint import write_json

__all__ = ["READS_FILE", "Reads", "Watched"]

READS_FILE = ".reads.json"
"""In the directory of a trial that was watched: what its newest attempt has read."""

_ABSENT = object()
Path = tuple[str, ...]


class Reads:
    """What an attempt has read of its configuration.

    Attributes:
        single: paths of entries that were read one by one.
        whole: paths of what was read with all that is in it; ``()`` is the configuration itself.
        absent: paths that were asked for, and are not there.
        checkpoint: whether the attempt has asked for the checkpoint it started from.

    Example:
        >>> reads = Reads()
        >>> config = reads.watch({"lr": 0.1, "momentum": 0.9, "model": {"layers": 3, "width": 64}})
        >>> _ = config["lr"], config.get("decay"), dict(**config["model"])
        >>> reads.covers(("lr",)), reads.covers(("momentum",)), reads.covers(("model", "width")), sorted(reads.absent)
        (True, False, True, [('decay',)])
    """

    def __init__(self) -> None:
        self.single: set[Path] = set()
        self.whole: set[Path] = set()
        self.absent: set[Path] = set()
        self.checkpoint = False
        self._pid = os.getpid()

    def watch(self, config: Any) -> Any:
        """``config`` with each dict in dicts of it as a :class:`Watched`. One that is no plain dict stays as it is, and counts as read."""
        if type(config) is not dict:
            self.whole.add(())
            return config
        return self._watched(config, (), {})

    def _watched(self, value: Any, path: Path, known: dict[int, Any]) -> Any:
        if type(value) is not dict:
            return value
        if id(value) not in known:  # constants may share dicts, and hold themselves
            level = known[id(value)] = dict.__new__(Watched)
            level._reads, level._path = self, path
            for key, inner in value.items():
                dict.__setitem__(level, key, self._watched(inner, (*path, str(key)), known))
        return known[id(value)]

    def note(self, path: Path, value: Any) -> None:
        """The entry at ``path``, which is ``value``, was read."""
        if value is _ABSENT:
            self.absent.add(path)
        elif isinstance(value, Watched):
            self.single.add(path)
        else:
            self.whole.add(path)

    def covers(self, path: Path) -> bool:
        """Whether the entry at ``path`` was read, by itself or with what it is in."""
        return path in self.single or any(path[:end] in self.whole for end in range(len(path) + 1))

    def save(self, trial_dir: str) -> None:
        """Write :data:`READS_FILE`. A process that the trial has forked writes nothing."""
        if os.getpid() != self._pid:
            return
        paths = {name: sorted(getattr(self, name)) for name in ("single", "whole", "absent")}
        with suppress(OSError):  # it is not known then
            os.makedirs(trial_dir, exist_ok=True)
            write_json(os.path.join(trial_dir, READS_FILE), {**paths, "checkpoint": self.checkpoint})

    @classmethod
    def load(cls, trial_dir: str) -> Reads | None:
        """What :meth:`save` wrote; None if there is nothing."""
        try:
            with open(os.path.join(trial_dir, READS_FILE), encoding="utf-8") as file:
                stored = json.load(file)
        except OSError:
            return None
        reads = cls()
        for name in ("single", "whole", "absent"):
            setattr(reads, name, _paths(stored[name]))
        reads.checkpoint = stored["checkpoint"]
        return reads


def _paths(stored: Iterable[Sequence[str]]) -> set[Path]:
    return {tuple(path) for path in stored}


class Watched(dict[Any, Any]):
    """One level of a watched configuration. It behaves as the dict that it is; copies and pickles of it are plain dicts.

    Made by :meth:`Reads.watch`. ``__iter__`` and ``keys`` are overridden for C's sake, too: it copies a dict without asking it unless its
    iterator is one of its own.
    """

    __slots__ = ("_path", "_reads")
    __hash__ = None
    _path: Path
    _reads: Reads

    def __new__(cls, *args: Any, **named: Any) -> dict[Any, Any]:  # type: ignore[misc]
        return dict(*args, **named)  # libraries rebuild containers by type(x)(...)

    def _entry(self, key: Any) -> None:
        self._reads.note((*self._path, str(key)), dict.get(self, key, _ABSENT))

    def _all(self) -> None:
        self._reads.whole.add(self._path)

    # -- one entry

    def __getitem__(self, key: Any) -> Any:
        self._entry(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self._entry(key)
        return super().__contains__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        self._entry(key)
        return super().get(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        self._entry(key)
        return super().pop(key, *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        self._entry(key)
        return super().setdefault(key, default)

    def popitem(self) -> tuple[Any, Any]:
        key, value = super().popitem()
        self._reads.note((*self._path, str(key)), value)
        return key, value

    # -- the level

    def __iter__(self) -> Iterator[Any]:
        self._all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[Any]:
        self._all()
        return super().__reversed__()

    def keys(self) -> Any:
        self._all()
        return super().keys()

    def values(self) -> Any:
        self._all()
        return super().values()

    def items(self) -> Any:
        self._all()
        return super().items()

    def copy(self) -> dict[Any, Any]:
        self._all()
        return super().copy()

    def __or__(self, other: Any) -> Any:
        self._all()
        return super().__or__(other)

    def __eq__(self, other: object) -> bool:
        self._all()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        self._all()
        return super().__ne__(other)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        self._all()
        return dict, (), None, None, iter(super().items())  # entries last: a dict may hold itself
