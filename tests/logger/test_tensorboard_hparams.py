"""The HParams tab, asked as its page asks it: while the run goes on, and afterwards."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

import tunesmith as tune
from tunesmith.logger import DEFAULT_LOGGERS, LoggerCallback, TBXLoggerCallback, rebuild_files
from tunesmith.logger.tfsummaries import hparams_of
from tunesmith.testing.logger_story import Diary, tell

STATUS = {0: "", 1: "success", 2: "failure", 3: "running"}
Row = dict[str, Any]


def tab(experiment: Path) -> tuple[Any, dict[str, Row]]:
    """What the tab shows of a directory: the parameters and metrics that it knows; trial's id -> its parameters, status, metrics."""
    runs = EventMultiplexer()
    runs.AddRunsFromDirectory(str(experiment))
    runs.Reload()
    provider = MultiplexerDataProvider(runs, str(experiment))
    context, request = Context(TBContext(logdir=str(experiment), data_provider=provider, multiplexer=runs)), RequestContext()
    known = context.experiment_from_metadata(
        request, "", True, context.hparams_metadata(request, ""), context.hparams_from_data_provider(request, "", None)
    )
    asked = api_pb2.ListSessionGroupsRequest(slice_size=1000, allowed_statuses=list(STATUS))
    for metric in known.metric_infos:
        asked.col_params.add().metric.CopyFrom(metric.name)
    groups = {}
    for group in Handler(request, context, "", asked).run().session_groups:
        row = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
        row |= {f"-> {metric.name.tag}": metric.value for metric in group.metric_values}
        (session,) = group.sessions
        groups[group.name] = row | {"status": STATUS[session.status], "name": session.name, "end": session.end_time_secs}
    return known, groups


def test_a_trial_is_there_from_its_start_on(story: Any) -> None:
    diary = Diary()
    story.resolve = lambda values: {**values, "opt": {"name": "adam", "nesterov": True}}
    story.host([TBXLoggerCallback(), diary])
    story.start(0, lr=0.5)
    diary.wait(1)
    known, groups = tab(story.directory)
    assert {info.name for info in known.hparam_infos} == {"lr", "opt/name", "opt/nesterov"}
    assert groups[story.trial_id(0)].items() >= {"lr": 0.5, "opt/name": "adam", "opt/nesterov": True, "status": "", "end": 0.0}.items()
    tell(story, 0, 1, 2)
    story.start(1, lr=0.25)
    diary.wait(4)
    known, groups = tab(story.directory)
    assert {info.name.tag for info in known.metric_infos} >= {"loss", "val/acc"}
    assert (groups[story.trial_id(0)]["-> loss"], groups[story.trial_id(1)]["lr"]) == (0.5, 0.25)
    (lr,) = [info for info in known.hparam_infos if info.name == "lr"]
    assert (lr.differs, lr.domain_interval.min_value, lr.domain_interval.max_value) == (True, 0.25, 0.5)
    story.end(0)
    story.fail(1)
    story.close()
    _, groups = tab(story.directory)
    assert [groups[story.trial_id(trial)]["status"] for trial in (0, 1)] == ["success", "failure"]
    assert groups[story.trial_id(0)]["end"] > 1e9


def test_what_a_parameter_may_be() -> None:
    config = {
        "int": 3, "float": 0.5, "bool": False, "text": "relu", "none": None, "list": [64, [32]], "nan": math.nan, "inf": -math.inf,
        "big": 10**400, "f": len, "np": np.float32(0.5), "flag": np.bool_(True), "array": np.zeros((50, 50)), "small": np.arange(2),
        "many": list(range(5000)), "long": "x" * 5000, "deep": {"a": {"b": 1}, "empty": {}},
    }  # fmt: skip
    shown = hparams_of(config)
    assert shown.pop("big") == str(10**400)[:500]
    assert shown.pop("long") == "x" * 500
    assert shown == {
        "int": 3.0, "float": 0.5, "bool": False, "text": "relu", "none": "None", "list": "[64, [32]]", "nan": "nan", "inf": "-inf",
        "f": "builtins.len", "np": 0.5, "flag": True, "array": "ndarray of 2500", "small": "[0, 1]", "many": "list of 5000",
        "deep/a/b": 1.0,
    }  # fmt: skip


def test_odd_parameters_do_not_break_the_tab(story: Any) -> None:
    """NaN as a number would: it cannot be sent to the page."""
    story.resolve = lambda values: {"nan": math.nan, "none": None, "half a pair": "\ud800", "nul": "\x00", **values}
    story.host([TBXLoggerCallback()])
    for trial in (0, 1):
        story.start(trial, mixed=["auto", 0.5][trial])
        tell(story, trial, 1, 1)
        story.end(trial)
    story.close()
    _, groups = tab(story.directory)
    assert [groups[story.trial_id(trial)]["mixed"] for trial in (0, 1)] == ["auto", 0.5]
    assert groups[story.trial_id(0)].items() >= {"nan": "nan", "none": "None", "half a pair": "\\ud800", "nul": "\x00"}.items()


def test_secrets_are_not_shown(story: Any) -> None:
    story.resolve = lambda values: {
        **values, "wandb": {"project": "p", "api_key": "s3cret"}, "hub": {"token": "s3cret"}, "max_tokens": 512, "tokenizer": "bpe",
    }  # fmt: skip
    story.host([TBXLoggerCallback()])
    story.start(token="drawn")
    tell(story, 0, 1, 2)
    story.exploit(0, 0, 1, token="drawn too")
    story.start(0, attempt=1)
    tell(story, 0, 3, 3, attempt=1)
    story.end(0, attempt=1)
    story.close()
    assert not [path for path in story.directory.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]
    _, groups = tab(story.directory)
    row = groups[story.trial_id()]
    assert (row["token"], row["max_tokens"], row["tokenizer"]) == ("drawn too", 512.0, "bpe")
    assert not [name for name in row if name.startswith(("wandb", "hub"))]


@pytest.mark.parametrize("resumed", [False, True])
def test_parameters_that_change_are_curves(story: Any, resumed: bool) -> None:
    """Population-based training: after an exploit the trial goes on with other values."""
    story.resolve = lambda values: {"fixed": 1, **values}
    story.host([TBXLoggerCallback()], note=True)
    story.start(0, lr=0.5, act="relu")
    story.start(1, lr=0.25)
    tell(story, 0, 1, 2)
    tell(story, 1, 1, 2, checkpoint=2)
    story.exploit(0, 0, 1, lr=0.125, act="tanh")
    story.start(0, attempt=1)
    tell(story, 0, 3, 4, attempt=1)
    if resumed:
        story.close()
        story.host([TBXLoggerCallback()], note=True)
        story.lose(0, attempt=1)
        story.lose(1)
        story.start(0, attempt=2)
        story.start(1, attempt=1)
    story.exploit(0, 1 + resumed, 1, lr=0.0625, act="tanh")
    story.start(0, attempt=2 + resumed)
    tell(story, 0, 5, 5, attempt=2 + resumed)
    story.exploit(0, 2 + resumed, 1, lr=0.5, act="tanh")
    story.start(0, attempt=3 + resumed)
    tell(story, 0, 6, 6, attempt=3 + resumed)
    story.end(0, attempt=3 + resumed)
    story.close()
    found = EventAccumulator(str(story.trial_dir()))
    found.Reload()
    assert [(one.step, one.value) for one in found.Scalars("config/lr")] == [(2, 0.5), (3, 0.125), (4, 0.125), (5, 0.0625), (6, 0.5)]
    assert [one.step for one in found.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert not {"config/fixed", "config/act"} & set(found.Tags()["scalars"])
    _, groups = tab(story.directory)
    assert groups[story.trial_id(0)].items() >= {"lr": 0.5, "act": "tanh", "fixed": 1.0, "status": "success"}.items()


def test_files_that_a_power_cut_may_have_taken(story: Any) -> None:
    """After a restart of the machine the files of trials that are over are written again, each with the end that it had."""
    story.host([TBXLoggerCallback()], note=True)
    for trial in (0, 1):
        story.start(trial)
        tell(story, trial, 1, 2)
    story.end(0)
    story.fail(1)
    story.close()
    before = tab(story.directory)[1]
    for trial in (0, 1):
        (path,) = story.trial_dir(trial).glob("events.out.tfevents.*")
        path.write_bytes(path.read_bytes()[:-9])
    note = story.directory / ".files.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "boot": "an earlier one"}))
    story.host([TBXLoggerCallback()], note=True)
    story.start(2)
    story.end(2)
    story.close()
    after = tab(story.directory)[1]
    assert {trial: after[trial] for trial in before} == before
    assert [after[story.trial_id(trial)]["status"] for trial in (0, 1)] == ["success", "failure"]


def test_eight_local_trials_while_they_run(tmp_path: Path) -> None:
    count, door = 8, tmp_path / "door"
    os.mkfifo(door)
    opened = os.open(door, os.O_RDWR)

    class Looks(LoggerCallback):
        """Opens the tab when all trials have reported and none has gone on; then lets them. Comes after the loggers that write."""

        seen: ClassVar[dict[str, Row]] = {}
        first: ClassVar[set[str]] = set()

        def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
            self.first.add(trial.trial_id)

        def flush(self) -> None:
            if len(self.first) == count and not self.seen:
                self.seen.update(tab(tmp_path / "results")[1])
                os.write(opened, b"g" * count)

    def train(config: dict[str, Any]) -> None:
        tune.report(loss=config["lr"], img=np.zeros((3, 4, 5)), w=[1.0, 2.0])
        handle = os.open(door, os.O_RDONLY)
        os.read(handle, 1)
        os.close(handle)
        tune.report(loss=config["lr"] / 2)

    looks = Looks()
    analysis = tune.run(
        train, config={"lr": tune.uniform(0, 1), "api_key": "s3cret"}, num_samples=count,
        loggers=(*DEFAULT_LOGGERS, looks), storage_path=tmp_path / "results",
        executor="local", max_concurrent_trials=count, resources_per_trial={"cpu": 0.1}, verbose=0,
    )  # fmt: skip
    os.close(opened)
    _, after = tab(tmp_path / "results")
    assert len(looks.seen) == len(after) == count
    for trial in analysis.trials:
        before, now = looks.seen[trial.trial_id], after[trial.trial_id]
        assert (before["status"], now["status"], now["name"].endswith(trial.trial_id)) == ("", "success", True)
        assert before["lr"] == now["lr"] == trial.config["lr"]
        assert (before["-> loss"], now["-> loss"]) == (np.float32(now["lr"]), np.float32(now["lr"] / 2))
        found = EventAccumulator(trial.path)
        found.Reload()
        assert (found.Tags()["images"], found.Tags()["histograms"]) == (["img"], ["w"])
    assert not [path for path in Path(analysis.experiment_path).rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_event_files_are_written_anew_from_the_journal(tmp_path: Path) -> None:
    def train(config: dict[str, Any]) -> None:
        for step in range(3):
            tune.report(loss=config["lr"] / (step + 1))

    analysis = tune.run(
        train, config={"lr": tune.grid_search([0.5, 0.25])}, storage_path=tmp_path, name="x", executor="inline", verbose=0
    )  # fmt: skip
    root = Path(analysis.experiment_path)
    before = tab(root)[1]
    for path in root.glob("*/events.out.tfevents.*"):
        path.unlink()
    assert tab(root)[1] == {}
    rebuild_files(str(root))
    assert tab(root)[1] == before
    rebuild_files(str(root))  # in place of files that are there
    assert tab(root)[1] == before
    assert len(list(root.glob("*/events.out.tfevents.*"))) == 2


def test_a_run_loads_neither_tensorboardx_nor_protobuf(tmp_path: Path) -> None:
    """Loading them takes longer than a short run."""
    program = """
        import sys
        import tunesmith as tune
        tune.run(lambda config: {"loss": config["x"]}, config={"x": tune.grid_search([1, 2])}, executor="inline", verbose=0)
        print([name for name in ("tensorboardX", "tensorboard", "google.protobuf", "numpy") if name in sys.modules])
    """
    lines = "\n".join(line.strip() for line in program.splitlines())
    home = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True, env=home)
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == 2
