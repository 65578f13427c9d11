"""A journal in memory that tells a story, and a host of loggers that follows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal
from tunesmith.journal.trials import TrialBook
from tunesmith.logger import LoggerHost

INFO = {"pid": 7, "hostname": "box", "node_ip": "127.0.0.1"}


class Story:
    """Commits records to a journal and tells them to the hosts that follow."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.header = Header(uuid="3f2ab" + "0" * 27, name="demo", created=1_000_000_000.0)
        self.journal = MemoryJournal(self.header)
        self.hosts: list[LoggerHost] = []
        self.resolve: Callable[[dict[str, Any]], dict[str, Any]] | None = None
        self.add(ev.ExperimentStarted({"trainable_name": "train", "metrics": ["loss"], "modes": ["min"]}))

    def add(self, event: Any, *decisions: Decision) -> Record:
        record = Record(event, list(decisions))
        self.journal.append([record])
        for host in self.hosts:
            host.committed([record])
        return record

    def host(self, loggers: Iterable[Any], *, note: bool = False, **options: Any) -> LoggerHost:
        book = TrialBook(self.header, str(self.directory), "train", self.resolve, keep_finished=False, reader=self.journal.read)
        host = LoggerHost(
            loggers, book, lambda: nullcontext(self.journal), str(self.directory) if note else None, options.pop("linger_s", 0.0)
        )
        self.hosts.append(host)
        return host

    def close(self) -> None:
        """Everything is written, and nobody follows any more."""
        for host in self.hosts:
            host.close()
        self.hosts = []

    def start(self, trial: int = 0, attempt: int = 0, **values: Any) -> None:
        if attempt == 0:
            self.add(ev.Suggested(trial, values or {"lr": 0.1}, "random"), Decision("launch", trial))
        self.add(ev.AttemptStarted(trial, attempt, INFO, at=1.0))

    def report(self, iteration: int, trial: int = 0, attempt: int = 0, checkpoint: str | None = None, **metrics: Any) -> None:
        full = {**metrics, "training_iteration": iteration, "time_this_iter_s": 0.5, "time_total_s": 0.5 * iteration}
        self.add(ev.Reported(trial, attempt, iteration, full, checkpoint, at=1.0 + iteration))

    def end(self, trial: int = 0, attempt: int = 0, outcome: str = "finished", reason: str = "") -> None:
        data = {"status": "TERMINATED", "outcome": outcome}
        self.add(ev.AttemptEnded(trial, attempt, outcome, at=9.0), Decision("end", trial, reason, data))

    def fail(self, trial: int = 0, attempt: int = 0, *, retry: bool = False) -> None:
        error = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback ...\nKeyError: 'lr'\n"}
        text = "KeyError: 'lr' at train.py:42"
        decision = (
            Decision("retry", trial, text, {"outcome": "user_error", "charge": True})
            if retry
            else Decision("end", trial, text, {"status": "ERROR", "outcome": "user_error"})
        )
        self.add(ev.AttemptEnded(trial, attempt, "user_error", error, at=9.0), decision)

    def trial_dir(self, trial: int = 0) -> Path:
        return self.directory / f"3f2ab_{trial:05d}"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)
