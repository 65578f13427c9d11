"""Journals as sources: what an experiment has shown is played again, and what it has not is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import SpecError
from tunesmith.journal import SqliteJournal
from tunesmith.schedulers import Scheduler
from tunesmith.simulation import CurveTable, simulate

SPACE = {
    "lr": tune.loguniform(1e-4, 1),
    "opt": tune.choice([{"name": "sgd", "momentum": tune.uniform(0, 1)}, {"name": "adam"}]),
    "epochs": 4,
}


def train(config: dict[str, Any]) -> None:
    for epoch in range(1, config["epochs"] + 1):
        tune.report(loss=abs(math.log10(config["lr"]) + 2) + 1 / epoch, adam=config["opt"]["name"] == "adam", note="text")


def ran(tmp_path: Path, trainable: Any = train, **options: Any) -> tune.ExperimentAnalysis:
    given = {"config": SPACE, "num_samples": 8, "metric": "loss", "mode": "min", "seed": 3}
    return tune.run(trainable, storage_path=tmp_path, executor="inline", verbose=0, loggers=(), **{**given, **options})


class StopsBad(Scheduler):
    """Ends what is above a bound at its second report."""

    def on_result(self, trial: Any, result: Any) -> Any:
        return self.stop("bad") if trial.iteration == 2 and result["loss"] > 1.5 else self.CONTINUE


def test_first_in_first_out_again_gives_the_same_results(tmp_path: Path) -> None:
    analysis = ran(tmp_path)
    sim = simulate(analysis.experiment_path, workers=3, keep_records=True, seed=1)
    again = sim.analysis()
    assert [trial.status for trial in again.trials] == [trial.status for trial in analysis.trials]
    assert [[*curve.values] for curve in sim.curves().values()] == [
        [r["loss"] for r in rows.to_dict("records")] for rows in analysis.trial_dataframes.values()
    ]
    for mine, theirs in zip(again.trials, analysis.trials, strict=True):
        for name in ("loss", "adam", "training_iteration", "time_total_s"):
            assert mine.last_result[name] == pytest.approx(float(theirs.last_result[name]), rel=1e-12)
    assert sim.best("last")[1] == analysis.best_result["loss"]
    assert sim.best_trial.number == analysis.best_trial.number
    assert sim.unobserved == {}
    work = sum(trial.last_result["time_total_s"] for trial in analysis.trials)
    assert sim.work_s == pytest.approx(work)
    alone = simulate(analysis.experiment_path, workers=1)
    assert alone.seconds == pytest.approx(work)
    assert alone.seconds > sim.seconds


def test_drawn_values_are_columns_those_of_options_too(tmp_path: Path) -> None:
    analysis = ran(tmp_path)
    table = CurveTable.from_experiment(analysis.experiment_path)
    assert {column.name for column in table.columns} == {"lr", "opt/name", "opt/momentum"}
    assert set(table.names) == {"loss", "adam"}, "text is no metric of a table"
    for row, trial in enumerate(analysis.trials):
        config = {key: value for key, value in trial.config.items() if key != "epochs"}
        assert table.config(row) == config
        assert table.lookup(trial.config) == (row, 0.0)
    assert sorted(tune.space.Space.parse(table.space("domains")).parameters) == sorted(tune.space.Space.parse(SPACE).parameters)


def test_what_a_scheduler_cut_off_is_unobserved(tmp_path: Path) -> None:
    analysis = ran(tmp_path, scheduler=StopsBad())
    cut = [trial.number for trial in analysis.trials if trial.outcome == "stopped"]
    assert 0 < len(cut) < 8
    same = simulate(analysis.experiment_path, scheduler=StopsBad())
    assert same.unobserved == {}, "stopped again where it was, nothing more is needed"
    sim = simulate(analysis.experiment_path)
    assert sim.unobserved == dict.fromkeys(cut, 2)
    assert [trial.iteration for trial in sim.trials] == [2 if number in cut else 4 for number in range(8)]


def test_limits_of_the_experiment_are_no_gap_unless_there_are_others(tmp_path: Path) -> None:
    path = ran(tmp_path, stop={"training_iteration": 3}).experiment_path
    assert simulate(path).unobserved == {}
    assert simulate(path, stop={"training_iteration": 3}).unobserved == {}
    assert len(simulate(path, stop={"training_iteration": 4}).unobserved) == 8
    assert len(simulate(path, max_t=4).unobserved) == 8


def test_failures_are_played_again_and_ends_by_machines_are_not(tmp_path: Path) -> None:
    def fails(config: dict[str, Any]) -> None:
        tune.report(loss=config["lr"])
        if config["lr"] > 0.01:
            raise ValueError("too much")
        if config["lr"] < 0.001:
            raise tune.Infeasible("too little")

    analysis = ran(tmp_path, fails, raise_on_failed_trial=False, failure_config=tune.FailureConfig(circuit_breaker=None))
    sim = simulate(analysis.experiment_path, failure_config=tune.FailureConfig(circuit_breaker=None))
    assert [trial.outcome for trial in sim.trials] == [trial.outcome for trial in analysis.trials]
    assert {trial.outcome for trial in sim.trials} == {"finished", "user_error", "infeasible"}


def test_metric_and_mode_are_the_experiments_unless_others_are_given(tmp_path: Path) -> None:
    path = ran(tmp_path).experiment_path
    assert simulate(path).best_value == simulate(path, metric="loss", mode="min").best_value
    assert simulate(path, metric="loss", mode="max").best_value > simulate(path).best_value
    assert simulate(path, scheduler=Scheduler("adam", "max")).best_value == 1.0


def test_any_number_of_its_configurations_can_be_drawn(tmp_path: Path) -> None:
    path = ran(tmp_path).experiment_path
    sim = simulate(path, num_samples=50, workers=10, seed=1)
    assert len(sim.trials) == 50
    assert sim.approximated == {}
    assert sim.regret() == 0.0


def journal(path: Path, records: list[Record]) -> Path:
    path.mkdir()
    writer = SqliteJournal.create(path / "experiment.db", Header(uuid="ab" * 16, name="made", created=0.0))
    writer.append(records)
    writer.close()
    return path


def report(trial: int, attempt: int, iteration: int, **metrics: Any) -> Record:
    return Record(ev.Reported(trial, attempt, iteration, {"time_this_iter_s": 2.0, "training_iteration": iteration, **metrics}))


_SPACE = {"format": 1, "tree": {"dict": []}, "constraints": []}
BEGIN = [Record(ev.ExperimentStarted({"metrics": ["loss"], "modes": ["min"], "space": _SPACE}))]


def test_of_repeated_iterations_the_newest_attempts_count(tmp_path: Path) -> None:
    records = [Record(ev.Suggested(0, {"x": 1})), *(report(0, 0, step, loss=step) for step in (1, 2, 3))]
    records += [Record(ev.AttemptEnded(0, 0, "worker_lost")), report(0, 1, 2, loss=20)]
    table = CurveTable.from_experiment(journal(tmp_path / "a", BEGIN + records))
    assert table.curve(0, "loss").tolist() == [1, 20]
    assert table.seconds[0].tolist() == [2.0, 2.0]
    assert table.kinds[table.ends[0]] == "cut", "it was not over"


def test_what_came_after_an_exploit_is_anothers(tmp_path: Path) -> None:
    records = [Record(ev.Suggested(0, {"x": 1})), report(0, 0, 1, loss=1.0)]
    records += [Record(ev.AttemptEnded(0, 0, "stopped"), [Decision("exploited", 0, "", {"source": 1})]), report(0, 1, 2, loss=9.0)]
    records += [Record(ev.AttemptEnded(0, 1, "finished"), [Decision("end", 0, "", {"status": "TERMINATED", "outcome": "finished"})])]
    table = CurveTable.from_experiment(journal(tmp_path / "b", BEGIN + records))
    assert table.curve(0, "loss").tolist() == [1.0]
    assert table.kinds[table.ends[0]] == "cut"


def test_ones_own_counts_and_seconds_are_kept_to(tmp_path: Path) -> None:
    records = [Record(ev.Suggested(0, {})), report(0, 0, 1, training_iteration=10, time_this_iter_s=-1.0)]
    records += [report(0, 0, 2, loss=1.0, training_iteration=20, time_this_iter_s="long")]
    table = CurveTable.from_experiment(journal(tmp_path / "c", BEGIN + records))
    assert table.curve(0, "training_iteration").tolist() == [10, 20]
    assert table.seconds[0].tolist() == [0.0, 0.0]
    assert table.config(0) == {"trial": 0}, "nothing was drawn"
    sim = simulate(tmp_path / "c", keep_records=True)
    assert sim.trials[0].last_result["training_iteration"] == 20
    first = next(r.event for r in sim.analysis().trials[0].records() if isinstance(r.event, ev.Reported))
    assert "loss" not in first.metrics


def test_trials_that_never_reported_are_rows_too(tmp_path: Path) -> None:
    records = [Record(ev.Suggested(0, {"x": 1})), Record(ev.Suggested(1, {"x": 2})), report(1, 0, 1, loss=1.0)]
    path = journal(tmp_path / "d", BEGIN + records)
    assert simulate(path).unobserved == {0: 0, 1: 1}
    with pytest.raises(SpecError, match="nothing was reported"):
        simulate(journal(tmp_path / "e", BEGIN + records[:2]))


def test_nothing_is_written(tmp_path: Path) -> None:
    path = Path(ran(tmp_path).experiment_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    simulate(path, checkpoint_freq=1, pauses="cold")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before
