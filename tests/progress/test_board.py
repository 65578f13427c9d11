"""The board behind the table: what it knows at each moment, and that it stays small."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.progress.board import Board
from tunesmith.progress.leader import Leader
from tunesmith.progress.options import TableOptions


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def make(header: Header, watch: Watch) -> Any:
    def made(**options: Any) -> Board:
        return Board(header, watch, TableOptions(**options))

    return made


def ids(board: Board, rows: int | None = None) -> list[int]:
    return [int(row.trial_id.rpartition("_")[2]) for row in board.picture(rows).rows]


def test_counts_and_rows(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    for number in range(5):
        tale.start(number)
        tale.report(number, number / 10)
    tale.tell(ev.Suggested(5, {"lr": 0.5}))
    tale.report(1, 0.2, 2, Decision("pause", 1, "rung 2", {"mode": "warm"}))
    tale.end(0)
    tale.end(3, "user_error", "KeyError: 'lr' at train.py:42")
    picture = board.picture()
    assert picture.counts == {"RUNNING": 2, "PAUSED": 1, "PENDING": 1, "TERMINATED": 1, "ERROR": 1}
    assert (picture.total, picture.over) == (6, 2)
    assert ids(board) == [2, 4, 1, 3, 0, 5]
    assert ids(board, 3) == [2, 4, 1]
    assert ids(board, 0) == []
    assert picture.failed == [("3f2ab_00003", "KeyError: 'lr' at train.py:42")]


def test_resources_in_use(make: Any, story: Any) -> None:
    board = make()
    tale = story(board, cpus=4)
    assert board.resources() == {"cpu": (0.0, 4.0)}
    tale.tell(ev.Suggested(0, {}, resources={"cpu": 2.0, "gpu": 0.5, "license": 1.0}), Decision("launch", 0))
    tale.start(1)
    tale.tell(ev.CapacityChanged({"cpu": 4.0, "gpu": 2.0, "license": 3.0, "memory": 2.0**34}))
    assert board.resources() == {"cpu": (3.0, 4.0), "gpu": (0.5, 2.0), "license": (1.0, 3.0)}
    tale.report(1, 0.5, 1, Decision("pause", 1, "", {"mode": "warm"}))
    assert board.resources()["cpu"] == (2.0, 4.0)
    tale.tell(ev.TimerFired("x"), Decision("launch", 1))
    assert board.resources()["cpu"] == (3.0, 4.0)
    tale.report(1, 0.5, 2, Decision("pause", 1, "", {"mode": "cold"}))
    assert board.resources()["cpu"] == (3.0, 4.0), "until it is gone"
    tale.tell(ev.AttemptEnded(1, 0, "stopped"), Decision("paused", 1, ""))
    tale.end(0)
    assert board.resources() == {"cpu": (0.0, 4.0), "gpu": (0.0, 2.0)}


def test_the_best_is_by_the_newest_values(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    assert board.picture().best is None
    for number, acc in enumerate([0.3, 0.9, 0.9, float("nan"), None, "0.99"]):
        tale.start(number)
        tale.report(number, acc)
    assert board.picture().best.trial_id == "3f2ab_00001", "the first of equals"
    tale.report(1, 0.1, 2)
    assert board.picture().best.trial_id == "3f2ab_00002"
    tale.end(2)
    assert board.picture().best.metrics["acc"] == 0.9
    tale.report(0, 0.95, 2)
    assert board.picture().best.trial_id == "3f2ab_00000"
    tale.report(0, float("nan"), 3)
    assert board.picture().best.trial_id == "3f2ab_00002", "of the ended ones"


def test_a_report_without_the_metric_leaves_it_as_it_was(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    for number in range(2):
        tale.start(number)
        tale.report(number, number / 10)
        tale.report(number, None, 2, train=2)
    picture = board.picture()
    assert (picture.best.trial_id, picture.best.iteration, picture.best.metrics["acc"]) == ("3f2ab_00001", 2, 0.1)
    assert [row.metrics["acc"] for row in picture.rows] == [0.0, 0.1]
    tale.report(1, None, 3, Decision("stop", 1, "enough"))
    tale.end(1)
    assert board.picture().best.metrics["acc"] == 0.1


def test_of_several_metrics_none_says_which_trial_is_the_best(make: Any, story: Any) -> None:
    board, by_one = make(), make(metric="size", mode="min")
    tale = story(board, by_one, spec={"metrics": ["acc", "size"], "modes": ["max", "min"]})
    for number in range(3):
        tale.start(number)
        tale.report(number, number / 10, size=number)
    tale.end(2)
    assert (board.picture().best, list(board.picture().metrics)) == (None, ["acc", "size"])
    assert by_one.picture().best.trial_id == "3f2ab_00000", "unless the reporter has one of its own"


def test_the_best_by_a_metric_of_the_reporters_own(make: Any, story: Any) -> None:
    board = make(metric="loss", mode="min")
    tale = story(board)
    for number in range(3):
        tale.start(number)
        tale.report(number, number, loss=number)
    tale.end(2)
    picture = board.picture()
    assert (picture.best.trial_id, list(picture.metrics)) == ("3f2ab_00000", ["loss"])


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(-3, 3))), max_size=300))
def test_a_leader_leads(puts: list[tuple[int, int | None]]) -> None:
    leader, now = Leader(), {}
    for trial, rank in puts:
        leader.put(trial, rank)
        now[trial] = rank
        ranked = [(value, number) for number, value in now.items() if value is not None]
        assert leader.best() == (min(ranked)[1] if ranked else None)
    assert len(leader._heap) <= 64 + 4 * 6 + 1


def test_decisions_with_their_reasons(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    for number in range(3):
        tale.start(number)
    tale.at = 2.0
    tale.report(0, 0.1, 1, Decision("stop", 0, "0.1 is below the cut of 0.3"))
    tale.end(0, "stopped", "0.1 is below the cut of 0.3")
    tale.report(1, 0.1, 1, Decision("pause", 1, "rung 1", {"mode": "cold"}))
    tale.tell(ev.AttemptEnded(1, 0, "stopped"), Decision("paused", 1, "rung 1", {"outcome": "stopped"}))
    tale.tell(ev.TimerFired("x"), Decision("exploit", 2, "among the worst 25 %", {"source": 1}))
    tale.tell(ev.TimerFired("x"), Decision("skip", 2, "exploit given up: no checkpoint"), Decision("save", 2), Decision("launch", 1))
    tale.tell(
        ev.AttemptEnded(2, 0, "worker_lost"),
        Decision("retry", 2, "worker died; starts anew (failure 1)", {"charge": True, "outcome": "worker_lost"}),
    )
    tale.tell(ev.TimerFired("x"), Decision("stop", 1, "interrupted", {"then": "interrupt"}))
    tale.end(1)
    assert board.picture().decisions == [
        (2.0, "3f2ab_00000 stopped: 0.1 is below the cut of 0.3"),
        (2.0, "3f2ab_00001 paused: rung 1"),
        (2.0, "3f2ab_00002 takes over from 3f2ab_00001: among the worst 25 %"),
        (2.0, "3f2ab_00002 goes on as it was: exploit given up: no checkpoint"),
        (2.0, "3f2ab_00001 goes on"),
        (2.0, "3f2ab_00002 to be tried again: worker died; starts anew (failure 1)"),
    ]


def test_each_pause_and_each_return_from_one(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    tale.start(0)
    tale.report(0, 0.1, 1, Decision("pause", 0, "waits", {"mode": "warm"}))
    tale.tell(ev.TimerFired("x"), Decision("launch", 0, "2nd of 7 at the cut"))
    tale.report(0, 0.1, 2, Decision("pause", 0, "waits", {"mode": "cold"}))
    tale.tell(ev.AttemptEnded(0, 0, "stopped"), Decision("paused", 0, "waits", {"outcome": "stopped"}))
    tale.tell(ev.TimerFired("x"), Decision("resize", 0, "takes 2 CPUs", {"resources": {"cpu": 2.0}}), Decision("launch", 0))
    tale.report(0, 0.1, 3, Decision("continue", 0, "1st of 2"))
    tale.report(0, 0.1, 4, Decision("continue", 0, "it says this in the log", {"notice": True}))
    assert [text.partition(" ")[2] for _, text in board.picture().decisions] == [
        "paused: waits", "goes on: 2nd of 7 at the cut", "paused: waits", "resized: takes 2 CPUs", "goes on", "goes on: 1st of 2",
    ]  # fmt: skip


def test_after_an_exploit_the_new_values_are_shown(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    tale.start(0, lr=1)
    tale.tell(ev.TimerFired("x"), Decision("exploit", 0, "", {"source": 1, "values": {"lr": 2}}))
    tale.tell(ev.AttemptEnded(0, 0, "stopped"), Decision("exploited", 0, "", {"source": 1, "checkpoint": "1/checkpoint_000000"}))
    assert board.picture().rows[0].values == {"lr": 2}


def test_values_are_shown_as_people_know_them(header: Header, watch: Watch, story: Any) -> None:
    board = Board(header, watch, show=lambda values, _: {"opt": ["sgd", "adam"][values["opt"]]})
    tale = story(board)
    for number in range(2):
        tale.trial(number, acc=0.5, opt=number)
    for _ in range(2):
        picture = board.picture()
        assert [row.values for row in picture.rows] == [{"opt": "adam"}, {"opt": "sgd"}]
        assert picture.best.values == {"opt": "sgd"}


def test_an_estimate_of_the_time_left(make: Any, story: Any, watch: Watch) -> None:
    board = make()
    tale = story(board, spec={"num_samples": 10, "time_budget_s": 100.0})
    watch.now = tale.at = 10.0
    tale.start(0)
    assert (board.picture().left, board.picture().budget) == (None, 90.0)
    watch.now = tale.at = 20.0
    tale.end(0)
    tale.trial(1)
    watch.now = 40.0
    assert (board.picture().elapsed, board.picture().left, board.picture().budget) == (40.0, 160.0, 60.0)


def test_a_resumed_run_is_measured_from_its_new_beginning(make: Any, story: Any, watch: Watch) -> None:
    board = make()
    past: list[Record] = []

    class Recorder:
        def committed(self, records: list[Record]) -> None:
            past.extend(records)

    earlier = story(Recorder())
    earlier.trial(0, 0.9)
    earlier.start(1)
    earlier.report(1, 0.1, 1, Decision("stop", 1, "no good"))
    earlier.tell(ev.StopRequested("Ctrl-C", True), Decision("halt", None, "Ctrl-C", {"kind": "drain", "until": 30.0}))
    board.replay(past)
    watch.now = 100.0
    tale = story()
    tale.observers, tale.at = (board,), 100.0
    tale.tell(ev.ExperimentStarted({"num_samples": 4, "metrics": ["acc"], "modes": ["max"]}, session=1))
    picture = board.picture()
    assert (picture.ending, picture.until, picture.decisions, picture.left) == ("", None, [], None)
    assert (picture.counts["TERMINATED"], picture.best.trial_id) == (1, "3f2ab_00000")
    assert board.resources() == {"cpu": (0.0, 4.0)}
    tale.tell(ev.AttemptEnded(1, 0, "driver_lost"), Decision("retry", 1, "", {"outcome": "driver_lost"}))
    watch.now = 110.0
    tale.trial(2)
    assert board.picture().left == 20.0


def test_a_drain_counts_down(make: Any, story: Any, watch: Watch) -> None:
    board = make()
    tale = story(board)
    tale.start(0)
    tale.tell(ev.StopRequested("Ctrl-C", True), Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain", "until": 30.0}))
    watch.now = 12.0
    assert (board.picture().ending, board.picture().until) == ("interrupted by Ctrl-C", 18.0)
    watch.now = 40.0
    assert board.picture().until == 0.0


def test_while_the_run_ends_what_is_interrupted_is_left_to_a_resume(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    tale.start(0)
    tale.tell(ev.StopRequested("Ctrl-C", True), Decision("halt", None, "interrupted by Ctrl-C", {"kind": "drain"}))
    tale.tell(ev.AttemptEnded(0, 0, "interrupted"), Decision("retry", 0, "interrupted; goes on from iteration 7"))
    assert board.picture().decisions == [(0.0, "3f2ab_00000 interrupted; a resume goes on from iteration 7")]


def test_a_moved_run_goes_by_its_new_name(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    assert board.picture().name == "digits"
    tale.tell(ev.SpecChanged({"name": "moved"}))
    assert board.picture().name == "moved"


def test_the_newest_ended_trials_or_the_best_ones(make: Any, story: Any) -> None:
    newest, best = make(max_progress_rows=3), make(max_progress_rows=3, sort_by_metric=True)
    tale = story(newest, best)
    for number, acc in enumerate([0.5, None, 0.9, 0.1, 0.7]):
        tale.at = float(number)
        tale.trial(number, acc)
    assert ids(newest) == [4, 3, 2]
    assert ids(best) == [2, 4, 0]


def test_an_infeasible_trial_is_not_the_best(make: Any, story: Any) -> None:
    board = make(max_progress_rows=3, sort_by_metric=True)
    tale = story(board)
    tale.trial(0, 0.5)
    tale.start(1)
    tale.report(1, 0.9)
    tale.end(1, "infeasible")
    assert board.picture().best.trial_id == "3f2ab_00000"
    assert ids(board) == [0, 1]


def test_quarantined_cards(make: Any, story: Any) -> None:
    board = make()
    tale = story(board)
    tale.tell(ev.CapacityChanged({"cpu": 4.0, "gpu": 1.0}, out=(1,)))
    assert board.picture().out == (1,)


def test_unhandled_records_are_skipped(make: Any, story: Any) -> None:
    board = make()
    story(board)
    board.committed([Record(ev.Suggested(0, {}), [Decision("launch", 0)], handled=False)])
    assert board.picture().rows == []


def test_memory_does_not_grow_with_ended_trials(make: Any, story: Any) -> None:
    board = make(max_progress_rows=5, max_error_rows=2)
    tale = story(board)

    def size() -> int:
        trials = board._trials
        parts = (trials._held, trials._first, trials._elsewhere, *trials.by_status.values(), board._kept, board._failed, board._decisions)
        return sum(map(len, (*parts, board._holding, board._leader._now, board._leader._heap)))

    sizes = []
    for number in range(300):
        tale.start(number)
        tale.report(number, number, 1, Decision("stop", number, f"reason {number}"))
        tale.end(number, random.choice(["stopped", "user_error"]), f"reason {number}")
        if number in (99, 199, 299):
            sizes.append(size())
    assert max(sizes) <= 5 + 2 + 12 + 70


def test_every_status_is_known_by_its_trials(make: Any, story: Any) -> None:
    """However records come: who is running, paused and waiting is exactly what the trials' own statuses say."""
    board = make(max_progress_rows=1000)
    tale = story(board)
    chance = random.Random(1)
    live: list[int] = []
    for step in range(400):
        if len(live) < 5:
            tale.start(step)
            live.append(step)
        number = chance.choice(live)
        match chance.randrange(4):
            case 0:
                tale.report(number, 0.1, step)
            case 1:
                tale.report(number, 0.1, step, Decision("pause", number, "", {"mode": "warm"}))
                tale.tell(ev.TimerFired("x"), Decision("launch", number))
            case 2:
                tale.tell(
                    ev.AttemptEnded(number, 0, "worker_lost"), Decision("retry", number, "", {"charge": True, "outcome": "worker_lost"})
                )
                tale.tell(ev.TimerFired("x"), Decision("launch", number))
                tale.tell(ev.AttemptStarted(number, 1))
            case 3:
                tale.end(number)
                live.remove(number)
        trials = board._trials
        for status, numbers in trials.by_status.items():
            assert set(numbers) == {trial.number for trial in trials.live() if trial.status == status}
        assert set(board._holding) == set(live)
