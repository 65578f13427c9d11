"""Reports kept as they are stored: the same tables as from reports decoded one by one, in any story, at once or as it goes on."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.analysis.frames import frame
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalCorrupt
from tunesmith.journal import MemoryJournal, SqliteJournal, open_reader, sums
from tunesmith.journal.projections import Histories, TrialTable
from tunesmith.journal.trials import TrialBook

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_900_000_000.0)


class Story:
    """Trials that report, fail, begin again, copy one another, are stopped and reopened, as chance has it."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.at = 0.0
        self.records = [Record(ev.ExperimentStarted({"metrics": ["loss"], "modes": ["min"], "trainable_name": "train"}))]
        self.iteration = dict.fromkeys(range(4), 0)
        self.attempt = dict.fromkeys(range(4), -1)
        self.over: set[int] = set()
        for number in range(4):
            self.add(ev.Suggested(number, {"lr": number / 8, "act": "relu"}))
            self.start(number)
        for _ in range(60):
            self.step()

    def add(self, event: Any, *decisions: Decision, handled: bool = True) -> None:
        self.at += self.chance.choice([0.0, 0.25, 1.5])
        event.at = self.at
        self.records.append(Record(event, list(decisions), handled))

    def start(self, number: int, *decisions: Decision) -> None:
        self.attempt[number] += 1
        info = {"pid": self.chance.randrange(100), "hostname": "box"} if self.chance.random() < 0.9 else {}
        self.add(ev.AttemptStarted(number, self.attempt[number], info), *decisions)

    def step(self) -> None:
        number = self.chance.randrange(4)
        if number in self.over:
            if self.chance.random() < 0.3:
                self.over.discard(number)
                values = {"lr": number / 8, "act": "relu"}
                self.add(ev.Reopened(number, self.attempt[number] + 1, "bound", values, None, self.iteration[number], 1.0, {}, 0))
                self.start(number)
            return
        what = self.chance.random()
        if what < 0.7:
            self.report(number)
        elif what < 0.8:  # it fails, and goes on from before
            self.add(ev.AttemptEnded(number, self.attempt[number], "user_error"), Decision("retry", number, "", {"outcome": "user_error"}))
            self.iteration[number] = self.chance.randrange(self.iteration[number] + 1)
            self.start(number)
        elif what < 0.87:
            values = {"lr": self.chance.random(), "act": self.chance.choice(["relu", "tanh"])}
            data = {"source": (number + 1) % 4, "iteration": self.iteration[number], "checkpoint": "0/checkpoint_000000"}
            self.start(number, Decision("exploit", number, "", {**data, "values": values}), Decision("exploited", number, "", data))
        else:
            self.over.add(number)
            how = {"status": "TERMINATED", "outcome": "finished"} if what < 0.94 else {"status": "ERROR", "outcome": "user_error"}
            self.add(ev.AttemptEnded(number, self.attempt[number], how["outcome"]), Decision("end", number, "", how))

    def report(self, number: int) -> None:
        self.iteration[number] += 1
        step = self.iteration[number]
        loss = self.chance.choice([0.5, float("nan"), 1 / step])
        metrics: dict[str, Any] = {"loss": loss, "training_iteration": step, "time_this_iter_s": 0.1}
        for name, value in {"val/acc": 0.3, "note": "x", "done": False, "date": "mine", "pid": 7, "time_this_iter_s": "slow"}.items():
            if self.chance.random() < 0.1:
                metrics[name] = value
        checkpoint = f"{number}/checkpoint_{step:06d}" if self.chance.random() < 0.15 else None
        verdict = "enough" if self.chance.random() < 0.05 else None
        others = [Decision("stop", self.chance.randrange(4), "cut")] if self.chance.random() < 0.1 else []
        report = ev.Reported(number, self.attempt[number], step, metrics, checkpoint, verdict)
        self.add(report, *others, handled=self.chance.random() < 0.97)


def one_by_one(records: list[Record]) -> tuple[TrialBook, Histories]:
    """As the projections have it that decode everything."""
    journal = MemoryJournal(HEADER)
    journal.append(records)
    book = TrialBook(HEADER)
    for record in journal.read():
        book.apply(record)
    return book, Histories(TrialBook(HEADER).experiment).update(journal)


STATE = ("status", "attempt", "num_failures", "reason", "outcome", "checkpoint_id", "stopped", "first_seq", "record_count", "decided_at",
         "time_since_restore", "iterations_since_restore", "values")  # fmt: skip


@pytest.mark.parametrize("seed", range(25))
def test_the_same_as_one_by_one(seed: int, tmp_path: Path) -> None:
    import pandas as pd

    records = Story(seed).records
    book, histories = one_by_one(records)
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append(records)
    analysis = ExperimentAnalysis(tmp_path)
    frames = analysis.trial_dataframes  # one pass
    for seen, trial in zip(analysis.trials, book.trials, strict=True):
        assert [repr(getattr(seen, name)) for name in STATE] == [repr(getattr(trial, name)) for name in STATE]
        assert repr(seen.last_result) == repr(trial.last_result)
        rows = histories.rows.get(trial.number, {})
        assert (seen.trial_id in frames) == bool(rows)
        if rows:
            pd.testing.assert_frame_equal(frames[seen.trial_id], frame(rows.values()))
    assert (analysis._book.at, analysis._book.cursor, analysis._book.counts) == (book.at, book.cursor, book.counts)
    again = ExperimentAnalysis(tmp_path)
    _ = again.trials  # two passes: the second one keeps the reports
    assert [again.trial_dataframes[path].equals(frames[str(path)]) for path in frames] == [True] * len(frames)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("stretch", [3, 17, 1000])
def test_reports_added_up_in_the_journal(seed: int, stretch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long journals are not read report by report when nobody wants more than the newest."""
    monkeypatch.setattr(sums, "FEW", 1)
    monkeypatch.setattr(sums, "_STRETCH", stretch)
    records = Story(seed).records
    book, _ = one_by_one(records)
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append(records[:50])
        table = TrialTable(HEADER)
        with open_reader(journal.path) as reader:
            table.update(reader)
            journal.append(records[50:])
            table.update(reader)
    for seen, trial in zip(table.book.trials, book.trials, strict=True):
        states = [{name: repr(getattr(one, name)) for name in STATE if name != "time_since_restore"} for one in (seen, trial)]
        assert states[0] == states[1]
        assert seen.time_since_restore == pytest.approx(trial.time_since_restore, rel=1e-12)
        assert repr({**seen.last_result, "time_since_restore": 0}) == repr({**trial.last_result, "time_since_restore": 0})
    assert (table.book.at, table.book.cursor, table.book.counts) == (book.at, book.cursor, book.counts)


def test_of_quiet_reports_only_the_newest_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "FEW", 1)
    records = [Record(ev.Suggested(number, {"lr": 0.5})) for number in range(3)] + [Record(ev.AttemptStarted(n, 0, {})) for n in range(3)]
    for step in range(1, 51):
        for number in range(3):
            records.append(Record(ev.Reported(number, 0, step, {"loss": 1 / step, "time_this_iter_s": 0.25, "training_iteration": step})))
    with SqliteJournal.create(tmp_path / "experiment.db", HEADER) as journal:
        journal.append(records)
    with open_reader(journal.path) as reader:
        (stretch,) = reader.read_sums()[0] or ()
        book = TrialTable(HEADER).update(reader).book
    assert (stretch.records, stretch.missing, len(stretch.parts)) == (156, 0, 9)
    assert [(part.reports, part.seconds) for part in stretch.parts if isinstance(part, sums.Sum)] == [(50, 12.5)] * 3
    assert [(trial.iteration, trial.iterations_since_restore, trial.time_since_restore) for trial in book.trials] == [(50, 50, 12.5)] * 3


def test_a_long_journal_that_is_damaged(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr(sums, "FEW", 1)
    damages = {"DELETE FROM records WHERE seq = 12": "13 follows on 11", "UPDATE records SET body = '[0.2' WHERE seq = 15": "record 15"}
    for damage, complaint in damages.items():
        copy = directory.with_name(complaint.replace(" ", "_"))
        shutil.copytree(directory, copy)
        with sqlite3.connect(copy / "experiment.db") as connection:
            connection.execute(damage)
        connection.close()
        with pytest.raises(JournalCorrupt, match=complaint):
            ExperimentAnalysis(copy).dataframe()


@pytest.mark.parametrize("first", ["trials", "trial_dataframes"])
def test_a_run_that_goes_on(first: str) -> None:
    records = Story(3).records
    journal = MemoryJournal(HEADER)
    journal.append(records[:30])
    analysis = ExperimentAnalysis(journal, experiment_path="/runs/demo")
    getattr(analysis, first)
    _ = analysis.trial_dataframes
    for start in range(30, len(records), 7):
        journal.append(records[start : start + 7])
        analysis.refresh()
    whole = ExperimentAnalysis(journal, experiment_path="/runs/demo")
    assert list(analysis.trial_dataframes) == list(whole.trial_dataframes)
    assert all(analysis.trial_dataframes[path].equals(whole.trial_dataframes[path]) for path in whole.trial_dataframes)
    assert repr(analysis.results) == repr(whole.results)


def test_a_journal_that_only_reads_records() -> None:
    class Plain:
        def __init__(self, journal: MemoryJournal) -> None:
            self.header, self.read = journal.header, journal.read

    journal = MemoryJournal(HEADER)
    journal.append(Story(5).records)
    whole, plain = ExperimentAnalysis(journal), ExperimentAnalysis(Plain(journal))
    assert all(plain.trial_dataframes[path].equals(whole.trial_dataframes[path]) for path in whole.trial_dataframes)


def test_all_results_in_one_dataframe(analysis: ExperimentAnalysis) -> None:
    table = analysis.history_df
    assert list(table["trial_id"]) == ["3f2a9_00000"] * 3 + ["3f2a9_00001"] * 3 + ["3f2a9_00002"] * 2
    assert list(table["loss"])[:7] == [1.0, 0.2, 0.6, 0.9, 0.7, 0.4, 0.8]
    assert list(table["config/net/act"]) == ["len"] * 3 + ["abs"] * 3 + ["len"] * 2
    assert list(table["logdir"])[3] == analysis.trials[1].path
    assert list(table["done"]) == [False, False, True, False, False, True, False, True]


def test_columns_of_many_lines_have_the_types_of_few(in_memory: Any) -> None:
    """What comes again and again is put together from what is different."""
    reports = [Record(ev.Reported(number, 0, step, {"x": step, "s": str(step % 3)})) for number in (0, 1) for step in range(1, 6001)]
    trials = [Record(ev.Suggested(0, {"lr": 0.5})), Record(ev.Suggested(1, {"lr": 0.25, "k": "a"}))]
    many = in_memory(*trials, *reports).history_df
    few = in_memory(*trials, *reports[:2], reports[6000]).history_df
    assert list(many.dtypes) == list(few.dtypes)
    assert list(many) == list(few)
    assert many["s"][:4].tolist() == ["1", "2", "0", "1"]
    assert many["config/lr"][5999:6001].tolist() == [0.5, 0.25]
    assert many["config/k"].isna().sum() == 6000


def test_the_best_row_of_each_trial_is_that_of_its_step(analysis: ExperimentAnalysis) -> None:
    table = analysis.dataframe("loss", "max")
    assert list(table["training_iteration"]) == [1, 1, 1]
    assert list(table["time_since_restore"]) == [1.0, 1.0, 1.0]
    assert not any(table["done"])


def test_a_missing_record_is_not_passed_over(directory: Path) -> None:
    import sqlite3

    with sqlite3.connect(directory / "experiment.db") as connection:
        connection.execute("DELETE FROM records WHERE seq = 12")
    connection.close()
    with pytest.raises(JournalCorrupt, match="records are missing, 13 follows on 11"):
        ExperimentAnalysis(directory).dataframe()
    with open_reader(directory / "experiment.db") as reader, pytest.raises(JournalCorrupt, match="13 follows on 11"):
        list(reader.read_pages())


def test_a_damaged_report_is_named(directory: Path) -> None:
    import sqlite3

    with sqlite3.connect(directory / "experiment.db") as connection:
        connection.execute("UPDATE records SET body = '[0.2' WHERE seq = 15")
    connection.close()
    with pytest.raises(JournalCorrupt, match="15"):
        ExperimentAnalysis(directory).dataframe()


def test_a_run_that_was_killed(directory: Path, tmp_path: Path) -> None:
    """Its log lies beside the journal, and nobody has closed either."""
    with SqliteJournal.open(directory / "experiment.db") as journal:
        journal.append([Record(ev.Suggested(4, {"lr": 0.5, "net/act": 1})), Record(ev.Reported(4, 0, 1, {"loss": 0.1}))])
        (tmp_path / "dead").mkdir()
        for file in directory.glob("experiment.db*"):
            shutil.copy(file, tmp_path / "dead")
    assert (tmp_path / "dead" / "experiment.db-wal").stat().st_size
    dead = ExperimentAnalysis(tmp_path / "dead")
    assert dead.best_trial.number == 4
    assert dead.trials[4].status == "PENDING"
    assert len(dead.history_df) == 9
