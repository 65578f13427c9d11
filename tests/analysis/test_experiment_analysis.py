"""ExperimentAnalysis: what is best, tables, ends; on a finished run, a live one, a moved one, a pickled one."""

from __future__ import annotations

import math
import pickle
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis, ResultGrid, open_experiment, source
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.errors import JournalError, MetricError, SpecError, UserCodeError
from tunesmith.journal import MemoryJournal, SqliteJournal
from tunesmith.journal.reader import open_reader

Make = Callable[..., ExperimentAnalysis]


def reported(trial: int, iteration: int, attempt: int = 0, **metrics: Any) -> Record:
    return Record(ev.Reported(trial, attempt, iteration, metrics))


def suggested(trial: int, **values: Any) -> Record:
    return Record(ev.Suggested(trial, values))


# -- the best ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        ((), 1),
        (("loss", "min", "last"), 1),
        (("loss", "min", "all"), 0),
        (("loss", "max"), 0),
        (("loss", "min", "avg"), 0),
        (("loss", "min", "last-2-avg"), 0),
        (("val/acc", "max"), 0),
        (("training_iteration", "min"), 2),
    ],
)
def test_best_trial(analysis: ExperimentAnalysis, arguments: tuple[str, ...], number: int) -> None:
    assert analysis.get_best_trial(*arguments).number == number
    assert analysis.get_best_logdir(*arguments) == analysis.trials[number].path
    assert analysis.get_best_config(*arguments)["lr"] == pytest.approx((number + 1) / 10)


def test_nan_takes_part_only_if_asked_and_is_the_worst(analysis: ExperimentAnalysis) -> None:
    assert analysis.get_best_trial("loss", "max", filter_nan_and_inf=False).number == 0


def test_the_best_by_the_runs_own_metric(analysis: ExperimentAnalysis, directory: Path) -> None:
    assert (analysis.default_metric, analysis.default_mode) == ("loss", "min")
    assert analysis.best_trial.trial_id == "3f2a9_00001"
    assert analysis.best_config == {"lr": 0.2, "net": {"act": "abs"}, "epochs": 3}
    assert analysis.best_logdir == str(directory / "3f2a9_00001")
    assert analysis.best_checkpoint is not None
    assert analysis.best_checkpoint.path == str(directory / "3f2a9_00001" / "checkpoint_000000")
    assert analysis.best_result["loss"] == 0.4
    assert list(analysis.best_dataframe["loss"]) == [0.9, 0.7, 0.4]
    assert analysis.best_result_df.loc["3f2a9_00001", "config/lr"] == 0.2


def test_what_the_caller_says_wins_over_the_run(directory: Path) -> None:
    analysis = ExperimentAnalysis(directory, default_metric="val/acc", default_mode="max")
    assert analysis.best_trial.number == 0
    assert ExperimentAnalysis(directory, default_mode="max").best_trial.number == 0


def test_the_first_of_equally_good_trials(in_memory: Make) -> None:
    analysis = in_memory(suggested(0), suggested(1), reported(1, 1, x=1.0), reported(0, 1, x=1.0))
    assert analysis.get_best_trial("x", "max").number == 0


def test_a_sparse_metric_counts_where_it_was_last_reported(in_memory: Make) -> None:
    analysis = in_memory(suggested(0), reported(0, 1, x=1.0, val=5.0), reported(0, 2, x=2.0))
    step = analysis.get_best_step("val", "max")
    assert (step.iteration, step.metrics["x"]) == (1, 1.0)


def test_a_config_that_an_exploit_changed_is_that_of_the_best_report(in_memory: Make) -> None:
    exploit = [Decision("exploit", 0, "", {"source": 1, "values": {"lr": 0.9}}), Decision("retry", 0), Decision("exploited", 0)]
    analysis = in_memory(
        suggested(0, lr=0.1),
        reported(0, 1, x=1.0),
        reported(0, 2, x=9.0),
        Record(ev.AttemptEnded(0, 0, "stopped"), exploit),
        reported(0, 3, attempt=1, x=5.0),
    )
    assert analysis.get_best_config("x", "max", "all") == {"lr": 0.1}
    assert analysis.get_best_config("x", "max") == {"lr": 0.9}


# -- questions without an answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["get_best_trial", "get_best_config", "get_best_logdir", "get_best_step"])
def test_a_metric_never_reported_names_those_that_were(analysis: ExperimentAnalysis, call: str) -> None:
    with pytest.raises(MetricError, match=r"'los' was reported by no trial. Did you mean 'loss'\? Reported were: loss, val/acc\.$"):
        getattr(analysis, call)("los", "min")


def test_one_trial_alone_gets_no_special_treatment(in_memory: Make) -> None:
    with pytest.raises(MetricError, match="Reported were: x"):
        in_memory(suggested(0), reported(0, 1, x=1.0)).get_best_trial("loss", "min")


def test_a_mode_is_never_guessed(analysis: ExperimentAnalysis) -> None:
    with pytest.raises(SpecError, match=r"get_best_config\(\) knows no mode for metric 'val/acc'.*mode='min'.*mode='max'"):
        analysis.get_best_config("val/acc")
    assert analysis.get_best_config("loss") == analysis.best_config


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda a: a.get_best_trial("loss", "minimum"), "mode must be 'min'"),
        (lambda a: a.get_best_trial("loss", "min", "mean"), "scope must be 'last'"),
        (lambda a: a.get_best_trial(mode="max", scope="first"), "scope must be 'last'"),
        (lambda a: a.dataframe("loss", "best"), "mode must be 'min'"),
        (lambda a: a.get_best_config(["loss", "size"], "min"), r"get_best_config\(\): metric is the name of one metric, .* got \['loss', "),
        (lambda a: ExperimentAnalysis(3), "a path or an open journal, got a int"),
        (lambda a: a.get_last_checkpoint("no-such-trial"), "has no trial 'no-such-trial'"),
    ],
)
def test_wrong_arguments(analysis: ExperimentAnalysis, call: Callable[[ExperimentAnalysis], object], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        call(analysis)


def test_wrong_defaults(directory: Path) -> None:
    with pytest.raises(SpecError, match="mode must be"):
        ExperimentAnalysis(directory, default_metric="loss", default_mode="low")
    with pytest.raises(SpecError, match="equal lengths"):
        ExperimentAnalysis(directory, default_metric=["a", "b"], default_mode="min")


def test_no_metric_at_all(in_memory: Make) -> None:
    with pytest.raises(SpecError, match=r"get_best_trial\(\) needs a metric\. Say which"):
        _ = in_memory(suggested(0)).best_trial


def test_several_metrics_need_a_choice(in_memory: Make) -> None:
    spec = {"metrics": ["loss", "size"], "modes": ["min", "max"]}
    analysis = in_memory(suggested(0), suggested(1), reported(0, 1, loss=1.0, size=1), reported(1, 1, loss=2.0, size=2), spec=spec)
    with pytest.raises(SpecError, match=r"the run has several: loss, size\. Say which, as in get_best_config\(metric='loss'\)"):
        _ = analysis.best_config
    with pytest.raises(SpecError, match=r"get_best_step\(metric='loss'\)"):
        _ = analysis.best_result
    assert analysis.get_best_trial("size").number == 1
    assert analysis.get_best_trial("loss").number == 0


def test_nothing_reported_yet(in_memory: Make) -> None:
    with pytest.raises(MetricError, match="has no trials yet"):
        in_memory().get_best_trial("x", "min")
    failed = Record(ev.AttemptEnded(0, 0, "user_error"), [Decision("end", 0, "boom", {"status": "ERROR", "outcome": "user_error"})])
    with pytest.raises(MetricError, match=r"no trial has reported anything. 1 of 2 trials failed; see .errors"):
        in_memory(suggested(0), suggested(1), failed).get_best_trial("x", "min")


def test_only_nan(in_memory: Make) -> None:
    analysis = in_memory(suggested(0), reported(0, 1, x=math.nan))
    with pytest.raises(MetricError, match="never as a finite number"):
        analysis.get_best_trial("x", "min")
    assert analysis.get_best_trial("x", "min", filter_nan_and_inf=False).number == 0


def ended(trial: int, outcome: str, status: str = "TERMINATED") -> Record:
    return Record(ev.AttemptEnded(trial, 0, outcome), [Decision("end", trial, "", {"status": status, "outcome": outcome})])


@pytest.mark.parametrize("scope", ["last", "all", "avg", "last-2-avg"])
def test_a_configuration_that_is_not_allowed_is_never_the_best(in_memory: Make, scope: str) -> None:
    analysis = in_memory(
        suggested(0, lr=0.1), reported(0, 1, loss=-100.0), ended(0, "infeasible"),
        suggested(1, lr=0.2), reported(1, 1, loss=0.5), ended(1, "finished"),
        spec={"metrics": ["loss"], "modes": ["min"]},
    )  # fmt: skip
    assert analysis.get_best_trial(scope=scope).number == 1
    assert analysis.get_best_step(scope=scope, filter_nan_and_inf=False).metrics["loss"] == 0.5
    assert (analysis.best_trial.number, analysis.best_config, analysis.best_result["loss"]) == (1, {"lr": 0.2}, 0.5)
    assert ResultGrid(analysis).get_best_result(scope=scope).config == {"lr": 0.2}
    assert list(analysis.dataframe("loss", "min")["loss"]) == [-100.0, 0.5], "tables show everything"


def test_when_all_that_reported_it_are_not_allowed(in_memory: Make) -> None:
    analysis = in_memory(suggested(0), reported(0, 1, loss=-100.0), ended(0, "infeasible"), suggested(1), ended(1, "finished"))
    with pytest.raises(MetricError, match="'loss' was reported only by trials that ended infeasible"):
        analysis.get_best_trial("loss", "min")
    with pytest.raises(MetricError, match="'acc' was reported by no trial"):
        analysis.get_best_trial("acc", "max")


def test_a_trial_that_ended_with_nan_is_not_the_best(in_memory: Make) -> None:
    analysis = in_memory(
        suggested(0), reported(0, 1, loss=0.1), reported(0, 2, loss=math.nan), ended(0, "nan", "ERROR"),
        suggested(1), reported(1, 1, loss=0.5), ended(1, "finished"),
        spec={"metrics": ["loss"], "modes": ["min"]},
    )  # fmt: skip
    assert analysis.best_trial.number == 1
    assert analysis.get_best_trial(filter_nan_and_inf=False).number == 1


# -- tables --------------------------------------------------------------------------------------------------------------------


def test_dataframe_of_the_newest_results(analysis: ExperimentAnalysis) -> None:
    table = analysis.dataframe()
    assert list(table["trial_id"]) == ["3f2a9_00000", "3f2a9_00001", "3f2a9_00002"]
    assert list(table["loss"][:2]) == [0.6, 0.4]
    assert list(table["logdir"]) == [trial.path for trial in analysis.trials[:3]]
    assert list(table["pid"]) == [40, 41, 42]
    assert list(table["config/lr"]) == [0.1, 0.2, pytest.approx(0.3)]
    assert list(table["config/net/act"]) == ["len", "abs", "len"]
    assert list(table["training_iteration"]) == [3, 3, 2]
    assert list(table["time_total_s"]) == [3.0, 3.0, 2.0]
    assert list(table["done"]) == [True, True, True]
    assert list(table.columns)[-3:] == ["config/lr", "config/net/act", "config/epochs"]
    assert list(analysis.dataframe(metric="loss")["loss"][:2]) == [0.6, 0.4], "a metric without a mode gives the newest rows"


def test_dataframe_of_the_best_results(analysis: ExperimentAnalysis) -> None:
    table = analysis.dataframe("loss", "min")
    assert list(table["loss"]) == [0.2, 0.4, 0.8]
    assert list(table["training_iteration"]) == [2, 3, 1]
    assert list(analysis.dataframe(mode="max")["loss"]) == [1.0, 0.9, 0.8]
    with pytest.raises(MetricError, match="Did you mean 'loss'"):
        analysis.dataframe("losses")


def test_dataframe_without_any_result(in_memory: Make) -> None:
    assert in_memory(suggested(0)).dataframe().empty


def test_nested_and_sparse_values_have_cells_of_their_own(in_memory: Make) -> None:
    analysis = in_memory(suggested(0, layers=[1, 2]), suggested(1), reported(0, 1, x=1, **{"a/b c-d": 2.5}), reported(1, 1, y="text"))
    table = analysis.dataframe()
    assert table["config/layers"][0] == [1, 2]
    assert table["a/b c-d"][0] == 2.5
    assert list(table["x"].isna()) == [False, True]
    assert table["y"][1] == "text"


def test_results_in_order_of_trials(analysis: ExperimentAnalysis) -> None:
    assert list(analysis.results) == [f"3f2a9_0000{number}" for number in range(4)]
    assert analysis.results["3f2a9_00001"]["val"]["acc"] == pytest.approx(0.3)
    assert analysis.results["3f2a9_00003"] == {}
    assert list(analysis.results_df.index) == ["3f2a9_00000", "3f2a9_00001", "3f2a9_00002"]


def test_which_tables_have_the_directory_of_the_trial(analysis: ExperimentAnalysis) -> None:
    places = [trial.path for trial in analysis.trials[:3]]
    assert list(analysis.dataframe()["logdir"]) == list(analysis.dataframe("loss", "min")["logdir"]) == places
    assert list(ResultGrid(analysis).get_dataframe()["logdir"]) == list(analysis.history_df["logdir"].unique()) == places
    assert "logdir" not in analysis.results_df
    assert all("logdir" not in table for table in analysis.trial_dataframes.values())


def test_an_index_that_is_no_number_is_refused(analysis: ExperimentAnalysis) -> None:
    for index in ("loss", None, 1.0):
        for trials in (analysis, ResultGrid(analysis)):
            with pytest.raises(TypeError, match=rf"trials are found by their number, as in \[0\], .* not by {index!r}\. .*dataframe\(\)"):
                trials[index]  # type: ignore[index]


def test_trial_dataframes_by_directory(analysis: ExperimentAnalysis) -> None:
    frames = analysis.trial_dataframes
    assert list(frames) == [trial.path for trial in analysis.trials[:3]]
    assert list(frames[analysis.trials[0].path]["loss"]) == [1.0, 0.2, 0.6]
    assert analysis.trial_dataframes is frames
    assert analysis.fetch_trial_dataframes() is not frames


def test_all_configs(analysis: ExperimentAnalysis) -> None:
    configs = analysis.get_all_configs()
    assert configs[analysis.trials[0].path] == {"lr": 0.1, "net": {"act": "len"}, "epochs": 3}
    assert set(analysis.get_all_configs(prefix=True)[analysis.trials[0].path]) == {"config/lr", "config/net/act", "config/epochs"}
    assert configs["3f2a9_00000"] == configs[analysis.trials[0].path]
    assert "3f2a9_00009" not in configs


# -- trials, errors, checkpoints -------------------------------------------------------------------------------------------------


def test_trials_and_counts(analysis: ExperimentAnalysis) -> None:
    assert len(analysis) == 4
    assert [trial.status for trial in analysis] == ["TERMINATED"] * 3 + ["ERROR"]
    assert (analysis.num_errors, analysis.num_terminated) == (1, 3)
    assert analysis.stats() == {
        "start_time": 1_900_000_000.0,
        "timestamp": 1_900_000_009.0,
        "total_time_s": 9.0,
        "num_trials": 4,
        "PENDING": 0,
        "RUNNING": 0,
        "PAUSED": 0,
        "TERMINATED": 3,
        "ERROR": 1,
    }
    assert analysis.trials[2].reason == "stopped: below the cut"
    assert "demo" in repr(analysis)


def test_errors_are_exceptions_again(analysis: ExperimentAnalysis) -> None:
    (error,) = analysis.errors
    assert isinstance(error, UserCodeError)
    assert str(error).startswith("trial train_3f2a9_00003 ended in ERROR (user_error): KeyError: 'lr' at train.py:42\nTraceback")


def test_decisions_are_read_without_the_reports(analysis: ExperimentAnalysis, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_reader(directory / "experiment.db")) as reader:
        every = [(record.seq, one.trial, one.do, one.reason) for record in reader.read() for one in record.decisions]
    seen: list[tuple[Any, ...]] = []
    decode = source.record_of
    monkeypatch.setattr(source, "record_of", lambda row, keysets: seen.append(row) or decode(row, keysets))
    assert [(entry["seq"], entry["trial"], entry["do"], entry["reason"]) for entry in analysis.decisions()] == every
    with closing(open_reader(directory / "experiment.db")) as reader:
        assert len(seen) == len({seq for seq, *_ in every}) < reader.last()


def test_decisions(analysis: ExperimentAnalysis) -> None:
    assert [entry["reason"] for entry in analysis.decisions() if entry["do"] == "stop"] == ["stopped: below the cut"]


def test_checkpoints_of_a_trial(analysis: ExperimentAnalysis, directory: Path) -> None:
    path = directory / "3f2a9_00000" / "checkpoint_000000"
    for trial in (analysis.trials[0], "3f2a9_00000", "train_3f2a9_00000", str(directory / "3f2a9_00000")):
        checkpoint = analysis.get_best_checkpoint(trial, "loss", "min")
        assert checkpoint is not None
        assert checkpoint.path == str(path)
        assert analysis.get_last_checkpoint(trial) == checkpoint
    assert analysis.get_trial_checkpoints_paths("3f2a9_00000") == [(str(path), 0.2)]
    assert analysis.get_best_checkpoint(analysis.trials[2], "loss", "min") is None
    assert analysis.get_last_checkpoint(analysis.trials[3]) is None
    path.rmdir()
    assert analysis.get_last_checkpoint("3f2a9_00000") is None
    assert analysis.get_last_checkpoint(metric="loss", mode="min") == analysis.best_checkpoint


# -- live, moved, pickled, elsewhere ------------------------------------------------------------------------------------------------


def test_a_live_run_is_followed_by_refresh(tmp_path: Path) -> None:
    with SqliteJournal.create(tmp_path / "experiment.db", Header("ab123" + "0" * 27, "live", 0.0)) as journal:
        journal.append([Record(ev.ExperimentStarted({})), suggested(0, lr=0.1), reported(0, 1, x=1.0)])
        analysis = open_experiment(tmp_path)
        assert analysis.get_best_trial("x", "max").last_result["x"] == 1.0
        journal.append([suggested(1, lr=0.2), reported(1, 1, x=2.0)])
        assert len(analysis) == 1
        assert analysis.refresh() is analysis
        assert len(analysis) == 2
        assert analysis.get_best_config("x", "max") == {"lr": 0.2}
        assert len(analysis.trial_dataframes) == 2


@pytest.mark.parametrize("kind", ["disk", "memory"])
def test_what_a_live_run_adds_meanwhile_waits_for_refresh(tmp_path: Path, kind: str) -> None:
    """Whatever is read later goes no further than the trials that were read first."""
    header = Header(uuid="3f2a9" + "0" * 27, name="live", created=0.0)
    journal = SqliteJournal.create(tmp_path / "live" / "experiment.db", header) if kind == "disk" else MemoryJournal(header)
    one = [suggested(0, lr=1), Record(ev.AttemptStarted(0, 0)), reported(0, 1, loss=2.0), reported(0, 2, loss=1.0)]
    journal.append([Record(ev.ExperimentStarted({"metrics": ["loss"], "modes": ["min"], "scheduler": "Some"})), *one])
    told = {"source": 0, "checkpoint": "0/checkpoint_000001", "iteration": 1}
    more = [
        suggested(1, lr=2), Record(ev.AttemptStarted(1, 0)), reported(1, 1, loss=0.5), reported(0, 3, loss=0.9),
        Record(ev.TimerFired("x"), [Decision("exploit", 1, "why", {"source": 0, "values": {"lr": 1}})]),
        Record(ev.TimerFired("x"), [Decision("exploited", 1, "why", told)]),
    ]  # fmt: skip
    analysis = ExperimentAnalysis(tmp_path / "live" if kind == "disk" else journal)
    assert len(analysis) == 1
    journal.append(more)
    assert analysis.get_best_trial().number == 0
    assert list(analysis.history_df["loss"]) == [2.0, 1.0]
    assert list(analysis.trial_dataframes) == [analysis.trials[0].path]
    assert (analysis.decisions(), analysis.exploits()) == ([], [])
    assert [len(analysis.plot_timeline().data[0].y), len(analysis.plot_learning_curves().data[-1].y)] == [1, 2]
    assert analysis.plot_optimization_history() is not None
    assert analysis.report(tmp_path / "report.html")
    analysis.refresh()
    assert analysis.get_best_trial().number == 1
    assert (sorted(analysis.history_df["loss"]), len(analysis.exploits())) == ([0.5, 0.9, 1.0, 2.0], 1)
    journal.close()


def test_a_moved_experiment_is_where_it_is_now(directory: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "again"
    shutil.move(directory, moved)
    analysis = open_experiment(moved / "experiment.db")
    assert analysis.experiment_path == str(moved)
    assert analysis.best_logdir == str(moved / "3f2a9_00001")
    assert analysis.best_checkpoint is not None
    assert analysis.best_checkpoint.path.startswith(str(moved))


def test_paths_in_the_home_directory(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(directory.parent))
    assert open_experiment("~/demo").experiment_path == str(directory)


def test_no_experiment(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="no such directory"):
        open_experiment(tmp_path / "nothing")
    with pytest.raises(JournalError, match="Experiments below it: demo"):
        open_experiment(tmp_path)
    with pytest.raises(JournalError, match=re.escape(f"open the experiment that it belongs to: {directory}")):
        open_experiment(directory / "3f2a9_00000")


def test_nothing_is_unpickled(directory: Path) -> None:
    (directory / "spec.pkl").write_bytes(b"poison")
    assert open_experiment(directory).best_config["net"] == {"act": "abs"}


def test_a_pickled_analysis_has_what_was_read_and_reads_the_rest(directory: Path) -> None:
    analysis = ExperimentAnalysis(directory, resolve=lambda values, _: {"lr": values["lr"], "f": lambda: 1})
    assert analysis.best_trial.config["f"]() == 1
    again: ExperimentAnalysis = pickle.loads(pickle.dumps(analysis))
    assert again.best_trial == analysis.best_trial
    assert again.best_config["lr"] == 0.2
    assert list(again.dataframe("loss", "min")["loss"]) == [0.2, 0.4, 0.8]
    assert again.get_best_trial("val/acc", "max").number == 0
    assert again.trials[0].metric_analysis["loss"]["min"] == 0.2
    assert again.refresh().num_terminated == 3


def test_a_pickled_analysis_of_a_journal_in_memory_keeps_what_was_read(in_memory: Make) -> None:
    analysis = in_memory(suggested(0, lr=0.1), reported(0, 1, x=1.0))
    assert analysis.get_best_config("x", "max") == {"lr": 0.1}
    again: ExperimentAnalysis = pickle.loads(pickle.dumps(analysis))
    assert again.results == analysis.results
    assert again.get_best_config("x", "max") == {"lr": 0.1}


def test_views_that_are_given_are_shown(directory: Path) -> None:
    full = ExperimentAnalysis(directory)
    analysis = ExperimentAnalysis(directory, trials=full.trials)
    assert analysis.trials[1] is full.trials[1]
    assert analysis.best_trial is full.trials[1]
    assert list(analysis.dataframe()["loss"][:2]) == [0.6, 0.4]


def test_an_open_journal_will_do(directory: Path) -> None:
    with SqliteJournal.open(directory / "experiment.db") as journal:
        analysis = ExperimentAnalysis(journal, resolve=lambda values, _: dict(values))
        assert analysis.experiment_path == str(directory)
        assert analysis.best_config == {"lr": 0.2, "net/act": 1}
        assert ResultGrid(analysis).get_best_result().checkpoint is not None
    memory = ExperimentAnalysis(MemoryJournal(Header("0" * 32, "m", 0.0)), experiment_path="/runs/m")
    assert memory.experiment_path == "/runs/m"
    assert len(memory) == 0
