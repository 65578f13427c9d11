"""``pbt_global.txt`` and ``pbt_policy_<trial>.txt``: who copied whom in population-based training, in the form of Ray Tune's files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.ports import Header, Record
from tunesmith.journal.experiment import Experiment, trial_id_of
from tunesmith.journal.exploits import ExploitRecord, Exploits, plain_config
from tunesmith.journal.views import TrialInfo
from tunesmith.logger.files import replace

__all__ = ["PolicyFiles"]

_GLOBAL, _ONE = "pbt_global.txt", "pbt_policy_"


class PolicyFiles:
    """An :class:`~tunesmith.core.ports.Observer` that writes a line per exploit, in the experiment's directory.

    A line is JSON: ``[trial's tag, source's tag, trial's iteration, source's iteration, source's config, new config]``. The tags are
    those that the trials began with; the source's iteration is that of the checkpoint. ``pbt_global.txt`` has them all; a trial's own
    file has the lines of its source and then its own, so it tells how its state came about; it is replaced whole. When a session begins all
    of them are brought to what the journal says.

    Args:
        header: of the journal.
        path: the experiment's directory.
        resolve: drawn values and the description of their space -> config; None: from that description alone.
        past: records of earlier sessions.
    """

    def __init__(
        self,
        header: Header,
        path: str,
        resolve: Callable[[dict[str, Any], Mapping[str, Any] | None], dict[str, Any]] | None = None,
        past: Iterable[Record] = (),
    ) -> None:
        self._header = header
        self._path = path
        self._experiment = Experiment(header, path, "", resolve)
        self._fold = Exploits()
        self._tags: dict[int, str] = {}
        self._all: list[str] = []
        self._of: dict[int, list[str]] = {}  # trial -> the lines of its file
        self._sources: dict[int, list[str]] = {}  # trial -> those of its source, when it decided to copy it
        changed = [trial for record in past for trial in self._take(record)]
        if changed or self._written():
            self._bring_up()

    def committed(self, records: Sequence[Record]) -> None:
        """Write what these exploits add."""
        known = len(self._all)
        for trial in dict.fromkeys(trial for record in records for trial in self._take(record)):
            self._write(trial)
        if len(self._all) > known:
            with open(os.path.join(self._path, _GLOBAL), "ab") as file:
                file.write("".join(f"{line}\n" for line in self._all[known:]).encode())

    def close(self) -> None:
        """There is nothing to finish."""

    def _take(self, record: Record) -> list[int]:
        """Fold a record; the trials that it gives a line."""
        if not record.handled:
            return []
        event, known = record.event, len(self._fold.entries)
        if isinstance(event, ev.ExperimentStarted) and "space" in event.spec:
            self._experiment.new_space(event.spec["space"], 0)
        elif isinstance(event, ev.SpecChanged) and "space" in event.changes:
            self._experiment.new_space(event.changes["space"], record.seq)
        elif isinstance(event, ev.Suggested):
            trial = TrialInfo(self._experiment, event.trial, event.values)
            trial.space = self._experiment.version(record.seq)
            self._tags[event.trial] = trial.experiment_tag
        for decision in record.decisions:
            if decision.do == "exploit" and decision.trial is not None:
                self._sources[decision.trial] = self._of.get(decision.data["source"], [])
        self._fold.fold([record])
        return [self._add(entry) for entry in self._fold.entries[known:]]

    def _add(self, entry: ExploitRecord) -> int:
        old, new = (plain_config(stretch, self._experiment) for stretch in (entry.old, entry.new))
        tags = self._tags[entry.trial], self._tags[entry.source]
        line = json.dumps([*tags, entry.iteration, entry.source_iteration, old, new])
        self._all.append(line)
        self._of[entry.trial] = [*self._sources.pop(entry.trial, []), line]
        return entry.trial

    # -- files -----------------------------------------------------------------------------------------------------------

    def _name(self, trial: int) -> str:
        return f"{_ONE}{trial_id_of(self._header, trial)}.txt"

    def _write(self, trial: int) -> None:
        _replace(os.path.join(self._path, self._name(trial)), self._of[trial])

    def _written(self) -> list[str]:
        """Names of the files that are there."""
        with suppress(OSError):
            return [name for name in os.listdir(self._path) if name == _GLOBAL or name.startswith(_ONE)]
        return []

    def _bring_up(self) -> None:
        """Make the files what the journal says: a crash or a power cut may have come between."""
        for trial in self._of:
            self._write(trial)
        if self._all:
            _replace(os.path.join(self._path, _GLOBAL), self._all)
        known = {_GLOBAL, *map(self._name, self._of)} if self._all else set()
        for name in self._written():
            if name not in known:
                os.remove(os.path.join(self._path, name))


def _replace(path: str, lines: list[str]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    with suppress(OSError), open(path, "rb") as file:
        if file.read() == data:
            return
    replace(path, data)
