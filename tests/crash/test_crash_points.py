"""The driver dies at every point of every turn; the resumed run loses nothing and doubles nothing."""

from __future__ import annotations

import pytest

from tunesmith.build import build
from tunesmith.core import events as ev
from tunesmith.execute import execute
from tunesmith.journal import JOURNAL_FILE, open_reader
from tunesmith.space import uniform
from tunesmith.testing.faults import POINTS, Crash, crash_at, full_disk_at
from tunesmith.trainable.session import report

TRIALS = 5
REPORTS = 2


def train(config):
    for step in range(REPORTS):
        report(loss=config["x"] * step)


def spec(path, resume=False, executor="inline", **more):
    return build(
        train, executor=executor, config={"x": uniform(0, 1)}, num_samples=TRIALS, seed=3, name="run",
        storage_path=str(path), verbose=0, loggers=(), resume=resume, **more,
    )  # fmt: skip


def ends(path):
    """trial -> (drawn values, status, reports of the last attempt)."""
    values, ended, rows = {}, {}, {}
    reader = open_reader(path / JOURNAL_FILE)
    for record in reader.read():
        event = record.event
        if not record.handled:
            continue
        if isinstance(event, ev.Suggested):
            assert event.trial not in values
            values[event.trial] = event.values
        if isinstance(event, ev.Reported):
            rows.setdefault(event.trial, {})[event.iteration] = event.metrics["loss"]
        for decision in record.decisions:
            if decision.do == "end":
                assert decision.trial not in ended, f"trial {decision.trial} ended twice"
                ended[decision.trial] = decision.data["status"]
    reader.close()
    return values, ended, rows


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    with crash_at("after_commit", 10**9) as plan:
        execute(spec(path))
    return ends(path / "run"), plan.turns


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_turn_loses_and_doubles_nothing(tmp_path, undisturbed, point, faults):
    expected, turns = undisturbed
    assert turns > 2 * TRIALS
    for turn in range(turns):
        folder = tmp_path / str(turn)
        with crash_at(point, turn), pytest.raises(Crash):
            execute(spec(folder))
        if turn == 0 and point == "before_commit":
            continue  # nothing was begun
        with faults.tried(f"the driver dies in a turn of its loop: {point.replace('_', ' ')}") as results:
            finished = execute(spec(folder, resume=True))
            assert finished.counts["TERMINATED"] == TRIALS
            assert ends(folder / "run") == expected
            results(TRIALS * REPORTS)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("turn", "at_once"), [(1, 2), (3, 2), (5, 2), (10, 1)])  # the fewest turns there are: 7, and 15 one by one
def test_neither_with_trials_in_processes_of_their_own(tmp_path, undisturbed, point, turn, at_once, faults):
    with crash_at(point, turn), pytest.raises(Crash):
        execute(spec(tmp_path, executor="local", max_concurrent_trials=at_once))
    with faults.tried(f"the same with trials in processes: {point.replace('_', ' ')}") as results:
        resumed = execute(spec(tmp_path, resume=True, executor="local", max_concurrent_trials=at_once))
        assert resumed.counts["TERMINATED"] == TRIALS
        assert ends(tmp_path / "run") == undisturbed[0]
        results(TRIALS * REPORTS)


def test_a_full_disk_stops_the_run_and_a_resume_completes_it(tmp_path, undisturbed, faults):
    from tunesmith.errors import StorageFull

    expected, turns = undisturbed
    for turn in range(1, turns):
        folder = tmp_path / str(turn)
        with full_disk_at(turn), pytest.raises(StorageFull):
            execute(spec(folder))
        with faults.tried("the disk is full at a commit (injected)") as results:
            execute(spec(folder, resume=True))
            assert ends(folder / "run") == expected
            results(TRIALS * REPORTS)
