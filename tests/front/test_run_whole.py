"""``run`` from end to end: the shapes of scripts that people really write."""

from __future__ import annotations

import functools
import json
import logging
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

Config = dict[str, Any]
Go = Callable[..., tune.ExperimentAnalysis]


def test_the_quick_start_of_old(go: Go, tmp_path: Path) -> None:
    def train_func(config: Config, reporter: Any) -> None:
        for step in range(10):
            reporter(mean_accuracy=60 + 10 * step * (1 + config["momentum"]))

    analysis = go(train_func, name="quick-start", stop={"mean_accuracy": 99}, config={"momentum": tune.grid_search([0.1, 0.2])})
    assert [trial.config for trial in analysis.trials] == [{"momentum": 0.1}, {"momentum": 0.2}]
    assert all(trial.last_result["mean_accuracy"] >= 99 for trial in analysis.trials)
    assert sorted(path.name for path in (tmp_path / "quick-start").iterdir() if path.is_dir()) == [t.trial_id for t in analysis.trials]


@pytest.mark.parametrize(
    "report",
    [
        lambda value: tune.report(loss=value),
        lambda value: tune.report({"loss": value}),
        lambda value: tune.session.report({"loss": value}),
        lambda value: tune.track.log(loss=value),
    ],
)
def test_every_way_to_report(go: Go, report: Callable[[float], None]) -> None:
    def train(config: Config) -> None:
        for step in range(3):
            report(config["x"] / (step + 1))

    analysis = go(train, config={"x": tune.grid_search([6, 12])}, metric="loss", mode="min")
    assert analysis.best_config == {"x": 6}
    assert analysis.best_result["loss"] == 2
    assert [trial.last_result["training_iteration"] for trial in analysis.trials] == [3, 3]


def test_every_way_to_return(go: Go) -> None:
    assert go(lambda config: {"loss": 1.5}).trials[0].last_result["loss"] == 1.5
    assert go(lambda config: 2.5, mode="min").best_result["_metric"] == 2.5
    assert go(lambda config: None).trials[0].status == "TERMINATED"

    def steps(config: Config) -> Any:
        yield {"loss": 2}
        yield {"loss": 1}

    assert go(steps).trials[0].last_result["training_iteration"] == 2


def test_partials_methods_and_parameters(go: Go) -> None:
    def train(config: Config, data: list[int]) -> Config:
        return {"total": sum(data) * config["x"]}

    class Study:
        factor = 3

        def train(self, config: Config) -> Config:
            return {"total": self.factor * config["x"]}

    config = {"x": tune.choice([2])}
    assert go(functools.partial(train, data=[1, 2]), config=config).trials[0].last_result["total"] == 6
    assert go(tune.with_parameters(train, data=[1, 2]), config=config).trials[0].last_result["total"] == 6
    assert go(Study().train, config=config).trials[0].last_result["total"] == 6


class Counter(tune.Trainable):
    def setup(self, config: Config) -> None:
        self.step_size = config["step"]
        self.total = 0

    def step(self) -> Config:
        self.total += self.step_size
        return {"total": self.total}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "total").write_text(str(self.total))

    def load_checkpoint(self, checkpoint_dir: Any) -> None:
        self.total = int(Path(checkpoint_dir, "total").read_text())


def test_classes_with_checkpoints(go: Go) -> None:
    stop = {"training_iteration": 4}
    analysis = go(Counter, config={"step": tune.grid_search([1, 5])}, stop=stop, checkpoint_freq=2, checkpoint_at_end=True)
    assert [trial.last_result["total"] for trial in analysis.trials] == [4, 20]
    checkpoint = analysis.trials[1].checkpoint
    assert checkpoint is not None
    with checkpoint.as_directory() as folder:
        assert Path(folder, "total").read_text() == "20"


def test_grid_times_samples(go: Go) -> None:
    analysis = go(lambda config: 1.0, config={"x": tune.grid_search([1, 2]), "y": tune.uniform(0, 1)}, num_samples=3)
    assert [trial.config["x"] for trial in analysis.trials] == [1, 2] * 3
    assert len({trial.config["y"] for trial in analysis.trials}) == 6


def test_until_a_limit(go: Go) -> None:
    class Enough(tune.Stopper):
        seen = 0

        def __call__(self, trial_id: str, result: Any) -> bool:
            self.seen += 1
            return False

        def stop_all(self) -> bool:
            return self.seen >= 7

    analysis = go(lambda config: config["x"], config={"x": tune.uniform(0, 1)}, num_samples=-1, stop=Enough())
    assert len(analysis.trials) >= 7


def test_equal_seeds_give_equal_trials(go: Go) -> None:
    def draw(seed: int) -> list[float]:
        return [trial.config["x"] for trial in go(lambda config: 1.0, config={"x": tune.uniform(0, 1)}, num_samples=5, seed=seed).trials]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_each_trial_has_its_own_copy_of_the_config(go: Go) -> None:
    def train(config: Config) -> Config:
        config["layers"].append(1)
        return {"n": len(config["layers"])}

    analysis = go(train, config={"layers": [8], "x": tune.grid_search([1, 2])})
    assert [trial.last_result["n"] for trial in analysis.trials] == [2, 2]
    assert analysis.trials[0].config["layers"] == [8]


def test_files_are_there_unless_not_wanted(go: Go, tmp_path: Path) -> None:
    analysis = go(lambda config: {"loss": 1.0}, name="with", config={"x": 1})
    folder = Path(analysis.trials[0].logdir)
    assert json.loads((folder / "params.json").read_text()) == {"x": 1}
    assert json.loads((folder / "result.json").read_text())["loss"] == 1.0
    assert (folder / "progress.csv").read_text().splitlines()[0].startswith("loss")
    go(lambda config: {"loss": 1.0}, name="without", loggers=())
    assert not [path for path in (tmp_path / "without").iterdir() if path.is_dir()]


def test_names_of_ones_own(go: Go, tmp_path: Path) -> None:
    analysis = go(
        lambda config: 1.0,
        name="x",
        config={"lr": tune.grid_search([1, 2])},
        trial_name_creator=lambda trial: f"lr={trial.config['lr']}",
        trial_dirname_creator=lambda trial: f"dir_{trial.config['lr']}",
    )
    assert [str(trial) for trial in analysis.trials] == ["lr=1", "lr=2"]
    assert [trial.logdir for trial in analysis.trials] == [str(tmp_path / "x" / "dir_1"), str(tmp_path / "x" / "dir_2")]


def test_a_taken_name_and_a_resume(go: Go) -> None:
    runs: list[int] = []

    def train(config: Config) -> None:
        runs.append(config["x"])
        tune.report(loss=config["x"])

    config = {"x": tune.grid_search([1, 2])}
    first = go(train, name="x", config=config)
    second = go(train, name="x", config=config)
    assert (Path(first.experiment_path).name, Path(second.experiment_path).name) == ("x", "x_2")
    again = go(train, name="x", config=config, resume=True)
    assert again.experiment_path == first.experiment_path
    assert runs == [1, 2, 1, 2], "all trials had ended, so nothing ran again"
    assert [trial.last_result["loss"] for trial in again.trials] == [1, 2]


def test_callbacks_are_called(go: Go) -> None:
    class Seen(tune.Callback):
        def __init__(self) -> None:
            self.results: list[Any] = []
            self.ended = 0

        def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any) -> None:
            self.results.append((trial.trial_id, result["loss"]))

        def on_experiment_end(self, trials: Any, **info: Any) -> None:
            self.ended += 1

    seen = Seen()
    analysis = go(lambda config: {"loss": 2.0}, callbacks=[seen])
    assert seen.results == [(analysis.trials[0].trial_id, 2.0)]
    assert seen.ended == 1


def test_what_run_returns_can_be_pickled(go: Go) -> None:
    analysis = go(lambda config: {"loss": 2.0}, metric="loss", mode="min", config={"x": tune.choice([3])})
    copied = pickle.loads(pickle.dumps(analysis))
    assert copied.best_config == {"x": 3}
    assert pickle.loads(pickle.dumps(analysis.trials[0])).last_result["loss"] == 2.0


def test_run_experiments(tmp_path: Path) -> None:
    specs = {
        "one": {"run": lambda config: {"loss": config["x"]}, "config": {"x": tune.grid_search([1, 2])}, "local_dir": tmp_path},
        "two": {"run": lambda config: {"loss": config["env"]}, "env": "corridor", "storage_path": tmp_path},
    }
    trials = tune.run_experiments(specs, verbose=0, executor="inline")
    assert [trial.last_result["loss"] for trial in trials] == [1, 2, "corridor"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_run_experiments_runs_all_and_then_raises(tmp_path: Path) -> None:
    def bad(config: Config) -> None:
        raise RuntimeError("no")

    experiments = [tune.Experiment(name, run, storage_path=tmp_path) for name, run in (("bad", bad), ("good", lambda config: 1.0))]
    with pytest.raises(tune.TrialsFailed, match="1 of 1 trials failed: RuntimeError: no") as caught:
        tune.run_experiments(experiments, verbose=0, executor="inline")
    assert len(caught.value.trials) == 1
    assert tune.open_experiment(tmp_path / "good").trials[0].status == "TERMINATED"


def test_rerun_of_a_failed_trial(
    go: Go, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tunesmith.__main__ import main

    def train(config: Config) -> None:
        tune.report(loss=config["x"])
        assert config["x"] < 2, "too large"

    analysis = go(train, name="x", config={"x": tune.grid_search([1, 2])}, raise_on_failed_trial=False, seed=5)
    capsys.readouterr()
    good, bad = analysis.trials
    assert main(["rerun", str(tmp_path / "x"), good.trial_id]) == 0
    assert capsys.readouterr().out.splitlines() == ["report 1: loss=1", "stopped: it had made 1 reports", "ended: stopped"]
    assert main(["rerun", str(tmp_path / "x"), bad.trial_id]) == 1
    out = capsys.readouterr().out.splitlines()
    assert (out[0], out[-1]) == ("report 1: loss=2", "ended: user_error")
    opened: list[Any] = []
    monkeypatch.setattr("pdb.post_mortem", opened.append)
    assert main(["rerun", str(tmp_path / "x"), bad.trial_id, "--pdb"]) == 1
    assert "AssertionError: too large" in capsys.readouterr().err
    assert len(opened) == 1
    assert main(["rerun", str(tmp_path / "x"), "nobody"]) == 2
    assert "error: " in capsys.readouterr().err
    assert len(tune.open_experiment(tmp_path / "x").trials) == 2, "nothing of it is recorded"


def test_ctrl_c_ends_at_the_next_report_and_says_how_to_go_on(go: Go, caplog: pytest.LogCaptureFixture) -> None:
    interrupts = True

    def train(config: Config) -> None:
        for step in range(3):
            if config["x"] == 2 and step == 1 and interrupts:
                signal.raise_signal(signal.SIGINT)
            tune.report(loss=step)

    config = {"x": tune.grid_search([1, 2, 3])}
    with caplog.at_level(logging.WARNING, "tunesmith"):
        analysis = go(train, name="x", config=config)
    assert "resume=True, name='x'" in caplog.text
    finished, *others = [trial.status for trial in analysis.trials]
    assert finished == "TERMINATED"
    assert "TERMINATED" not in others
    interrupts = False
    again = go(train, name="x", config=config, resume=True)
    assert [trial.status for trial in again.trials] == ["TERMINATED"] * 3
    assert [trial.last_result["loss"] for trial in again.trials] == [2, 2, 2]
