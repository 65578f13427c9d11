"""A hand-made experiment: four trials, on disk or in memory."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith.analysis import ExperimentAnalysis
from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.ports import Header, Record
from tunesmith.journal import MemoryJournal, SqliteJournal
from tunesmith.space import Space, choice, uniform

HEADER = Header(uuid="3f2a9" + "0" * 27, name="demo", created=1_900_000_000.0)
SPACE = Space.parse({"lr": uniform(0, 1), "net": {"act": choice([len, abs])}, "epochs": 3})
SPEC = {"trainable_name": "train", "space": SPACE.describe(), "metrics": ["loss"], "modes": ["min"]}
LOSSES = {0: [1.0, 0.2, 0.6], 1: [0.9, 0.7, 0.4], 2: [0.8, math.nan]}
CHECKPOINTS = {(0, 2): "0/checkpoint_000000", (1, 3): "1/checkpoint_000000"}
ERROR = {"type": "KeyError", "message": "'lr'", "where": "train.py:42", "traceback": "Traceback (most recent call last): ..."}


def lines() -> list[Record]:
    """The records of the experiment."""
    found = [Record(ev.ExperimentStarted(SPEC))]
    for number in range(4):
        values = {"lr": (number + 1) / 10, "net/act": number % 2}
        found.append(Record(ev.Suggested(number, values, "random", at=1.0), [Decision("launch", number)]))
        found.append(Record(ev.AttemptStarted(number, 0, {"pid": 40 + number, "hostname": "box", "node_ip": "127.0.0.1"}, at=2.0)))
    for number, losses in LOSSES.items():
        for i, loss in enumerate(losses, 1):
            metrics = {"loss": loss, "val/acc": i / 10, "training_iteration": i, "time_this_iter_s": 1.0, "time_total_s": float(i)}
            stop = [Decision("stop", 2, "stopped: below the cut")] if (number, i) == (2, 2) else []
            found.append(Record(ev.Reported(number, 0, i, metrics, CHECKPOINTS.get((number, i)), at=2.0 + i), stop))
    for number, outcome in enumerate(["finished", "finished", "stopped", "user_error"]):
        data = {"status": "ERROR" if number == 3 else "TERMINATED", "outcome": outcome}
        reason = "KeyError: 'lr' at train.py:42" if number == 3 else ""
        ended = ev.AttemptEnded(number, 0, outcome, ERROR if number == 3 else None, at=9.0)
        found.append(Record(ended, [Decision("end", number, reason, data)]))
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The experiment on disk, its checkpoints included."""
    path = tmp_path / "demo"
    with SqliteJournal.create(path / "experiment.db", HEADER) as journal:
        journal.append(lines())
    for identity in CHECKPOINTS.values():
        number, name = identity.split("/")
        (path / f"3f2a9_{int(number):05d}" / name).mkdir(parents=True)
    return path


@pytest.fixture
def analysis(directory: Path) -> ExperimentAnalysis:
    """Of the experiment on disk."""
    return ExperimentAnalysis(directory)


@pytest.fixture
def in_memory() -> Callable[..., ExperimentAnalysis]:
    """An analysis of records that a test makes up: ``in_memory(record, ..., spec=...)``."""

    def make(*records: Record, spec: dict[str, Any] | None = None, **arguments: Any) -> ExperimentAnalysis:
        journal = MemoryJournal(HEADER)
        journal.append([Record(ev.ExperimentStarted(spec or {})), *records])
        return ExperimentAnalysis(journal, **arguments)

    return make


# ---- as Ray Tune writes them


PICKLED = {"_type": "CLOUDPICKLE_FALLBACK", "value": "80059514000000000000008c086275696c74696e73948c036c656e9493942e"}
RAY_START = 1_795_345_668.5


class RayFolder:
    """Writes the files that Ray Tune 2.60 leaves, trial by trial; what it pickles is no pickle here, so that nobody can open it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials: list[list[str]] = []
        path.mkdir(parents=True)
        (path / "tuner.pkl").write_bytes(b"not to be opened")

    def trial(
        self,
        trial_id: str,
        config: dict[str, Any],
        rows: list[dict[str, Any]],
        status: str = "TERMINATED",
        *,
        error: str = "",
        **known: Any,
    ) -> Path:
        """``rows``: what was reported; keys of Ray's own are added, those given stand. ``known``: entries of the state that are other."""
        number = len(self.trials)
        tag = known.pop("experiment_tag", f"{number}_lr={config.get('lr')}")
        home = self.path / f"train_{trial_id}_{tag}_2026-11-22_11-07-48"
        home.mkdir()
        (home / "params.json").write_text(json.dumps(config, indent=2, sort_keys=True))
        (home / "params.pkl").write_bytes(b"not to be opened")
        lines = []
        for step, row in enumerate(rows, 1):
            auto = {"timestamp": int(RAY_START) + 2 + step, "checkpoint_dir_name": None, "done": False, "training_iteration": step}
            auto |= {"trial_id": trial_id, "date": f"2026-11-22_11-07-{step:02d}", "time_this_iter_s": 1.0, "time_total_s": float(step)}
            auto |= {"pid": 40 + number, "hostname": "box", "node_ip": "127.0.0.1", "config": config}
            auto |= {"time_since_restore": float(step), "iterations_since_restore": step}
            lines.append({**row, **{name: value for name, value in auto.items() if name not in row}})
            if lines[-1]["checkpoint_dir_name"]:
                (home / lines[-1]["checkpoint_dir_name"]).mkdir(exist_ok=True)
        (home / "result.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
        if error:
            (home / "error.txt").write_text(error)
            (home / "error.pkl").write_bytes(b"not to be opened")
        about = {"stub": False, "trainable_name": "train", "trial_id": trial_id, "storage": PICKLED, "config": {**config, "fn": PICKLED},
                 "evaluated_params": {"lr": config.get("lr")}, "experiment_tag": tag, "status": status,
                 "relative_logdir": home.name}  # fmt: skip
        run = {"start_time": RAY_START + 2 if rows else None, "num_failures": int(bool(error)), "checkpoint_manager": PICKLED}
        self.trials.append([json.dumps({**about, **known}), json.dumps(run)])
        return home

    def state(self, date: str = "2026-11-22_11-07-48", **runner: Any) -> Path:
        """Write the state, as it is by now."""
        about = {"_metric": "loss", "_start_time": RAY_START, "_session_str": date, "_stopper": PICKLED, **runner}
        path = self.path / f"experiment_state-{date}.json"
        path.write_text(json.dumps({"trial_data": self.trials, "runner_data": about, "stats": {"start_time": RAY_START}}))
        return path


@pytest.fixture
def ray_folder(tmp_path: Path) -> RayFolder:
    """An empty one."""
    return RayFolder(tmp_path / "ray_results" / "demo")


RAY_ERROR = """Failure # 1 (occurred at 2026-11-22_11-07-50)
OSError: before it was retried
Failure # 2 (occurred at 2026-11-22_11-07-59)
\x1b[36mray::ImplicitFunc.train()\x1b[39m (pid=25152, ip=192.0.2.2)
  File "/home/me/train.py", line 11, in train
    raise ValueError("too big")
ValueError: too big
"""


@pytest.fixture
def of_ray(ray_folder: RayFolder) -> RayFolder:
    """Three trials: two that ended, one that failed."""
    for number, lr in enumerate([0.2, 0.1]):
        config = {"lr": lr, "net": {"act": "ab"[number], "sizes": [8, 8]}, "fn": "<built-in function len>", "epochs": 4}
        rows: list[dict[str, Any]] = [{"loss": lr / step, "val": {"acc": step / 10}, "curve": [1, 2]} for step in range(1, 5)]
        rows[1]["loss"] = math.nan
        rows[1]["checkpoint_dir_name"], rows[3]["checkpoint_dir_name"] = "checkpoint_000000", "checkpoint_000001"
        rows[3]["done"] = number == 1
        ray_folder.trial(f"f21df_{number:05d}", config, rows, evaluated_params={"lr": lr, "net/act": "ab"[number]})
    ray_folder.trial("f21df_00002", {"lr": 0.9, "epochs": 4, "net": {"act": "a", "sizes": [8, 8]}, "fn": "x"}, [], "ERROR", error=RAY_ERROR)
    ray_folder.state()
    return ray_folder
