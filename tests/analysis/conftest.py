"""A hand-made experiment: four trials, on disk or in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal, SqliteJournal
from tunesmith.space import Space, choice, uniform

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_900_000_000.0)
SPACE = Space.parse({"lr": uniform(0, 1), "net": {"act": choice([len, abs])}, "epochs": 3})
SPEC = {"trainable_name": "train", "space": SPACE.describe(), "metrics": ["loss"], "modes": ["min"]}
LOSSES = {0: [1.0, 0.2, 0.6], 1: [0.9, 0.7, 0.4], 2: [0.8, math.nan]}
CHECKPOINTS = {(0, 2): "0/checkpoint_000000", (1, 3): "1/checkpoint_000000"}
ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback (most recent call last): ..."}


def lines() -> list[Record]:
    """The records of the experiment."""
    found = [Record(ev.ExperimentStarted(SPEC))]
    for number in range(4):
        values = {"lr": (number + 1) / 10, "net/act": number % 2}
        found.append(Record(ev.Suggested(number, values, "random", at=1.0), [Decision("launch", number)]))
        found.append(Record(ev.AttemptStarted(number, 0, {"pid": 40 + number, "hostname": "box", "node_ip": "127.0.0.1"}, at=2.0)))
    for number, losses in LOSSES.items():
        for i, loss in enumerate(losses, 1):
            metrics = {"loss": loss, "val/acc": i / 10, "training_iteration": i, "time_this_iter_s": 1.0, "time_total_s": float(i)}
            stop = [Decision("stop", 2, "stopped: below the cut")] if (number, i) == (2, 2) else []
            found.append(Record(ev.Reported(number, 0, i, metrics, CHECKPOINTS.get((number, i)), at=2.0 + i), stop))
    for number, outcome in enumerate(["finished", "finished", "stopped", "user_error"]):
        data = {"status": "ERROR" if number == 3 else "TERMINATED", "outcome": outcome}
        reason = "KeyError: 'lr' at train.py:42" if number == 3 else ""
        ended = ev.AttemptEnded(number, 0, outcome, ERROR if number == 3 else None, at=9.0)
        found.append(Record(ended, [Decision("end", number, reason, data)]))
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The experiment on disk, its checkpoints included."""
    path = tmp_path / "demo"
    with SqliteJournal.create(path / "experiment.db", HEADER) as journal:
        journal.append(lines())
    for identity in CHECKPOINTS.values():
        number, name = identity.split("/")
        (path / f"3f2a9_{int(number):05d}" / name).mkdir(parents=True)
    return path


@pytest.fixture
def analysis(directory: Path) -> ExperimentAnalysis:
    """Of the experiment on disk."""
    return ExperimentAnalysis(directory)


@pytest.fixture
def in_memory() -> Callable[..., ExperimentAnalysis]:
    """An analysis of records that a test makes up: ``in_memory(record, ..., spec=...)``."""

    def make(*records: Record, spec: dict[str, Any] | None = None, **arguments: Any) -> ExperimentAnalysis:
        journal = MemoryJournal(HEADER)
        journal.append([Record(ev.ExperimentStarted(spec or {})), *records])
        return ExperimentAnalysis(journal, **arguments)

    return make
