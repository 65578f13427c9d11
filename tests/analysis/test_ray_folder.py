"""Folders that Ray Tune wrote: read with the same analysis, whatever is missing, half written or of an older release."""

from __future__ import annotations

import builtins
import json
import math
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunesmith.analysis import Analysis, ExperimentAnalysis, Result, ResultGrid, open_experiment
from tunesmith.errors import JournalError, SpecError


def test_trials_are_rays(of_ray: Any) -> None:
    analysis = open_experiment(of_ray.path)
    assert [trial.trial_id for trial in analysis] == ["f21df_00000", "f21df_00001", "f21df_00002"]
    assert [(trial.status, trial.outcome) for trial in analysis] == [
        ("TERMINATED", "finished"), ("TERMINATED", "stopped"), ("ERROR", "user_error"),
    ]  # fmt: skip
    first = analysis[0]
    assert str(first) == "train_f21df_00000"
    assert Path(first.path).is_dir()
    assert Path(first.path).name.startswith("train_f21df_00000_0_lr=0.2")
    assert first.config == {"lr": 0.2, "net": {"act": "a", "sizes": [8, 8]}, "fn": "<built-in function len>", "epochs": 4}
    assert {"lr": 0.2, "net/act": "a"}.items() <= first.evaluated_params.items()
    assert "epochs" not in first.evaluated_params
    assert "net/sizes" not in first.evaluated_params
    assert first.start_time == 1_795_345_670.5
    assert analysis.stats()["start_time"] == 1_795_345_668.5
    assert analysis.runner_data()["_metric"] == "loss"
    assert analysis.runner_data()["_stopper"] == "<pickled>"


def test_a_state_in_another_order(of_ray: Any) -> None:
    of_ray.trials.append(of_ray.trials.pop(1))
    of_ray.state()
    assert [trial.trial_id for trial in open_experiment(of_ray.path)] == ["f21df_00000", "f21df_00001", "f21df_00002"]


def test_the_best(of_ray: Any) -> None:
    analysis = open_experiment(of_ray.path)
    assert (analysis.default_metric, analysis.default_mode) == ("loss", None)
    with pytest.raises(SpecError, match="knows no mode for metric 'loss'"):
        _ = analysis.best_trial
    assert analysis.get_best_trial(mode="min").trial_id == "f21df_00001"
    assert analysis.get_best_config("loss", "max", "all")["lr"] == 0.2
    assert analysis.get_best_trial("val/acc", "max").trial_id == "f21df_00000"
    again = ExperimentAnalysis(of_ray.path, default_mode="min")
    assert again.best_result["loss"] == 0.025
    assert again.best_result["val"] == {"acc": 0.4}
    checkpoint = again.best_checkpoint
    assert checkpoint is not None
    assert checkpoint.path.endswith("checkpoint_000001")
    assert [value for _, value in again.get_trial_checkpoints_paths("f21df_00001", "loss")] == [pytest.approx(math.nan, nan_ok=True), 0.025]


def test_tables_have_rays_columns_and_values(of_ray: Any) -> None:
    analysis = open_experiment(of_ray.path)
    table = analysis.dataframe()
    assert list(table["trial_id"]) == ["f21df_00000", "f21df_00001"]
    assert list(table["config/lr"]) == [0.2, 0.1]
    assert list(table["timestamp"]) == [1_795_345_674] * 2
    assert list(table["date"]) == ["2026-11-22_11-07-04"] * 2
    assert list(table["pid"]) == [40, 41]
    assert list(table["time_total_s"]) == [4.0, 4.0]
    assert "curve" not in table
    assert list(table["logdir"]) == [analysis[0].path, analysis[1].path]
    one = analysis.trial_dataframes["f21df_00000"]
    assert [round(value, 3) for value in one["loss"].fillna(-1)] == [0.2, -1, 0.067, 0.05]
    assert list(one["time_since_restore"]) == [1.0, 2.0, 3.0, 4.0]
    assert list(one["done"]) == [False, False, False, True]
    assert list(one["checkpoint_dir_name"].fillna("")) == ["", "checkpoint_000000", "", "checkpoint_000001"]
    assert len(analysis.history_df) == 8
    assert analysis.get_all_configs()["f21df_00001"]["net"] == {"act": "b", "sizes": [8, 8]}


def test_results_and_errors(of_ray: Any) -> None:
    grid = ResultGrid(open_experiment(of_ray.path))
    assert (len(grid), grid.num_errors, grid.num_terminated) == (3, 1, 2)
    text = str(grid[2].error)
    assert "ValueError: too big at /home/me/train.py:11" in text
    assert "retried" not in text
    assert "\x1b" not in text
    best = grid.get_best_result("loss", "min")
    assert best.checkpoint_iteration == 4
    assert best.config["lr"] == 0.1
    assert [len(saved) for _, saved in best.best_checkpoints] == [len(best.metrics)] * 2
    same = Result.from_path(best.path)
    assert same.metrics["loss"] == 0.025
    assert same.trial.trial_id == "f21df_00001"


def test_nothing_is_unpickled_and_ray_is_not_needed(of_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.open

    def guarded(file: Any, *args: Any, **kwargs: Any) -> Any:
        assert not str(file).endswith(".pkl"), file
        return real(file, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", guarded)
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    assert len(open_experiment(of_ray.path).history_df) == 8


def test_other_ways_to_name_it(of_ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    state = next(of_ray.path.glob("experiment_state*"))
    assert len(ExperimentAnalysis(state)) == len(Analysis(of_ray.path)) == 3
    assert len(ExperimentAnalysis(experiment_checkpoint_path=of_ray.path)) == 3
    monkeypatch.setenv("HOME", str(of_ray.path.parent.parent))
    assert len(open_experiment("~/ray_results/demo")) == 3
    with pytest.raises(JournalError, match=r"Experiments below it: demo\."):
        open_experiment(of_ray.path.parent)
    with pytest.raises(JournalError, match=r"is the directory of a trial; open the experiment that it belongs to: .*demo"):
        open_experiment(next(of_ray.path.glob("*00000_0*")))


def test_moved_and_pickled(of_ray: Any, tmp_path: Path) -> None:
    shutil.move(of_ray.path, tmp_path / "moved")
    analysis = open_experiment(tmp_path / "moved")
    checkpoint = analysis.get_last_checkpoint(metric="loss", mode="min")
    assert checkpoint is not None
    assert checkpoint.path.startswith(str(tmp_path / "moved"))
    copy = pickle.loads(pickle.dumps(analysis))
    assert copy.get_best_trial("loss", "min").trial_id == "f21df_00001"
    assert len(copy.history_df) == 8
    trial = pickle.loads(pickle.dumps(analysis[1]))
    assert trial.trial_id == "f21df_00001"
    assert trial.config == analysis[1].config
    assert len(trial.records()) == 7
    result = pickle.loads(pickle.dumps(ResultGrid(analysis)[0]))
    assert result.checkpoint is not None
    assert len(result.metrics_dataframe) == 4


def test_a_run_that_goes_on_is_followed(ray_folder: Any) -> None:
    home = ray_folder.trial("ab123_00000", {"lr": 0.1}, [{"loss": 1.0}], "RUNNING")
    ray_folder.trial("ab123_00001", {"lr": 0.2}, [], "PENDING")
    ray_folder.state()
    analysis = open_experiment(ray_folder.path)
    assert [trial.status for trial in analysis] == ["RUNNING", "PENDING"]
    assert analysis.get_best_trial("loss", "min").iteration == 1
    with open(home / "result.json", "a") as file:
        file.write(json.dumps({"loss": 0.5, "training_iteration": 2, "pid": 40, "iterations_since_restore": 2}) + '\n{"loss": 0.2')
    late = ray_folder.path / "train_ab123_00002_2_lr=0.3"
    late.mkdir()
    (late / "params.json").write_text('{"lr": 0.3}')
    (late / "result.json").write_text(json.dumps({"loss": 0.7, "trial_id": "ab123_00002", "training_iteration": 1}) + "\n")
    assert len(analysis) == 2
    analysis.refresh()
    assert [trial.metrics.get("loss") for trial in analysis] == [0.5, None, 0.7]
    assert (analysis[2].trial_id, analysis[2].status, analysis[2].config) == ("ab123_00002", "RUNNING", {"lr": 0.3})


def test_without_a_state_the_files_tell(of_ray: Any) -> None:
    next(of_ray.path.glob("experiment_state*")).write_text("{half")
    analysis = open_experiment(of_ray.path)
    assert [(trial.trial_id, trial.status) for trial in analysis][:2] == [("f21df_00000", "TERMINATED"), ("f21df_00001", "TERMINATED")]
    assert analysis[2].status == "ERROR"
    assert analysis[2].config["lr"] == 0.9
    assert set(analysis[0].evaluated_params) == {"lr", "net/act", "fn"}  # what differs
    assert analysis.default_metric is None


def test_a_table_where_there_is_no_json(of_ray: Any) -> None:
    home = Path(open_experiment(of_ray.path)[0].path)
    (home / "result.json").unlink()
    lines = ["loss,note,done,training_iteration,trial_id,pid,val/acc", "0.5,a b,False,1,f21df_00000,7,.1", "nan,,True,2,f21df_00000,7,.001"]
    (home / "progress.csv").write_bytes("\r\n".join([*lines, "0.1,cut"]).encode())
    rows = open_experiment(of_ray.path).trial_dataframes["f21df_00000"]
    assert list(rows["val/acc"]) == [0.1, 0.001]
    assert rows["loss"].isna().tolist() == [False, True]
    assert list(rows["pid"]) == [7, 7]
    assert rows["note"].fillna("").tolist() == ["a b", ""]
    assert list(rows["config/lr"]) == [0.2, 0.2]


def test_rays_older_state_ids_and_checkpoints(ray_folder: Any) -> None:
    """Before 2.0 ids were any eight digits, and checkpoints bore the iteration."""
    home = ray_folder.trial("9c1f7a3b", {"lr": 0.1}, [{"loss": 1 / step} for step in range(1, 11)])
    for step in (5, 10):
        (home / f"checkpoint_{step:06d}").mkdir()
    text = json.loads(ray_folder.trials[0][0])
    del text["storage"], text["relative_logdir"]
    checkpoints = [json.dumps({**text, "logdir": f"/somewhere/else/{home.name}"})]
    (ray_folder.path / "experiment_state-2026-11-22_11-07-48.json").write_text(json.dumps({"checkpoints": checkpoints, "runner_data": {}}))
    for row in (rows := [json.loads(line) for line in (home / "result.json").read_text().splitlines()]):
        del row["checkpoint_dir_name"]
    (home / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    analysis = open_experiment(ray_folder.path)
    assert analysis[0].trial_id == "9c1f7a3b"
    assert analysis.results["9c1f7a3b"]["trial_id"] == "9c1f7a3b"
    assert list(analysis.history_df["trial_id"].unique()) == ["9c1f7a3b"]
    best = analysis.get_best_checkpoint("9c1f7a3b", "loss", "max")
    assert best is not None
    assert best.path.endswith("checkpoint_000005")


def test_checkpoints_of_classes_are_counted_only(ray_folder: Any) -> None:
    """Nothing says of which step they are: the newest stands for the last one."""
    home = ray_folder.trial("ab123_00000", {"lr": 0.1}, [{"loss": 1 / step} for step in range(1, 8)])
    for count in (1, 2, 3):
        (home / f"checkpoint_{count:06d}").mkdir()
    ray_folder.state()
    result = ResultGrid(open_experiment(ray_folder.path))[0]
    assert result.checkpoint is not None
    assert result.checkpoint.path.endswith("checkpoint_000003")
    assert [saved["training_iteration"] for _, saved in result.best_checkpoints] == [7]


def test_population_based_training(ray_folder: Any) -> None:
    """A trial went on from another one's state with another configuration: from then on its rows have that."""
    ray_folder.trial("ab123_00000", {"lr": 0.2, "k": 3}, [{"score": 0.2 * step} for step in range(1, 7)], experiment_tag="0_lr=0.2")
    new = {"lr": 0.24, "k": 3}
    rows = [{"score": 0.1 * step, "config": {"lr": 0.1, "k": 3}} for step in range(1, 4)]
    rows.append({"score": 1.5, "config": new, "training_iteration": 6, "iterations_since_restore": 1, "pid": 99, "time_total_s": 6.0})
    ray_folder.trial("ab123_00001", new, rows, experiment_tag="1_lr=0.1@perturbed[lr=0.24]")
    (ray_folder.path / "pbt_global.txt").write_text(
        "torn\n" + json.dumps(["1_lr=0.1", "0_lr=0.2", 3, 5, {"lr": 0.2, "k": 3}, new]) + "\n"
    )
    ray_folder.state(_metric="score")
    analysis = open_experiment(ray_folder.path)
    (exploit,) = analysis.exploits()
    assert (exploit["trial"], exploit["source"], exploit["source_iteration"]) == (1, 0, 5)
    assert exploit["old_config"] == {"lr": 0.2, "k": 3}
    assert exploit["config"] == new
    assert analysis[1].config == new
    assert analysis[1].attempt == 1
    frame = analysis.trial_dataframes["ab123_00001"]
    assert list(frame["config/lr"]) == [0.1, 0.1, 0.1, 0.24]
    assert list(frame["training_iteration"]) == [1, 2, 3, 6]
    assert list(frame["iterations_since_restore"]) == [1, 2, 3, 1]
    assert list(frame["pid"]) == [41, 41, 41, 99]
    assert analysis.best_schedule("score", "max") == [(0, {"lr": 0.2, "k": 3}), (5, new)]


def test_what_was_reported_again_after_a_restart_counts_once(ray_folder: Any) -> None:
    rows = [{"loss": value} for value in (3.0, 2.0, 1.0)]
    rows += [{"loss": 1.5, "training_iteration": 2, "iterations_since_restore": 1}]
    rows += [{"loss": 0.5, "training_iteration": 3, "iterations_since_restore": 2}]
    ray_folder.trial("ab123_00000", {"lr": 0.1}, rows)
    ray_folder.state()
    assert list(open_experiment(ray_folder.path).history_df["loss"]) == [3.0, 1.5, 0.5]


def test_users_who_count_otherwise(ray_folder: Any) -> None:
    ray_folder.trial("ab123_00000", {"lr": 0.1}, [{"loss": 1.0, "training_iteration": 500}, {"loss": 2.0, "training_iteration": 0}])
    ray_folder.state()
    analysis = open_experiment(ray_folder.path)
    assert analysis[0].iteration == 2
    assert list(analysis.history_df["training_iteration"]) == [500, 0]


def test_conditional_entries_stay_away(ray_folder: Any) -> None:
    config = {"opt": {"name": "sgd", "lr": 0.1}, "list": [1, {"a": 2}]}
    ray_folder.trial("ab123_00000", config, [{"loss": 1.0}], evaluated_params={"opt": {"name": "sgd"}})
    ray_folder.trial("ab123_00001", {"opt": {"name": "adam"}, "list": [1, {"a": 2}]}, [{"loss": 0.5}], evaluated_params={})
    ray_folder.state()
    analysis = open_experiment(ray_folder.path)
    assert [trial.config for trial in analysis] == [
        {"opt": {"name": "sgd", "lr": 0.1}, "list": [1, {"a": 2}]}, {"opt": {"name": "adam"}, "list": [1, {"a": 2}]},
    ]  # fmt: skip
    analysis[0].config["list"].append(3)
    assert analysis[1].config["list"] == [1, {"a": 2}]


def test_paused_and_empty_ones(ray_folder: Any) -> None:
    ray_folder.trial("ab123_00000", {"lr": 0.1}, [{"loss": 1.0}], "PAUSED")
    ray_folder.state()
    assert open_experiment(ray_folder.path)[0].status == "PAUSED"
    ray_folder.trials = []
    shutil.rmtree(next(ray_folder.path.glob("train_*")))
    ray_folder.state()
    empty = open_experiment(ray_folder.path)
    assert len(empty) == 0
    assert empty.dataframe().empty
