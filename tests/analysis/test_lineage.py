"""Which checkpoint belongs to a report: its own, or the nearest before it of the same past; through rewinds and exploits."""

from __future__ import annotations

import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunesmith.analysis import ExperimentAnalysis, Result, ResultGrid
from tunesmith.analysis.lineage import Lineage
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal, SqliteJournal

Make = Callable[..., ExperimentAnalysis]


def suggested(number: int, **values: Any) -> Record:
    return Record(ev.Suggested(number, values))


def started(number: int, attempt: int = 0, pid: int = 0) -> Record:
    return Record(ev.AttemptStarted(number, attempt, {"pid": pid}))


def reported(number: int, iteration: int, loss: float = 0.0, saved: str | None = None, attempt: int = 0) -> Record:
    return Record(ev.Reported(number, attempt, iteration, {"loss": loss, "training_iteration": iteration}, saved))


def saved(number: int, iteration: int, identity: str, attempt: int = 0) -> Record:
    return Record(ev.CheckpointSaved(number, attempt, iteration, identity))


def exploited(number: int, checkpoint: str, **values: Any) -> list[Record]:
    """Trial ``number`` goes on from another one's checkpoint, with other values."""
    source = int(checkpoint.partition("/")[0])
    return [
        Record(ev.TimerFired("x"), [Decision("exploit", number, "", {"source": source, "values": values})]),
        Record(ev.AttemptEnded(number, 0, "stopped"), [Decision("exploited", number, "", {"source": source, "checkpoint": checkpoint})]),
    ]


@pytest.fixture
def make(in_memory: Make, tmp_path: Path) -> Callable[..., ResultGrid]:
    """Results of an experiment with these checkpoints on disk."""

    def made(*records: Record | list[Record], there: tuple[str, ...] = (), spec: dict[str, Any] | None = None) -> ResultGrid:
        for identity in there:
            (tmp_path / f"3f2a9_{int(identity[0]):05d}" / identity[2:]).mkdir(parents=True)
        flat = [one for record in records for one in (record if isinstance(record, list) else [record])]
        return ResultGrid(in_memory(*flat, spec=spec, experiment_path=str(tmp_path)))

    return made


def told(result: Result) -> tuple[str | None, int | None, Any]:
    """Id and step of the result's checkpoint, and the loss reported there."""
    checkpoint = result.checkpoint
    path = None if checkpoint is None else Path(checkpoint.path)
    identity = None if path is None else f"{int(path.parent.name[-5:])}/{path.name}"
    return identity, result.checkpoint_iteration, result.checkpoint_metrics.get("loss")


# -- of the same step, or said to be of another one ------------------------------------------------------------------------------


def test_the_checkpoint_of_the_very_step(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(
        suggested(0), reported(0, 1, 0.5, "0/a"), reported(0, 2, 0.1, "0/b"), reported(0, 3, 0.9, "0/c"), there=("0/a", "0/b", "0/c")
    )
    assert told(grid[0]) == ("0/c", 3, 0.9)
    best = grid.get_best_result("loss", "min", scope="all")
    assert told(best) == ("0/b", 2, 0.1)
    assert best.checkpoint_metrics == best.metrics
    assert caplog.text == ""


def test_a_checkpoint_of_an_earlier_step_is_announced_once_for_all_results(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    story = [[suggested(n), *[reported(n, i, i / 10, f"{n}/four" if i == 4 else None) for i in range(1, 7)]] for n in range(2)]
    grid = make(*story, there=("0/four", "1/four"))
    best = grid.get_best_result("loss", "max")
    assert (best.metrics["training_iteration"], best.config, caplog.text) == (6, {}, ""), "nothing is handed out yet"
    assert told(best) == ("0/four", 4, 0.4)
    assert [told(result) for result in grid] == [("0/four", 4, 0.4), ("1/four", 4, 0.4)]
    (line,) = [record.getMessage() for record in caplog.records]
    for part in ("trial trainable_3f2a9_00000: the result is of step 6, its checkpoint of step 4", "checkpoint_freq", "report(metrics, ch"):
        assert part in line
    again: Result = pickle.loads(pickle.dumps(best))
    assert told(again) == ("0/four", 4, 0.4)
    assert len(caplog.records) == 1


def test_a_step_is_announced_as_well(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    analysis = make(suggested(0), reported(0, 1, 0.5, "0/a"), reported(0, 2, 0.1), there=("0/a",))._analysis
    assert analysis.get_best_config("loss", "min") == {}
    assert caplog.text == ""
    step = analysis.get_best_step("loss", "min")
    assert (step.iteration, step.saved_at, step.saved_metrics["loss"]) == (2, 1, 0.5)
    assert "the result is of step 2, its checkpoint of step 1" in caplog.text


def test_a_checkpoint_asked_for_after_the_report_is_of_its_step(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(suggested(0), reported(0, 1, 0.5), saved(0, 1, "0/a"), there=("0/a",))
    assert told(grid[0]) == ("0/a", 1, 0.5)
    assert caplog.text == ""


def test_no_checkpoint_at_all_needs_no_word(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(suggested(0), reported(0, 1, 0.5), suggested(1), reported(1, 1, 0.5), reported(1, 2, 0.5, "1/a"), there=("1/a",))
    assert told(grid[0]) == (None, None, None)
    assert grid[0].checkpoint_metrics == {}
    assert told(grid.get_best_result("loss", "min", scope="all")) == (None, None, None)
    assert told(Result(grid[1].trial, 1)) == (None, None, None)
    assert caplog.text == ""


# -- deleted ---------------------------------------------------------------------------------------------------------------------


def test_deleted_by_hand_is_none_and_said_once(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(suggested(0), reported(0, 1, 0.5, "0/a"), reported(0, 2, 0.6, "0/b"), reported(0, 3, 0.7), there=("0/a", "0/b"))
    shutil.rmtree(tmp_path / "3f2a9_00000" / "b")
    assert told(grid[0]) == (None, None, None)
    assert told(Result._of(grid[0].trial, grid._analysis._notices)) == (None, None, None)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "trial trainable_3f2a9_00000: checkpoint 0/b is not in" in line
    assert "deleted by somebody else than the run" in line
    assert told(Result(grid[0].trial, 1)) == ("0/a", 1, 0.5)
    assert grid._analysis.get_trial_checkpoints_paths(grid[0].trial, "loss") == [(str(tmp_path / "3f2a9_00000" / "a"), 0.5)]
    best = grid._analysis.get_best_checkpoint(grid[0].trial, "loss", "min")
    assert best is not None
    assert best.path == str(tmp_path / "3f2a9_00000" / "a")


@pytest.mark.parametrize("setting", ["num_to_keep", "keep_best", "max_checkpoint_bytes"])
def test_what_retention_has_deleted_is_passed_over(make: Any, setting: str, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(suggested(0), reported(0, 1, 0.5, "0/a"), reported(0, 2, 0.1, "0/b"), reported(0, 3, 0.7, "0/c"), there=("0/a", "0/c"),
                spec={setting: 2})  # fmt: skip
    assert told(grid.get_best_result("loss", "min", scope="all")) == ("0/a", 1, 0.5)
    assert "the result is of step 2, its checkpoint of step 1" in caplog.text
    assert told(grid[0]) == ("0/c", 3, 0.7)


def test_when_retention_has_left_nothing_it_is_said(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(suggested(0), reported(0, 1, 0.1, "0/a"), reported(0, 2, 0.7, "0/b"), there=("0/b",), spec={"num_to_keep": 1})
    assert told(grid.get_best_result("loss", "min", scope="all")) == (None, None, None)
    assert "checkpoint 0/a is not in" in caplog.text
    assert "deleted by the run, to keep fewer of them, or by somebody else" in caplog.text


@pytest.mark.parametrize("call", ["get_best_checkpoint", "get_last_checkpoint"])
def test_older_calls_say_so_too(make: Any, call: str, caplog: pytest.LogCaptureFixture) -> None:
    analysis = make(suggested(0), reported(0, 1, 0.1, "0/a"), suggested(1), reported(1, 1, 0.5))._analysis
    assert getattr(analysis, call)("3f2a9_00001", "loss", "min") is None
    assert caplog.text == ""
    for _ in range(2):
        assert getattr(analysis, call)(metric="loss", mode="min") is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "checkpoint 0/a is not in" in caplog.text


# -- rewinds and exploits ----------------------------------------------------------------------------------------------------------


def test_a_retry_rewinds_checkpoints_too(make: Any) -> None:
    grid = make(
        suggested(0), reported(0, 1, 0.1, "0/a"), reported(0, 2, 0.2), reported(0, 3, 0.3, "0/b"),
        Record(ev.AttemptEnded(0, 0, "worker_lost"), [Decision("retry", 0, "", {})]), started(0, 1), reported(0, 2, 0.25, attempt=1),
        there=("0/a", "0/b"),
    )  # fmt: skip
    assert told(grid[0]) == ("0/a", 1, 0.1)
    assert [row["loss"] for _, row in grid[0].best_checkpoints] == [0.1]


def test_a_trial_that_begins_anew_and_saves_before_it_reports(make: Any) -> None:
    story = [
        suggested(0), reported(0, 1, 0.1, "0/a"), reported(0, 2, 0.2, "0/b"), reported(0, 3, 0.3),
        Record(ev.AttemptEnded(0, 0, "user_error"), [Decision("retry", 0, "", {})]), started(0, 1), saved(0, 0, "0/c", attempt=1),
    ]  # fmt: skip
    grid = make(story, there=("0/a", "0/b", "0/c"))
    assert told(grid[0]) == ("0/b", 2, 0.2), "reports of the attempt before, until there are others"
    assert told(make([*story, reported(0, 1, 0.5, attempt=1)])[0]) == ("0/c", 0, None)


def pbt(*, more: tuple[Record, ...] = ()) -> list[Record]:
    """Trial 0 has two checkpoints of its own, then takes over trial 1's at iteration 2, and reports once."""
    return [
        suggested(0, lr=0.1), suggested(1, lr=0.2), started(0, pid=7), started(1, pid=8),
        reported(0, 1, 1.0, "0/a"), reported(0, 2, 2.0, "0/b"), reported(0, 3, 3.0),
        reported(1, 1, 0.9), reported(1, 2, 0.8, "1/a"), *more,
        *exploited(0, "1/a", lr=0.3), started(0, 1, pid=9), reported(0, 3, 0.7, attempt=1),
    ]  # fmt: skip


def test_after_an_exploit_the_checkpoint_and_its_result_are_the_sources(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    grid = make(pbt(), there=("0/a", "0/b", "1/a"))
    newest = grid[0]
    assert (newest.config, told(newest)) == ({"lr": 0.3}, ("1/a", 2, 0.8))
    assert (newest.checkpoint_metrics["config"], newest.checkpoint_metrics["pid"]) == ({"lr": 0.2}, 8)
    assert "the result is of step 3, its checkpoint of step 2" in caplog.text


def test_a_pickled_result_looks_things_up_in_the_experiments_directory(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0)) as journal:
        journal.append([Record(ev.ExperimentStarted({})), *pbt()])
    (tmp_path / "3f2a9_00001" / "a").mkdir(parents=True)
    result: Result = pickle.loads(pickle.dumps(ResultGrid(ExperimentAnalysis(tmp_path))[0]))
    assert told(result) == ("1/a", 2, 0.8)


def test_reports_before_the_exploit_keep_the_trials_own_checkpoints(make: Any) -> None:
    grid = make(pbt(), there=("0/a", "0/b", "1/a"))
    before = grid.get_best_result("loss", "max", scope="all")
    assert (before.trial.number, before.metrics["loss"], before.config) == (0, 2.0, {"lr": 0.1})
    assert told(before) == ("0/b", 2, 2.0)
    listed = [(Path(checkpoint.path).parent.name[-1], row["loss"]) for checkpoint, row in grid[0].best_checkpoints]
    assert listed == [("0", 1.0), ("0", 2.0), ("1", 0.8)]
    best = grid._analysis.get_best_checkpoint(grid[0].trial, "loss", "min")
    assert best is not None
    assert "3f2a9_00001" in best.path


def test_the_sources_report_is_found_though_the_source_was_rewound(make: Any) -> None:
    ended = Record(ev.AttemptEnded(1, 0, "worker_lost"), [Decision("retry", 1, "", {})])
    grid = make(pbt(more=(ended, started(1, 1), reported(1, 1, 0.91, attempt=1), reported(1, 2, 0.81, attempt=1))), there=("1/a",))
    assert told(grid[0]) == ("1/a", 2, 0.8)


def test_an_exploits_checkpoint_that_is_gone_is_not_replaced_by_one_of_the_trials_old_past(make: Any) -> None:
    for spec in (None, {"num_to_keep": 1}):
        assert told(make(pbt(), spec=spec)[0]) == (None, None, None)


def test_the_old_past_is_not_taken_for_the_new_one(make: Any, tmp_path: Path) -> None:
    """The same, with the old checkpoints there."""
    grid = make(pbt(), there=("0/a", "0/b"), spec={"num_to_keep": 2})
    assert told(grid[0]) == (None, None, None)


def test_saved_once_more_right_after_the_exploit(make: Any) -> None:
    story = pbt()
    story.insert(-1, saved(0, 2, "0/c", attempt=1))
    grid = make(story, there=("0/c", "1/a"))
    assert told(grid[0]) == ("0/c", 2, None), "the state of step 2, but this trial has not reported it"


def test_the_settings_of_the_run_are_not_set_back_by_looking_things_up(make: Any) -> None:
    story = pbt()
    story.append(Record(ev.SpecChanged({"num_to_keep": 5})))
    grid = make(story, there=("1/a",), spec={"num_to_keep": 1})
    assert told(grid[0]) == ("1/a", 2, 0.8)
    assert grid[0].trial.experiment.spec == {"num_to_keep": 5}


steps = st.one_of(
    st.tuples(st.just("report"), st.booleans()),
    st.tuples(st.just("save"), st.just(False)),
    st.tuples(st.just("rewind"), st.just(False)),
    st.tuples(st.just("exploit"), st.integers(0, 6)),
)


@given(st.lists(steps, max_size=40))
def test_each_report_goes_back_to_what_its_attempt_had_behind_it(story: list[tuple[str, Any]]) -> None:
    """Against a model in which each report has a copy of all that lay behind it."""
    records = [Record(ev.ExperimentStarted({})), suggested(0)]
    rows: dict[int, tuple[int, dict[int, str]]] = {}  # iteration -> number of its past, and the checkpoints
    past: dict[int, str] = {}
    pasts, now, attempt = 0, 0, 0
    for count, (what, detail) in enumerate(story):
        own = f"0/{count:03d}"
        if what == "report":
            now += 1
            past = {at: seen for at, seen in past.items() if at < now} | ({now: own} if detail else {})
            rows = {at: seen for at, seen in rows.items() if at < now} | {now: (pasts, dict(past))}
            records.append(reported(0, now, saved=own if detail else None, attempt=attempt))
        elif what == "save" and now:
            past = {at: seen for at, seen in past.items() if at < now} | {now: own}
            for at, (number, seen) in rows.items():
                if number == pasts and at >= now:
                    seen[now] = own
            records.append(saved(0, now, own, attempt))
        elif what == "rewind" and past:
            attempt, now = attempt + 1, max(past)
            records.append(started(0, attempt))
        elif what == "exploit":
            attempt, pasts, now, past = attempt + 1, pasts + 1, detail, {detail: f"1/{count:03d}"}
            records += [*exploited(0, past[now]), started(0, attempt)]
    journal = MemoryJournal(Header(uuid="3f2a9" + "0" * 27, name="demo", created=0.0))
    journal.append(records)
    lineage = Lineage.read(ExperimentAnalysis(journal).trials[0])
    assert list(lineage.rows) == list(rows)
    for iteration, (_, seen) in rows.items():
        assert list(lineage.back_from(iteration)) == sorted(((at, one) for at, one in seen.items() if at <= iteration), reverse=True)
