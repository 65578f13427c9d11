"""A disk without room for checkpoints, seen from the loop: the run goes on, says so once, and says when it is over."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.observing import RoomWatch

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)
FULL = "1 GB are free under /data, min_free_bytes=5 GB"
SAVED_AGAIN = "Checkpoints are saved again: there is room for them."


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, "tunesmith")
    return caplog


def skipped(trial=0, iteration=1, at=0.0):
    return Record(ev.SaveSkipped(trial, 0, iteration, FULL, at))


def reported(iteration, checkpoint="0/checkpoint_000000", trial=0, at=0.0, decisions=()):
    return Record(ev.Reported(trial, 0, iteration, {}, checkpoint, at=at), list(decisions))


def nothing_is_saved(start, trial=0):
    return (
        f"Nothing is saved: {FULL}. Trials go on; a retry or resume of trial 3f2a9_{trial:05d} starts {start}. Free some space, or keep "
        "fewer checkpoints (num_to_keep, keep_best)."
    )


def test_one_line_when_it_begins_and_one_when_it_ends(said):
    watch = RoomWatch(HEADER, [])
    watch.committed([reported(1), skipped(0, 2), reported(2, None)])
    watch.committed([skipped(1, 1), skipped(0, 3), reported(3, None)])
    assert said.messages == [nothing_is_saved("from iteration 1")]
    watch.committed([Record(ev.CheckpointSaved(1, 0, 1, "1/checkpoint_000000")), reported(4)])
    assert said.messages[1:] == [SAVED_AGAIN]
    watch.close()


def test_where_a_trial_would_begin(said):
    exploited = Decision("exploited", 1, "", {"source": 0, "checkpoint": "0/checkpoint_000000"})
    past = [reported(4), Record(ev.CheckpointSaved(0, 0, 7, "0/checkpoint_000001")), Record(reported(9).event, [], handled=False)]
    for events, start, trial in (
        ([skipped(0, 8)], "from iteration 7", 0),
        ([skipped(1, 1)], "anew", 1),
        ([Record(ev.AttemptEnded(1, 0, "stopped"), [exploited]), skipped(1, 8)], "from iteration 7", 1),
        ([Record(ev.AttemptEnded(0, 0, "finished"), [Decision("end", 0), exploited]), skipped(1, 8)], "from its last checkpoint", 1),
    ):
        RoomWatch(HEADER, past).committed(events)
        assert said.messages[-1] == nothing_is_saved(start, trial)


def test_a_disk_at_its_limit_is_not_spoken_of_all_the_time(said):
    watch = RoomWatch(HEADER, [])
    for second in range(0, 100, 2):
        watch.committed([skipped(at=float(second)), reported(1, at=float(second + 1))])
    assert [message == SAVED_AGAIN for message in said.messages] == [False, True, False, True]


# -- whole runs


@pytest.fixture
def go(tmp_path):
    def run(trainable, **arguments):
        given = {"storage_path": tmp_path, "name": "run", "verbose": 0, "executor": "inline", "loggers": (), "seed": 1, **arguments}
        return tune.run(trainable, **given)

    return run


@pytest.fixture
def disk(monkeypatch):
    """A disk of 100 GB: ``disk.free = bytes``."""
    disk = SimpleNamespace(free=50 * 10**9)
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_blocks=10**8, f_frsize=1000, f_bavail=disk.free // 1000))
    return disk


def records(tmp_path):
    with open_reader(tmp_path / "run" / JOURNAL_FILE) as reader:
        return list(reader.read())


@pytest.mark.parametrize("kind", ["function", "class"])
def test_all_trials_end_and_saves_go_on_when_there_is_room_again(go, tmp_path, disk, said, kind):
    def turn(number, step):
        disk.free = 10**9 if (number, step) in ((0, 2), (0, 3), (1, 1)) else 50 * 10**9

    def train(config):
        for step in (1, 2, 3, 4):
            turn(config["n"], step)
            tune.report({"step": step}, checkpoint={"step": step})

    class Steps(tune.Trainable):
        def setup(self, config):
            self.n = 0

        def step(self):
            self.n += 1
            turn(self.config["n"], self.n)
            return {"step": self.n, "done": self.n == 4}

        def save_checkpoint(self, folder):
            return {"step": self.n}

        def load_checkpoint(self, saved):
            self.n = saved["step"]

    config = tune.CheckpointConfig(min_free_bytes="5GB", checkpoint_frequency=1 if kind == "class" else 0)
    analysis = go(train if kind == "function" else Steps, config={"n": tune.grid_search([0, 1])}, checkpoint_config=config)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    assert [len(frame) for frame in analysis.trial_dataframes.values()] == [4, 4]
    events = [record.event for record in records(tmp_path)]
    assert [(event.trial, event.iteration) for event in events if isinstance(event, ev.SaveSkipped)] == [(0, 2), (0, 3), (1, 1)]
    saved = [(event.trial, event.iteration) for event in events if isinstance(event, ev.Reported) and event.bytes > 0]
    assert saved == [(0, 1), (0, 4), (1, 2), (1, 3), (1, 4)]
    first = f"{analysis.trials[0].trial_id} starts from iteration 1. "
    assert [first in message for message in said.messages] == [True, False]
    assert said.messages[1] == SAVED_AGAIN


def test_a_trial_that_fails_meanwhile_goes_on_from_what_there_is(go, tmp_path, disk, said):
    failed = []

    def train(config):
        saved = tune.get_checkpoint()
        for step in range(saved.to_dict()["step"] + 1 if saved else 1, 5):
            disk.free = 50 * 10**9 if step < 3 or failed else 10**9
            if step == 4 and not failed:
                failed.append(1)
                raise ValueError("once")
            tune.report({"step": step}, checkpoint={"step": step})

    go(train, max_failures=1, checkpoint_config=tune.CheckpointConfig(min_free_bytes="5GB"))
    reports = [record.event for record in records(tmp_path) if isinstance(record.event, ev.Reported)]
    rows = [(event.attempt, event.iteration, event.metrics["step"]) for event in reports]
    assert rows == [(0, 1, 1), (0, 2, 2), (0, 3, 3), (1, 3, 3), (1, 4, 4)]


# -- deletions


def test_one_sync_before_all_deletions_of_a_turn_which_come_last(go, tmp_path, monkeypatch):
    from tunesmith.checkpoints.store import LocalStore
    from tunesmith.drive import Drive
    from tunesmith.journal import SqliteJournal

    story: list[str] = []
    deleted, synced, answered = LocalStore.delete, SqliteJournal.sync, Drive._carry_out
    monkeypatch.setattr(LocalStore, "delete", lambda store, checkpoint: (story.append("delete"), deleted(store, checkpoint)))
    monkeypatch.setattr(SqliteJournal, "sync", lambda journal: (story.append("sync"), synced(journal)))
    monkeypatch.setattr(Drive, "_carry_out", lambda drive, command: (story.append(type(command).__name__), answered(drive, command)))

    def train(config):
        for step in range(3):
            for _ in range(3):
                with tune.checkpoint_dir(step=step) as folder:
                    open(os.path.join(folder, "w"), "w").close()
            tune.report(step=step)

    analysis = go(train, keep_checkpoints_num=1)
    assert story.count("delete") == 8
    assert " ".join(story).count("sync delete delete delete") == 2
    for at, what in enumerate(story):
        if what == "sync" and "delete" in story[at:]:
            assert story[at - 1] in ("Continue", "SetTimer")
            assert story[at + 1] == "delete"
    home = analysis.trials[0].path
    assert sorted(name for name in os.listdir(home) if "checkpoint" in name) == ["checkpoint_000008"]  # all is done when it returns
