"""Read models over a journal: curves, best, histories, decisions, utilisation; from the start, and followed by cursor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import SpecError
from tunesmith.journal import projections as pro
from tunesmith.journal.experiment import Experiment
from tunesmith.journal.memory import MemoryJournal
from tunesmith.journal.scores import analyse, better, check_scope, score

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_000.0)
NAN, INF = math.nan, math.inf


def do(what: str, trial: int | None = 0, reason: str = "", **data: Any) -> Decision:
    return Decision(what, trial, reason, data)


def reported(trial: int, iteration: int, attempt: int = 0, checkpoint: str | None = None, **metrics: Any) -> ev.Reported:
    return ev.Reported(trial, attempt, iteration, metrics, checkpoint)


def journaled(*lines: Any) -> MemoryJournal:
    journal = MemoryJournal(HEADER)
    append(journal, *lines)
    return journal


def append(journal: MemoryJournal, *lines: Any) -> None:
    journal.append([Record(line[0], list(line[1:])) if isinstance(line, tuple) else Record(line) for line in lines])


class Plain:
    """A journal that has records only: what other journals than ours may be."""

    def __init__(self, journal: MemoryJournal) -> None:
        self.header = journal.header
        self._journal = journal

    def read(self, after: int = 0, limit: int | None = None, trial: int | None = None) -> Iterator[Record]:
        return self._journal.read(after, limit, trial)


def as_lists(curves: dict[int, pro.Curve]) -> dict[int, tuple[list[int], list[float]]]:
    return {trial: (list(curve.iterations), list(curve.values)) for trial, curve in curves.items()}


# -- curves ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda journal: journal, Plain])
def test_curves(wrap: Any) -> None:
    journal = journaled(
        reported(1, 1, loss=3),
        reported(0, 1, loss=0.5, note="a"),
        reported(1, 2, val=1.0),
        reported(1, 3, loss=True),
        reported(0, 2, loss="nothing"),
        reported(0, 3, loss=10**400),
    )
    projection = pro.Curves("loss").update(wrap(journal))
    assert as_lists(projection.by_trial) == {1: ([1, 3], [3.0, 1.0]), 0: ([1, 3], [0.5, INF])}
    assert projection.names == {"loss", "note", "val"}
    assert pro.curves(wrap(journal), "val").keys() == {1}


def test_unhandled_records_are_skipped() -> None:
    journal = MemoryJournal(HEADER)
    journal.append([Record(reported(0, 1, loss=1.0), handled=False), Record(reported(0, 1, loss=2.0), [do("stop")])])
    for reader in (journal, Plain(journal)):
        assert as_lists(pro.curves(reader, "loss")) == {0: ([1], [2.0])}
    assert [entry["seq"] for entry in pro.decisions(journal)] == [2]


REPORTS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6), st.sampled_from([{}, {"loss": 1.0}, {"loss": 2.0}])), max_size=30)


@given(REPORTS, st.integers(0, 30))
def test_following_by_cursor_equals_reading_at_once(reports: list[tuple[int, int, dict[str, float]]], cut: int) -> None:
    """And after a rewind only what the newest attempt reported stands: iterations ascend, and the newest report is the last."""
    journal = MemoryJournal(HEADER)
    live, plain = pro.Curves("loss"), pro.Curves("loss")
    for position, (trial, iteration, metrics) in enumerate(reports):
        journal.append([Record(ev.Reported(trial, 0, iteration, metrics))])
        if position == cut:
            live.update(journal)
            plain.update(Plain(journal))
    at_once = as_lists(pro.curves(journal, "loss"))
    assert as_lists(live.update(journal).by_trial) == as_lists(plain.update(Plain(journal)).by_trial) == at_once
    newest = {trial: iteration for trial, iteration, _ in reports}
    for trial, (iterations, _) in at_once.items():
        assert iterations == sorted(set(iterations))
        assert not iterations or iterations[-1] <= newest[trial]


def test_a_rewind_drops_what_the_older_attempt_reported_from_there_on() -> None:
    journal = journaled(*(reported(0, i, loss=float(i)) for i in (1, 2, 3, 4)), reported(0, 3, attempt=1, loss=30.0))
    assert as_lists(pro.curves(journal, "loss")) == {0: ([1, 2, 3], [1.0, 2.0, 30.0])}
    assert analyse(journal.read())["loss"]["max"] == 30.0
    assert analyse(journal.read())["loss"]["avg"] == 11.0


# -- scores ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "mode", "scope", "finite", "expected"),
    [
        ([3.0, 1.0, 2.0], "min", "last", True, (2.0, 2)),
        ([3.0, 1.0, 2.0, 1.0], "min", "all", True, (1.0, 1)),
        ([3.0, 1.0, 2.0], "max", "best", True, (3.0, 0)),
        ([3.0, 1.0, 2.0], "max", "avg", True, (2.0, 2)),
        ([9.0, 1.0, 2.0], "max", "last-2-avg", True, (1.5, 2)),
        ([4.0], "max", "last-10-avg", True, (4.0, 0)),
        ([1.0, NAN], "min", "last", True, None),
        ([1.0, NAN, -INF], "min", "all", True, (1.0, 0)),
        ([1.0, INF], "min", "avg", True, None),
        ([1.0, INF], "max", "last", False, (INF, 1)),
        ([NAN, 5.0, -INF], "min", "all", False, (-INF, 2)),
        ([], "min", "all", True, None),
        ([NAN], "min", "all", True, None),
    ],
)
def test_score(values: list[float], mode: str, scope: str, finite: bool, expected: tuple[float, int] | None) -> None:
    assert score(values, mode, scope, finite) == expected


def test_nan_is_worse_than_everything() -> None:
    assert better(-INF, NAN, "max")
    assert not better(NAN, -INF, "max")
    assert not better(NAN, NAN, "min")


@pytest.mark.parametrize("scope", ["last-0-avg", "last-avg", "mean", "last-5", None, "last-05-avg"])
def test_unknown_scope(scope: Any) -> None:
    with pytest.raises(SpecError, match="scope must be 'last'"):
        check_scope(scope)


def test_analyse_has_the_extremes_beside_nan() -> None:
    summary = analyse(Record(reported(0, i, x=value, note="text")) for i, value in enumerate([2.0, NAN, 4.0], 1))
    assert summary.keys() == {"x"}
    assert (summary["x"]["max"], summary["x"]["min"], summary["x"]["last"]) == (4.0, 2.0, 4.0)
    assert math.isnan(summary["x"]["avg"])


# -- best ------------------------------------------------------------------------------------------------------------------


def test_best_the_first_trial_wins_ties() -> None:
    journal = journaled(reported(2, 1, loss=1.0), reported(1, 1, loss=0.5), reported(1, 2, loss=1.0), reported(0, 1, other=0.0))
    assert pro.best(journal, "loss", "min") == (1, 1.0, 2)
    assert pro.best(journal, "loss", "min", "all") == (1, 0.5, 1)
    assert pro.best(journal, "nothing", "min") is None
    with pytest.raises(SpecError, match="mode must be"):
        pro.best(journal, "loss", "minimum")


def test_steps_of_all_trials() -> None:
    journal = journaled(reported(1, 1, loss=1.0), reported(1, 2, loss=5.0), reported(0, 1, loss=NAN), reported(2, 4, loss=2.0))
    assert pro.Curves("loss").update(journal).steps("max") == {1: 2, 2: 4}


# -- histories -------------------------------------------------------------------------------------------------------------


def test_history_of_an_exploit_has_each_rows_own_config_and_the_sources_checkpoint() -> None:
    journal = journaled(
        ev.Suggested(0, {"lr": 0.1}),
        ev.Suggested(1, {"lr": 0.9}),
        ev.AttemptStarted(0, 0),
        reported(0, 1, loss=1.0, checkpoint="0/checkpoint_000000"),
        reported(0, 2, loss=2.0),
        reported(0, 3, loss=3.0, checkpoint="0/checkpoint_000001"),
        (ev.AttemptEnded(0, 0, "stopped"), do("exploit", source=1, values={"lr": 0.8}), do("retry")),
        # complete only when the source has saved: decided at an event of the other trial
        (ev.CheckpointSaved(1, 0, 2, "1/checkpoint_000007"), do("exploited", 0, checkpoint="1/checkpoint_000007")),
        ev.AttemptStarted(0, 1),
        reported(0, 3, attempt=1, loss=0.3),
    )
    histories = pro.Histories(Experiment(HEADER)).update(journal)
    assert {i: (row["loss"], row["config"]["lr"]) for i, row in histories.rows[0].items()} == {1: (1.0, 0.1), 2: (2.0, 0.1), 3: (0.3, 0.8)}
    assert histories.checkpoints[0] == {1: "0/checkpoint_000000", 2: "1/checkpoint_000007"}


def test_the_last_row_is_done_once_the_trial_is_over() -> None:
    journal = journaled(ev.Suggested(0, {}), reported(0, 1, x=1), reported(0, 2, x=2))
    histories = pro.Histories(Experiment(HEADER)).update(journal)
    append(journal, (ev.AttemptEnded(0, 0, "finished"), do("end", status="TERMINATED", outcome="finished")))
    rows = histories.update(journal).rows[0]
    assert [row["done"] for row in rows.values()] == [False, True]


def test_only_the_rows_that_are_wanted_are_made() -> None:
    journal = journaled(ev.Suggested(0, {}), ev.Suggested(1, {}), *(reported(t, i, x=i) for i in (1, 2, 3) for t in (0, 1)))
    rows = pro.Histories(Experiment(HEADER), {0: 2}).update(journal).rows
    assert {trial: list(found) for trial, found in rows.items()} == {0: [2], 1: []}


# -- the rest --------------------------------------------------------------------------------------------------------------


def test_decisions_with_their_reasons() -> None:
    journal = journaled((ev.Suggested(0, {}, at=1.5), do("launch")), (ev.SearchExhausted("done", at=2.0), do("finish", None, "all done")))
    assert pro.decisions(journal) == [
        {"at": 1.5, "trial": 0, "do": "launch", "reason": "", "seq": 1},
        {"at": 2.0, "trial": None, "do": "finish", "reason": "all done", "seq": 2},
    ]


def test_utilisation_is_a_step_function() -> None:
    journal = journaled(
        ev.AttemptStarted(0, 0, at=1.0),
        ev.AttemptStarted(1, 0, at=1.0),
        ev.AttemptEnded(0, 0, "finished", at=3.0),
        ev.AttemptEnded(1, 0, "finished", at=4.0),
    )
    use = pro.utilisation(journal)
    assert (list(use.at), list(use.busy)) == ([0.0, 1.0, 3.0, 4.0], [0, 2, 1, 0])
    assert use.mean() == pytest.approx(5 / 4)
    assert use.mean(until=10.0) == pytest.approx(0.5)
    assert pro.Utilisation().mean() == 0.0


def test_trial_table_and_counts() -> None:
    error = {"type": "KeyError", "message": "'lr'"}
    journal = journaled(
        ev.Suggested(0, {"lr": 0.1}),
        ev.AttemptStarted(0, 0),
        reported(0, 1, loss=0.5, time_total_s=2.0),
        (ev.AttemptEnded(0, 0, "user_error", error), do("end", status="ERROR", outcome="user_error", reason="")),
        ev.Suggested(1, {"lr": 0.2}),
    )
    first, second = pro.trial_table(journal, "/runs/demo")
    assert first == {
        "number": 0,
        "trial_id": "3f2a9_00000",
        "name": "trainable_3f2a9_00000",
        "status": "ERROR",
        "attempt": 0,
        "iteration": 1,
        "time_total_s": 2.0,
        "config": {"lr": 0.1},
        "metrics": {"loss": 0.5, "time_total_s": 2.0},
        "reason": "",
        "error": "KeyError: 'lr'",
        "path": "/runs/demo/3f2a9_00000",
    }
    assert (second["status"], second["time_total_s"], second["error"]) == ("PENDING", None, None)
    assert pro.counts(journal) == {"PENDING": 1, "RUNNING": 0, "PAUSED": 0, "TERMINATED": 0, "ERROR": 1}
