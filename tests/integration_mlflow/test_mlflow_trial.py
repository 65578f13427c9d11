"""``mlflow_mixin`` and ``setup_mlflow`` in real trials, read back with MLflow's own client."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.integration.mlflow import MLflowLoggerCallback, mlflow_mixin, setup_mlflow
from tunesmith.integration.wandb import wandb_mixin
from tunesmith.trainable.base import TrainableSpec

SECRET = "s3cr3t-0f-the-test"
Go = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture(params=["inline", pytest.param("local", marks=pytest.mark.slow)])
def go(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Go]:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        fixed = {"storage_path": tmp_path, "verbose": 0, "executor": request.param, "name": "exp", "raise_on_failed_trial": False}
        return tune.run(trainable, **{**fixed, **arguments})

    yield run
    assert mlflow.active_run() is None
    assert not mlflow.is_tracking_uri_set()
    assert not {name for name in os.environ if name.startswith("MLFLOW_TRACKING")}


def runs_of(client: Any, name: str = "exp") -> dict[str, Any]:
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    found = {run.data.tags["trial_id"]: run for run in runs}
    assert len(found) == len(runs), "a trial has two runs"
    return found


def test_a_function(go: Go, uri: str, client: Any) -> None:
    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            mlflow.log_metrics({"inner": config["lr"] * step}, step=step)
            tune.report(loss=config["lr"])
        if config["lr"] == 0.2:
            raise ValueError("no luck")

    space = {"lr": tune.grid_search([0.1, 0.2, 0.3]), "api_key": SECRET, "mlflow": {"tracking_uri": uri, "tags": {"team": "vision"}}}
    analysis = go(train, config=space)
    runs = runs_of(client)
    assert len(analysis.trials) == len(runs) == 3
    for trial in analysis.trials:
        run, lr = runs[trial.trial_id], trial.config["lr"]
        assert run.data.params == {"lr": str(lr)}
        assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "inner")] == [(0, 0.0), (1, lr), (2, lr * 2)]
        assert run.info.run_name == trial.trial_name
        assert run.data.tags["team"] == "vision"
        assert run.info.status == ("FAILED" if lr == 0.2 else "FINISHED")


def test_a_class_and_one_that_is_reused(go: Go, uri: str, client: Any) -> None:
    @mlflow_mixin
    class Train(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            mlflow.log_param("set_up", "yes")

        def step(self) -> dict[str, Any]:
            mlflow.log_metric("inner", self.config["lr"])
            return {"loss": self.config["lr"], "done": self.iteration == 1}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def cleanup(self) -> None:
            pass

    for reuse in (False, True):
        space = {"lr": tune.grid_search([0.1, 0.2]), "mlflow": {"tracking_uri": uri, "experiment_name": f"reuse={reuse}"}}
        analysis = go(Train, config=space, reuse_actors=reuse, name=f"reuse={reuse}", max_concurrent_trials=1)
        runs = runs_of(client, f"reuse={reuse}")
        assert [runs[trial.trial_id].data.metrics["inner"] for trial in analysis.trials] == [0.1, 0.2]
        assert [runs[trial.trial_id].data.params["lr"] for trial in analysis.trials] == ["0.1", "0.2"]
        assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert "set_up" not in runs[analysis.trials[1].trial_id].data.params, "it was reused"


def test_setup_in_a_function_that_is_retried(go: Go, uri: str, client: Any, tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        module = setup_mlflow(config, tracking_uri=uri, experiment_name="made", create_experiment_if_not_exists=True, run_name="mine")
        assert module is setup_mlflow(config)
        module.log_metric("inner", 1.0)
        with module.start_run(nested=True):
            module.log_metric("below", 1.0)
        tune.report(loss=1.0)
        flag = tmp_path / "tried"
        if not flag.exists():
            flag.touch()
            module.start_run(nested=True)  # and never ended
            raise ValueError("the first time")

    analysis = go(train, config={"lr": 0.1}, max_failures=1)
    assert analysis.trials[0].num_failures == 1
    runs = client.search_runs([client.get_experiment_by_name("made").experiment_id], "tags.trial_id != ''")
    (run,) = runs
    assert (run.info.run_name, run.info.status, run.data.params) == ("mine", "FINISHED", {"lr": "0.1"})
    assert len(client.get_metric_history(run.info.run_id, "inner")) == 2


def test_a_program(go: Go, uri: str, client: Any, tmp_path: Path) -> None:
    """Its run is ended with the program, or where the trial is told to stop."""
    script = tmp_path / "program.py"
    script.write_text(
        "import sys\n"
        "import tunesmith as tune\n"
        "from tunesmith.integration.mlflow import setup_mlflow\n"
        f"module = setup_mlflow({{}}, tracking_uri={uri!r}, experiment_name='made', create_experiment_if_not_exists=True)\n"
        "for step in range(int(sys.argv[1])):\n"
        "    module.log_metric('inner', step, step=step)\n"
        "    tune.report(loss=1.0)\n",
        encoding="utf-8",
    )
    program = tune.command([sys.executable, str(script), "{steps}"])
    analysis = go(program, config={"steps": tune.grid_search([1, 9])}, stop={"training_iteration": 2})
    runs = runs_of(client, "made")
    assert [int(runs[trial.trial_id].data.metrics["inner"]) for trial in analysis.trials] == [0, 1]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_beside_the_logger(go: Go, uri: str, client: Any) -> None:
    """Both in one experiment of MLflow's: each keeps to its own runs."""

    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        mlflow.log_metric("inner", 1.0)
        tune.report(loss=1.0)

    go(train, config={"mlflow": {"tracking_uri": uri}}, callbacks=[MLflowLoggerCallback(uri)])
    runs = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert sorted(("inner" in run.data.metrics, "loss" in run.data.metrics) for run in runs) == [(False, True), (True, False)]


def test_a_changed_configuration(go: Go, uri: str, client: Any) -> None:
    """Of a trial that goes on: parameters stay, the change is a metric and a tag."""

    def train(config: dict[str, Any]) -> None:
        state = {"lr": 0.1, "again": False} if tune.get_checkpoint() is None else {"lr": 0.3, "again": True}
        setup_mlflow({"lr": state["lr"], "act": "relu"}, tracking_uri=uri)
        tune.report({"loss": 1.0}, checkpoint={"at": 1})
        if not state["again"]:
            raise ValueError("the first time")

    go(train, max_failures=1)
    (run,) = runs_of(client).values()
    assert run.data.params == {"lr": "0.1", "act": "relu"}
    assert run.data.tags["config/lr"] == "0.3"
    assert [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, "config/lr")] == [(1, 0.3)]


def test_below_a_run_of_the_drivers(tmp_path: Path, uri: str, client: Any, alone: None) -> None:
    """Trials that run in the driver's own thread leave its active run, and where it logs to, as they are."""

    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        mlflow.log_metric("inner", 1.0)
        tune.report(loss=1.0)

    mlflow.set_tracking_uri(uri)
    number = client.create_experiment("outside")
    with mlflow.start_run(experiment_id=number) as outer:
        space = {"mlflow": {"tracking_uri": uri}}
        tune.run(train, config=space, storage_path=tmp_path, verbose=0, executor="inline", name="exp", num_samples=2)
        assert mlflow.active_run().info.run_id == outer.info.run_id
        mlflow.log_metric("outer", 1.0)
    assert mlflow.get_tracking_uri() == uri
    assert client.get_run(outer.info.run_id).data.metrics == {"outer": 1.0}
    assert [run.data.metrics for run in runs_of(client).values()] == [{"inner": 1.0}] * 2


def test_secrets_reach_no_file(go: Go, uri: str, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        mlflow.log_metric("known", float(os.environ["MLFLOW_TRACKING_TOKEN"] == config["mlflow"]["token"]))
        tune.report(loss=1.0)
        raise ValueError("shown with its frames")

    go(train, config={"max_tokens": 5, "password": SECRET, "mlflow": {"tracking_uri": uri, "token": SECRET}}, verbose=2)
    (run,) = runs_of(client).values()
    assert run.data.metrics["known"] == 1.0
    assert run.data.params == {"max_tokens": "5"}
    places = [tmp_path, Path(uri.removeprefix("sqlite:///")).parent]
    leaks = [str(path) for place in places for path in place.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert leaks == []
    assert SECRET not in "".join(capfd.readouterr())


def test_a_server_that_cannot_be_reached(go: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        raise AssertionError("never reached")

    analysis = go(train, config={"mlflow": {"tracking_uri": f"http://ada:{SECRET}@127.0.0.1:1"}})
    error = analysis.trials[0].error_msg
    assert error is not None
    assert "127.0.0.1" in error
    assert SECRET not in error


@pytest.fixture
def alone(uri: str) -> Iterator[None]:
    """Outside a run the settings stay, as MLflow's own do."""
    yield
    while mlflow.active_run():
        mlflow.end_run()
    mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("alone")
class TestOutsideARun:
    def test_a_function(self, uri: str, client: Any) -> None:
        @mlflow_mixin
        def train(config: dict[str, Any]) -> float:
            mlflow.log_metric("inner", 1.0)
            return 0.5

        assert train({"lr": 0.1, "mlflow": {"tracking_uri": uri, "experiment_name": "by hand"}}) == 0.5
        assert mlflow.active_run() is None
        (run,) = client.search_runs([client.get_experiment_by_name("by hand").experiment_id])
        assert (run.data.params, run.data.metrics, run.info.status) == ({"lr": "0.1"}, {"inner": 1.0}, "FINISHED")

    def test_a_class(self, uri: str, client: Any) -> None:
        @mlflow_mixin
        class Train(tune.Trainable):
            def step(self) -> dict[str, Any]:
                mlflow.log_metric("inner", 2.0)
                return {"loss": 1.0}

        trainable = Train({"mlflow": {"tracking_uri": uri, "experiment_name": "by hand"}})
        trainable.train()
        trainable.stop()
        assert mlflow.active_run() is None
        (run,) = client.search_runs([client.get_experiment_by_name("by hand").experiment_id])
        assert (run.data.metrics, run.info.status) == ({"inner": 2.0}, "FINISHED")

    def test_an_experiment_that_is_not_there(self, uri: str, client: Any) -> None:
        with pytest.raises(SpecError, match=r"no experiment 'nowhere'.*create_experiment_if_not_exists=True"):
            setup_mlflow({}, tracking_uri=uri, experiment_name="nowhere")
        client.delete_experiment(client.create_experiment("gone"))
        with pytest.raises(SpecError, match="'gone' was deleted"):
            setup_mlflow({}, tracking_uri=uri, experiment_name="gone")

    def test_other_ranks_log_nothing(self, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "1")
        module = setup_mlflow({}, tracking_uri=uri)
        with module.start_run():
            module.log_metric("loss", 1.0)
        assert not mlflow.is_tracking_uri_set()

    def test_bad_settings(self) -> None:
        with pytest.raises(SpecError, match="unknown key 'trackinguri'"):
            setup_mlflow({"mlflow": {"trackinguri": "x"}})
        with pytest.raises(SpecError, match="must be a dict of settings"):
            setup_mlflow({"mlflow": "x"})


def test_what_was_drawn_is_no_secret(go: Go, uri: str, client: Any) -> None:
    @mlflow_mixin
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    space = {"token": tune.choice(["bos", "eos"]), "password": SECRET, "mlflow": {"tracking_uri": uri}}
    (trial,) = go(train, config=space).trials
    assert runs_of(client)[trial.trial_id].data.params == {"token": trial.config["token"]}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["function", "class"])
def test_the_run_of_a_killed_trial_is_ended_by_the_driver(tmp_path: Path, uri: str, client: Any, kind: str) -> None:
    def train(config: dict[str, Any]) -> None:
        mlflow.log_metric("inner", 1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    class Train(tune.Trainable):
        def step(self) -> dict[str, Any]:
            train(self.config)
            return {}

    space = {"mlflow": {"tracking_uri": uri, "experiment_name": "killed"}}
    trainable: Any = mlflow_mixin(train if kind == "function" else Train)
    common = {"storage_path": tmp_path, "verbose": 0, "executor": "local", "raise_on_failed_trial": False}
    tune.run(trainable, config=space, max_failures=1, **common)
    (run,) = client.search_runs([client.get_experiment_by_name("killed").experiment_id])
    assert (run.info.status, run.data.metrics) == ("FAILED", {"inner": 1.0})


def test_wrong_settings_start_nothing(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        tune.report(loss=1.0)

    class Train(tune.Trainable):
        def step(self) -> dict[str, Any]:
            return {"loss": 1.0, "done": True}

    for trainable in (mlflow_mixin(train), mlflow_mixin(Train), wandb_mixin(mlflow_mixin(train)), mlflow_mixin(wandb_mixin(train))):
        space = {"wandb": {"project": "p", "mode": "disabled"}, "mlflow": {"trackinguri": "x"}}
        with pytest.raises(SpecError, match="unknown key 'trackinguri'"):
            tune.run(trainable, config=space, storage_path=tmp_path, verbose=0, executor="inline")
    with pytest.raises(SpecError, match="wandb_mixin needs settings"):
        tune.run(mlflow_mixin(wandb_mixin(train)), config={}, storage_path=tmp_path, verbose=0, executor="inline")
    assert not list(tmp_path.iterdir())


def test_what_was_bound_stays_bound() -> None:
    def train(config: dict[str, Any], data: Any = None) -> None:
        assert config
        assert data

    spec = TrainableSpec.of(mlflow_mixin(tune.with_resources(tune.with_parameters(train, data=[1]), {"cpu": 2})))
    assert (spec.name, spec.resources, spec.parameters) == ("train", {"cpu": 2}, {"data": [1]})


def test_what_can_be_decorated(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="Plain is no Trainable"):
        mlflow_mixin(type("Plain", (), {}))
    with pytest.raises(SpecError, match="takes a function or a Trainable class"):
        mlflow_mixin(7)  # type: ignore[type-var]
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[mlflow\]"'):
        mlflow_mixin(lambda config: None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[mlflow\]"'):
        setup_mlflow({})
