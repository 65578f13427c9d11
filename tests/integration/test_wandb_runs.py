"""Experiments with W&B's own client, offline; what it has written is read back."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune
from tunesmith.errors import SpecError
from tunesmith.integration.wandb import WandbLogger, WandbLoggerCallback, WandbTrainableMixin, setup_wandb, wandb_mixin

KEY = "0123456789abcdef" * 2 + "01234567"
QUIET = {"console": "off", "silent": True, "disable_git": True, "x_disable_stats": True, "x_save_requirements": False}
Config = dict[str, Any]
Runs = Callable[[Path], list[Any]]
Script = Callable[..., Any]


@pytest.fixture
def go(tmp_path: Path, offline: Path) -> Iterator[Callable[..., tune.ExperimentAnalysis]]:
    """``tune.run``, inline and silent, with a client that begins anew."""
    import wandb

    def run(trainable: Any, **arguments: Any) -> tune.ExperimentAnalysis:
        usual = {"storage_path": tmp_path / "results", "name": "exp", "verbose": 0, "executor": "inline", "raise_on_failed_trial": False}
        return tune.run(trainable, **{**usual, **arguments})

    wandb.teardown()
    yield run
    wandb.teardown()


def leaks(root: Path, secret: str = KEY) -> list[str]:
    return [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


# -- from the driver -------------------------------------------------------------------------------------------------------------------


def test_the_callback(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    def train(config: Config) -> None:
        for step in range(1, 4):
            tune.report(loss=config["lr"] / step, val={"acc": step}, weights=[1.0, 2.0, 2.5], note="text")
        if config["lr"] == 2.0:
            raise RuntimeError("no luck")

    space = {"lr": tune.grid_search([1.0, 2.0]), "max_tokens": 512, "tokenizer": "bert", "token": "secret-token", "opt": {"name": "adam"}}
    callback = WandbLoggerCallback(project="p", api_key=KEY, tags=["a"], excludes=["time_total_s", "val/acc"], settings=QUIET)
    analysis = go(train, config=space, callbacks=[callback])
    good, bad = runs(tmp_path)
    assert [run.id for run in (good, bad)] == [trial.trial_id for trial in analysis.trials]
    assert (good.name, good.group, good.project, good.tags) == (str(analysis.trials[0]), "exp", "p", ["a"])
    assert good.path.is_relative_to(analysis.trials[0].path)
    assert good.config == {"lr": 1.0, "max_tokens": 512, "tokenizer": "bert", "opt": {"name": "adam"}}
    assert good.of("_step", "training_iteration", "loss", "note") == [(1, 1, 1.0, "text"), (2, 2, 0.5, "text"), (3, 3, 1 / 3, "text")]
    assert good.rows[0]["weights"]["_type"] == "histogram"
    assert not {"val/acc", "time_total_s", "config", "trial_id", "pid"} & set(good.rows[0])
    assert (good.exit_code, bad.exit_code) == (0, 1)
    assert leaks(tmp_path) == leaks(tmp_path, "secret-token") == []


def test_checkpoints_are_artifacts(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    def train(config: Config) -> None:
        tune.report(loss=1.0, checkpoint={"step": 1})

    analysis = go(train, callbacks=[WandbLoggerCallback(project="p", upload_checkpoints=True, settings=QUIET)])
    (run,) = runs(tmp_path)
    assert run.artifacts == [f"checkpoint_{analysis.trials[0].trial_id}"]


def test_population_based_training_with_log_config(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    class Climb(tune.Trainable):
        def setup(self, config: Config) -> None:
            self.score = 0.0

        def step(self) -> dict[str, Any]:
            self.score += self.config["lr"]
            return {"score": self.score}

        def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
            return {"score": self.score}

        def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.score = checkpoint["score"]

        def reset_config(self, new_config: Config) -> bool:
            return True

    pbt = tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration", metric="score", mode="max", perturbation_interval=2, synch=True,
        hyperparam_mutations={"lr": tune.uniform(0.1, 1.0)},
    )  # fmt: skip
    space = {"lr": tune.grid_search([0.01, 0.02, 0.9, 1.0]), "wandb": {"project": "p", "log_config": True, "settings": QUIET}}
    analysis = go(Climb, config=space, scheduler=pbt, stop={"training_iteration": 6}, seed=3, loggers=(WandbLogger,))
    found = {run.id: run for run in runs(tmp_path)}
    changed = 0
    for trial in analysis.trials:
        run = found[trial.trial_id]
        assert run.group == "Climb"
        assert run.config == {"lr": trial.config["lr"]}, "W&B shows what the trial ended with"
        history = [event.metrics["training_iteration"] for event in _reports(trial)]
        assert [iteration for (iteration,) in run.of("training_iteration")] == history
        rates = [rate for (rate,) in run.of("config/lr")]
        assert rates[-1] == trial.config["lr"]
        changed += len(set(rates)) > 1
        steps = [step for (step,) in run.of("_step")]
        assert steps == sorted(set(steps))
    assert changed, "nobody has copied anybody: the test shows nothing"


def _reports(trial: Any) -> list[Any]:
    return [record.event for record in trial.records() if type(record.event).__name__ == "Reported" and record.event.trial == trial.number]


@pytest.mark.slow
def test_eight_trials_at_once(script: Script, runs: Runs, tmp_path: Path) -> None:
    script(
        """
        import os
        import tunesmith as tune
        from tunesmith.integration.wandb import WandbLoggerCallback

        def train(config):
            for step in range(1, 6):
                tune.report(loss=config["n"] * step)

        if __name__ == "__main__":
            tune.run(train, config={"n": tune.grid_search(list(range(8)))}, name="exp", storage_path=os.environ["RESULTS"],
                     callbacks=[WandbLoggerCallback(project="p")])
        """,
        TUNESMITH_NUM_CPUS="8",
    )
    found = runs(tmp_path)
    assert len({run.id for run in found}) == len(found) == 8
    for number, run in enumerate(found):
        assert (run.config, run.group, run.exit_code) == ({"n": number}, "exp", 0)
        assert run.of("_step", "loss") == [(step, number * step) for step in range(1, 6)]


@pytest.mark.slow
def test_a_driver_that_is_killed_and_a_resume(script: Script, runs: Runs, tmp_path: Path) -> None:
    """What the client had not written when it died with the driver is written in the second session: the run there is complete."""
    source = """
        import os, signal, sys
        import tunesmith as tune
        from tunesmith.integration.wandb import WandbLoggerCallback

        def train(config):
            saved = tune.get_checkpoint()
            for step in range(saved.to_dict()["step"] + 1 if saved else 1, 9):
                tune.report({"loss": 10.0 * step}, checkpoint={"step": step})

        class Killer(tune.Callback):
            def on_trial_result(self, iteration, trials, trial, result, **info):
                if sys.argv[1] == "first" and result["training_iteration"] == 5:
                    os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            tune.run(train, name="exp", storage_path=os.environ["RESULTS"], resume="AUTO",
                     callbacks=[WandbLoggerCallback(project="p"), Killer()])
        """
    assert script(source, "first", status=None).returncode == -9
    script(source, "second")
    *_, run = runs(tmp_path)
    assert run.of("_step", "training_iteration", "loss") == [(step, step, 10.0 * step) for step in range(1, 9)]
    assert (run.group, run.exit_code) == ("exp", 0)


@pytest.mark.slow
def test_a_client_that_is_killed_costs_the_logger_only(script: Script, tmp_path: Path) -> None:
    done = script(
        """
        import os
        import psutil
        import tunesmith as tune
        from tunesmith.integration.wandb import WandbLoggerCallback
        from tunesmith.logger import LoggerCallback

        def train(config):
            for step in range(1, 4):
                tune.report(loss=step)

        class Killer(LoggerCallback):
            def log_trial_result(self, iteration, trial, result):
                for process in psutil.Process().children():
                    if process.name() == "wandb-core":
                        process.kill()
                        process.wait()

        if __name__ == "__main__":
            tune.run(train, num_samples=3, name="exp", storage_path=os.environ["RESULTS"], executor="inline",
                     callbacks=[WandbLoggerCallback(project="p"), Killer()])
        """
    )
    assert done.stderr.count("logger WandbLoggerCallback.on_trial_result raised for trial") == 1
    assert "3 TERMINATED" in done.stdout + done.stderr
    assert len(list((tmp_path / "results").rglob("progress.csv"))) == 3


# -- in the trial ----------------------------------------------------------------------------------------------------------------------


def test_the_mixin_of_functions(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    import wandb

    @wandb_mixin
    def train(config: Config) -> None:
        assert "wandb" not in config
        for step in range(3):
            wandb.log({"loss": config["a"] / (step + 1)})
            tune.report(loss=config["a"] / (step + 1))
        if config["a"] == 2:
            raise RuntimeError("no luck")

    block = {"project": "p", "api_key_file": "/path/to/file", "settings": QUIET}
    analysis = go(train, config={"a": tune.grid_search([1, 2, 3]), "max_tokens": 9, "password": KEY, "wandb": block}, stop=_enough)
    found = runs(tmp_path)
    assert [(run.id, run.name, run.group, run.project) for run in found] == [
        (trial.trial_id, str(trial), "train", "p") for trial in analysis.trials
    ]
    assert [run.config for run in found] == [{"a": a, "max_tokens": 9} for a in (1, 2, 3)]
    assert [run.of("_step", "loss") for run in found] == [[(0, 1), (1, 0.5), (2, 1 / 3)], [(0, 2), (1, 1), (2, 2 / 3)], [(0, 3)]]
    assert [run.exit_code for run in found] == [0, 1, 0], "one that was stopped has not failed"
    assert wandb.run is None
    assert leaks(tmp_path) == []


def _enough(trial_id: str, result: dict[str, Any]) -> bool:
    return bool(result["loss"] == 3)


def test_the_mixin_of_classes(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    class Digits(WandbTrainableMixin, tune.Trainable):
        def setup(self, config: Config) -> None:
            assert "wandb" not in config
            if config["n"] == 3:
                raise RuntimeError("no luck at all")

        def step(self) -> dict[str, Any]:
            if self.config["n"] == 2 and self.iteration == 1:
                raise RuntimeError("no luck")
            self.wandb.log({"loss": self.config["n"]}, step=self.iteration + 1)
            return {"loss": self.config["n"], "done": self.iteration == 1}

    block = {"project": "p", "group": "mine", "name": "ours", "settings": QUIET}
    analysis = go(Digits, config={"n": tune.grid_search([1, 2, 3]), "wandb": block})
    found = runs(tmp_path)
    assert [(run.id, run.name, run.group) for run in found] == [(trial.trial_id, "ours", "mine") for trial in analysis.trials]
    assert [run.of("_step", "loss") for run in found] == [[(1, 1), (2, 1)], [(1, 2)], []]
    assert [(run.config, run.exit_code) for run in found] == [({"n": 1}, 0), ({"n": 2}, 1), ({"n": 3}, 1)]


def test_an_instance_that_becomes_another_trial(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    made = []

    class Base(WandbTrainableMixin, tune.Trainable):
        def setup(self, config: Config) -> None:
            made.append(config["n"])

        def step(self) -> dict[str, Any]:
            self.wandb.log({"loss": self.config["n"]})
            return {"loss": self.config["n"], "done": True}

        def reset_config(self, new_config: Config) -> bool:
            return bool(new_config["n"] != 3)

    class Digits(Base):
        def reset_config(self, new_config: Config) -> bool:
            return super().reset_config(new_config)

    go(Digits, config={"n": tune.grid_search([1, 2, 3]), "wandb": {"project": "p", "settings": QUIET}}, reuse_actors=True)
    found = {run.id: run for run in runs(tmp_path) if run.rows}
    assert made == [1, 3]
    assert [(run.config, run.of("loss"), run.exit_code) for run in found.values()] == [({"n": n}, [(n,)], 0) for n in (1, 2, 3)]


def test_the_order_of_bases() -> None:
    with pytest.raises(SpecError, match="WandbTrainableMixin must come first"):

        class Wrong(tune.Trainable, WandbTrainableMixin):
            pass

    with pytest.raises(SpecError, match="wandb_mixin takes a function, got 3"):
        wandb_mixin(3)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="wandb_mixin is for functions"):
        wandb_mixin(tune.Trainable)


def test_functions_in_other_forms(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path) -> None:
    import wandb

    def counts(config: Config, data: list[float]) -> Iterator[dict[str, float]]:
        for value in data:
            assert wandb.run is not None
            wandb.log({"loss": value})
            yield {"loss": value}

    trainable = wandb_mixin(tune.with_resources(tune.with_parameters(counts, data=[3.0, 1.0]), {"cpu": 0.5}))
    analysis = go(trainable, config={"wandb": {"project": "p", "settings": QUIET}})
    (run,) = runs(tmp_path)
    assert (run.group, run.of("loss"), run.exit_code) == ("counts", [(3.0,), (1.0,)], 0)
    assert analysis.trials[0].resources == {"cpu": 0.5}
    assert analysis.trials[0].last_result["loss"] == 1.0


def test_setup_in_the_function(go: Callable[..., tune.ExperimentAnalysis], runs: Runs, tmp_path: Path, monkeypatch: Any) -> None:
    import wandb

    def train(config: Config) -> None:
        run = setup_wandb(config, project="p", job_type="train", settings=QUIET)
        wandb.log({"loss": config["n"]})
        run.finish()
        tune.report(loss=config["n"])

    analysis = go(train, config={"n": 1, "token": KEY, "bos_token": tune.choice(["<s>"])})
    (run,) = runs(tmp_path)
    assert (run.id, run.group, run.of("loss")) == (analysis.trials[0].trial_id, "exp", [(1,)])
    assert run.config == {"n": 1, "bos_token": "<s>"}, "what was drawn is no secret"
    assert leaks(tmp_path / "results" / "exp" / run.id / "wandb") == []
    assert setup_wandb({"wandb": {"project": "p", "mode": "disabled", "api_key_file": "f"}}, api_key=KEY).disabled, "the argument counts"
    monkeypatch.setenv("RANK", "1")
    assert setup_wandb({}, project="p").disabled
    with pytest.raises(SpecError, match="setup_wandb: project is missing"):
        setup_wandb({}, rank_zero_only=False)


def test_without_the_block_nothing_is_started(go: Callable[..., tune.ExperimentAnalysis]) -> None:
    @wandb_mixin
    def train(config: Config) -> None:
        """Never called."""

    with pytest.raises(SpecError, match="wandb_mixin needs settings in the config"):
        go(train, config={"n": 1})


@pytest.mark.slow
def test_the_decorated_function_in_processes_of_its_own(script: Script, runs: Runs, tmp_path: Path) -> None:
    """The usual example, with the usual executor; the trials look for the key where everyone can see it."""
    done = script(
        f"""
        import os
        import tunesmith as tune
        import wandb
        from tunesmith.integration.wandb import wandb_mixin

        def seen(text):
            found = []
            for process in filter(str.isdecimal, os.listdir("/proc")):
                for name in ("cmdline", "environ"):
                    try:
                        with open(f"/proc/{{process}}/{{name}}", "rb") as file:
                            found += [name] if text.encode() in file.read() else []
                    except OSError:
                        pass
            return len(found)

        @wandb_mixin
        def train_fn(config):
            for i in range(10):
                loss = config["a"] + config["b"]
                wandb.log({{"loss": loss}})
                tune.report(loss=loss, seen=seen("".join(["{KEY[:20]}", "{KEY[20:]}"])))
            if config["a"] == 2:
                raise ValueError("no luck")

        if __name__ == "__main__":
            with open("key.txt") as file:
                key = file.read()
            tune.run(
                train_fn,
                config={{
                    "a": tune.grid_search([1, 2]), "b": tune.choice([4, 5, 6]), "max_tokens": 512, "tokenizer": "bert",
                    "wandb": {{"project": "Optimization_Project", "api_key": key}},
                }},
                storage_path=os.environ["RESULTS"], name="exp", raise_on_failed_trial=False, metric="loss", mode="min")
        """
        if (tmp_path / "key.txt").write_text(KEY)
        else ""
    )
    (tmp_path / "key.txt").unlink()
    found = runs(tmp_path)
    assert [(run.group, run.project, run.exit_code) for run in found] == [("train_fn", "Optimization_Project", code) for code in (0, 1)]
    for run in found:
        loss = run.config["a"] + run.config["b"]
        assert run.config == {"a": run.config["a"], "b": run.config["b"], "max_tokens": 512, "tokenizer": "bert"}
        assert run.of("_step", "loss") == [(step, loss) for step in range(10)]
    rows = [json.loads(line) for path in (tmp_path / "results").rglob("result.json") for line in path.read_text().splitlines()]
    assert [row["seen"] for row in rows] == [0] * 20
    assert leaks(tmp_path) == []
    assert KEY not in done.stdout + done.stderr


# -- the key ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing() -> Iterator[tuple[str, list[str]]]:
    """A server on this machine that lets nobody in: its address, and the keys that it was shown."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            kind, _, text = self.headers.get("Authorization", "").partition(" ")
            keys.append(base64.b64decode(text).decode() if kind == "Basic" else text)
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = refuse  # noqa: N815 - so they are called

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", keys
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_key_goes_to_the_server_and_nowhere_else(
    go: Callable[..., tune.ExperimentAnalysis],
    refusing: tuple[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Refused by the server, the logger is dropped, and the run goes on."""
    address, keys = refusing
    monkeypatch.setenv("WANDB_MODE", "online")

    def train(config: Config) -> None:
        tune.report(loss=1.0)

    settings = {**QUIET, "silent": False, "base_url": address, "init_timeout": 5}
    callback = WandbLoggerCallback(project="p", api_key=KEY, settings=settings)
    analysis = go(train, config={"wandb": {"project": "p", "api_key": KEY}}, callbacks=[callback])
    assert analysis.trials[0].status == "TERMINATED"
    assert "logger WandbLoggerCallback.on_trial_start raised for trial" in caplog.text
    assert f"api:{KEY}" in keys
    out, err = capfd.readouterr()
    assert KEY not in out + err + caplog.text
    assert leaks(tmp_path) == []
