"""``MLflowLoggerCallback`` in real runs, read back with MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.integration.mlflow import MLflowLoggerCallback
from tunesmith.testing.faults import Crash, crash_at
from tunesmith.testing.logger_story import Story

SECRET = "s3cr3t-0f-the-test"


def train(config: dict[str, Any]) -> None:
    for step in range(3):
        tune.report(loss=config["lr"] * step, val={"acc": 0.5}, note="text", ok=True, nothing=None)
    if config.get("fail") == config["lr"]:
        raise ValueError("no luck")


Go = Callable[..., tune.ExperimentAnalysis]


@pytest.fixture
def go(tmp_path: Path) -> Go:
    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        fixed = {"storage_path": tmp_path, "verbose": 0, "executor": "inline", "name": "exp", "raise_on_failed_trial": False}
        return tune.run(trainable, **{**fixed, **arguments})

    return run


def runs_of(client: Any, name: str = "exp") -> dict[str, Any]:
    """The runs of an experiment of MLflow's, by trial id (that of a parent: "")."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    found = {run.data.tags.get("trial_id", ""): run for run in runs}
    assert len(found) == len(runs), "a trial has two runs"
    return found


def curve(client: Any, run: Any, key: str = "loss") -> list[tuple[int, float]]:
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, key)]


def test_trials_are_runs(go: Go, uri: str, client: Any) -> None:
    space = {"lr": tune.grid_search([0.1, 0.2]), "net": {"layers": [64, 64], "act": "relu"}, "fail": 0.2, "none": None, "big": "x" * 7000}
    analysis = go(train, config=space, callbacks=[MLflowLoggerCallback(uri, tags={"team": "vision", "round": 3})])
    runs = runs_of(client)
    assert sorted(runs) == [trial.trial_id for trial in analysis.trials]
    for trial in analysis.trials:
        run = runs[trial.trial_id]
        lr, tags = trial.config["lr"], run.data.tags
        assert run.info.run_name == trial.trial_name == tags["trial_name"]
        params = {"lr": str(lr), "net/layers": "[64, 64]", "net/act": "relu", "fail": "0.2", "none": "None", "big": "x" * 5997 + "..."}
        assert run.data.params == params
        assert sorted(run.data.metrics) == ["loss", "ok", "time_this_iter_s", "time_total_s", "training_iteration", "val/acc"]
        assert curve(client, run) == [(1, 0.0), (2, lr), (3, lr * 2)]
        assert run.data.metrics["ok"] == 1.0
        assert (tags["team"], tags["round"], tags["tunesmith.experiment_name"]) == ("vision", "3", "exp")
        assert run.info.start_time <= run.info.end_time
    well, ill = (runs[trial.trial_id] for trial in analysis.trials)
    assert (well.info.status, well.data.tags["tunesmith.outcome"]) == ("FINISHED", "finished")
    assert (ill.info.status, ill.data.tags["tunesmith.error"]) == ("FAILED", "ValueError: no luck")


def test_parallel_trials_do_not_mix(go: Go, uri: str, client: Any) -> None:
    analysis = go(
        train, config={"lr": tune.grid_search([0.1 * at for at in range(8)])}, executor="local", callbacks=[MLflowLoggerCallback(uri)]
    )
    runs = runs_of(client)
    assert len(runs) == 8
    for trial in analysis.trials:
        run = runs[trial.trial_id]
        assert float(run.data.params["lr"]) == trial.config["lr"]
        assert curve(client, run) == [(step + 1, trial.config["lr"] * step) for step in range(3)]
        assert run.info.status == "FINISHED"


def test_statuses(go: Go, uri: str, client: Any) -> None:
    def trial(config: dict[str, Any]) -> None:
        if config["at"] == 0:
            raise tune.Infeasible("too large")
        for _ in range(5):
            tune.report(loss=1.0)

    analysis = go(trial, config={"at": tune.grid_search([0, 1])}, stop={"training_iteration": 2}, callbacks=[MLflowLoggerCallback(uri)])
    runs = runs_of(client)
    assert [runs[trial.trial_id].info.status for trial in analysis.trials] == ["KILLED", "FINISHED"]
    assert "training_iteration" in runs[analysis.trials[1].trial_id].data.tags["tunesmith.reason"]


def test_odd_numbers(go: Go, uri: str, client: Any) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report(nan=math.nan, inf=math.inf, dip=-math.inf, huge=2**70, beyond=10**400, loss=1.0)

    go(trial, callbacks=[MLflowLoggerCallback(uri)])
    (run,) = runs_of(client).values()
    metrics = run.data.metrics
    assert math.isnan(metrics["nan"])
    assert (metrics["inf"], metrics["dip"], metrics["huge"]) == (sys.float_info.max, -sys.float_info.max, 2.0**70)
    assert "beyond" not in metrics


def test_a_resumed_experiment_continues_its_runs(go: Go, uri: str, client: Any) -> None:
    callback = MLflowLoggerCallback(uri, parent_run=True)
    with pytest.raises(Crash), crash_at("after_commit", 6):
        go(train, config={"lr": tune.grid_search([0.1, 0.2])}, callbacks=[callback])
    go(train, config={"lr": tune.grid_search([0.1, 0.2])}, callbacks=[MLflowLoggerCallback(uri, parent_run=True)], resume=True)
    runs = runs_of(client)
    parent = runs.pop("")
    assert len(runs) == 2
    for run in runs.values():
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert {step for step, _ in curve(client, run)} == {1, 2, 3}
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == "exp"


def test_what_is_told_again_is_logged_once(tmp_path: Path, uri: str, client: Any) -> None:
    """Also where the store itself would take it twice."""
    story = Story(tmp_path)

    def session(*reports: int) -> None:
        callback = MLflowLoggerCallback(uri, experiment_name="exp")
        host = story.host([callback])  # it notes nowhere how far it came
        host.follow(story.journal.last())
        for at in reports:
            story.report(at, loss=1.0 / at)
        story.close()
        assert not host.failures

    story.start()
    session(1, 2)
    (run,) = runs_of(client).values()
    assert run.info.status == "KILLED"
    sent: list[int] = []
    log_batch = type(client).log_batch

    def noting(self: Any, run_id: str, metrics: Any = (), **more: Any) -> None:
        sent.extend(one.step for one in metrics)
        log_batch(self, run_id, metrics, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(client), "log_batch", noting)
        session(3)
    assert set(sent) == {3}
    (run,) = runs_of(client).values()
    assert curve(client, run) == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_configuration_that_changes(tmp_path: Path, uri: str, client: Any) -> None:
    def tell(**options: Any) -> Any:
        story = Story(tmp_path)
        host = story.host([MLflowLoggerCallback(uri, **options)])
        story.start(0, lr=0.1, act="relu")
        story.report(1)
        story.start(1, lr=0.2, act="tanh")
        story.report(1, 1, checkpoint="1/checkpoint_000000")
        story.exploit(0, 0, 1, lr=0.3, act="tanh")
        story.start(0, attempt=1)
        story.report(2, 0, 1)
        story.end(0, 1)
        story.close()
        assert not host.failures
        return runs_of(client, options["experiment_name"])[story.trial_id(0)]

    run = tell(experiment_name="at the start")
    assert run.data.params == {"lr": "0.1", "act": "relu"}
    assert curve(client, run, "config/lr") == [(0, 0.1), (1, 0.3)]
    assert (run.data.tags["config/lr"], run.data.tags["config/act"]) == ("0.3", "tanh")
    run = tell(experiment_name="at the end", log_params_on_trial_end=True)
    assert run.data.params == {"lr": "0.3", "act": "tanh"}


def test_a_parent_that_is_there(go: Go, uri: str, client: Any) -> None:
    import mlflow

    number = client.create_experiment("above")
    above = client.create_run(number)
    go(train, config={"lr": 0.1}, callbacks=[MLflowLoggerCallback(uri, parent_run_id=above.info.run_id)])
    (run,) = [run for run in client.search_runs([number]) if "trial_id" in run.data.tags]
    assert run.data.tags["mlflow.parentRunId"] == above.info.run_id

    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run(experiment_id=number) as active:
            go(train, config={"lr": 0.2}, name="second", callbacks=[MLflowLoggerCallback(parent_run=True)])
            assert mlflow.active_run().info.run_id == active.info.run_id
    finally:
        mlflow.set_tracking_uri(None)
    (run,) = [run for run in client.search_runs([number]) if run.data.params.get("lr") == "0.2"]
    assert run.data.tags["mlflow.parentRunId"] == active.info.run_id
    assert client.get_run(active.info.run_id).info.status == "FINISHED"


def test_artifacts_are_the_whole_folder(go: Go, uri: str, client: Any, tmp_path: Path) -> None:
    def trial(config: dict[str, Any]) -> None:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "weights.txt").write_text("7")
        for _ in range(3):
            tune.report(loss=1.0)
        tune.report({"loss": 0.0}, checkpoint=str(tmp_path / "state"))

    number = client.create_experiment("kept", artifact_location=str(tmp_path / "artifacts"))
    go(trial, callbacks=[MLflowLoggerCallback(uri, experiment_name="kept", save_artifact=True)])
    (run,) = client.search_runs([number])
    names = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"params.json", "progress.csv", "result.json", "checkpoint_000000"} <= names
    (file,) = (tmp_path / "artifacts").rglob("result.json")
    assert [json.loads(line)["training_iteration"] for line in file.read_text().splitlines()] == [1, 2, 3, 4]


def test_a_metric_that_the_store_refuses_stops_nothing_else(
    go: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A store of files cannot hold "loss" and "loss/a": one is a file, the other lies in a folder of that name."""
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"file:{tmp_path}/files"

    def trial(config: dict[str, Any]) -> None:
        for at in (1, 2):
            tune.report({"acc": at, "loss": 1.0, "loss/a": 2.0})

    go(trial, callbacks=[MLflowLoggerCallback(uri)])
    client = mlflow.MlflowClient(uri)
    (run,) = runs_of(client).values()
    assert curve(client, run, "acc") == [(1, 1.0), (2, 2.0)]
    assert run.info.status == "FINISHED"
    assert "without 'loss/a' it goes on" in caplog.text


def test_a_server_that_cannot_be_reached_is_said_without_its_password(
    go: Go, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    callback = MLflowLoggerCallback(f"http://ada:{SECRET}@127.0.0.1:1", tracking_token=SECRET)
    analysis = go(train, config={"lr": 0.1}, callbacks=[callback])
    assert [trial.status for trial in analysis.trials] == ["TERMINATED"]
    assert "MLflowLoggerCallback" in caplog.text
    assert SECRET not in caplog.text
    assert not {name for name in os.environ if name.startswith("MLFLOW_TRACKING")}, "they stay after a logger was dropped"


def test_secrets_reach_no_file(go: Go, uri: str, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def trial(config: dict[str, Any]) -> None:
        tune.report(loss=1.0, seen=os.environ["MLFLOW_TRACKING_TOKEN"] == config["hub"]["password"])

    space = {
        "lr": tune.uniform(0, 1), "max_tokens": 512, "tokenizer": "bert", "api_key": SECRET, "hub": {"password": SECRET, "user": "ada"},
        "mlflow": {"token": SECRET}, "wandb": {"api_key": SECRET},
    }  # fmt: skip
    artifacts = tmp_path / "artifacts"
    client.create_experiment("exp", artifact_location=str(artifacts))
    callback = MLflowLoggerCallback(uri, tracking_token=SECRET, save_artifact=True, tags={"a": "b"})
    go(trial, config=space, executor="local", callbacks=[callback], verbose=2)
    (run,) = runs_of(client).values()
    assert run.data.params.keys() == {"lr", "max_tokens", "tokenizer", "hub/user"}
    assert (run.data.params["max_tokens"], run.data.params["tokenizer"]) == ("512", "bert")
    assert (artifacts / run.info.run_id).is_dir()
    places = [tmp_path, Path(uri.removeprefix("sqlite:///")).parent]
    leaks = [str(path) for place in places for path in place.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert leaks == []
    assert SECRET not in "".join(capfd.readouterr())
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ


def test_what_is_stored_of_it_has_no_token() -> None:
    stored = pickle.dumps(MLflowLoggerCallback(f"http://ada:{SECRET}@host", tracking_token=SECRET, experiment_name="e"))
    assert SECRET.encode() not in stored
    callback = pickle.loads(stored)
    assert callback.experiment_name == "e"
    again = pickle.loads(pickle.dumps(callback))
    assert again._forgotten == "tracking_uri"


def test_a_token_that_was_not_stored_is_asked_for(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(callback: Any) -> list[str]:
        story = Story(tmp_path)
        host = story.host([callback])
        story.start()
        story.close()
        return [str(error) for _, error in host.failures]

    stored = pickle.dumps(MLflowLoggerCallback(uri, tracking_token=SECRET))
    (error,) = told(pickle.loads(stored))
    assert "tracking_token is secret and was not stored" in error
    assert "MLFLOW_TRACKING_TOKEN" in error
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", SECRET)
    assert told(pickle.loads(stored)) == []


def test_bad_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="tags must be a dict"):
        MLflowLoggerCallback(tags="team")  # type: ignore[arg-type]
    wrong = {"save_artifact": "yes", "parent_run": "an id", "parent_run_id": 3, "experiment_name": 3, "tracking_uri": 3}
    for name, value in wrong.items():
        with pytest.raises(SpecError, match=f"MLflowLoggerCallback: {name} must be"):
            MLflowLoggerCallback(**{name: value})
    with pytest.raises(SpecError, match="not both"):
        MLflowLoggerCallback(parent_run_id="7", parent_run=True)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(SpecError, match=r'pip install "tunesmith\[mlflow\]"'):
        MLflowLoggerCallback()
