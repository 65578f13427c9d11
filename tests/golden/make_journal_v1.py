"""Writes the golden journal of format 1: ``journal_v1.db``, and what it holds as text, ``journal_v1.json``.

Run once, when format 1 was fixed; kept to show what is in the file. Later formats get a script and files of their own, these stay.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.codec import dumps
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import SqliteJournal

HERE = Path(__file__).parent
HEADER = Header(uuid="7e5c0de0" * 4, name="golden", created=1.6e9, rules={"rung": 1}, library="0.1.0")


def batches() -> list[list[Record]]:
    """Every kind of event, and every kind of value."""
    started = {"metric": ["loss"], "mode": ["min"], "space": {"lr": {"kind": "loguniform", "bounds": (1e-5, 0.1)}, 3: "key"}}
    error = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback ...\nKeyError: 'lr'"}
    return [
        [
            Record(ev.ExperimentStarted(started, 0, 0.0)),
            Record(ev.CapacityChanged({"cpu": 2.0, "gpu": 0.5}, 4, 0.01)),
        ],
        [
            Record(
                ev.Suggested(0, {"lr": 0.01, "layers": 3, "act": "relu"}, "random", at=0.02),
                [Decision("launch", 0, "a slot is free", {"attempt": 0})],
            ),
            Record(ev.Suggested(1, {"lr": 0.02, "layers": 2**64, "act": None}, "point 1", {"cpu": 1.0}, "trial_1", "dir_1", 0.03)),
        ],
        [Record(ev.AttemptStarted(0, 0, {"pid": 12, "hostname": "knöt", "node_ip": "127.0.0.1"}, 0.1))],
        [Record(ev.Reported(0, 0, 1, {"loss": 0.5, "training_iteration": 1, "time_total_s": 0.25}, at=0.35))],
        [Record(ev.Reported(0, 0, 2, {"loss": math.nan, "training_iteration": 2, "time_total_s": 0.5}, at=0.6))],
        [
            Record(
                ev.Reported(
                    0, 0, 3, {"loss": -math.inf, "note": "a/b \U0001f600", "ok": True}, "0/checkpoint_000000", "loss <= 0", ("image",), 0.8
                ),
                [Decision("stop", 0, "stopped: loss <= 0"), Decision("end", 0, "stopped by a criterion", {"pair": (1, math.inf)})],
            )
        ],
        [Record(ev.CheckpointSaved(0, 0, 3, "0/checkpoint_000001", 0.85)), Record(ev.AttemptEnded(0, 0, "stopped", None, 0.9))],
        [Record(ev.Explored(1, {"lr": 0.04}, 1.0)), Record(ev.TimerFired("deadline 1", 1.1)), Record(ev.UserAction("pause", 1, 1.2))],
        [Record(ev.AttemptEnded(1, 0, "user_error", error, 1.3), [Decision("retry", 1, "1 of 3 failures")])],
        [Record(ev.SpecChanged({"num_samples": 20, "$f": "plain"}, 1.4)), Record(ev.SpecChanged({"$f": "nan"}, 1.5))],
        [Record(ev.SearchExhausted("the grid is done", 1.6)), Record(ev.TimerFired("poison", 1.7), handled=False)],
        [Record(ev.StopRequested("Ctrl-C", True, 1.8)), Record(ev.ExperimentStarted({}, 1, 2.0))],
    ]


def described(record: Record) -> dict[str, Any]:
    """A record as plain JSON, tags included."""
    later = {field.name for field in fields(record.event) if field.metadata.get("added")}  # than the format was fixed
    event = {name: value for name, value in asdict(record.event).items() if name != "extras" and name not in later}
    shown = {
        "seq": record.seq,
        "handled": record.handled,
        "event": {"type": type(record.event).__name__, **event},
        "decisions": [asdict(decision) for decision in record.decisions],
    }
    plain: dict[str, Any] = json.loads(dumps(shown))
    return plain


def write(path: Path) -> list[Record]:
    """Write the journal at ``path``; returns its records."""
    with SqliteJournal.create(path, HEADER, mode="local") as journal:
        for batch in batches():
            journal.append(batch)
        return list(journal.read())


if __name__ == "__main__":
    records = write(HERE / "journal_v1.db")
    text = json.dumps({"header": asdict(HEADER), "records": [described(record) for record in records]}, indent=1)
    (HERE / "journal_v1.json").write_text(text + "\n")
