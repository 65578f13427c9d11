"""Trial views, folded from records: statuses, ends, exploits, and finished trials that are read again from the journal."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import JournalReader, MemoryJournal, SqliteJournal, open_reader
from tunesmith.journal.trials import TrialBook, TrialInfo
from tunesmith.space import Space, choice, uniform

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_000.0)
FINISHED = {"status": "TERMINATED", "outcome": "finished"}
Line = tuple[Any, Sequence[Decision]]


def do(what: str, trial: int = 0, reason: str = "", **data: Any) -> Decision:
    return Decision(what, trial, reason, data)


def reported(iteration: int, trial: int = 0, attempt: int = 0, checkpoint: str | None = None, **metrics: float) -> ev.Reported:
    return ev.Reported(trial, attempt, iteration, {"time_total_s": float(iteration), **metrics}, checkpoint)


def fold(book: TrialBook, *lines: Any) -> TrialInfo:
    """Apply events, or (event, decision, ...) tuples, with consecutive numbers; returns trial 0."""
    for line in lines:
        event, *decisions = line if isinstance(line, tuple) else (line,)
        book.apply(Record(event, decisions, seq=book.cursor + 1))
    return book.trials[0]


@pytest.fixture
def book() -> TrialBook:
    return TrialBook(HEADER, "/runs/demo", "train")


# -- statuses --------------------------------------------------------------------------------------------------------------

SUGGESTED = (ev.Suggested(0, {"lr": 0.1}), do("launch"))
RUNNING = (SUGGESTED, ev.AttemptStarted(0, 0))
WARM = (*RUNNING, (reported(1), do("pause", mode="warm")))
COLD = (*RUNNING, (reported(1), do("pause", mode="cold")))


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((ev.Suggested(0, {}),), "PENDING"),
        ((SUGGESTED,), "PENDING"),
        (RUNNING, "RUNNING"),
        ((*RUNNING, reported(1)), "RUNNING"),
        (WARM, "PAUSED"),
        ((*WARM, (ev.TimerFired("x"), do("launch"))), "RUNNING"),
        ((*WARM, (ev.AttemptEnded(0, 0, "driver_lost"), do("paused", outcome="driver_lost"))), "PAUSED"),
        (COLD, "RUNNING"),
        ((*COLD, (ev.AttemptEnded(0, 0, "stopped"), do("paused"))), "PAUSED"),
        ((*COLD, (ev.AttemptEnded(0, 0, "stopped"), do("paused")), (ev.TimerFired("x"), do("launch"))), "PENDING"),
        (((ev.Suggested(0, {})), (ev.UserAction("pause", 0), do("pause", mode="rerun"))), "PAUSED"),
        ((*RUNNING, (ev.AttemptEnded(0, 0, "user_error"), do("retry", outcome="user_error", charge=True))), "PENDING"),
        ((*RUNNING, ev.AttemptEnded(0, 0, "interrupted")), "PENDING"),
        ((*RUNNING, (ev.AttemptEnded(0, 0, "finished"), do("end", **FINISHED))), "TERMINATED"),
        ((*RUNNING, (ev.AttemptEnded(0, 0, "user_error"), do("end", status="ERROR", outcome="user_error"))), "ERROR"),
        ((SUGGESTED, (ev.StopRequested("enough"), do("end", status="TERMINATED", outcome="stopped"))), "TERMINATED"),
        ((*RUNNING, ev.ExperimentStarted({}, session=1)), "RUNNING"),
    ],
)
def test_status(book: TrialBook, lines: Sequence[Any], status: str) -> None:
    trial = fold(book, *lines)
    assert trial.status == status
    assert {name: count for name, count in book.counts.items() if count} == {status: 1}
    assert trial.is_finished() == (status in ("TERMINATED", "ERROR"))


def test_unhandled_records_are_skipped(book: TrialBook) -> None:
    fold(book, *RUNNING)
    assert book.apply(Record(reported(1), [do("stop")], handled=False, seq=9)) is None
    assert book.trials[0].report is None
    assert not book.trials[0].stopped


def test_apply_returns_the_trial_of_the_event(book: TrialBook) -> None:
    assert book.apply(Record(ev.ExperimentStarted({}), seq=1)) is None
    trial = book.apply(Record(ev.Suggested(0, {}), seq=2))
    assert trial is book.trials[0]
    assert book.apply(Record(ev.AttemptStarted(0, 0), seq=3)) is trial
    assert book.apply(Record(ev.TimerFired("x"), seq=4)) is None
    assert book.apply(Record(reported(1, trial=7), seq=5)) is None


# -- what a view says ------------------------------------------------------------------------------------------------------


def test_names_and_places(book: TrialBook) -> None:
    trial = fold(book, ev.Suggested(0, {"a/lr": 0.1}, "random"))
    assert (trial.trial_id, str(trial), trial.trial_name, trial.trainable_name) == ("3f2a9_00000", *2 * ["train_3f2a9_00000"], "train")
    assert trial.path == trial.logdir == trial.local_path == os.path.join("/runs/demo", "3f2a9_00000")
    assert trial.relative_logdir == "3f2a9_00000"
    assert (trial.config, trial.evaluated_params, trial.source) == ({"a": {"lr": 0.1}}, {"a/lr": 0.1}, "random")
    assert trial.resources == {"cpu": 1.0}
    assert (trial.checkpoint, trial.error, trial.error_msg, trial.error_file, trial.start_time) == (None,) * 5
    assert trial.last_result == {}


def test_the_users_own_names(book: TrialBook) -> None:
    trial = fold(book, ev.Suggested(0, {}, resources={"gpu": 0.5}, name="first", dirname="dir-1"))
    assert (str(trial), trial.path, trial.resources) == ("first", os.path.join("/runs/demo", "dir-1"), {"gpu": 0.5})


def test_names_resources_and_configs_come_from_the_journal_too() -> None:
    space = Space.parse({"lr": uniform(0, 1), "act": choice([len, abs]), "epochs": 3})
    book = TrialBook(HEADER)
    spec = {"trainable_name": "net", "resources": {"cpu": 4.0}, "space": space.describe()}
    trial = fold(book, ev.ExperimentStarted(spec), ev.Suggested(0, {"lr": 0.5, "act": 1}))
    assert (trial.trainable_name, trial.resources, trial.config) == ("net", {"cpu": 4.0}, {"lr": 0.5, "act": "abs", "epochs": 3})
    fold(book, ev.SpecChanged({"resources": {"cpu": 2.0}}))
    assert trial.resources == {"cpu": 2.0}


@pytest.mark.parametrize(
    ("values", "tag"),
    [
        ({}, "0"),
        ({"lr": 1e-6}, "0_lr=1e-06"),
        ({"lr": 0.123456, "n": 3, "flag": True}, "0_lr=0.1235,n=3,flag=True"),
        ({"net/width": 64, "net/act": "relu"}, "0_width=64,act=relu"),
        ({"a/lr": 0.1, "b/lr": 0.2}, "0_a/lr=0.1,b/lr=0.2"),
    ],
)
def test_experiment_tag(book: TrialBook, values: dict[str, Any], tag: str) -> None:
    assert fold(book, ev.Suggested(0, values)).experiment_tag == tag


@pytest.mark.parametrize("live", [True, False])
def test_tags_are_the_same_with_and_without_the_space_itself(live: bool) -> None:
    space = Space.parse(
        {
            "act": choice([len, abs]),
            "opt": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam"}]),
            "units": [choice([16, 32]), 8],
            "kernel": choice([[1, 3], [3, 3]]),
        }
    )
    book = TrialBook(HEADER, resolve=(lambda values, _: space.resolve(values)) if live else None)
    values = {"act": 1, "opt": 0, "opt/0/momentum": 0.25, "units/0": 32, "kernel": 0}
    trial = fold(book, ev.ExperimentStarted({"space": space.describe()}), ev.Suggested(0, values))
    assert trial.experiment_tag == "0_act=abs,name=sgd,momentum=0.25,units/0=32,kernel=[1,3]"
    assert trial.evaluated_params == {
        "act": abs if live else "abs",
        "opt": {"name": "sgd", "momentum": 0.25},
        "opt/momentum": 0.25,
        "units/0": 32,
        "kernel": [1, 3],
    }


def test_the_config_is_the_views_own_copy_resolved_once(book: TrialBook) -> None:
    calls = []
    book = TrialBook(HEADER, resolve=lambda values, _: calls.append(1) or dict(values))
    trial = fold(book, *RUNNING, reported(1))
    assert trial.config is trial.config
    assert trial.last_result["config"] == {"lr": 0.1}
    assert calls == [1]


def test_times_reasons_and_outcome(book: TrialBook) -> None:
    trial = fold(
        book,
        SUGGESTED,
        ev.AttemptStarted(0, 0, at=5.0),
        (reported(1), do("stop", reason="stopped: 0.61 below the rung-1 cut of 0.83")),
        (ev.AttemptEnded(0, 0, "stopped", at=6.0), do("end", status="TERMINATED", outcome="stopped")),
    )
    assert (trial.start_time, trial.ended_at) == (1_005.0, 6.0)
    assert (trial.outcome, trial.reason) == ("stopped", "stopped: 0.61 below the rung-1 cut of 0.83")


def test_a_failed_trial(book: TrialBook) -> None:
    error = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback ..."}
    retry = (ev.AttemptEnded(0, 0, "user_error", error), do("retry", outcome="user_error", charge=True))
    trial = fold(book, *RUNNING, retry)
    assert (trial.num_failures, trial.error, trial.error_msg) == (1, error, "Traceback ...")
    assert trial.error_file == os.path.join(trial.path, "error.txt")
    fold(book, ev.AttemptStarted(0, 1), (ev.AttemptEnded(0, 1, "finished"), do("end", **FINISHED)))
    assert (trial.num_failures, trial.error, trial.error_msg, trial.attempt) == (1, None, None, 1)


def test_a_failure_that_left_no_error_of_its_own(book: TrialBook) -> None:
    stop = (reported(1), do("stop", reason="reported nan for 'loss'", outcome="nan"))
    end = (ev.AttemptEnded(0, 0, "stopped"), do("end", reason="reported nan for 'loss'", status="ERROR", outcome="nan"))
    trial = fold(book, *RUNNING, stop, end)
    assert (trial.error, trial.num_failures) == ({"type": "nan", "message": "reported nan for 'loss'"}, 1)
    assert trial.error_msg == "nan: reported nan for 'loss'"


def test_an_exploit_changes_config_and_checkpoint_once_it_is_complete(book: TrialBook, tmp_path: Path) -> None:
    book = TrialBook(HEADER, str(tmp_path))
    source = tmp_path / "3f2a9_00001" / "checkpoint_000000"
    source.mkdir(parents=True)
    trial = fold(
        book,
        *RUNNING,
        ev.Suggested(1, {"lr": 0.9}),
        (reported(1, lr_seen=1.0), do("exploit", source=1)),
        ev.Explored(0, {"lr": 0.8}),
    )
    assert trial.config == {"lr": 0.1}
    fold(book, (ev.AttemptEnded(0, 0, "stopped"), do("retry", wait=True), do("exploited", source=1, checkpoint="1/checkpoint_000000")))
    assert (trial.config, trial.experiment_tag, trial.status) == ({"lr": 0.8}, "0_lr=0.8", "PENDING")
    assert trial.last_result["config"] == {"lr": 0.1}, "the newest result was made with the old one"


def test_an_exploit_given_up_changes_nothing(book: TrialBook) -> None:
    trial = fold(book, *RUNNING, (reported(1), do("exploit", source=1, values={"lr": 9.0})), (ev.TimerFired("x"), do("skip")))
    fold(book, (ev.AttemptEnded(0, 0, "stopped"), do("retry")))
    assert trial.config == {"lr": 0.1}


def test_the_newest_checkpoint_if_it_is_still_there(tmp_path: Path) -> None:
    book = TrialBook(HEADER, str(tmp_path))
    trial = fold(book, *RUNNING, reported(1, checkpoint="0/checkpoint_000000"), ev.CheckpointSaved(0, 0, 1, "0/checkpoint_000001"))
    assert trial.checkpoint is None
    (tmp_path / "3f2a9_00000" / "checkpoint_000001").mkdir(parents=True)
    assert trial.checkpoint is not None
    assert trial.checkpoint.path == str(tmp_path / "3f2a9_00000" / "checkpoint_000001")


# -- finished trials ---------------------------------------------------------------------------------------------------------


def journaled(*lines: Any) -> MemoryJournal:
    journal = MemoryJournal(HEADER)
    journal.append([Record(line[0], list(line[1:])) if isinstance(line, tuple) else Record(line) for line in lines])
    return journal


def two_trials() -> MemoryJournal:
    return journaled(
        ev.ExperimentStarted({}),
        *RUNNING,
        (ev.Suggested(1, {"lr": 0.2}), do("launch", 1)),
        ev.AttemptStarted(1, 0),
        reported(1, trial=1, loss=2.0),
        (reported(1, loss=1.0), do("stop", 1, "the other one is better")),
        (ev.AttemptEnded(0, 0, "finished"), do("end", **FINISHED)),
        (ev.AttemptEnded(1, 0, "stopped"), do("end", 1, status="TERMINATED", outcome="stopped")),
    )


def described(trial: TrialInfo) -> dict[str, Any]:
    names = ("trial_id", "status", "config", "last_result", "outcome", "reason", "stopped", "num_failures", "attempt", "started_at")
    return {name: getattr(trial, name) for name in names}


def test_finished_trials_leave_memory_and_are_read_again_when_asked_for() -> None:
    journal = two_trials()
    lean = TrialBook(HEADER, reader=journal.read, keep_finished=False)
    full = TrialBook(HEADER, reader=journal.read)
    for record in journal.read():
        lean.apply(record)
        full.apply(record)
    assert lean.held(0) is lean.held(1) is None
    assert lean.live() == full.live() == []
    assert len(lean.trials) == 2
    assert [described(trial) for trial in lean.trials] == [described(trial) for trial in full.trials]
    assert lean.trials[1].reason == "the other one is better", "decided at an event of trial 0"
    assert lean.counts == full.counts
    assert lean.trials[-1] == full.trials[1]
    assert lean.trials[:1] == [full.trials[0]]
    assert full.trials[1] in lean.trials
    assert lean.find("3f2a9_00001").number == 1


def test_without_a_reader_the_journal_on_disk_is_opened_once_per_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def counted(path: str) -> JournalReader:
        opened.append(path)
        return open_reader(path)

    monkeypatch.setattr("tunesmith.journal.reader.open_reader", counted)
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append(list(two_trials().read()))
        book = TrialBook(HEADER, str(tmp_path), keep_finished=False)
        for record in journal.read():
            book.apply(record)
        assert [trial.reason for trial in book.trials] == ["", "the other one is better"]
        assert opened == [str(tmp_path / "experiment.db")]
        assert book.trials[0].metric_analysis["loss"]["last"] == 1.0


def test_no_such_trial(book: TrialBook) -> None:
    fold(book, ev.Suggested(0, {}))
    with pytest.raises(IndexError, match="no trial 1: the experiment has 1"):
        book.trials[1]
    for wrong in ("3f2a9_00001", "00000_00000", "x"):
        with pytest.raises(KeyError):
            book.find(wrong)


def test_a_finished_trial_costs_next_to_nothing() -> None:
    """Law 3. Deterministic: counts what the book itself holds."""
    book = TrialBook(HEADER, keep_finished=False)
    for number in range(1_000):
        lines = (ev.Suggested(number, {"lr": 0.1}), ev.AttemptStarted(number, 0), reported(1, trial=number))
        for line in (*lines, ev.AttemptEnded(number, 0, "finished")):
            decisions = [do("end", number, **FINISHED)] if isinstance(line, ev.AttemptEnded) else []
            book.apply(Record(line, decisions, seq=book.cursor + 1))
    assert sum(sys.getsizeof(value) for value in vars(book).values()) < 30 * 1_000
    assert book.counts["TERMINATED"] == len(book.trials) == 1_000


# -- pickling ----------------------------------------------------------------------------------------------------------------


def test_a_view_survives_pickling_without_resolver_and_journal() -> None:
    journal = two_trials()
    book = TrialBook(
        HEADER, "/runs/demo", "train", resolve=lambda values, _: {**values, "f": lambda: 1, "deep": [{"g": lambda: 2}]}, reader=journal.read
    )
    for record in journal.read():
        book.apply(record)
    trials: list[TrialInfo] = pickle.loads(pickle.dumps(list(book.trials)))
    assert [str(trial) for trial in trials] == ["train_3f2a9_00000", "train_3f2a9_00001"]
    trial = trials[0]
    assert trial == book.trials[0]
    assert trial.config["lr"] == 0.1
    assert "lambda" in trial.config["f"], "what cannot be pickled is shown as text"
    assert "lambda" in trial.config["deep"][0]["g"]
    assert trial.last_result["loss"] == 1.0
    assert trial.last_result["config"] == trial.config
    assert (trial.logdir, trial.experiment_tag) == (book.trials[0].logdir, book.trials[0].experiment_tag)
    assert trials[0].experiment is trials[1].experiment


def test_metric_analysis_reads_the_journal() -> None:
    journal = journaled(*RUNNING, *(reported(i, loss=float(7 - i), training_iteration=100.0) for i in range(1, 7)))
    book = TrialBook(HEADER, reader=journal.read)
    for record in journal.read():
        book.apply(record)
    analysis = book.trials[0].metric_analysis
    assert analysis["loss"] == {"max": 6.0, "min": 1.0, "avg": 3.5, "last": 1.0, "last-5-avg": 3.0, "last-10-avg": 3.5}
    assert analysis["time_total_s"]["avg"] == 3.5
