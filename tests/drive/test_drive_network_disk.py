"""A run whose journal is on a network disk: commits are grouped, readers see snapshots, nothing is lost at the end."""

from __future__ import annotations

import tunesmith as tune
from tunesmith.build import build
from tunesmith.core.events import Reported
from tunesmith.execute import execute
from tunesmith.journal import JOURNAL_FILE, SqliteJournal, open_reader


def train(config):
    for step in range(4):
        tune.report(loss=config["x"] * step)


def make(path, **more):
    space = {"x": tune.uniform(0, 1)}
    spec = build(train, config=space, num_samples=3, seed=1, name="run", storage_path=path, verbose=0, loggers=(), **more)
    spec.journal_mode = "network"
    return spec


def reports(path):
    with open_reader(path / "run" / JOURNAL_FILE) as reader:
        return [(record.event.trial, record.event.iteration) for record in reader.read() if isinstance(record.event, Reported)]


def test_a_run_on_a_network_disk_ends_with_everything_on_record(tmp_path):
    finished = execute(make(tmp_path))
    assert finished.counts["TERMINATED"] == 3
    assert sorted(reports(tmp_path)) == [(trial, step) for trial in range(3) for step in range(1, 5)]
    with SqliteJournal.open(tmp_path / "run" / JOURNAL_FILE) as journal:
        assert journal.mode == "network"


def test_an_idle_loop_writes_what_waits_in_memory(tmp_path):
    from tunesmith.core.ports import Header, Record

    time = [0.0]
    header = Header(uuid="0" * 32, name="x", created=0.0)
    with SqliteJournal.create(tmp_path / JOURNAL_FILE, header, mode="network", clock=lambda: time[0]) as journal:
        assert journal.waiting() is None
        journal.append([Record(Reported(0, 0, 1, {"loss": 1.0}))])
        assert journal.waiting() == journal._store.group_s
        time[0] += 10
        assert journal.waiting() == 0.0
        journal.sync()
        assert journal.waiting() is None
