"""What Ray Tune leaves in an experiment's folder, as plain data: without Ray, and without unpickling anything.

Files of a run that goes on, or that was killed, may be half written: what can be read of them counts.
"""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RayState", "csv_rows", "json_rows", "newest_state", "plain", "trial_folders"]

STATE = "experiment_state-*.json"
"""What Ray Tune writes at the top of an experiment: the newest has the status of each trial."""

_FILES = ("params.json", "result.json", "progress.csv", "error.txt")
_PICKLED = "CLOUDPICKLE_FALLBACK"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf)", re.IGNORECASE)
_WORDS = {"": None, "True": True, "False": False}


@dataclass(frozen=True, slots=True)
class RayState:
    """The newest state that Ray wrote.

    Args:
        trials: of each trial, in order of creation: what it is, and how it went (both kinds of entries in one dict).
        runner: of the run: ``_metric``, ``_start_time`` and others.
    """

    trials: list[dict[str, Any]] = field(default_factory=list)
    runner: dict[str, Any] = field(default_factory=dict)


def newest_state(folder: str) -> RayState | None:
    """The newest state in ``folder``; None if there is none, or it cannot be read."""
    files = sorted(glob.glob(os.path.join(glob.escape(folder), STATE)))
    if not files:
        return None
    try:
        with open(files[-1], encoding="utf-8") as file:
            state = json.load(file)
        entries = state["trial_data"] if "trial_data" in state else [[trial] for trial in state["checkpoints"]]
        trials: list[dict[str, Any]] = []
        for entry in entries:
            known: dict[str, Any] = {}
            for part in entry:
                known.update(json.loads(part) if isinstance(part, str) else part or {})
            if not isinstance(known["trial_id"], str) or not isinstance(known["status"], str):
                return None
            trials.append(known)
        runner = {**(state.get("stats") or {}), **(state.get("runner_data") or {})}
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None
    return RayState(trials, runner)


def trial_folders(folder: str) -> list[str]:
    """Names of the directories in ``folder`` that hold a trial, sorted; none if it cannot be read."""
    try:
        entries = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except OSError:
        return []
    return [name for name in entries if any(os.path.isfile(os.path.join(folder, name, file)) for file in _FILES)]


def json_rows(path: str) -> Iterator[dict[str, Any]]:
    """The results in a ``result.json``, one per line; the last may be half written. Nothing if there is no such file."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                yield row


def csv_rows(path: str) -> Iterator[dict[str, Any]]:
    """The results in a ``progress.csv``, numbers as numbers; a last line that is cut short is left out. Nothing without the file."""
    if not os.path.exists(path):
        return
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        text = file.read()
    for row in csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline="")):
        if None not in row.values():
            yield {name: _parsed(name, cell) for name, cell in row.items() if name}


def _parsed(name: str, text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if name in ("trial_id", "date", "hostname", "node_ip") or not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def plain(value: Any) -> Any:
    """``value`` of a state with what was pickled there as a short text."""
    if isinstance(value, dict):
        if value.get("_type") == _PICKLED:
            return "<pickled>"
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, list) else value
