"""Ray's files of population-based training: what the journal says, whatever came between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.logger.policies import PolicyFiles
from tunesmith.space import Space, choice, uniform
from tunesmith.space.domains import Mutable

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
SPACE = Space.parse({"lr": uniform(0, 1), "act": choice([len, abs]), "wd": Mutable(0.5), "token": "s3cret"})


def redacted(path: str, value: Any) -> bool:
    return path == "token"


def story() -> list[Record]:
    """Trial 1 copies 0, trial 2 copies 1, trial 1 copies 2."""

    def exploit(number: int, source: int, at: int, lr: float) -> list[Record]:
        data = {"source": source, "checkpoint": f"{source}/a", "iteration": at}
        return [
            Record(ev.Reported(number, 0, at + 5, {"score": 0.0})),
            Record(ev.Reported(source, 0, at, {"score": 1.0}, f"{source}/a"), [Decision("exploit", number, "why", {"source": source})]),
            Record(ev.Explored(number, {"lr": lr, "act": 0, "wd": lr / 2}, exploit=1)),
            Record(ev.AttemptEnded(number, 0, "stopped"), [Decision("exploited", number, "why", data)]),
        ]

    suggested = [Record(ev.Suggested(n, {"lr": n / 10, "act": 1})) for n in range(3)]
    began = Record(ev.ExperimentStarted({"space": SPACE.describe(redact=redacted), "scheduler_options": {"log_config": True}}))
    records = [began, *suggested, *exploit(1, 0, 3, 0.9), *exploit(2, 1, 6, 0.8), *exploit(1, 2, 9, 0.7)]
    for seq, record in enumerate(records, 1):
        record.seq = seq
    return records


def line(trial: int, source: int, at: int, old: dict[str, Any], new: dict[str, Any]) -> str:
    tags = [f"{trial}_lr={trial / 10:.4g},act=abs", f"{source}_lr={source / 10:.4g},act=abs"]
    return json.dumps([*tags, at + 5, at, old, new])


FIRST = line(1, 0, 3, {"lr": 0.0, "act": "abs", "wd": 0.5}, {"lr": 0.9, "act": "len", "wd": 0.45})
SECOND = line(2, 1, 6, {"lr": 0.9, "act": "len", "wd": 0.45}, {"lr": 0.8, "act": "len", "wd": 0.4})
THIRD = line(1, 2, 9, {"lr": 0.8, "act": "len", "wd": 0.4}, {"lr": 0.7, "act": "len", "wd": 0.35})
EXPECTED = {
    "pbt_global.txt": [FIRST, SECOND, THIRD],
    "pbt_policy_3f2a9_00001.txt": [FIRST, SECOND, THIRD],
    "pbt_policy_3f2a9_00002.txt": [FIRST, SECOND],
}


def found(path: Path) -> dict[str, list[str]]:
    return {file.name: file.read_text().splitlines() for file in path.iterdir()}


def test_a_line_per_exploit(tmp_path: Path) -> None:
    files = PolicyFiles(HEADER, str(tmp_path))
    for record in story():
        files.committed([record])
    files.close()
    assert found(tmp_path) == EXPECTED


def test_all_at_once(tmp_path: Path) -> None:
    PolicyFiles(HEADER, str(tmp_path)).committed(story())
    assert found(tmp_path) == EXPECTED


@pytest.mark.parametrize("at", range(17))
def test_wherever_the_driver_died(tmp_path: Path, at: int) -> None:
    """Before or after it wrote what it had committed, or in the middle of a line."""
    records = story()
    for damage in (lambda path: None, lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-7])):
        PolicyFiles(HEADER, str(tmp_path)).committed(records[:at])
        for path in tmp_path.iterdir():
            damage(path)
        PolicyFiles(HEADER, str(tmp_path), past=records[:at]).committed(records[at:])
        assert found(tmp_path) == EXPECTED
        for path in tmp_path.iterdir():
            path.unlink()


def test_what_the_journal_has_lost_goes(tmp_path: Path) -> None:
    """A power cut may take back the newest records, and not the files."""
    PolicyFiles(HEADER, str(tmp_path)).committed(story())
    PolicyFiles(HEADER, str(tmp_path), past=story()[:9])
    assert found(tmp_path) == {name: [FIRST] for name in ("pbt_global.txt", "pbt_policy_3f2a9_00001.txt")}
    PolicyFiles(HEADER, str(tmp_path), past=story()[:3])
    assert found(tmp_path) == {}


def test_files_that_are_right_are_left_alone(tmp_path: Path) -> None:
    PolicyFiles(HEADER, str(tmp_path)).committed(story())
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    PolicyFiles(HEADER, str(tmp_path), past=story())
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_with_the_real_objects_no_secret_is_written(tmp_path: Path) -> None:
    PolicyFiles(HEADER, str(tmp_path), lambda values, _: SPACE.resolve(values)).committed(story())
    assert found(tmp_path) == EXPECTED


def test_nothing_was_copied_nothing_is_written(tmp_path: Path) -> None:
    PolicyFiles(HEADER, str(tmp_path / "not there")).committed(story()[:6])
    assert not (tmp_path / "not there").exists()
