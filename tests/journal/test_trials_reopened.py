"""A trial that was over goes on: what its view says then, and what is found again of one that had left memory."""

from __future__ import annotations

from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.core.trial import ERROR, PENDING, RUNNING, TERMINATED
from tunesmith.journal.memory import MemoryJournal
from tunesmith.journal.trials import TrialBook

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
FAILURE = {"type": "KeyError", "message": "'lr'", "where": "train.py:1", "traceback": "..."}


def metrics(iteration: int) -> dict[str, Any]:
    return {"loss": 1 / iteration, "training_iteration": iteration, "time_total_s": float(iteration)}


def story(status: str) -> list[Record]:
    """Trial 0 reports twice, saves once, and ends; trial 1 does too, meanwhile."""
    failed = status == ERROR
    outcome, error, verdict = ("user_error", FAILURE, None) if failed else ("stopped", None, "enough")
    stopped = [] if failed else [Decision("stop", 0, "enough")]
    return [
        Record(ev.ExperimentStarted({"num_samples": 2, "resources": {"cpu": 1.0}})),
        Record(ev.Suggested(0, {"lr": 0.1}, "random", None, "mine", "home"), [Decision("launch", 0)]),
        Record(ev.AttemptStarted(0, 0, {"pid": 7}, at=1.0)),
        Record(ev.Suggested(1, {"lr": 0.2}), [Decision("launch", 1)]),
        Record(ev.Reported(0, 0, 1, metrics(1), "0/checkpoint_000000", at=2.0)),
        Record(ev.AttemptStarted(1, 0, at=2.0)),
        Record(ev.Reported(0, 0, 2, metrics(2), None, verdict, at=3.0), stopped),
        Record(ev.AttemptEnded(0, 0, outcome, error, at=4.0), [Decision("end", 0, "x", {"status": status, "outcome": outcome})]),
        Record(ev.AttemptEnded(1, 0, "finished", at=4.0), [Decision("end", 1, "", {"status": TERMINATED, "outcome": "finished"})]),
        Record(ev.ExperimentStarted({}, 1, at=5.0)),
    ]


def reopened(status: str, base: list[Any] | None) -> Record:
    why = "errored" if status == ERROR else "criterion"
    return Record(ev.Reopened(0, 1, why, {"lr": 0.1}, {"cpu": 2.0}, 2, 2.0, metrics(2), 2, [base] if base else [], base, at=5.0))


@pytest.mark.parametrize("status", [ERROR, TERMINATED])
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("base", [["0/checkpoint_000000", 1, 1.0, None], None])
def test_its_view(status: str, keep: bool, base: list[Any] | None) -> None:
    journal = MemoryJournal(HEADER)
    journal.append([*story(status), reopened(status, base)])
    book = TrialBook(HEADER, keep_finished=keep, reader=journal.read)
    for record in journal.read(0, 10):
        book.apply(record)
    assert (book.held(0) is not None) == keep
    for record in journal.read(10):
        assert book.apply(record) is book.trials[0]
    trial = book.trials[0]
    assert (trial.status, trial.outcome, trial.reason, trial.error, trial.error_msg, trial.ended_at) == (PENDING, "", "", None, None, None)
    assert (trial.stopped, trial.is_finished(), trial.last_result["done"]) == (False, False, False)
    assert (trial.iteration, trial.resources, trial.attempt, trial.trial_name, trial.source) == (2, {"cpu": 2.0}, 0, "mine", "random")
    assert (trial.num_failures, trial.started_at) == (int(status == ERROR), 1.0)
    assert trial.checkpoint_id == ("0/checkpoint_000000" if base else None)
    assert book.counts == {PENDING: 1, RUNNING: 0, "PAUSED": 0, TERMINATED: 1, ERROR: 0}
    assert book.live() == [trial]


@pytest.mark.parametrize("status", [ERROR, TERMINATED])
def test_it_ends_again_and_is_found_again(status: str) -> None:
    journal = MemoryJournal(HEADER)
    journal.append([*story(status), reopened(status, None)])
    end = Decision("end", 0, "", {"status": TERMINATED, "outcome": "finished"})
    journal.append(
        [
            Record(ev.CapacityChanged({"cpu": 2.0}, at=5.0), [Decision("launch", 0)]),
            Record(ev.AttemptStarted(0, 1, {"pid": 8}, at=6.0)),
            Record(ev.Reported(0, 1, 1, metrics(1), at=7.0)),
            Record(ev.AttemptEnded(0, 1, "finished", at=8.0), [end]),
        ]
    )
    book = TrialBook(HEADER, keep_finished=False, reader=journal.read)
    for record in journal.read():
        book.apply(record)
    assert book.held(0) is None
    trial = book.trials[0]
    assert (trial.status, trial.outcome, trial.attempt, trial.iteration, trial.error) == (TERMINATED, "finished", 1, 1, None)
    assert trial.info == {"pid": 8}
    assert [record.seq for record in trial.records()] == [2, 3, 5, 7, 8, 11, 13, 14, 15]
    assert book.counts[TERMINATED] == 2
