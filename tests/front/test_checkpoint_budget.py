"""How many checkpoints are left on disk, and which: as a user sees it, with trials in this thread and in processes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune


def train(config: dict[str, Any]) -> None:
    for step in range(4):
        loss = config["x"] + abs(step - config.get("best", 3))
        tune.report({"loss": loss, "acc": -loss}, checkpoint={"x": config["x"], "step": step + 1, "ballast": b"." * 1000})


@pytest.fixture(params=["inline", "local"])
def go(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def run(trainable: Any = train, **arguments: Any) -> Any:
        given = {"config": {"x": tune.grid_search([0.5, 0.1, 0.9, 0.3])}, "metric": "loss", "mode": "min", "loggers": ()}
        given |= {"storage_path": tmp_path, "name": "run", "verbose": 0, "executor": request.param, "max_concurrent_trials": 2}
        return tune.run(trainable, **{**given, **arguments})

    return run


def left(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "run").rglob("checkpoint_*") if path.is_dir()]


def content(path: Path) -> tuple[float, int]:
    found = tune.Checkpoint(str(path)).to_dict()
    return found["x"], found["step"]


def test_of_ended_trials_only_the_best_keep_one(go: Any, tmp_path: Path) -> None:
    analysis = go(keep_best=2)
    assert sorted(map(content, left(tmp_path))) == [(0.1, 4), (0.3, 4)]
    best = tune.ResultGrid(analysis).get_best_result()
    assert best.checkpoint.to_dict()["step"] == best.metrics["training_iteration"] == 4


def test_all_together_keep_to_their_budget(go: Any, tmp_path: Path) -> None:
    go(max_checkpoint_bytes="6kB")
    paths = left(tmp_path)
    sizes = [file.stat().st_size for path in paths for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")]
    assert sum(sizes) <= 6000  # our own note in each, of some hundred bytes, does not count
    assert (0.1, 4) in map(content, paths)
    assert len(paths) >= 3


def test_the_best_step_is_there_although_a_later_one_was_to_be_kept(go: Any, tmp_path: Path) -> None:
    analysis = go(config={"x": tune.grid_search([0.5, 0.1]), "best": 1}, keep_checkpoints_num=1)
    best = tune.ResultGrid(analysis).get_best_result(scope="all")
    assert (best.config["x"], best.metrics["training_iteration"]) == (0.1, 2)
    assert best.checkpoint.to_dict()["step"] == 2
    assert sorted(map(content, left(tmp_path))) == [(0.1, 2), (0.1, 4), (0.5, 4)]


def test_ranked_by_a_score(go: Any, tmp_path: Path) -> None:
    go(keep_best=1, checkpoint_score_attr="acc", metric=None, mode=None)
    assert list(map(content, left(tmp_path))) == [(0.1, 4)]


def test_a_resume_keeps_to_it(go: Any, tmp_path: Path) -> None:
    go(keep_best=1)
    go(keep_best=1, resume=True, num_samples=2)
    assert list(map(content, left(tmp_path))) == [(0.1, 4)]


def test_more_than_the_budget_because_all_are_needed_is_said(go: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    go(max_checkpoint_bytes=500)
    said = [message for message in caplog.messages if "max_checkpoint_bytes=500" in message]
    assert said
    assert all("each checkpoint is the best one or is gone on from" in message for message in said)
    assert (0.1, 4) in map(content, left(tmp_path))


def rewrites(config: dict[str, Any]) -> None:
    """As many scripts do: one directory, written over in each epoch."""
    folder = Path(tune.get_context().get_trial_dir()) / "model"
    folder.mkdir(parents=True)
    for epoch in range(4):
        (folder / "weights").write_text(f"{config['x']} {epoch + 1} ".ljust(2000, "."))
        tune.report({"loss": config["x"] + epoch}, checkpoint=str(folder))


def test_who_writes_over_the_same_files_in_each_epoch_finds_each_epoch(go: Any, tmp_path: Path) -> None:
    go(rewrites)
    found = [(path / "weights").read_text().split()[:2] for path in left(tmp_path)]
    assert sorted(found) == sorted([str(x), str(epoch)] for x in (0.1, 0.3, 0.5, 0.9) for epoch in range(1, 5))
