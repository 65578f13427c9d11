"""The event file of one trial: results in, TensorBoard's records out; what is taken back, or not known any more, is put right."""

from __future__ import annotations

import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from operator import itemgetter
from typing import Any

from tunesmith.journal.rows import AUTO_KEYS
from tunesmith.logger.encode import SCALARS
from tunesmith.logger.files import FilePool, write_new
from tunesmith.logger.tfevents import EventRecord, Form, chunk, event, layout_of, narrow, read_events, restart, varint, version
from tunesmith.logger.tfsummaries import Hparam, hparams_of, rich_summary, session_end, session_start

__all__ = ["EventFile", "remove_all"]

_OURS = re.compile(r"events\.out\.tfevents\.\d+\.tunesmith\.\d{4,}")
_NUMBERS = frozenset({float, int, bool})
_HIDDEN = AUTO_KEYS - {"time_this_iter_s", "time_total_s"}
_BYTES_IN_MEMORY = 1 << 16
_ROWS_IN_MEMORY = 256
_TOGETHER = 64  # scalars in one event: a layout takes some KiB for each


class EventFile:
    """The event file of one trial. Records wait in memory until :meth:`flush`, :meth:`close`, or until there are many.

    A file that is to hold something else is never written over: TensorBoard reads on where it was. A new one with a higher number takes
    its place, and begins by taking back what was read from the old one. The old one is emptied and stays for a while: the part of
    TensorBoard that is written in Python goes on to the next file only from one that is there.

    Args:
        directory: the trial's.
        created: seconds since the epoch; part of the name, by which TensorBoard orders files.
        name: the trial's, as the HParams tab is to show it.
        pool: holds it open.
        spent: gets the paths of emptied files, which can go when the run is over.
    """

    def __init__(self, directory: str, created: float, name: str, pool: FilePool, spent: list[str]) -> None:
        self.rows = array("q")
        """The iterations of the results in it."""
        self._directory = directory
        self._stem = f"events.out.tfevents.{int(created):010d}.tunesmith."
        self._name = name
        self._pool = pool
        self._spent = spent
        self._path = ""
        self._old: list[str] = []
        self._layout: Form | None = None
        self._rows: list[tuple[Any, ...]] = []  # of that layout; they come after all that waits as records
        self._waiting: list[bytes] = []
        self._size = 0
        self._config: Any = None
        self._hparams: dict[str, Hparam] = {}
        self._last: tuple[float, int] | None = None
        self._rich: dict[tuple[float, int | None], bytes] = {}
        self._changed: int | None = None
        self._started = 0.0
        self._untidy = False

    def begin(self, wall: float, config: Mapping[str, Any], drawn: Container[str] = (), go_on: bool = False) -> None:
        """A file of the trial's results from the first on.

        Args:
            wall: when the trial started, seconds since the epoch.
            config: that it started with.
            drawn: paths in it that were drawn: what lies there is no secret.
            go_on: files that are there keep their place, and this one goes on from them.
        """
        self.close()
        del self.rows[:]
        self._last = self._changed = None
        self._untidy = False
        found = self._found()
        self._path = self._numbered(int(found[-1].rpartition(".")[2]) + 1 if found else 0)
        if found and not go_on:
            self._old = [f"{self._directory}/{name}" for name in found]
            self._rich = {(one.wall, one.step): one.raw for one in _kept(self._old) if one.kind == "rich" and one.whole()}
        self._started, self._config, self._hparams = wall, config, hparams_of(config, drawn)
        self._waiting = self._opening(wall, anew=not (found and go_on))

    def add(self, wall: float, iteration: int, row: Mapping[str, Any], drawn: Container[str] = ()) -> None:
        """Take one result; its values are shown at its ``timesteps_total``, or else ``training_iteration``.

        Args:
            wall: when it was reported, seconds since the epoch.
            iteration: count of the trial's reports; if there are such already, they and later ones are taken back.
            row: flat.
            drawn: paths of its configuration that were drawn.
        """
        step = _step(row, iteration)
        rows = self.rows
        if rows and iteration <= rows[-1]:
            del rows[bisect_left(rows, iteration) :]
            self._take_back(wall, step)
        rows.append(iteration)
        config = _entry(row, "config")
        if config is not self._config and config is not None:
            self._configure(config, drawn, wall, step)
        tags, pick = _shown(tuple(row))
        values = pick(row)
        rich: list[tuple[str, Any]] = []
        if not _NUMBERS.issuperset(map(type, values)):
            tags, values, rich = _sorted(tags, values)
        if tags:
            self._add_scalars(wall, step, tags, values)
        if rich or self._rich:
            self._add_rich(wall, step, rich)
        self._last = wall, step

    def end(self, wall: float, failed: bool) -> None:
        """The trial is over. Where results were taken back, or its configuration changed, the file is put in order."""
        ending = session_end(failed, wall)
        self._add(ending)
        self.close()
        if self._untidy:
            self._tidy(wall)
            self._add(ending)
            self.close()

    def flush(self) -> None:
        """Write what waits."""
        self._settle()
        if not self._waiting:
            return
        data = b"".join(self._waiting)
        self._waiting, self._size = [], 0
        if not self._old:
            self._pool.append(self._path, data)
            return
        beside = f"{self._directory}/.events.new"
        write_new(beside, data)
        os.replace(beside, self._path)
        self._drop()

    def close(self) -> None:
        """Write what waits and close the file; later results open it again."""
        self.flush()
        self._pool.close(self._path)

    def _add(self, record: bytes) -> None:
        self._settle()
        self._waiting.append(record)
        self._size += len(record)
        if self._size > _BYTES_IN_MEMORY and not self._old:
            self.flush()

    def _add_scalars(self, wall: float, step: int, tags: tuple[str, ...], values: tuple[Any, ...]) -> None:
        if len(tags) > _TOGETHER:
            for first in range(0, len(tags), _TOGETHER):
                self._add_scalars(wall, step, tags[first : first + _TOGETHER], values[first : first + _TOGETHER])
            return
        encoded = varint(step)
        layout = layout_of(tags, len(encoded))
        rows = self._rows
        if layout is not self._layout:
            self._settle()
            self._layout, rows = layout, self._rows
        rows.append((wall, encoded, *values))
        if len(rows) >= _ROWS_IN_MEMORY:
            self._settle()

    def _settle(self) -> None:
        """Make records of the rows that wait."""
        rows, self._rows = self._rows, []
        if rows:
            assert self._layout is not None
            try:
                self._add(self._layout.records(rows))
            except OverflowError:
                self._add(self._layout.records([(wall, step, *map(narrow, values)) for wall, step, *values in rows]))

    def _add_rich(self, wall: float, step: int, values: list[tuple[str, Any]]) -> None:
        """Arrays and images; the journal does not have them, so told again from there they come from the file that was there before."""
        summary = rich_summary(values)
        if summary:
            self._add(event(wall, step, chunk(5, summary)))
        elif known := self._rich.pop((wall, step), None):
            self._add(known)

    def _take_back(self, wall: float, step: int) -> None:
        """What was said of this step and later ones does not hold any more."""
        self._add(restart(wall, step))
        self._untidy = True
        self._last = (wall, step - 1) if self.rows else None
        self._changed = None

    def _configure(self, config: Mapping[str, Any], drawn: Container[str], wall: float, step: int) -> None:
        """The trial goes on with another configuration: numbers that changed are shown as curves."""
        old, new = self._hparams, hparams_of(config, drawn)
        self._config, self._hparams = config, new
        names = [name for name in (old | new) if old.get(name) != new.get(name)]
        if not names:
            return
        self._untidy = True
        if self._last is not None and self._last[1] != self._changed:
            self._curve(self._last, {name: old[name] for name in names if name in old})
        self._curve((wall, step), {name: new[name] for name in names if name in new})
        self._changed = step

    def _curve(self, place: tuple[float, int], hparams: Mapping[str, Hparam]) -> None:
        numbers = {f"config/{name}": float(value) for name, value in hparams.items() if not isinstance(value, str)}
        if numbers:
            self._add_scalars(*place, tuple(numbers), tuple(numbers.values()))

    def _tidy(self, wall: float) -> None:
        """Replace the file by one without what was taken back, with the hyperparameters that the trial ended with."""
        told = [record.raw for record in _kept([self._path]) if record.kind]
        self._old = [self._path]
        self._path = self._numbered(int(self._path.rpartition(".")[2]) + 1)
        self._waiting = [*self._opening(wall), *told]

    def _opening(self, wall: float, anew: bool = True) -> list[bytes]:
        """What a file begins with; ``anew``: nothing that stands before it holds.

        A trial's first file has such a restart, too: TensorBoard without its data server takes the first that it sees for the start.
        """
        started = session_start(self._hparams, self._name, self._started, wall)
        return [version(wall), *([restart(wall, 0)] if anew else []), started]

    def _drop(self) -> None:
        """Empty the files in whose place this one stands."""
        for path in self._old:
            with suppress(FileNotFoundError):
                os.truncate(path, 0)
        self._spent += self._old
        self._old = []

    def _numbered(self, number: int) -> str:
        return f"{self._directory}/{self._stem}{number:04d}"

    def _found(self) -> list[str]:
        """Names of the event files of ours that are there, in order."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        return sorted([name for name in names if _OURS.fullmatch(name)])


def remove_all(spent: list[str]) -> None:
    """Delete files that were emptied; the list is empty afterwards."""
    for path in spent:
        with suppress(FileNotFoundError):
            os.remove(path)
    spent.clear()


def _kept(paths: Iterable[str]) -> list[EventRecord]:
    """What stands in event files, without what was taken back; somebody may have deleted them."""
    kept: list[EventRecord] = []
    for path in paths:
        data = b""
        with suppress(FileNotFoundError), open(path, "rb") as file:
            data = file.read()
        for record in read_events(data):
            if record.kind == "restart":
                step = record.step or 0
                kept = [one for one in kept if one.step is None or one.step < step]
            else:
                kept.append(record)
    return kept


_entry: Callable[[Any, str], Any] = dict.get  # of a ResultDict, too: its own goes through all entries for one that is missing


def _step(row: Mapping[str, Any], iteration: int) -> int:
    for name in ("timesteps_total", "training_iteration"):
        step = _entry(row, name)
        if type(step) is int and -(1 << 63) <= step < 1 << 63:
            return step
    return iteration


@lru_cache(maxsize=64)
def _shown(keys: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Which values of rows with these keys may be shown, and how to get them."""
    names = tuple([key for key in keys if key not in _HIDDEN])
    if len(names) > 1:
        return names, itemgetter(*names)
    return names, lambda row: tuple([row[name] for name in names])


def _sorted(tags: tuple[str, ...], values: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[Any, ...], list[tuple[str, Any]]]:
    """Tags and values of those that are numbers; and of those that may be arrays or images."""
    plain = {tag: _plain(value) for tag, value in zip(tags, values, strict=True)}
    numbers = {tag: value for tag, value in plain.items() if type(value) in _NUMBERS}
    return tuple(numbers), tuple(numbers.values()), [(tag, value) for tag, value in plain.items() if type(value) not in SCALARS]


def _plain(value: Any) -> Any:
    """numpy's numbers and the like as Python's: what logs by hand may hold such."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
