"""At each moment what is remote can be gone on with: runs are cut off after every request that changes anything, and resumed elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import tunesmith as tune
from tunesmith.errors import RemoteStorageError
from tunesmith.storage import pace
from tunesmith.storage.segments import parse

if TYPE_CHECKING:
    from tests.storage.conftest import FaultyFileSystem

STEPS = 4


def train(config: dict[str, Any]) -> None:
    checkpoint = tune.get_checkpoint()
    begun = checkpoint.to_dict()["step"] if checkpoint is not None else 0
    for step in range(begun + 1, STEPS + 1):
        tune.report({"loss": config["x"] / step, "begun": begun}, checkpoint={"step": step, "x": config["x"]})


def go(faulty: FaultyFileSystem, **arguments: Any) -> tune.ExperimentAnalysis:
    settings = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "name": "x", "keep_checkpoints_num": 1, "seed": 1}
    config = {"x": tune.grid_search([1.0, 2.0, 3.0])}
    return tune.run(train, storage_path="bucket/results", storage_filesystem=faulty, **{"config": config, **settings, **arguments})


def cut_after(faulty: FaultyFileSystem, count: int) -> None:
    """So many requests that change anything are carried out; all that follow, of any kind, are refused."""
    left = count

    def before(what: str, path: str) -> None:
        nonlocal left
        if left < 0 or (what in ("write", "delete") and left == 0):
            left = -1
            raise PermissionError(f"cut off at {what} {path}")
        left -= what in ("write", "delete")

    faulty.before = before


def everything_is_there(faulty: FaultyFileSystem, analysis: tune.ExperimentAnalysis) -> None:
    names = faulty.names("/bucket/results/x")
    assert parse(names)[-1].last > 0
    complete = {name.rpartition("/")[0] for name in names if name.endswith(".tunesmith_manifest.json")}
    assert len(complete) == 3, "one is kept of each trial"
    for trial in analysis.trials:
        (folder,) = [folder for folder in complete if folder.startswith(trial.trial_id)]
        checkpoint = analysis.get_last_checkpoint(trial)
        assert checkpoint is not None
        assert checkpoint.path == str(Path(analysis.experiment_path, folder))
        assert checkpoint.to_dict() == {"step": STEPS, "x": trial.config["x"]}
        assert f"{trial.trial_id}/progress.csv" in names
    halves = {name.rpartition("/")[0] for name in names if "/checkpoint_" in name}
    assert halves == complete
    assert sum("tfevents" in name for name in names) == 3, "what was written anew is there once"
    assert "spec.pkl" in names
    assert ".lease.json" not in names


@pytest.mark.parametrize("spacing", [5.0, 0.0])
@pytest.mark.parametrize("count", range(0, 45, 5))
def test_a_run_that_is_cut_off_goes_on_elsewhere(
    faulty: FaultyFileSystem, machine: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, count: int, spacing: float
) -> None:
    monkeypatch.setattr(pace, "SPACING_S", spacing)
    cut_after(faulty, count)
    with suppress(RemoteStorageError):
        go(faulty)
    faulty.before = lambda what, path: None
    records = max((one.last for one in parse(faulty.names("/bucket/results/x"))), default=0)

    machine("elsewhere")
    analysis = go(faulty, resume="AUTO")
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"] * 3
    for trial in analysis.trials:
        rows = analysis.trial_dataframes[trial.trial_id]
        assert [round(trial.config["x"] / loss) for loss in rows["loss"]] == [1, 2, 3, 4]
    if records:
        begun = [record.seq for record in _records(analysis) if type(record.event).__name__ == "ExperimentStarted"]
        assert begun == [1, records + 1], "nothing that was remote is lost"
    everything_is_there(faulty, analysis)


def _records(analysis: tune.ExperimentAnalysis) -> list[Any]:
    from tunesmith.journal import open_reader

    with open_reader(Path(analysis.experiment_path, "experiment.db")) as reader:
        return list(reader.read())
