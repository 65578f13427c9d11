"""The loggers of W&B, told stories; the client is a stand-in that keeps the rules of W&B's: steps only grow, rows are added to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tunesmith.errors import SpecError
from tunesmith.integration.wandb import WandbLogger, WandbLoggerCallback
from tunesmith.logger import LegacyLoggerCallback, LoggerCallback
from tunesmith.testing.logger_kit import LoggerKit
from tunesmith.testing.logger_story import Story, tell


class FakeConfig(dict[str, Any]):
    def update(self, values: Mapping[str, Any], allow_val_change: bool = False) -> None:  # type: ignore[override]
        assert allow_val_change or not set(values) & set(self)
        super().update(values)


class FakeRun:
    def __init__(self, server: FakeServer, arguments: dict[str, Any]) -> None:
        self.server, self.arguments = server, arguments
        self.rows = server.rows.setdefault(arguments["dir"], {})
        self.config = FakeConfig(arguments["config"])
        self.resumed = bool(self.rows) and arguments["mode"] == "online" and arguments.get("resume") == "allow"
        self.starting_step = max(self.rows) + 1 if self.resumed else 0
        self.exit_code: int | None = None
        self.artifacts: list[Any] = []

    def log(self, row: Mapping[str, Any], step: int, commit: bool) -> None:
        assert self.exit_code is None, "logged to a run that is finished"
        if self.server.broken:
            raise ConnectionResetError("Connection lost")
        if not all(isinstance(value, int | float | str) for value in row.values()) and self.server.picky:
            raise ValueError("no such image")
        assert step >= max(self.rows, default=0) or not self.resumed, "W&B drops a row that goes back"
        self.rows.setdefault(step, {}).update(row)

    def log_artifact(self, artifact: Any) -> None:
        self.artifacts.append(artifact)

    def finish(self, exit_code: int) -> None:
        assert self.exit_code is None
        if self.server.meeting is not None:
            self.server.meeting.wait(timeout=60)
        if self.server.broken:
            raise ConnectionResetError("Connection lost")
        self.exit_code = exit_code


class FakeServer:
    """Keeps the rows of runs, by directory: ids are the same in all stories."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}
        self.runs: list[FakeRun] = []
        self.broken = self.picky = False
        self.meeting: threading.Barrier | None = None

    def init(self, **arguments: Any) -> FakeRun:
        self.runs.append(FakeRun(self, arguments))
        return self.runs[-1]

    def run(self, trial_id: str) -> FakeRun:
        return [run for run in self.runs if run.arguments["id"] == trial_id][-1]

    def metrics(self, trial_id: str, *names: str) -> dict[int, tuple[Any, ...]]:
        return {step: tuple(row.get(name) for name in names) for step, row in self.run(trial_id).rows.items()}


@pytest.fixture
def server(offline: Path, monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    import wandb

    server = FakeServer()
    init = wandb.init

    def fake(**arguments: Any) -> FakeRun:
        return server.init(**arguments)

    fake.__signature__ = __import__("inspect").signature(init)  # type: ignore[attr-defined]
    monkeypatch.setattr(wandb, "init", fake)
    return server


class TestWandbLoggerCallback(LoggerKit):
    rewrites = False

    @pytest.fixture(autouse=True)
    def _stand_in(self, server: FakeServer) -> None:
        self.server = server

    def make(self, tmp_path: Path) -> LoggerCallback:
        return WandbLoggerCallback(project="p", mode="online", api_key="k" * 40)

    def stored(self, tmp_path: Path, trial_id: str) -> list[Mapping[str, Any]]:
        rows = self.server.rows.get(str(tmp_path / trial_id), {})
        return [rows[step] for step in sorted(rows)]


class TestWandbLogger(TestWandbLoggerCallback):
    def make(self, tmp_path: Path) -> LoggerCallback:
        return LegacyLoggerCallback([_Logger])


class _Logger(WandbLogger):
    """Brings its own block: the kit's configs have none."""

    def _init(self) -> None:
        self.config = {**self.config, "wandb": {"project": "p", "mode": "online", "api_key": "k" * 40}}
        super()._init()


def told(story: Story, logger: LoggerCallback) -> None:
    story.host([logger]).setup(stop=None, num_samples=1, total_num_samples=1)


def online(**given: Any) -> WandbLoggerCallback:
    return WandbLoggerCallback(**{"project": "p", "mode": "online", "api_key": "k" * 40, **given})


def test_a_run_is_the_trials(tmp_path: Path, server: FakeServer) -> None:
    story = Story(tmp_path)
    told(story, online(tags=["a"]))
    story.start(lr=0.1)
    tell(story, 0, 1, 2)
    story.end()
    story.close()
    run = server.run(story.trial_id())
    given = {name: run.arguments[name] for name in ("id", "name", "group", "project", "resume", "reinit", "tags", "mode", "dir")}
    assert given == {
        "id": story.trial_id(), "name": f"train_{story.trial_id()}", "group": "demo", "project": "p", "resume": "allow",
        "reinit": "create_new", "tags": ["a"], "mode": "online", "dir": str(story.trial_dir()),
    }  # fmt: skip
    assert run.arguments["settings"] == {
        "console": "off", "silent": True, "x_save_requirements": False, "api_key": "k" * 40,
    }  # fmt: skip
    assert (run.config, run.exit_code) == ({"lr": 0.1}, 0)
    assert server.metrics(story.trial_id(), "loss", "val/acc", "training_iteration") == {1: (1.0, 0.5, 1), 2: (0.5, 0.5, 2)}


def test_how_trials_end_is_how_their_runs_end(tmp_path: Path, server: FakeServer) -> None:
    story = Story(tmp_path)
    told(story, online())
    for trial in range(4):
        story.start(trial)
    story.end(0, outcome="stopped", reason="enough")
    story.fail(1)
    story.fail(2, retry=True)
    story.start(2, attempt=1)
    story.end(2, attempt=1)
    story.close()
    assert [run.exit_code for run in server.runs] == [0, 1, 0, 255], "the last one had not ended when the experiment did"


def test_a_trial_that_goes_back_is_behind_itself(tmp_path: Path, server: FakeServer) -> None:
    story = Story(tmp_path)
    told(story, online())
    story.start()
    tell(story, 0, 1, 3, checkpoint=1)
    story.fail(retry=True)
    story.start(attempt=1)
    tell(story, 0, 2, 4, attempt=1, scale=10)
    story.end(attempt=1)
    story.close()
    assert server.metrics(story.trial_id(), "training_iteration") == {1: (1,), 2: (2,), 3: (3,), 4: (2,), 5: (3,), 6: (4,)}


def test_offline_a_later_session_writes_the_whole_run_again(tmp_path: Path, server: FakeServer) -> None:
    """Also of a trial that then ends without another word; with the configuration that it had at the time."""
    callback = {"mode": "offline", "log_config": True, "api_key": None}
    story = Story(tmp_path)
    story.host([online(**callback)], note=True)
    for trial in range(3):
        story.start(trial, lr=0.1 + 0.1 * trial)
        tell(story, trial, 1, 2, checkpoint=2)
    story.exploit(0, 0, 1, lr=0.3)
    story.start(0, attempt=1)
    tell(story, 0, 3, 3, attempt=1)
    story.close()
    server.rows.clear()  # another file
    story.host([online(**callback)], note=True)
    for trial, attempt in ((0, 1), (1, 0), (2, 0)):
        story.lose(trial, attempt)
        story.start(trial, attempt=attempt + 1)
    tell(story, 0, 4, 4, attempt=2)
    story.end(0, attempt=2)
    story.end(1, attempt=1)
    story.close()
    assert server.metrics(story.trial_id(0), "training_iteration", "config/lr") == {1: (1, 0.1), 2: (2, 0.1), 3: (3, 0.3), 4: (4, 0.3)}
    assert server.metrics(story.trial_id(1), "training_iteration", "config/lr") == {1: (1, 0.2), 2: (2, 0.2)}
    assert list(server.metrics(story.trial_id(2))) == [1, 2]
    assert [server.run(story.trial_id(trial)).exit_code for trial in range(3)] == [0, 0, 255]


@pytest.mark.parametrize("loses", [0, 1, 4])
def test_what_is_told_again_after_a_crash_is_not_logged_twice(tmp_path: Path, server: FakeServer, loses: int) -> None:
    """The driver died before it had noted how far the loggers were; the last ``loses`` rows had not reached W&B."""
    story = Story(tmp_path)
    told(story, online())
    story.start()
    tell(story, 0, 1, 3, checkpoint=1)
    story.fail(retry=True)
    story.start(attempt=1)
    tell(story, 0, 2, 4, attempt=1)
    story.close()
    rows = server.run(story.trial_id()).rows
    before = {step: dict(row) for step, row in rows.items()}
    for step in sorted(rows)[len(rows) - loses :]:
        del rows[step]
    host = story.host([online()])
    host.setup(stop=None, num_samples=1, total_num_samples=1)
    host.follow(story.journal.last())
    story.lose(attempt=1)
    story.start(attempt=2)
    tell(story, 0, 2, 3, attempt=2)
    story.close()
    after = server.metrics(story.trial_id(), "training_iteration")
    assert list(after) == list(range(1, 9))
    assert {step: row for step, row in server.run(story.trial_id()).rows.items() if step in before} == before
    assert [after[7], after[8]] == [(2,), (3,)]


@pytest.mark.parametrize("log_config", [True, False])
def test_an_exploit_changes_the_config(tmp_path: Path, server: FakeServer, log_config: bool) -> None:
    story = Story(tmp_path)
    told(story, online(log_config=log_config, excludes=["config/width", "depth"]))
    story.start(0, lr=0.1, width=1, depth=2)
    story.start(1, lr=0.2, width=1, depth=2)
    tell(story, 0, 1, 2)
    tell(story, 1, 1, 2, checkpoint=2)
    story.exploit(0, 0, 1, lr=0.3, width=2, depth=3)
    story.start(0, attempt=1)
    tell(story, 0, 3, 3, attempt=1)
    story.end(0, attempt=1)
    story.close()
    run = server.run(story.trial_id(0))
    assert (run.arguments["config"], dict(run.config)) == ({"lr": 0.1, "width": 1}, {"lr": 0.3, "width": 2})
    expected = {1: (0.1, None), 2: (0.1, None), 3: (0.3, None)} if log_config else {1: (None, None), 2: (None, None), 3: (None, None)}
    assert server.metrics(story.trial_id(0), "config/lr", "config/width") == expected


def test_pictures_are_with_their_row_and_a_bad_one_costs_only_itself(
    tmp_path: Path, server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story(tmp_path)
    told(story, online())
    story.start()
    story.report(1, loss=1.0, weights=np.arange(5.0))
    story.close()
    (row,) = server.run(story.trial_id()).rows.values()
    assert (row["loss"], type(row["weights"]).__name__) == (1.0, "Histogram")
    server.picky = True
    story = Story(tmp_path / "again")
    told(story, online())
    story.start()
    with caplog.at_level(logging.WARNING):
        story.report(1, loss=1.0, weights=np.arange(5.0))
        story.close()
    (row,) = server.run(story.trial_id()).rows.values()
    assert row["loss"] == 1.0
    assert "W&B cannot show weights: ValueError: no such image" in caplog.text


def test_a_client_that_breaks_costs_the_logger_only(tmp_path: Path, server: FakeServer, caplog: pytest.LogCaptureFixture) -> None:
    story = Story(tmp_path)
    callback = online()
    host = story.host([callback])
    host.setup(stop=None, num_samples=1, total_num_samples=1)
    story.start()
    server.broken = True
    with caplog.at_level(logging.WARNING):
        tell(story, 0, 1, 3)
        story.close()
    assert [failed for failed, _ in host.failures] == [callback]
    assert caplog.text.count("logger WandbLoggerCallback.on_trial_result raised for trial") == 1


def test_runs_end_at_once(tmp_path: Path, server: FakeServer) -> None:
    """To end a run is to wait for the network: eight runs that wait for each other get through."""
    server.meeting = threading.Barrier(8)
    story = Story(tmp_path)
    for trial in range(8):
        story.start(trial)
    for trial in range(8):
        story.end(trial)
    host = story.host([online()])
    host.setup(stop=None, num_samples=8, total_num_samples=8)
    host.follow(story.journal.last())
    story.close()
    assert [run.exit_code for run in server.runs] == [0] * 8


def test_a_run_that_cannot_be_ended_costs_the_logger_only(tmp_path: Path, server: FakeServer) -> None:
    story = Story(tmp_path)
    callback = online()
    host = story.host([callback])
    story.start()
    server.broken = True
    story.end()
    story.close()
    assert [(failed, type(error)) for failed, error in host.failures] == [(callback, ConnectionResetError)]


def test_checkpoints_become_artifacts(tmp_path: Path, server: FakeServer) -> None:
    story = Story(tmp_path)
    told(story, online(upload_checkpoints=True))
    story.start()
    folder = story.trial_dir() / "checkpoint_000000"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(b"weights")
    tell(story, 0, 1, 2, checkpoint=2)
    story.start(1)
    tell(story, 1, 1, 1, checkpoint=1)  # its directory is not there any more
    story.close()
    (artifact,) = server.run(story.trial_id(0)).artifacts
    assert (artifact.name, artifact.type, artifact.metadata) == (f"checkpoint_{story.trial_id()}", "model", {"training_iteration": 2})
    assert list(artifact.manifest.entries) == ["model.bin"]
    assert server.run(story.trial_id(1)).artifacts == []


def test_the_older_logger_by_hand(tmp_path: Path, server: FakeServer) -> None:
    logger = WandbLogger({"lr": 0.1, "wandb": {"project": "p", "id": "mine", "mode": "online", "api_key": "k" * 40}}, str(tmp_path))
    logger.on_result({"loss": 1.0, "training_iteration": 4})
    logger.update_config({"lr": 0.2, "wandb": {}})
    logger.close()
    run = server.run("mine")
    assert (run.rows, dict(run.config), run.exit_code) == ({4: {"loss": 1.0, "training_iteration": 4}}, {"lr": 0.2}, 0)


def test_the_older_logger_needs_its_block(tmp_path: Path, server: FakeServer) -> None:
    with pytest.raises(SpecError, match="WandbLogger needs settings in the config"):
        WandbLogger({"lr": 0.1}, str(tmp_path))
