"""Trials as Ray Tune's files tell of them: which there are, what each reported, which configurations it went through."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from tunesmith.core.flat import flatten
from tunesmith.core.trial import ERROR, RUNNING, TERMINATED
from tunesmith.search.ray_files import RayState, csv_rows, json_rows, plain, trial_folders

__all__ = ["Configs", "RayTrial", "is_number", "trials_of"]

_NUMBERED = re.compile(r".*_(\d{5})")
_CHECKPOINT = re.compile(r"checkpoint_(\d+)")


def is_number(value: Any) -> TypeGuard[float]:
    """A time or a count, as Ray writes them."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(slots=True)
class RayTrial:
    """One trial.

    Args:
        path: of its directory as it is now; it need not be there.
        known: what the state says of it; without one what follows from its files: ``trial_id`` and ``status``.
        rows: its results in order, nested.
        config: from ``params.json``, else from the state.
        number: in order of creation, from 0.
        iterations: of each row, the count of the trial's reports; begins: of each row, whether an attempt began with it.
    """

    path: str
    known: dict[str, Any]
    rows: list[dict[str, Any]]
    config: dict[str, Any]
    number: int = 0
    iterations: list[int] = field(default_factory=list)
    begins: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        before: dict[str, Any] = {}
        for row in self.rows:
            begins = not before or row.get("iterations_since_restore") == 1 or row.get("pid") != before.get("pid")
            last = self.iterations[-1] if self.iterations else 0
            told = row.get("training_iteration")
            goes_on = bool(before) or row.get("time_total_s") != row.get("time_this_iter_s")  # else users count otherwise
            self.iterations.append(told if begins and goes_on and type(told) is int and told > 0 else last + 1)
            self.begins.append(begins)
            before = row

    @property
    def trial_id(self) -> str:
        return str(self.known["trial_id"])

    @property
    def dirname(self) -> str:
        return os.path.basename(self.path)

    def began(self) -> float | None:
        """Wall time of its begin; None: nothing tells."""
        start = self.known.get("start_time")
        if is_number(start):
            return float(start)
        times = (row["timestamp"] for row in self.rows if is_number(row.get("timestamp")))
        return next((float(time) for time in times), None)

    def checkpoints(self) -> dict[int, str]:
        """Iteration -> name of the checkpoint that is of it, as far as that is written down.

        Functions' rows name their checkpoints. Those of classes bear the iteration in releases before 2.7; since then only a count of
        them, and nothing says of which step they are: the newest then stands for the trial's last state.
        """
        named = {
            at: row["checkpoint_dir_name"]
            for at, row in zip(self.iterations, self.rows, strict=True)
            if isinstance(row.get("checkpoint_dir_name"), str) and _CHECKPOINT.fullmatch(row["checkpoint_dir_name"])
        }
        if named or not self.iterations or not os.path.isdir(self.path):
            return named
        found = {int(match[1]): name for name in os.listdir(self.path) if (match := _CHECKPOINT.fullmatch(name))}
        if "status" in self.known and "storage" not in self.known and found.keys() <= set(self.iterations):
            return found
        return {self.iterations[-1]: found[max(found)]} if found else {}


# ---- reading


def trials_of(path: str, state: RayState) -> list[RayTrial]:
    """Those of the state in order of creation, then those that only have a directory, by the numbers in their ids."""
    found = []
    for known in _in_order(state.trials):
        place = known.get("relative_logdir") or known.get("logdir") or known["trial_id"]
        found.append(_trial(os.path.join(path, os.path.basename(os.path.normpath(str(place)))), known))
    seen = {trial.dirname for trial in found}
    others = [_trial(os.path.join(path, name), None, stale=bool(found)) for name in trial_folders(path) if name not in seen]
    found += sorted(others, key=_order)
    for number, trial in enumerate(found):
        trial.number = number
    return found


def _in_order(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By the numbers that their tags begin with: the state need not have them in order. As they are, if one has none."""
    numbers = [str(trial.get("experiment_tag", "")).partition("_")[0] for trial in trials]
    if not all(map(str.isdecimal, numbers)):
        return trials
    return [trial for _, trial in sorted(zip(map(int, numbers), trials, strict=True), key=lambda pair: pair[0])]


def _order(trial: RayTrial) -> tuple[float, str]:
    match = _NUMBERED.fullmatch(trial.trial_id)
    return (int(match[1]) if match else float("inf"), trial.dirname)


def _trial(path: str, known: dict[str, Any] | None, stale: bool = False) -> RayTrial:
    """``stale``: there is a state, but it is older than the trial."""
    rows = list(json_rows(os.path.join(path, "result.json"))) or list(csv_rows(os.path.join(path, "progress.csv")))
    if known is None:
        done = bool(rows and rows[-1].get("done"))
        failed = not done and os.path.isfile(os.path.join(path, "error.txt"))
        ids = [row["trial_id"] for row in rows if isinstance(row.get("trial_id"), str)]
        status = ERROR if failed else RUNNING if stale and not done else TERMINATED
        known = {"trial_id": ids[0] if ids else os.path.basename(path), "status": status}
    config = _params(path)
    if config is None:
        config = plain(known.get("config"))
    return RayTrial(path, known, rows, config if isinstance(config, dict) else {})


def _params(path: str) -> Any:
    try:
        with open(os.path.join(path, "params.json"), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


# ---- configurations


class Configs:
    """The configurations of all trials, told apart into what was drawn and what is the same for all.

    Args:
        trials: of the experiment.

    Attributes:
        constants: flat path -> value of what all have alike and the state does not tell to be drawn.
        order: flat paths of all entries, in the order of the files.
        of_rows: of each trial, which of its configurations each row was made with.
    """

    def __init__(self, trials: Iterable[RayTrial]) -> None:
        self._flat: list[list[dict[str, Any]]] = []
        self.of_rows: list[list[int]] = []
        paths: set[str] = set()
        for trial in trials:
            self._add(trial)
            evaluated = trial.known.get("evaluated_params")
            paths.update(map(str, evaluated if isinstance(evaluated, dict) else ()))
        every = [flat for flats in self._flat for flat in flats]
        self.order = tuple(dict.fromkeys(name for flat in every for name in flat))
        drawn = {name for name in self.order if any(_on_one_way(name, path) for path in paths)}
        drawn.update(name for name in self.order if not _alike(name, every))
        self.constants = {name: every[0][name] for name in self.order if name not in drawn}
        self._drawn = drawn

    def _add(self, trial: RayTrial) -> None:
        flats: list[dict[str, Any]] = []
        numbers: list[int] = []
        before: Any = None
        for row in trial.rows:
            config = row.get("config", before if flats else trial.config)
            if not flats or config != before:
                flats.append(flatten(config if isinstance(config, dict) else trial.config))
                before = config
            numbers.append(len(flats) - 1)
        self._flat.append(flats or [flatten(trial.config)])
        self.of_rows.append(numbers)

    def values(self, number: int, which: int) -> dict[str, Any]:
        """What was drawn for trial ``number``, in its configuration of that number."""
        return {name: value for name, value in self._flat[number][which].items() if name in self._drawn}

    def find(self, config: Any, number: int, which: int) -> bool:
        """Whether this configuration of the trial is ``config``."""
        return isinstance(config, dict) and flatten(config) == self._flat[number][which]


def _on_one_way(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/") or path.startswith(f"{name}/")


def _alike(name: str, flats: list[dict[str, Any]]) -> bool:
    missing = object()
    first = flats[0].get(name, missing)
    others: Iterator[Any] = (flat.get(name, missing) for flat in flats)
    return all(value == first and type(value) is type(first) for value in others) and first is not missing
