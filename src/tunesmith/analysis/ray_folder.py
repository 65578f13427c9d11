"""A folder of Ray Tune's read as a journal, so that everything that reads ours reads it: views, tables, curves, plots.

What is taken: the newest ``experiment_state-*.json`` (which trials there are, their ids and status), and of each trial ``result.json``
(else ``progress.csv``), ``params.json``, ``error.txt`` and the names of its checkpoints; ``pbt_global.txt``. Nothing is unpickled. Objects
in configurations are the texts that Ray wrote for them. Metrics that are neither numbers nor strings are named, not kept.

Of what a trial reported twice (it went on from an older checkpoint) the newer report counts, as in our own experiments.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

from tunesmith.analysis.ray_trials import Configs, RayTrial, is_number, trials_of
from tunesmith.analysis.ray_views import RayExperiment
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.flat import flatten
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, PAUSED, PENDING, TERMINATED
from tunesmith.journal.memory import MemoryJournal
from tunesmith.search.ray_files import RayState, newest_state, plain, trial_folders

__all__ = ["is_ray_folder", "read_folder"]

_FROM_ELSEWHERE = frozenset(
    {
        "trial_id", "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore", "experiment_tag",
        "checkpoint_dir_name", "done",
    }
)  # fmt: skip
"""Entries of Ray's rows that our rows have not from the report."""
_PROCESS = ("pid", "hostname", "node_ip")
_SCALARS = frozenset({bool, int, float, str, type(None)})
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WHERE = re.compile(r'File "(.+?)", line (\d+)')


def is_ray_folder(path: str) -> bool:
    """Whether ``path`` holds an experiment of Ray Tune's: its state, or directories of trials with their files."""
    return newest_state(path) is not None or any(os.path.isfile(os.path.join(path, name, "params.json")) for name in trial_folders(path))


def read_folder(path: str) -> tuple[MemoryJournal, RayExperiment]:
    """The experiment in ``path``, as it is now."""
    state = newest_state(path) or RayState()
    trials = trials_of(path, state)
    configs = Configs(trials)
    start = state.runner.get("_start_time", state.runner.get("start_time"))
    times = [began for trial in trials if (began := trial.began()) is not None]
    start = float(start) if is_number(start) else min(times, default=0.0)
    identity = (trials[0].trial_id if trials else "").encode().hex()
    journal = MemoryJournal(Header(uuid=identity[:32].ljust(32, "0"), name=os.path.basename(path), created=start))
    telling = _Telling(trials, configs, start, _copies(path, trials))
    journal.append([Record(ev.ExperimentStarted(_spec(state, trials))), *telling.suggested(), *telling.told()])
    ids = tuple(trial.trial_id for trial in trials)
    return journal, RayExperiment(journal.header, path, None, journal.read, ids, configs.constants, configs.order)


def _spec(state: RayState, trials: list[RayTrial]) -> dict[str, Any]:
    names = [trial.known["trainable_name"] for trial in trials if isinstance(trial.known.get("trainable_name"), str)]
    spec: dict[str, Any] = {"trainable_name": names[0]} if names else {}
    spec["runner_data"] = plain(state.runner)
    if isinstance(state.runner.get("_metric"), str):
        spec["metrics"] = [state.runner["_metric"]]  # the mode is written down nowhere
    return spec


def _copies(path: str, trials: list[RayTrial]) -> dict[int, list[tuple[int, Any]]]:
    """From ``pbt_global.txt``: trial -> whom it copied and the configuration that it went on with, in order."""
    numbers = {str(trial.known.get("experiment_tag", "")).partition("@")[0]: trial.number for trial in trials}
    found: dict[int, list[tuple[int, Any]]] = {}
    try:
        with open(os.path.join(path, "pbt_global.txt"), encoding="utf-8") as file:
            lines = file.readlines()
    except OSError:
        return found
    for line in lines:
        try:
            target, source, _, _, _, config = json.loads(line)
            found.setdefault(numbers[target.partition("@")[0]], []).append((numbers[source.partition("@")[0]], config))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


class _Telling:
    """Trials as records.

    Args:
        start: wall time of second 0.
        copies: see :func:`_copies`.
    """

    def __init__(self, trials: list[RayTrial], configs: Configs, start: float, copies: dict[int, list[tuple[int, Any]]]) -> None:
        self._trials, self._configs, self._start, self._copies = trials, configs, start, copies
        self._saved = [trial.checkpoints() for trial in trials]

    def suggested(self) -> Iterator[Record]:
        for trial in self._trials:
            name = trial.known.get("custom_trial_name")
            values = self._configs.values(trial.number, 0)
            yield Record(ev.Suggested(trial.number, values, "ray", None, name if isinstance(name, str) else None, trial.dirname))

    def told(self) -> list[Record]:
        """What happened, in order of time; what happened to one trial in its order."""
        return sorted((record for trial in self._trials for record in self._of(trial)), key=lambda record: record.event.at)

    def _of(self, trial: RayTrial) -> Iterator[Record]:
        number, attempt, which = trial.number, 0, 0
        at = max(0.0, (trial.began() or self._start) - self._start)
        configs = self._configs.of_rows[number]
        if trial.rows or trial.known["status"] != PENDING:
            info = {name: trial.rows[0].get(name) for name in _PROCESS} if trial.rows else {}
            yield Record(ev.AttemptStarted(number, 0, info, at=at))
        for index, row in enumerate(trial.rows):
            time = row.get("timestamp")
            then, at = at, max(at, time - self._start) if is_number(time) else at
            changed = configs[index] != which
            which = configs[index]
            if index and (trial.begins[index] or changed):
                attempt += 1
                info = {name: row.get(name) for name in _PROCESS}
                began = max(then, at - row["time_this_iter_s"]) if is_number(row.get("time_this_iter_s")) else at
                decided = self._exploited(trial, which, trial.iterations[index] - 1) if changed else []
                yield Record(ev.AttemptStarted(number, attempt, info, at=began), decided)
            yield Record(self._reported(trial, index, attempt, at))
        yield from self._end(trial, attempt, at)

    def _reported(self, trial: RayTrial, index: int, attempt: int, at: float) -> ev.Reported:
        row, iteration = trial.rows[index], trial.iterations[index]
        flat = flatten({name: value for name, value in row.items() if name not in _FROM_ELSEWHERE})
        metrics = {name: value for name, value in flat.items() if type(value) in _SCALARS}
        named = tuple(name for name in flat if name not in metrics)
        saved = self._saved[trial.number].get(iteration)
        checkpoint = f"{trial.number}/{saved}" if saved is not None else None
        return ev.Reported(trial.number, attempt, iteration, metrics, checkpoint, None, named, at)

    def _exploited(self, trial: RayTrial, which: int, iteration: int) -> list[Decision]:
        """Population-based training changed the configuration; of whom the state is, ``pbt_global.txt`` may tell."""
        source = trial.number
        waiting = self._copies.get(trial.number, [])
        for place, (copied, config) in enumerate(waiting):
            if self._configs.find(config, trial.number, which):
                source = copied
                del waiting[: place + 1]
                break
        saved = [name for at, name in self._saved[source].items() if at <= iteration]
        data = {"iteration": iteration, "source": source, "checkpoint": f"{source}/{saved[-1] if saved else 'unknown'}"}
        values = self._configs.values(trial.number, which)
        reason = f"went on from trial {self._trials[source].trial_id}" if source != trial.number else "went on with another configuration"
        return [Decision("exploit", trial.number, reason, {**data, "values": values}), Decision("exploited", trial.number, reason, data)]

    def _end(self, trial: RayTrial, attempt: int, at: float) -> Iterator[Record]:
        number, status = trial.number, trial.known["status"]
        if status == ERROR:
            error = _error(trial)
            data = {"status": ERROR, "outcome": "user_error"}
            end = Decision("end", number, f"{error['type']}: {error['message']}", data)
            yield Record(ev.AttemptEnded(number, attempt, "user_error", error, at=at), [end])
        elif status == TERMINATED:
            # a function that returns says so in no row; what a criterion or a scheduler stops, or a class that ends, is done in its last
            outcome = "stopped" if trial.rows and trial.rows[-1].get("done") else "finished"
            end = Decision("end", number, "", {"status": TERMINATED, "outcome": outcome})
            yield Record(ev.AttemptEnded(number, attempt, outcome, at=at), [end])
        elif status == PAUSED:
            yield Record(ev.AttemptEnded(number, attempt, "interrupted", at=at), [Decision("pause", number, "", {"mode": "warm"})])


def _error(trial: RayTrial) -> dict[str, str]:
    """The newest failure in ``error.txt``."""
    try:
        with open(os.path.join(trial.path, "error.txt"), encoding="utf-8", errors="replace") as file:
            text = _COLOUR.sub("", file.read())
    except OSError:
        return {"type": "error", "message": "Ray has left no error.txt"}
    newest = re.split(r"^Failure # \d+.*\n", text, flags=re.MULTILINE)[-1].strip()
    last = newest.splitlines()[-1] if newest else "error: error.txt is empty"
    kind, colon, message = last.partition(": ")
    error = {"type": kind if colon and " " not in kind else "error", "message": message if colon and " " not in kind else last}
    if places := _WHERE.findall(newest):
        error["where"] = ":".join(places[-1])
    return {**error, "traceback": newest}
