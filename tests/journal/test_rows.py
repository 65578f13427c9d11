"""Results for people: which keys a row has, and where each comes from."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.flat import ResultDict
from tunesmith.core.ports import Header, Record
from tunesmith.journal.rows import AUTO_KEYS, result_row
from tunesmith.journal.trials import TrialBook, TrialInfo

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_900_000_000.5)
INFO = {"pid": 41, "hostname": "box", "node_ip": "127.0.0.1"}


def reported(iteration: int = 1, attempt: int = 0, **more: Any) -> ev.Reported:
    metrics = {"training_iteration": iteration, "time_this_iter_s": 0.5, "time_total_s": 0.5 * iteration, **more.pop("metrics", {})}
    return ev.Reported(0, attempt, iteration, metrics, **more)


@pytest.fixture
def book() -> TrialBook:
    book = TrialBook(HEADER, "/runs/demo", "train")
    for seq, event in enumerate([ev.Suggested(0, {"lr": 1e-6, "net/act": "relu"}), ev.AttemptStarted(0, 0, INFO, at=1.0)], 1):
        book.apply(Record(event, seq=seq))
    return book


def report(book: TrialBook, event: ev.Reported, *decisions: Decision) -> TrialInfo:
    trial = book.apply(Record(event, list(decisions), seq=9))
    assert trial is not None
    return trial


def test_the_golden_row(book: TrialBook) -> None:
    row = report(book, reported(metrics={"loss": 0.25, "val/acc": 0.9}, checkpoint="0/checkpoint_000003", at=2.0)).last_result
    assert type(row) is ResultDict
    assert row == {
        "loss": 0.25,
        "val/acc": 0.9,
        "training_iteration": 1,
        "time_this_iter_s": 0.5,
        "time_total_s": 0.5,
        "timestamp": 1_900_000_002,
        "date": time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(1_900_000_002)),
        "done": False,
        "trial_id": "3f2a9_00000",
        "experiment_tag": "0_lr=1e-06,act=relu",
        "pid": 41,
        "hostname": "box",
        "node_ip": "127.0.0.1",
        "config": {"lr": 1e-6, "net": {"act": "relu"}},
        "checkpoint_dir_name": "checkpoint_000003",
        "time_since_restore": 0.5,
        "iterations_since_restore": 1,
    }
    assert set(row) >= AUTO_KEYS
    assert row["val"] == {"acc": 0.9}
    assert row["config/net/act"] == "relu"


def test_since_restore_counts_one_attempt_only(book: TrialBook) -> None:
    report(book, reported(1))
    report(book, reported(2))
    book.apply(Record(ev.AttemptStarted(0, 1, {**INFO, "pid": 42})))
    assert book.trials[0].last_result["pid"] == 41, "the newest result is still the old attempt's"
    row = report(book, reported(3, attempt=1)).last_result
    assert (row["training_iteration"], row["iterations_since_restore"]) == (3, 1)
    assert (row["time_total_s"], row["time_since_restore"]) == (1.5, 0.5)
    assert row["pid"] == 42


def test_the_users_own_values_stand_where_they_may(book: TrialBook) -> None:
    own = {"training_iteration": 100, "time_this_iter_s": "long", "timestamp": 7, "date": "today", "trial_id": "mine", "pid": 0}
    row = report(book, reported(metrics=own)).last_result
    assert {key: row[key] for key in ("training_iteration", "time_this_iter_s", "timestamp", "date")} == {
        "training_iteration": 100,
        "time_this_iter_s": "long",
        "timestamp": 7,
        "date": "today",
    }
    assert (row["trial_id"], row["pid"], row["time_since_restore"]) == ("3f2a9_00000", 41, 0.0)


@pytest.mark.parametrize(
    ("event", "decisions"),
    [
        (reported(verdict="loss reached"), []),
        (reported(), [Decision("stop", 0, "below the cut")]),
        (reported(metrics={"done": True}), []),
    ],
)
def test_done_is_true_at_the_report_that_ends_the_trial(book: TrialBook, event: ev.Reported, decisions: list[Decision]) -> None:
    assert report(book, event, *decisions).last_result["done"] is True


def test_a_stop_that_only_interrupts_is_not_done(book: TrialBook) -> None:
    trial = report(book, reported(), Decision("stop", 0, "exploit", {"then": "exploit"}))
    assert trial.last_result["done"] is False


def test_done_turns_true_when_a_trial_ends_by_itself_and_the_row_handed_out_stays(book: TrialBook) -> None:
    trial = report(book, reported())
    handed_out = trial.last_result
    end = Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"})
    book.apply(Record(ev.AttemptEnded(0, 0, "finished"), [end]))
    assert trial.last_result["done"] is True
    assert handed_out["done"] is False


def test_extras_are_for_loggers_in_this_process(book: TrialBook) -> None:
    image = object()
    assert report(book, reported(extras={"image": image})).last_result["image"] is image


def test_without_config_and_info(book: TrialBook) -> None:
    row = result_row(reported(), book.trials[0])
    assert "config" not in row
    assert (row["pid"], row["hostname"], row["node_ip"]) == (None, None, None)
