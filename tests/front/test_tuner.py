"""``Tuner``: fit, results, and going on from a directory."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

Config = dict[str, Any]


def train(config: Config) -> None:
    tune.report({"loss": (config["x"] - 3) ** 2})
    if config["x"] == 4:
        raise RuntimeError("four")


def tuner(path: Path, trainable: Any = train, space: Any = None, **run: Any) -> tune.Tuner:
    return tune.Tuner(
        trainable,
        param_space=space if space is not None else {"x": tune.grid_search([1, 2, 3])},
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(**{"storage_path": str(path), "name": "x", "verbose": 0, **run}),
    )


def test_fit_gives_results(tmp_path: Path) -> None:
    made = tuner(tmp_path)
    results = made.fit()
    assert results.get_best_result().config == {"x": 3}
    assert (len(results), results.num_errors, results.num_terminated) == (3, 0, 3)
    assert made.get_results() is results
    assert results.experiment_path == str(tmp_path / "x")


def test_failed_trials_never_raise(tmp_path: Path) -> None:
    results = tuner(tmp_path, space={"x": tune.grid_search([3, 4])}).fit()
    assert (results.num_errors, results.num_terminated) == (1, 1)
    assert "four" in str(results.errors[0])


def test_no_results_before_fit(tmp_path: Path) -> None:
    with pytest.raises(tune.TuneError, match=r"no results yet; call fit\(\) first"):
        tuner(tmp_path).get_results()


def test_classes_are_saved_at_their_end_unless_told_otherwise(tmp_path: Path) -> None:
    class Model(tune.Trainable):
        def step(self) -> Config:
            return {"loss": 1.0, "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> Config:
            return {"weights": [1]}

    results = tuner(tmp_path, Model, {}).fit()
    assert results[0].checkpoint is not None
    results = tuner(tmp_path, Model, {}, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False)).fit()
    assert results[0].checkpoint is None


def test_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(tune.SpecError, match=r"Tuner\(\) has no argument 'param_spaec'\. Did you mean 'param_space'\?"):
        tune.Tuner(train, param_spaec={})
    with pytest.raises(tune.SpecError, match=r"Tuner\(\): run_config must be a RunConfig, got dict"):
        tune.Tuner(train, run_config={"name": "x"})  # type: ignore[arg-type]
    with pytest.raises(tune.SpecError, match="num_samples must be a whole number >= 1"):
        tune.Tuner(train, tune_config=tune.TuneConfig(num_samples=0), run_config=tune.RunConfig(storage_path=str(tmp_path))).fit()
    assert not list(tmp_path.iterdir())


def test_restore_of_a_moved_experiment_goes_on(tmp_path: Path) -> None:
    stop_after = 2
    notes = tmp_path / "notes.txt"

    def runs() -> list[int]:
        return [int(line) for line in notes.read_text().split()] if notes.exists() else []

    class Few(tune.Stopper):
        """Ends the first session early, as Ctrl-C would."""

    def counting(config: Config) -> None:
        with notes.open("a") as file:
            file.write(f"{config['x']}\n")
        if len(runs()) > stop_after:
            raise KeyboardInterrupt
        tune.report({"loss": config["x"]})

    made = tuner(tmp_path / "here", counting, executor="inline")
    with pytest.raises(KeyboardInterrupt):
        made.fit()
    shutil.move(tmp_path / "here" / "x", tmp_path / "there")
    assert tune.Tuner.can_restore(tmp_path / "there")
    assert not tune.Tuner.can_restore(tmp_path / "here" / "x")

    stop_after = 99
    restored = tune.Tuner.restore(str(tmp_path / "there"), counting)
    assert len(restored.get_results()) == 3
    results = restored.fit()
    assert runs() == [1, 2, 3, 3], "what had ended is not run again"
    assert [result.metrics["loss"] for result in results] == [1, 2, 3]
    assert results.experiment_path == str(tmp_path / "there")


def test_restore_of_something_else(tmp_path: Path) -> None:
    tuner(tmp_path).fit()
    path = tmp_path / "x"

    def other(config: Config) -> None:
        """Another one."""

    with pytest.raises(tune.SpecError, match="was run with the trainable 'train', this one is 'other'"):
        tune.Tuner.restore(path, other)
    with pytest.raises(tune.SpecError, match="there is no experiment in"):
        tune.Tuner.restore(tmp_path / "nowhere", train)
    with pytest.raises(tune.SpecError, match="resume_errored and restart_errored are both True"):
        tune.Tuner.restore(path, train, resume_errored=True, restart_errored=True)
    with pytest.raises(tune.SpecError, match=r"Tuner\.restore\(\) has no argument 'resume_error'\. Did you mean 'resume_errored'\?"):
        tune.Tuner.restore(path, train, resume_error=True)
    assert tune.Tuner.restore(path, train, param_space={"x": tune.grid_search([1, 2, 3])}).get_results().num_terminated == 3


def test_a_finished_experiment_is_restored_and_fits_at_once(tmp_path: Path) -> None:
    tuner(tmp_path).fit()
    results = tune.Tuner.restore(tmp_path / "x", train).fit()
    assert results.get_best_result().config == {"x": 3}
