"""Files of real runs, as the programs of others read them: csv, json, pandas, VisKit."""

from __future__ import annotations

import csv
import json
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import tunesmith as tune
from tunesmith.journal.stores import LocalStore
from tunesmith.logger import rebuild_files
from tunesmith.testing.faults import POINTS, Crash, crash_at

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        return tune.run(trainable, **{"name": "x", "storage_path": tmp_path, "verbose": 0, "executor": "inline", **arguments})

    return run


def folder(analysis: tune.ExperimentAnalysis, number: int = 0) -> Path:
    return Path(analysis.trials[number].path)


def table(path: Path) -> list[dict[str, str]]:
    with open(path / "progress.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def results(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "result.json").read_text(encoding="utf-8").splitlines()]


def varied(config: Config) -> None:
    """Every kind of metric, and one that comes late."""
    for step in range(3):
        tune.report(
            {
                "loss": 1 / (step + 1),
                "val": {"acc": 0.25 * step, "by class": {"größe": step}},
                "note": 'a "quoted", text\nof two lines',
                "loss-1": np.float32(0.5),
                "a b": None,
                "bad": math.nan,
                "far": -math.inf,
                "good": step > 0,
                "image": np.zeros((2, 2)),
                **({"late": step} if step == 2 else {}),
            }
        )


# -- progress.csv --------------------------------------------------------------------------------------------------------------


def test_csv_module_reads_progress_csv(go: Go) -> None:
    rows = table(folder(go(varied, config={"lr": 0.1})))
    assert [(row["loss"], row["val/acc"], row["training_iteration"]) for row in rows] == [
        ("1.0", "0.0", "1"), ("0.5", "0.25", "2"), ("0.3333333333333333", "0.5", "3"),
    ]  # fmt: skip
    assert [row["late"] for row in rows] == ["", "", "2"]
    assert [row["note"] for row in rows] == ['a "quoted", text\nof two lines'] * 3
    assert [row["good"] for row in rows] == ["False", "True", "True"]
    last = rows[-1]
    assert (last["loss-1"], last["a b"], last["bad"], last["far"], last["val/by class/größe"]) == ("0.5", "", "nan", "-inf", "2")
    assert all(None not in row and None not in row.values() for row in rows), "every line has as many cells as the header"
    assert "image" not in last
    assert not [name for name in last if name.startswith("config")], "the configuration is in params.json"


def test_pandas_reads_progress_csv(go: Go) -> None:
    frame = pd.read_csv(folder(go(varied)) / "progress.csv")
    assert frame["loss"].tolist() == [1.0, 0.5, 1 / 3]
    assert frame["late"].tolist()[2] == 2
    assert frame["late"].isna().tolist() == [True, True, False]
    assert frame["good"].tolist() == [False, True, True]
    assert frame["bad"].isna().all()
    assert frame["far"].tolist() == [-math.inf] * 3
    assert frame["training_iteration"].tolist() == [1, 2, 3]
    assert frame["time_total_s"].is_monotonic_increasing
    assert {"timestamp", "date", "pid", "hostname", "node_ip", "trial_id", "done"} <= set(frame)


def test_the_table_is_the_same_as_the_analysis_has(go: Go) -> None:
    analysis = go(varied, config={"lr": tune.grid_search([1, 2])})
    for trial in analysis.trials:
        frame = analysis.trial_dataframes[trial.path]
        assert [float(row["loss"]) for row in table(Path(trial.path))] == frame["loss"].tolist()
        assert set(table(Path(trial.path))[0]) == {name for name in frame if not name.startswith("config/")} - {"logdir"}


def test_sparse_metrics_leave_blank_cells(go: Go) -> None:
    def train(config: Config) -> None:
        for step in range(4):
            tune.report({"loss": step} if step % 2 else {"acc": step})

    frame = pd.read_csv(folder(go(train)) / "progress.csv")
    assert frame["acc"].isna().tolist() == [False, True, False, True]
    assert frame["loss"].isna().tolist() == [True, False, True, False]


# -- result.json ---------------------------------------------------------------------------------------------------------------


def test_every_line_of_result_json_is_one_result(go: Go) -> None:
    config = {"lr": 0.1, "layers": [64, {"size": 32}]}
    rows = results(folder(go(varied, config=config)))
    assert [row["val"] for row in rows] == [{"acc": 0.25 * step, "by class": {"größe": step}} for step in range(3)]
    assert [row["good"] for row in rows] == [False, True, True]
    assert [row["training_iteration"] for row in rows] == [1, 2, 3]
    assert [row["config"] for row in rows] == [config] * 3
    assert (rows[0]["note"], rows[0]["a b"], rows[0]["far"]) == ('a "quoted", text\nof two lines', None, -math.inf)
    assert math.isnan(rows[0]["bad"])
    assert "image" not in rows[0]
    assert ["late" in row for row in rows] == [False, False, True]


def test_pandas_reads_result_json(go: Go) -> None:
    def train(config: Config) -> None:
        for step in range(3):
            tune.report(loss=step, ok=True, text="ü")

    frame = pd.read_json(folder(go(train, config={"lr": 0.1})) / "result.json", lines=True)
    assert frame["loss"].tolist() == [0, 1, 2]
    assert frame["config"].tolist() == [{"lr": 0.1}] * 3


# -- params.json, params.pkl -----------------------------------------------------------------------------------------------------


def test_params_json_is_the_config(go: Go) -> None:
    config = {
        "lr": tune.loguniform(1e-4, 1e-1),
        "layers": [tune.choice([32, 64]), [tune.uniform(0, 1), "relu"]],
        "optimizer": tune.choice([{"name": "sgd", "momentum": tune.uniform(0, 1)}, {"name": "adam"}]),
        "nothing": None, "flag": True, "name": "größe", "empty": {}, "none": [],
    }  # fmt: skip
    analysis = go(lambda config: {"seen": json.dumps(config)}, config=config, num_samples=6)
    for trial in analysis.trials:
        params = json.loads((Path(trial.path) / "params.json").read_text())
        assert params == trial.config == json.loads(trial.last_result["seen"])
        assert not (Path(trial.path) / "params.pkl").exists()


def test_params_pkl_only_where_json_cannot_hold_the_config(go: Go) -> None:
    options = tune.grid_search([math.sqrt, "plain"])
    analysis = go(lambda config: 1.0, config={"act": options, "lr": 0.1})
    first, second = folder(analysis, 0), folder(analysis, 1)
    assert pickle.loads((first / "params.pkl").read_bytes()) == {"act": math.sqrt, "lr": 0.1}
    assert json.loads((first / "params.json").read_text()) == {"act": "math.sqrt", "lr": 0.1}
    assert not (second / "params.pkl").exists()
    kept = {name: (first / name).read_bytes() for name in ("params.pkl", "params.json")}
    rebuild_files(analysis.experiment_path)
    assert {name: (first / name).read_bytes() for name in kept} == kept, "the journal knows less: it has names in place of objects"


# -- VisKit ------------------------------------------------------------------------------------------------------------------------


def load_like_viskit(root: Path) -> list[tuple[dict[str, Any], dict[str, list[float]]]]:
    """Flat parameters (joined by ".") and columns of numbers of each directory below ``root`` that has both files."""

    def flat(params: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found = {}
        for key, value in params.items():
            found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
        return found

    def number(cell: str) -> float:
        try:
            return float(cell)
        except ValueError:
            return 0.0

    loaded = []
    for place, _, files in sorted(os.walk(root)):
        if "progress.csv" not in files or "params.json" not in files:
            continue
        columns: dict[str, list[float]] = {}
        for row in table(Path(place)):
            for name, cell in row.items():
                columns.setdefault(name, []).append(number(cell))
        loaded.append((flat(json.loads(Path(place, "params.json").read_text())), columns))
    return loaded


def test_viskit_loads_the_folder(go: Go, tmp_path: Path) -> None:
    space = {"lr": tune.grid_search([0.1, 0.2]), "net": {"depth": tune.grid_search([1, 2]), "kind": "mlp"}}
    go(varied, config=space)
    go(lambda config: None, name="silent", config=space)
    loaded = load_like_viskit(tmp_path)
    assert all(params.keys() == {"lr", "net.depth", "net.kind"} for params, _ in loaded)
    assert sorted((params["lr"], params["net.depth"]) for params, _ in loaded) == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    for _, columns in loaded:
        assert {len(column) for column in columns.values()} == {3}
        assert columns["loss"] == [1.0, 0.5, 1 / 3]
        assert columns["training_iteration"] == [1.0, 2.0, 3.0]


# -- rewinding and resuming --------------------------------------------------------------------------------------------------------


def counting(config: Config) -> None:
    """Six reports; a checkpoint at the third; the first attempt fails after the fifth if told to."""
    start = 0
    before = tune.get_checkpoint()
    if before is not None:
        with before.as_directory() as place:
            start = int(Path(place, "step").read_text())
    for step in range(start + 1, 7):
        scratch = Path(str(tune.get_context().get_trial_dir()), "scratch")
        scratch.mkdir(parents=True, exist_ok=True)
        (scratch / "step").write_text(str(step))
        tune.report({"step": step, "from": start}, checkpoint=str(scratch) if step == 3 and config["saves"] else None)
        if step == 5 and config["fails"] and not (scratch / "failed").exists():
            (scratch / "failed").touch()
            raise RuntimeError("once")


def put_on(disk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if disk == "network":
        monkeypatch.setattr(LocalStore, "prepare", staticmethod(lambda connection: False))


@pytest.mark.parametrize("disk", ["local", "network"])
@pytest.mark.parametrize("saves", [True, False])
def test_a_retried_trial_has_each_iteration_once(go: Go, monkeypatch: pytest.MonkeyPatch, disk: str, saves: bool) -> None:
    """On a network disk the journal cannot be read up to date while it is written; the files must not depend on that."""
    put_on(disk, monkeypatch)
    analysis = go(counting, config={"saves": saves, "fails": True}, max_failures=1)
    assert analysis.trials[0].num_failures == 1
    expected = [(step, 3 if saves and step > 3 else 0) for step in range(1, 7)]
    assert [(int(row["step"]), int(row["from"])) for row in table(folder(analysis))] == expected
    assert [(row["step"], row["from"]) for row in results(folder(analysis))] == expected


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("disk", "turn"), [*(("local", turn) for turn in (2, 4, 7, 9, 11)), ("network", 9)])
def test_after_a_crash_and_a_resume_files_hold_what_the_journal_holds(
    go: Go, monkeypatch: pytest.MonkeyPatch, disk: str, point: str, turn: int
) -> None:
    put_on(disk, monkeypatch)
    config = {"saves": True, "fails": tune.grid_search([False, True])}
    with pytest.raises(Crash), crash_at(point, turn):
        go(counting, config=config, max_failures=1)
    analysis = go(counting, config=config, max_failures=1, resume=True)
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 2
    for trial in analysis.trials:
        frame = analysis.trial_dataframes[trial.path]
        assert frame["step"].tolist() == [1, 2, 3, 4, 5, 6]
        for rows in (table(Path(trial.path)), results(Path(trial.path))):
            assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
            assert [int(row["from"]) for row in rows] == frame["from"].tolist()
