"""Callbacks, old-style loggers and class trainables through ``run``: every hook, once, at its moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.logger import DEFAULT_LOGGERS, Logger, LoggerCallback

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


class Recorder(tune.Callback):
    """Writes down every hook but those of steps."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:
        self.told.append(("setup", num_samples, total_num_samples))

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("start", trial.config["x"], trial.status))

    def on_trial_restore(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("restore", trial.config["x"]))

    def on_trial_save(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("save", trial.config["x"]))

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Config, **info: Any) -> None:
        self.told.append(("result", trial.config["x"], result["step"]))

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("complete", trial.config["x"], trial.status))

    def on_trial_recover(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("recover", trial.config["x"]))

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        self.told.append(("error", trial.config["x"], trial.status))

    def on_checkpoint(self, iteration: int, trials: Any, trial: Any, checkpoint: Any, **info: Any) -> None:
        self.told.append(("checkpoint", trial.config["x"], checkpoint.to_dict()["step"]))

    def on_experiment_end(self, trials: Any, **info: Any) -> None:
        self.told.append(("end", len(trials)))

    def get_state(self) -> Config:
        return {"told": len(self.told)}

    def set_state(self, state: Config) -> None:
        self.told.append(("state", state))


def stumbling(config: Config) -> None:
    """x=1 ends well; x=2 fails at every attempt after its first report of it."""
    saved = tune.get_checkpoint()
    step = saved.to_dict()["step"] if saved else 0
    while step < 2:
        step += 1
        tune.report({"step": step}, checkpoint={"step": step})
        if config["x"] == 2:
            raise ValueError("stumbled")


def test_the_story_of_a_run_with_a_retry_and_a_failure_and_of_its_resume(go: Go) -> None:
    told: list[Any] = []
    arguments: Config = {"name": "a", "config": {"x": tune.grid_search([1, 2])}, "max_failures": 1, "raise_on_failed_trial": False}
    go(stumbling, callbacks=[Recorder(told)], **arguments)

    def step(x: int, number: int) -> list[Any]:
        return [("result", x, number), ("save", x), ("checkpoint", x, number)]

    first = [("setup", 1, 2), ("start", 1, "RUNNING"), *step(1, 1), *step(1, 2), ("complete", 1, "TERMINATED")]
    failing = [("start", 2, "RUNNING"), *step(2, 1), ("recover", 2)]
    again = [("restore", 2), ("start", 2, "RUNNING"), *step(2, 2), ("error", 2, "ERROR")]
    assert told == [*first, *failing, *again, ("end", 2)]
    told.clear()
    go(stumbling, callbacks=[Recorder(told)], resume=True, **arguments)
    assert told == [("state", {"told": 21}), ("setup", 1, 2), ("end", 2)]


def test_states_that_cannot_be_kept_or_read_cost_only_themselves(go: Go, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Counts(tune.Callback):
        seen = 0

        def on_trial_complete(self, **info: Any) -> None:
            self.seen += 1

        def get_state(self) -> Config:
            return {"seen": self.seen}

        def set_state(self, state: Config) -> None:
            self.seen = state["seen"]

    class Hopeless(Counts):
        def get_state(self) -> Config:
            return {"seen": lambda: 3}

    def resumed(samples: int) -> Counts:
        counts = Counts()
        go(lambda config: 1.0, name="a", callbacks=[Hopeless(), counts], num_samples=samples, resume="AUTO")
        return counts

    assert resumed(2).seen == 2
    assert caplog.text.count("Hopeless.get_state raised") == 1
    assert resumed(3).seen == 3
    (tmp_path / "a" / ".callbacks.pkl").write_bytes(b"torn")
    assert resumed(4).seen == 1
    assert "Callbacks begin without what they knew" in caplog.text


def test_old_style_loggers_stand_beside_the_usual_files(go: Go) -> None:
    told: list[Any] = []

    class Mine(Logger):
        def _init(self) -> None:
            told.append((self.config["x"], Path(self.logdir).name))

        def on_result(self, result: Config) -> None:
            told.append(result["loss"])

        def close(self) -> None:
            told.append("closed")

    analysis = go(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([3, 4])}, loggers=(*DEFAULT_LOGGERS, Mine))
    ids = [trial.trial_id for trial in analysis.trials]
    assert told == [(3, ids[0]), 3, "closed", (4, ids[1]), 4, "closed"]
    for trial in analysis.trials:
        assert {"params.json", "result.json", "progress.csv"} <= {path.name for path in Path(trial.logdir).iterdir()}


def test_a_logger_callback_among_the_callbacks_leaves_the_usual_files_on(go: Go) -> None:
    told: list[Any] = []

    class Mine(LoggerCallback):
        def log_trial_start(self, trial: Any) -> None:
            told.append("start")

        def log_trial_result(self, iteration: int, trial: Any, result: Config) -> None:
            told.append(result["loss"])

        def log_trial_end(self, trial: Any, failed: bool = False) -> None:
            told.append(("end", failed))

    def train(config: Config) -> None:
        tune.report(loss=1)
        raise ValueError("no")

    analysis = go(train, callbacks=[Mine()], raise_on_failed_trial=False)
    assert told == ["start", 1, ("end", True)]
    names = {path.name for path in Path(analysis.trials[0].logdir).iterdir()}
    assert len([name for name in names if name.startswith("events.out.tfevents.")]) == 1
    assert len(names) == 5
    assert names > {"params.json", "result.json", "progress.csv", "error.txt"}


@pytest.mark.parametrize(("reuse", "expected"), [(True, "S l R l C"), (False, "S l C S l C"), (None, "S l C S l C")])
def test_reuse_of_a_class_resets_it(go: Go, reuse: bool | None, expected: str) -> None:
    told: list[str] = []

    class Model(tune.Trainable):
        def setup(self, config: Config) -> None:
            told.append("S")
            self.x = config["x"]

        def step(self) -> Config:
            return {"x": self.x, "done": True}

        def log_result(self, result: Config) -> None:
            told.append("l")

        def reset_config(self, new_config: Config) -> bool:
            told.append("R")
            self.x = new_config["x"]
            return True

        def cleanup(self) -> None:
            told.append("C")

    analysis = go(Model, config={"x": tune.grid_search([1, 2])}, reuse_actors=reuse)
    assert " ".join(told) == expected
    assert [(trial.last_result["x"], trial.last_result["training_iteration"]) for trial in analysis.trials] == [(1, 1), (2, 1)]


def test_scripts_of_old_reach_a_trials_checkpoint_in_every_way(go: Go) -> None:
    def train(config: Config, checkpoint_dir: str | None = None) -> None:
        with tune.checkpoint_dir(step=0) as folder:
            (Path(folder) / "weights").write_text("3")
        tune.report(loss=1)

    analysis = go(train, metric="loss", mode="min")
    trial = analysis.best_trial
    assert trial is not None
    ways = [trial.checkpoint.value, trial._checkpoint.value, analysis.best_checkpoint.path]
    assert ways == [str(Path(trial.logdir) / "checkpoint_000000")] * 3
    assert (Path(ways[0]) / "weights").read_text() == "3"
