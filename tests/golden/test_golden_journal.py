"""Journals of every released format open and say what they said then."""

from __future__ import annotations

import json
import runpy
import shutil
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core.codec import KINDS
from tunesmith.journal import SqliteJournal, open_reader

HERE = Path(__file__).parent
LATER = {"SaveSkipped", "Reopened"}  # kinds of events that came after the file was written; the format is the same


@pytest.fixture
def v1() -> dict[str, Any]:
    return runpy.run_path(str(HERE / "make_journal_v1.py"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A copy: opening it to write changes it."""
    return Path(shutil.copy(HERE / "journal_v1.db", tmp_path / "experiment.db"))


def test_format_1_reads_as_it_was_written(path: Path, v1: dict[str, Any]) -> None:
    expected = json.loads((HERE / "journal_v1.json").read_text())
    with open_reader(path) as reader:
        assert asdict(reader.header) == expected["header"]
        assert [v1["described"](record) for record in reader.read()] == expected["records"]
    with SqliteJournal.open(path) as journal:
        assert [v1["described"](record) for record in journal.read()] == expected["records"]
    assert {record["event"]["type"] for record in expected["records"]} == {cls.__name__ for cls in KINDS.values()} - LATER


def test_format_1_is_still_what_is_written(path: Path, tmp_path: Path, v1: dict[str, Any]) -> None:
    fresh = tmp_path / "fresh.db"
    v1["write"](fresh)
    for query in ("SELECT * FROM records", "SELECT * FROM keysets", "SELECT * FROM header", "SELECT name, sql FROM sqlite_master"):
        assert rows(fresh, query) == rows(path, query)


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
