"""Loggers behind the loop: order, falling behind, resuming, and what one that fails does to the others."""

from __future__ import annotations

import errno
import json
import logging
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import SpecError
from tunesmith.journal import JOURNAL_FILE, SqliteJournal
from tunesmith.logger import (
    DEFAULT_LOGGERS,
    CSVLoggerCallback,
    ErrorFileCallback,
    JsonLoggerCallback,
    LegacyLoggerCallback,
    Logger,
    LoggerCallback,
    NoopLogger,
    UnifiedLogger,
    default_loggers,
    loggers_from,
    rebuild_files,
    split_callbacks,
)
from tunesmith.logger import host as host_module
from tunesmith.testing.logger_story import Diary


def tell(story: Any) -> None:
    story.start(0)
    story.report(1, checkpoint="0/checkpoint_000000")
    story.fail(0, retry=True)
    story.start(0, attempt=1)
    story.report(2, attempt=1)
    story.end(0, attempt=1)
    story.start(1)
    story.fail(1)


TOLD = [
    ("start", 0, 0),
    ("result", 0, 1),
    ("save", 0),
    ("restore", 0),
    ("start", 0, 1),
    ("result", 0, 2),
    ("end", 0, False),
    ("start", 1, 0),
    ("end", 1, True),
    ("over", 2),
]


def test_every_method_in_order_and_in_one_thread(story: Any) -> None:
    diary = Diary()
    story.host([diary]).setup(num_samples=2)
    tell(story)
    story.close()
    assert diary.entries == [("setup", 2), *TOLD]
    assert diary.thread == "tunesmith-loggers"


@pytest.mark.parametrize("in_memory", [1, 2, 5])
def test_a_host_that_falls_behind_reads_on_from_the_journal(story: Any, monkeypatch: pytest.MonkeyPatch, in_memory: int) -> None:
    monkeypatch.setattr(host_module, "_IN_MEMORY", in_memory)
    monkeypatch.setattr(host_module, "_BATCH", 2)
    gate = threading.Event()

    class Slow(Diary):
        def log_trial_start(self, trial: Any) -> None:
            gate.wait(5)
            super().log_trial_start(trial)

    slow = Slow()
    story.host([slow])
    tell(story)
    gate.set()
    story.close()
    assert slow.entries == TOLD


def test_a_journal_that_shows_its_records_late_only(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network disk: a logger that is slow is told all the same, however much waits for it."""

    class Late:
        def last(self) -> int:
            return 1  # what was there when the session began

        def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> list[Record]:
            return [record for record in story.journal.read(after, limit, trial) if record.seq <= 1]

    class Slow(Diary):
        def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
            gate.wait(60)
            super().log_trial_result(iteration, trial, result)

    monkeypatch.setattr(host_module, "_IN_MEMORY", 4)
    gate = threading.Event()
    slow = Slow()
    host = story.host([slow])
    host._open_reader = lambda: nullcontext(Late())
    story.start()
    slow.wait(1)
    for iteration in range(1, 21):
        story.report(iteration)
    gate.set()
    story.close()
    assert slow.entries == [("start", 0, 0), *(("result", 0, iteration) for iteration in range(1, 21)), ("over", 1)]


def test_closing_twice_and_without_records(story: Any) -> None:
    diary = Diary()
    host = story.host([diary])
    host.close()
    host.close()
    host.committed([])
    assert diary.entries == [("over", 0)]


def test_a_failing_logger_is_reported_once_and_dropped(story: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(LoggerCallback):
        def log_trial_result(self, iteration: int, trial: Any, result: Any) -> None:
            raise ValueError("no network")

    diary = Diary()
    host = story.host([Broken(), diary], note=True)
    tell(story)
    story.close()
    assert diary.entries == TOLD
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    text = record.getMessage()
    assert text.startswith("logger Broken.on_trial_result raised for trial 3f2ab_00000: ValueError: no network at test_logger_host.py:")
    assert f'tunesmith.logger.rebuild_files("{story.directory}")' in text
    assert [type(logger) for logger, _ in host.failures] == [Broken]
    assert not (story.directory / ".files.json").exists() or json.loads((story.directory / ".files.json").read_text())["seq"] < 5


def test_a_full_disk(story: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    story.host([CSVLoggerCallback()])
    story.start()
    story.report(1, loss=1.0)
    with monkeypatch.context() as patch:
        patch.setattr("tunesmith.logger.files.os.write", full)
        story.end()
        story.close()
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert "journal still has every result" in record.getMessage()


def test_a_journal_that_cannot_be_read_ends_the_host_only(story: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = story.host([Diary()])

    def refuse() -> Any:
        raise OSError("gone")

    host._open_reader = refuse
    story.start()
    story.close()
    assert "cannot follow the journal" in caplog.text
    assert isinstance(host.failures[0][1], OSError)


# -- resuming ----------------------------------------------------------------------------------------------------------------


def read(story: Any, trial: int = 0) -> list[str]:
    return [line.split(",")[0] for line in (story.trial_dir(trial) / "progress.csv").read_text().splitlines()[1:]]


def test_a_resumed_run_tells_only_what_is_new(story: Any) -> None:
    first, second = Diary(), Diary()
    story.host([first], note=True)
    story.start(0)
    story.report(1)
    story.close()
    story.host([second], note=True)
    story.report(2)
    story.end()
    story.close()
    assert second.entries == [("result", 0, 2), ("end", 0, False), ("over", 1)]


def test_files_of_a_resumed_trial_are_what_the_journal_holds(story: Any) -> None:
    """The first session lost rows, and has written one that the journal does not have."""
    story.host(default_loggers(), note=True)
    story.start()
    story.report(1, loss=1.0)
    story.report(2, loss=2.0)
    story.close()
    with open(story.trial_dir() / "progress.csv", "a") as file:
        file.write("99.0,3\nhalf a ro")
    (story.trial_dir() / "result.json").unlink()
    story.host(default_loggers(), note=True)
    story.start(attempt=1)
    story.report(3, attempt=1, loss=3.0)
    story.report(4, attempt=1, loss=4.0)
    story.end(attempt=1)
    story.close()
    assert read(story) == ["1.0", "2.0", "3.0", "4.0"]
    results = [json.loads(line) for line in (story.trial_dir() / "result.json").read_text().splitlines()]
    assert [result["loss"] for result in results] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_trial_that_rewinds_while_somebody_else_was_at_its_files(story: Any, harm: str) -> None:
    diary = Diary()
    story.host([*default_loggers(), diary])
    story.start()
    for iteration in (1, 2, 3):
        story.report(iteration, loss=float(iteration), checkpoint="0/checkpoint_000000" if iteration == 2 else None)
    diary.wait(5)
    for name in ("progress.csv", "result.json"):
        path = story.trial_dir() / name
        path.unlink() if harm == "gone" else path.write_text(path.read_text().splitlines()[0] + "\n")
    story.fail(retry=True)
    story.start(attempt=1)
    story.report(3, attempt=1, loss=30.0)
    story.end(attempt=1)
    story.close()
    assert read(story) == ["1.0", "2.0", "30.0"]
    results = [json.loads(line) for line in (story.trial_dir() / "result.json").read_text().splitlines()]
    assert [result["loss"] for result in results] == [1.0, 2.0, 30.0]


def test_a_resumed_trial_that_goes_on_without_a_new_start(story: Any) -> None:
    story.host([CSVLoggerCallback()], note=True)
    story.start()
    story.report(1, loss=1.0)
    story.close()
    (story.trial_dir() / "progress.csv").unlink()
    story.host([CSVLoggerCallback()], note=True)
    story.report(2, loss=2.0)
    story.report(3, loss=3.0)
    story.end()
    story.close()
    assert read(story) == ["1.0", "2.0", "3.0"]


def test_a_session_that_was_killed_before_it_wrote_is_told_again(story: Any) -> None:
    story.start()
    story.report(1, loss=1.0)
    story.end()
    story.host(default_loggers(), note=True)
    story.start(1)
    story.report(1, trial=1, loss=5.0)
    story.end(1)
    story.close()
    assert (read(story, 0), read(story, 1)) == (["1.0"], ["5.0"])


def test_after_a_restart_of_the_machine_ended_trials_are_checked_too(story: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    story.host(default_loggers(), note=True)
    story.start()
    story.report(1, loss=1.0)
    story.end()
    story.close()
    (story.trial_dir() / "progress.csv").write_text("")
    diary = Diary()
    monkeypatch.setattr(host_module, "_boot_id", lambda: "another boot")
    story.host([*default_loggers(), diary], note=True)
    story.start(1)
    story.close()
    assert read(story) == ["1.0"]
    assert diary.entries == [("start", 1, 0), ("over", 2)]


def test_a_note_from_the_future_is_not_believed(story: Any) -> None:
    """After a power cut the journal may lack what the note has seen."""
    (story.directory / ".files.json").write_text(json.dumps({"seq": 1000, "boot": host_module._boot_id()}))
    diary = Diary()
    story.host([diary], note=True)
    story.start()
    story.end()
    story.close()
    assert diary.entries == [("start", 0, 0), ("end", 0, False), ("over", 1)]


@pytest.mark.parametrize("note", ["", "{", '{"seq": 3}', '"x"', '{"seq": null, "boot": ""}'])
def test_a_broken_note_is_as_good_as_none(story: Any, note: str) -> None:
    (story.directory / ".files.json").write_text(note)
    diary = Diary()
    story.host([diary], note=True)
    tell(story)
    story.close()
    assert diary.entries == TOLD


def test_rebuilding_the_files_of_a_finished_run(tmp_path: Path) -> None:
    with_journal = SqliteJournal.create(str(tmp_path / JOURNAL_FILE), Header(uuid="3f2ab" + "0" * 27, name="demo", created=0.0))
    events = [
        (ev.ExperimentStarted({"trainable_name": "train"}),),
        (ev.Suggested(0, {"lr": 0.1}), Decision("launch", 0)),
        (ev.AttemptStarted(0, 0),),
        (ev.Reported(0, 0, 1, {"loss": 0.5, "training_iteration": 1}),),
        (ev.AttemptEnded(0, 0, "finished"), Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"})),
    ]
    with_journal.append([Record(event, list(decisions)) for event, *decisions in events])
    with_journal.close()
    for _ in range(2):
        rebuild_files(str(tmp_path))
        assert (tmp_path / "3f2ab_00000" / "params.json").read_text() == '{\n  "lr": 0.1\n}'
        assert len((tmp_path / "3f2ab_00000" / "progress.csv").read_text().splitlines()) == 2
    (tmp_path / "3f2ab_00000" / "progress.csv").unlink()
    (tmp_path / "3f2ab_00000" / "progress.csv").mkdir()
    with pytest.raises(OSError, match=r"progress\.csv"):
        rebuild_files(str(tmp_path))


# -- which loggers -----------------------------------------------------------------------------------------------------------


class Mine(Logger):
    made: list[Mine]

    def _init(self) -> None:
        self.results: list[Any] = []
        self.closed = self.flushed = 0
        type(self).made.append(self)

    def on_result(self, result: dict[str, Any]) -> None:
        self.results.append(result["loss"])

    def flush(self) -> None:
        self.flushed += 1

    def close(self) -> None:
        self.closed += 1


def test_old_style_classes_run_as_a_callback(story: Any) -> None:
    Mine.made = []
    story.host([LegacyLoggerCallback([Mine, NoopLogger])])
    story.start()
    story.report(1, loss=1.0)
    story.fail(retry=True)
    story.start(attempt=1)
    story.report(2, attempt=1, loss=2.0)
    story.end(attempt=1)
    story.start(1)
    story.close()
    first, second = Mine.made
    assert (first.results, first.closed, first.config, first.logdir) == ([1.0, 2.0], 1, {"lr": 0.1}, str(story.trial_dir()))
    assert (second.results, second.closed) == ([], 1)


def test_unified_logger_leaves_out_what_cannot_be_set_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Logger):
        def _init(self) -> None:
            raise ImportError("no module")

    Mine.made = []
    logger = UnifiedLogger({"lr": 1}, str(tmp_path), loggers=[Broken, Mine])
    logger.on_result({"loss": 1.0})
    logger.update_config({"lr": 2})
    logger.flush()
    logger.close()
    (mine,) = Mine.made
    assert (mine.results, mine.config, mine.flushed, mine.closed) == ([1.0], {"lr": 2}, 1, 1)
    assert "Broken could not be set up" in caplog.text


def test_which_loggers_a_run_has() -> None:
    def kinds(*args: Any) -> list[str]:
        return [type(logger).__name__ for logger in loggers_from(*args)]

    files = ["JsonLoggerCallback", "CSVLoggerCallback", "TBXLoggerCallback", "ErrorFileCallback"]
    assert kinds(None) == files
    assert kinds(()) == []
    assert kinds((*DEFAULT_LOGGERS, Mine)) == [*files[:3], "LegacyLoggerCallback", "ErrorFileCallback"]
    assert kinds([JsonLoggerCallback]) == ["JsonLoggerCallback", "ErrorFileCallback"]
    assert kinds(None, [CSVLoggerCallback(), Diary()]) == ["CSVLoggerCallback", "Diary", "JsonLoggerCallback", *files[2:]]
    assert kinds((), [Diary(), object()]) == ["Diary"]
    for bad in ("csv", 3, [object()], [int]):
        with pytest.raises(SpecError, match="loggers"):
            loggers_from(bad)


def test_loggers_are_told_from_callbacks() -> None:
    diary, plain = Diary(), object()
    assert split_callbacks([plain, diary, ErrorFileCallback]) == ([plain], [diary, ErrorFileCallback])


def test_a_logger_must_log() -> None:
    with pytest.raises(NotImplementedError, match="on_result"):
        Logger({}, "").on_result({})
