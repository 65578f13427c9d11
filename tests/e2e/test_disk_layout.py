"""What a run leaves on disk: which files there are, what they are called, and that nothing is ever lost or written over."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import tunesmith as tune
from tunesmith.logger import rebuild_files

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]
OURS = {"experiment.db", "spec.pkl", ".files.json"}


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        return tune.run(trainable, **{"name": "x", "storage_path": tmp_path / "results", "verbose": 0, "executor": "inline", **arguments})

    return run


def files(root: Path) -> dict[str, bytes]:
    """Relative path -> content of all files below ``root``; event files are called "events", whenever they were made."""
    found = [path for path in root.rglob("*") if path.is_file()]
    return {re.sub(r"events\.out\.tfevents\..*", "events", path.relative_to(root).as_posix()): path.read_bytes() for path in found}


def quiet(config: Config) -> None:
    tune.report(loss=1.0)


# -- names -------------------------------------------------------------------------------------------------------------------------


def test_the_layout_of_a_plain_run(go: Go) -> None:
    analysis = go(quiet, config={"lr": tune.grid_search([0.125, 0.25]), "act": "relu"})
    root = Path(analysis.experiment_path)
    ids = [trial.trial_id for trial in analysis.trials]
    assert all(len(prefix) == 5 and int(prefix, 16) >= 0 for prefix in {trial_id.partition("_")[0] for trial_id in ids})
    assert [trial_id.partition("_")[2] for trial_id in ids] == ["00000", "00001"]
    rows = {f"{trial_id}/{name}" for trial_id in ids for name in ("params.json", "progress.csv", "result.json", "events")}
    assert set(files(root)) == OURS | rows
    assert not [path for path in files(root) if "0.125" in path or "relu" in path or "lr" in path]


def test_two_experiments_have_different_trial_ids(go: Go) -> None:
    first, second = (go(quiet, name=name).trials[0].trial_id for name in ("a", "b"))
    assert first != second


def test_a_silent_trial_has_its_parameters_only(go: Go) -> None:
    analysis = go(lambda config: None, config={"lr": 0.1})
    assert set(files(Path(analysis.trials[0].path))) == {"params.json", "events"}


def test_checkpoints_lie_in_their_trials_directory(go: Go, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    def saves(config: Config) -> None:
        for step in range(2):
            (tmp_path / "model" / "weights").write_text(str(step))
            tune.report({"loss": step}, checkpoint=str(tmp_path / "model"))

    place = Path(go(saves).trials[0].path)
    found = {name: content for name, content in files(place).items() if name.startswith("checkpoint")}
    assert {name: content for name, content in found.items() if name.endswith("weights")} == {
        "checkpoint_000000/weights": b"0", "checkpoint_000001/weights": b"1",
    }  # fmt: skip


def test_directory_names_of_ones_own(go: Go, tmp_path: Path) -> None:
    analysis = go(
        quiet,
        config={"lr": tune.grid_search([1, 2])},
        trial_name_creator=lambda trial: f"my/{trial.config['lr']}",
        trial_dirname_creator=lambda trial: f"größe {trial.config['lr']}",
    )
    assert [(str(trial), Path(trial.path).name) for trial in analysis.trials] == [("my/1", "größe 1"), ("my/2", "größe 2")]
    root = Path(analysis.experiment_path)
    assert {path.parent.name for path in root.rglob("progress.csv")} == {"größe 1", "größe 2"}
    again = tune.open_experiment(root)
    assert [(str(trial), trial.path) for trial in again.trials] == [(str(trial), trial.path) for trial in analysis.trials]


def test_names_for_people_change_no_directory(go: Go) -> None:
    analysis = go(quiet, trial_name_creator=lambda trial: "a name")
    (trial,) = analysis.trials
    assert (str(trial), Path(trial.path).name) == ("a name", trial.trial_id)


# -- what trials print -----------------------------------------------------------------------------------------------------------


def speaks(config: Config) -> None:
    print("to out: ü")
    tune.report(loss=1.0)
    print("to err", file=sys.stderr)


@pytest.mark.parametrize(
    ("log_to_file", "expected"),
    [
        (False, {}),
        (True, {"stdout.log": "to out: ü\n", "stderr.log": "to err\n"}),
        ("all.txt", {"all.txt": "to out: ü\nto err\n"}),
        (("a.log", "b.log"), {"a.log": "to out: ü\n", "b.log": "to err\n"}),
    ],
)
def test_where_output_goes(go: Go, log_to_file: Any, expected: dict[str, str]) -> None:
    place = Path(go(speaks, log_to_file=log_to_file).trials[0].path)
    usual = {"progress.csv", "result.json", "params.json", "events"}
    assert {name: content.decode() for name, content in files(place).items() if name not in usual} == expected


def test_empty_logs_are_not_made(go: Go) -> None:
    place = Path(go(quiet, log_to_file=True).trials[0].path)
    assert set(files(place)) == {"progress.csv", "result.json", "params.json", "events"}
    place = Path(go(lambda config: print("only out"), name="out", log_to_file=True).trials[0].path)
    assert set(files(place)) == {"params.json", "events", "stdout.log"}


# -- error.txt -------------------------------------------------------------------------------------------------------------------


def test_error_files(go: Go) -> None:
    tries: dict[str, int] = {}

    def train(config: Config) -> None:
        tries[config["end"]] = tries.get(config["end"], 0) + 1
        tune.report(loss=1.0)
        if config["end"] == "bad" or (config["end"] == "shaky" and tries["shaky"] == 1):
            raise ValueError(f"try {tries[config['end']]}: größe")

    analysis = go(train, config={"end": tune.grid_search(["good", "shaky", "bad"])}, max_failures=1, raise_on_failed_trial=False)
    good, shaky, bad = (Path(trial.path) / "error.txt" for trial in analysis.trials)
    assert not good.exists()
    for path, count in ((shaky, 1), (bad, 2)):
        text = path.read_text(encoding="utf-8")
        heads = [line for line in text.splitlines() if line.startswith("Failure #")]
        assert [head.partition(" (occurred at ")[0] for head in heads] == [f"Failure # {n}" for n in range(1, count + 1)]
        assert text.count("Traceback (most recent call last)") == count
        assert [f"ValueError: try {n}: größe" in text for n in (1, 2)] == [True, count == 2]
        assert text.count(f'File "{__file__}"') == count
        assert "tunesmith/" not in text, "only the user's frames"
    assert [trial.error_file for trial in analysis.trials] == [None, None, str(bad)]


# -- nothing is written over -------------------------------------------------------------------------------------------------------


def test_a_second_run_of_that_name_leaves_the_first_alone(go: Go, tmp_path: Path) -> None:
    go(speaks, config={"x": tune.grid_search([1, 2])}, log_to_file=True)
    before = files(tmp_path / "results" / "x")
    go(quiet, config={"x": 3})
    go(quiet, config={"x": 4})
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["x", "x_2", "x_3"]
    assert files(tmp_path / "results" / "x") == before


def test_looking_changes_nothing(go: Go) -> None:
    root = Path(go(quiet, config={"x": tune.grid_search([1, 2])}, metric="loss", mode="min").experiment_path)
    before = files(root)
    analysis = tune.open_experiment(root)
    assert len(analysis.dataframe()) == 2
    assert len(analysis.trial_dataframes) == 2
    assert analysis.best_trial is not None
    del analysis
    assert files(root) == before


# -- what was moved, what was lost -------------------------------------------------------------------------------------------------


def eventful(config: Config) -> None:
    """Late keys, a checkpoint, a failure that is retried, one that is not, and a stop."""
    place = Path(str(tune.get_context().get_trial_dir()), "scratch")
    place.mkdir(parents=True, exist_ok=True)
    for step in range(1, 7):
        (place / "step").write_text(str(step))
        metrics = {"loss": 1 / step, "val": {"acc": step}, "note": "ü\n", **({f"late {config['x']}": step} if step > 2 else {})}
        tune.report(metrics, checkpoint=str(place) if step == 4 else None)
        if step == 5 and config["x"] > 0 and (config["x"] == 2 or not (place / "failed").exists()):
            (place / "failed").touch()
            raise KeyError(config["x"])


@pytest.fixture
def ran(go: Go) -> tune.ExperimentAnalysis:
    space = {"x": tune.grid_search([0, 1, 2]), "net": {"layers": [64, [32]], "act": tune.choice(["relu", None])}, "lr": tune.uniform(0, 1)}
    return go(
        eventful, config=space, max_failures=1, raise_on_failed_trial=False, metric="loss", mode="min", stop={"val/acc": 6}, seed=3
    )  # fmt: skip


def test_a_moved_directory_tells_the_same(ran: tune.ExperimentAnalysis, tmp_path: Path) -> None:
    before = tune.open_experiment(ran.experiment_path)
    tables = [frame.reset_index(drop=True) for frame in before.trial_dataframes.values()]
    last = before.dataframe()
    checkpoints = [trial.checkpoint_id for trial in before.trials]
    configs = [trial.config for trial in ran.trials]
    best = ran.best_config
    moved = tmp_path / "elsewhere" / "ünder another name"
    moved.parent.mkdir()
    shutil.move(ran.experiment_path, moved)
    after = tune.open_experiment(moved)
    assert Path(after.experiment_path) == moved
    for one, other in zip(tables, after.trial_dataframes.values(), strict=True):
        pd.testing.assert_frame_equal(one, other.reset_index(drop=True))
    pd.testing.assert_frame_equal(last.drop(columns="logdir"), after.dataframe().drop(columns="logdir"))
    assert [Path(place).parent for place in after.dataframe()["logdir"]] == [moved] * 3
    assert [trial.config for trial in after.trials] == configs
    assert after.best_config == best
    assert [trial.checkpoint_id for trial in after.trials] == checkpoints
    for trial in after.trials:
        assert trial.checkpoint is not None
        with trial.checkpoint.as_directory() as place:
            assert (Path(place) / "step").read_text() == "4"


def test_files_that_were_lost_are_written_again_to_the_byte(ran: tune.ExperimentAnalysis, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whenever that is."""
    monkeypatch.setattr("time.time", lambda: 1.0)
    root = Path(ran.experiment_path)
    names = ("params.json", "progress.csv", "result.json", "error.txt")
    before = {path: content for path, content in files(root).items() if path.endswith(names)}
    assert len(before) == 3 * 3 + 2
    for path in before:
        (root / path).unlink()
    rebuild_files(str(root))
    assert {path: content for path, content in files(root).items() if path.endswith(names)} == before
    rebuild_files(str(root))
    assert {path: content for path, content in files(root).items() if path.endswith(names)} == before
    assert json.loads((root / ran.trials[0].trial_id / "params.json").read_text()) == ran.trials[0].config


def test_files_can_be_had_from_a_run_that_made_none(go: Go) -> None:
    analysis = go(eventful, config={"x": 0}, loggers=())
    place = Path(analysis.trials[0].path)
    assert {name.partition("/")[0] for name in files(place)} == {"checkpoint_000000", "scratch"}
    rebuild_files(analysis.experiment_path)
    assert len(pd.read_csv(place / "progress.csv")) == 6
