"""The public kit on our own loggers, and on two as users write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tunesmith.core.flat import flatten
from tunesmith.logger import (
    CSVLogger,
    CSVLoggerCallback,
    ErrorFileCallback,
    JsonLogger,
    JsonLoggerCallback,
    LegacyLoggerCallback,
    Logger,
    LoggerCallback,
    UnifiedLogger,
)
from tunesmith.testing import LoggerKit


def csv_rows(folder: Path) -> list[Mapping[str, Any]]:
    path = folder / "progress.csv"
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def json_rows(folder: Path) -> list[Mapping[str, Any]]:
    path = folder / "result.json"
    return [flatten(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


class TestCSV(LoggerKit):
    def make(self, tmp_path: Path) -> LoggerCallback:
        return CSVLoggerCallback()

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        return csv_rows(tmp_path / trial_id)


class TestJson(LoggerKit):
    def make(self, tmp_path: Path) -> LoggerCallback:
        return JsonLoggerCallback()

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        return json_rows(tmp_path / trial_id)


class TestErrorFile(LoggerKit):
    def make(self, tmp_path: Path) -> LoggerCallback:
        return ErrorFileCallback()


class TestLegacyCSV(LoggerKit):
    rewrites = False

    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([CSVLogger])

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        return csv_rows(tmp_path / trial_id)


class TestLegacyJson(LoggerKit):
    rewrites = False

    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([JsonLogger])

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        return json_rows(tmp_path / trial_id)


class TestUnified(LoggerKit):
    rewrites = False

    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([UnifiedLogger])

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        table, results = csv_rows(tmp_path / trial_id), json_rows(tmp_path / trial_id)
        assert [int(row["training_iteration"]) for row in table] == [row["training_iteration"] for row in results]
        return results


class Lines(LoggerCallback):
    """A callback as users write them: one file for all trials."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            plain = {key: value for key, value in result.items() if isinstance(value, (int, float, str, type(None)))}
            file.write(json.dumps({**plain, "trial_id": trial.trial_id}) + "\n")


class TestUsersCallback(LoggerKit):
    rewrites = False

    def make(self, tmp_path: Path) -> LoggerCallback:
        return Lines(tmp_path / "all.jsonl")

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        path = tmp_path / "all.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        return [row for row in rows if row["trial_id"] == trial_id]


class Losses(Logger):
    """An old-style logger as users write them."""

    def _init(self) -> None:
        self.path = Path(self.logdir, "losses.txt")

    def on_result(self, result: dict[str, Any]) -> None:
        with open(self.path, "a") as file:
            file.write(f"{result['training_iteration']} {result.get('loss')}\n")


class TestUsersLogger(LoggerKit):
    rewrites = False
    odd_metrics: ClassVar[dict[str, Any]] = {}  # it keeps the loss only

    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([Losses])

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        path = tmp_path / trial_id / "losses.txt"
        rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [{"training_iteration": iteration, "loss": loss, "val/acc": 0.5} for iteration, loss in rows]
