"""Keys and passwords from the config: no file of the experiment, and nothing on the console, has them."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.logger import CSVLogger, JsonLogger, Logger, rebuild_files
from tunesmith.testing.faults import Crash, crash_at

Config = dict[str, Any]
SECRET = "s3cr3t-0f-the-test"


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


DIGEST = hash_of(SECRET)
CONFIG: Config = {
    "lr": tune.grid_search([0.1, 0.2]),
    "api_key": SECRET,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "password": SECRET.encode(),
    "hub": {"HF-Token": SECRET, "user": "ada", "mirrors": [{"passwd": SECRET, "url": "u"}, ("a", {"clientSecret": SECRET})]},
    "wandb": {"project": SECRET, "api_key": SECRET, "every": 10},
    "nested": {"mlflow": {"tracking_uri": SECRET}},
    "max_tokens": 512,
    "token": tune.choice(["drawn"]),
}
KEPT = {"hub": {"user": "ada", "mirrors": [{"url": "u"}, ["a", {}]]}, "nested": {}, "max_tokens": 512, "token": "drawn"}


def train(config: Config) -> None:
    found = {config["api_key"], config["wandb"]["project"], config["hub"]["mirrors"][1][1]["clientSecret"]}
    assert [hash_of(one) for one in found] == [DIGEST], "the trial itself has them; its code must not, for it is stored"
    print("training")
    for step in range(4):
        tune.report(loss=step)
    if config["lr"] == 0.2:
        raise RuntimeError("no luck")


class Lines(Logger):
    """An old-style logger of the user's, which writes down what results hold."""

    def on_result(self, result: dict[str, Any]) -> None:
        with open(Path(self.logdir, "lines.txt"), "a") as file:
            file.write(f"{result['loss']} {result['trial_id']}\n")


def leaks(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def arguments(tmp_path: Path) -> dict[str, Any]:
    return {"name": "x", "storage_path": tmp_path, "executor": "inline", "raise_on_failed_trial": False, "log_to_file": True}


def test_no_file_and_no_line_has_them(tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        analysis = tune.run(train, config=CONFIG, metric="loss", mode="min", max_failures=1, verbose=3, **arguments(tmp_path))
    assert leaks(tmp_path) == []
    out, err = capfd.readouterr()
    assert "lr=0.1" in out
    assert SECRET not in out + err + caplog.text
    for trial in analysis.trials:
        place = Path(trial.path)
        params = json.loads((place / "params.json").read_text())
        assert params == {"lr": trial.config["lr"], **KEPT}
        assert [json.loads(line)["config"] for line in (place / "result.json").read_text().splitlines()] == [params] * 4
    assert tune.open_experiment(analysis.experiment_path).trials[0].config == {"lr": 0.1, **KEPT}


def test_options_that_are_dicts_hide_theirs(tmp_path: Path) -> None:
    """The option is drawn; what is constant in it is as secret as elsewhere. What is drawn in it is not."""
    hub = {"name": "a", "token": SECRET, "lr": tune.uniform(0, 1), "kind": {"token": tune.choice(["drawn"])}}
    analysis = tune.run(
        lambda config: {"seen": config["hub"]["token"] == SECRET}, config={"hub": tune.grid_search([hub])}, verbose=0, **arguments(tmp_path)
    )  # fmt: skip
    (trial,) = analysis.trials
    assert trial.last_result["seen"] is True
    assert leaks(Path(trial.path)) == []
    assert b"s3cr3t" not in (tmp_path / "x" / "experiment.db").read_bytes()
    params = json.loads((Path(trial.path) / "params.json").read_text())
    assert params == {"hub": {"name": "a", "lr": trial.config["hub"]["lr"], "kind": {"token": "drawn"}}}


def test_older_loggers_and_rebuilt_files_have_none_either(tmp_path: Path) -> None:
    class Own(JsonLogger):
        """Runs as an old-style logger, unlike JsonLogger itself."""

    loggers = (CSVLogger, Own, Lines)
    analysis = tune.run(train, config=CONFIG, loggers=loggers, verbose=0, **arguments(tmp_path))
    assert json.loads((Path(analysis.trials[0].path) / "params.json").read_text()) == {"lr": 0.1, **KEPT}
    rebuild_files(analysis.experiment_path)
    assert json.loads((Path(analysis.trials[0].path) / "params.json").read_text()) == {"lr": 0.1, **KEPT}
    assert leaks(tmp_path) == []


def test_a_tuner_a_crash_and_a_resume(tmp_path: Path) -> None:
    with pytest.raises(Crash), crash_at("after_commit", 4):
        tune.run(train, config=CONFIG, verbose=0, **arguments(tmp_path))
    assert leaks(tmp_path) == [], "the write-ahead log too"
    tune.run(train, config=CONFIG, verbose=0, resume=True, **arguments(tmp_path))
    assert leaks(tmp_path) == []
    run_config = tune.RunConfig(name="tuner", storage_path=str(tmp_path), verbose=0)
    results = tune.Tuner(train, param_space=CONFIG, run_config=run_config).fit()
    assert len(results) == 2
    assert leaks(tmp_path) == []
