"""Saves that were skipped are on record, and change nothing of what is read of trials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import JOURNAL_FILE, SqliteJournal, open_reader
from tunesmith.journal.experiment import Experiment
from tunesmith.journal.projections import Curves, Histories, TrialTable, Utilisation

HEADER = Header(uuid="7e5c0" + "0" * 27, name="skips", created=1.6e9)


def story(skips: bool) -> list[Record]:
    told = [
        Record(ev.ExperimentStarted({"num_samples": 1}, 0)),
        Record(ev.Suggested(0, {"x": 1.0}, at=0.1), [Decision("launch", 0)]),
        Record(ev.AttemptStarted(0, 0, at=0.2)),
        Record(ev.Reported(0, 0, 1, {"loss": 1.0}, "0/checkpoint_000000", at=0.3, bytes=512)),
        Record(ev.SaveSkipped(0, 0, 2, "no room", 0.4)),
        Record(ev.Reported(0, 0, 2, {"loss": 0.5}, at=0.4)),
        Record(ev.SaveSkipped(0, 0, 2, "no room", 0.5)),
        Record(ev.CheckpointSaved(0, 0, 2, "0/checkpoint_000001", 0.6, 1024)),
        Record(ev.AttemptEnded(0, 0, "finished", at=0.7), [Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"})]),
    ]
    return told if skips else [record for record in told if not isinstance(record.event, ev.SaveSkipped)]


def read(folder: Path, skips: bool) -> list[Any]:
    folder.mkdir()
    with SqliteJournal.create(folder / JOURNAL_FILE, HEADER, mode="local") as journal:
        journal.append(story(skips))
    with open_reader(folder / JOURNAL_FILE) as reader:
        assert [record.event for record in reader.read()] == [record.event for record in story(skips)]
        assert [event.bytes for event in (record.event for record in reader.read()) if hasattr(event, "bytes")] == [512, 0, 1024]
        histories = Histories(Experiment(reader.header, str(folder))).update(reader)
        table = TrialTable(reader.header, str(folder)).update(reader).rows()
        rows = [{key: row[key] for key in row if key not in ("path", "logdir", "seq")} for row in table]
        use = Utilisation().update(reader)
        return [rows, Curves("loss").update(reader).by_trial, histories.rows, histories.checkpoints, list(use.at), list(use.busy)]


def test_readers_pass_over_them(tmp_path: Path) -> None:
    with_them, without = read(tmp_path / "a", True), read(tmp_path / "b", False)
    assert repr(with_them).replace(f"{tmp_path}/a", "") == repr(without).replace(f"{tmp_path}/b", "")
    assert with_them[3] == {0: {1: "0/checkpoint_000000", 2: "0/checkpoint_000001"}}
