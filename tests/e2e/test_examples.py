"""Every file of ``examples/``, as a user runs it with ``--smoke-test``: what it prints, and what is on disk afterwards.

A new example needs an entry in ``EXAMPLES``; without one it is run all the same, and a test says what is missing.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import tunesmith as tune

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
FILES = sorted(path.stem for path in FOLDER.glob("*.py"))
CPU_S = 120
"""A smoke test takes less than 60 s on two cores; this is the same on a machine that others use, too."""

OUTSIDE = ("WANDB_", "MLFLOW_", "RAY_")
"""Settings of libraries, which are left outside."""

@dataclass
class Done:
    """An example that has ended well.

    Args:
        output: what it printed.
        storage: where its results are.
    """

    output: str
    storage: Path

    def experiment(self, name: str) -> tune.ExperimentAnalysis:
        return tune.open_experiment(self.storage / name)

    def configs(self, name: str) -> list[dict[str, Any]]:
        """Each trial's, in the order of trials."""
        return [json.loads((trial / "params.json").read_text(encoding="utf-8")) for trial in self.trials(name)]

    def results(self, name: str) -> list[list[dict[str, Any]]]:
        """Each trial's reports."""
        files = [trial / "result.json" for trial in self.trials(name)]
        return [[json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files]

    def trials(self, name: str) -> list[Path]:
        return sorted(path for path in (self.storage / name).iterdir() if path.is_dir())


# -- what each must leave --------------------------------------------------------------------------------------------------------------


def quick_start(done: Done) -> None:
    assert f"All files:     {done.storage / 'quick-start'}" in done.output
    assert {config["momentum"] for config in done.configs("quick-start")} == {0.1, 0.9}
    assert [[row["training_iteration"] for row in rows] for rows in done.results("quick-start")] == [[1, 2]] * 2


def start_point(name: str, **first: float) -> Callable[[Done], None]:
    def check(done: Done) -> None:
        configs = done.configs(name)
        assert any(first.items() <= config.items() for config in configs), "the start point was not tried"
        assert len({config["units"] for config in configs}) > 1

    return check


def command_line(done: Done) -> None:
    assert all(set(config) == {"lr", "penalty", "loss", "epochs"} for config in done.configs("command-line"))
    stopped_early("command-line", 4)(done)


def conditional(done: Done) -> None:
    own = {
        "logistic": {"C"}, "svm": {"C", "kernel"}, "neighbours": {"n_neighbors", "weights"}, "forest": {"max_depth", "max_features"},
        "boosting": {"learning_rate", "max_leaf_nodes"},
    }  # fmt: skip
    models = [config["model"] for config in done.configs("conditional")]
    assert all(set(model) == {"name"} | own[model["name"]] for model in models)
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)  [\d.]+ %$", done.output, re.MULTILINE)}
    assert counts == {name: [model["name"] for model in models].count(name) for name in {model["name"] for model in models}}


def resume(done: Done) -> None:
    assert "killed after 5 reports (exit code -9)" in done.output
    assert "The killed search and the undisturbed one are the same" in done.output
    killed, undisturbed = sorted(path.name for path in done.storage.iterdir())
    assert undisturbed == f"{killed}-undisturbed"
    assert done.configs(killed) == done.configs(undisturbed)
    curves, launches = [], []
    for name in (killed, undisturbed):
        curves.append([[(row["training_iteration"], row["accuracy"]) for row in rows] for rows in done.results(name)])
        launches.append(sum(decision["do"] == "launch" for decision in done.experiment(name).decisions()))
    assert curves[0] == curves[1]
    assert launches[0] > launches[1], "nothing was running when the driver was killed"


def wandb_offline(done: Done) -> None:
    for name, count in (("wandb-outside", 2), ("wandb-mixin", 1), ("wandb-setup", 1)):
        files = {path.parents[2].name: path.name for path in (done.storage / name).glob("*/wandb/offline-run-*/*.wandb")}
        assert files == {trial.name: f"run-{trial.name}.wandb" for trial in done.trials(name)}
        assert f"wandb sync {done.storage / name}/*/wandb/offline-run-*    # {count} runs" in done.output


def mlflow_example(done: Done) -> None:
    query = """
        SELECT experiments.name, runs.status, count(*), min(latest_metrics.value)
        FROM runs JOIN experiments USING (experiment_id)
        LEFT JOIN latest_metrics ON latest_metrics.run_uuid = runs.run_uuid AND latest_metrics.key = 'rmse'
        GROUP BY experiments.name, runs.status
    """
    with sqlite3.connect(done.storage / "mlflow.db") as store:
        found = {(name, status): (count, best) for name, status, count, best in store.execute(query)}
    store.close()
    assert {key: count for key, (count, _) in found.items()} == {("diabetes", "FINISHED"): 3, ("diabetes-inside", "FINISHED"): 1}
    best = min(rows[-1]["rmse"] for rows in done.results("mlflow-outside"))
    assert found["diabetes", "FINISHED"][1] == pytest.approx(best)
    assert f"has rmse {best:.2f}" in done.output
    (importances,) = (done.storage / "mlflow-artifacts").rglob("importances.json")
    assert sum(json.loads(importances.read_text(encoding="utf-8")).values()) == pytest.approx(1)


def ray_cluster(done: Done) -> None:
    assert "Ray" in done.output.splitlines()[0]
    nodes = {row["node"] for rows in done.results("ray-cluster") for row in rows}
    assert f"trials on each node: {nodes.pop()}: 4" in done.output


def cartpole_pbt(done: Done) -> None:
    lines = (done.storage / "cartpole-pbt" / "pbt_global.txt").read_text(encoding="utf-8").splitlines()
    assert lines
    assert f"from the weights of a better one: {len(lines)}\n" in done.output


def stopped_early(name: str, most: int, *lines: str) -> Callable[[Done], None]:
    """Each trial has its reports, as many as it was allowed; ``lines`` are patterns of what else is printed."""

    def check(done: Done) -> None:
        lengths = [len(rows) for rows in done.results(name)]
        assert max(lengths) == most > min(lengths) >= 1
        for line in lines:
            assert re.search(f"^{line}$", done.output, re.MULTILINE), line

    return check


def saved(name: str, *files: str) -> Callable[[Done], None]:
    """Each trial has a checkpoint, with these files in it."""

    def check(done: Done) -> None:
        for trial in done.trials(name):
            folders = sorted(trial.glob("checkpoint_*"))
            assert folders
            assert all((folder / file).exists() for folder in folders for file in files)

    return check


def population(name: str, length: int) -> Callable[[Done], None]:
    """All trials are trained to the end, and somebody has copied somebody."""

    def check(done: Done) -> None:
        assert [len(rows) for rows in done.results(name)] == [length] * len(done.trials(name))
        assert (done.storage / name / "pbt_global.txt").read_text(encoding="utf-8")
        assert done.experiment(name).exploits()

    return check


def optuna_multiobjective(done: Done) -> None:
    results = [(rows[-1]["nodes"], rows[-1]["error"]) for rows in done.results("optuna-multiobjective")]
    front = sorted(one for one in results if not any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in results))
    printed = [(int(nodes), float(error)) for nodes, error in re.findall(r"^ *(\d+) +([\d.]+) %   \d+ trees", done.output, re.MULTILINE)]
    assert printed == [(round(nodes), round(error, 1)) for nodes, error in dict.fromkeys(front)]


def bohb(done: Done) -> None:
    epochs = sum(len(rows) for rows in done.results("bohb"))
    assert epochs < 5 * 3
    assert f"\n{epochs} epochs were trained; 5 trials to the end are 15.\n" in done.output


def sklearn_example(done: Done) -> None:
    names = sorted(path.parent.name for path in done.storage.glob("*/experiment.db"))
    assert [len(done.trials(name)) for name in names] == [4, 4]
    best = max(trial.last_result["mean_test_score"] for trial in done.experiment(names[-1]).trials)
    assert f"\nbest mean accuracy {best:.4f} " in done.output


def all_of(*checks: Callable[[Done], None]) -> Callable[[Done], None]:
    def check(done: Done) -> None:
        for one in checks:
            one(done)

    return check


def nothing_more(done: Done) -> None:
    """What holds for all examples says enough."""


@dataclass(frozen=True)
class Example:
    """What is expected of an example.

    Args:
        experiments: names, or patterns of names, of its experiments, and how many trials each has.
        check: looks at the rest.
        slow: it takes more than 5 s.
        heavy: it needs more than the extra `test`.
    """

    experiments: dict[str, int] = field(default_factory=dict)
    check: Callable[[Done], None] = nothing_more
    slow: bool = False
    heavy: bool = False

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        return [pytest.mark.slow] * (self.slow or self.heavy) + [pytest.mark.heavy] * self.heavy


EXAMPLES = {
    "bohb": Example({"bohb": 5}, bohb),
    "cartpole_pbt": Example({"cartpole-pbt": 4}, all_of(population("cartpole-pbt", 4), cartpole_pbt), heavy=True),
    "command_line": Example({"command-line": 4}, command_line, slow=True),
    "conditional": Example({"conditional": 8}, conditional, slow=True),
    "ddp": Example({"ddp": 3}, heavy=True),
    "hyperopt_hyperband": Example({"hyperopt-hyperband": 4}, start_point("hyperopt-hyperband", units=64)),
    "keras_example": Example({"keras": 3}, saved("keras", "model.keras"), heavy=True),
    "lightgbm_example": Example({"lightgbm": 2}, population("lightgbm", 6), heavy=True),
    "lightning_example": Example({"lightning": 4}, stopped_early("lightning", 3), heavy=True),
    "mlflow_example": Example({"mlflow-outside": 2, "mlflow-inside": 1}, mlflow_example, slow=True),
    "nevergrad_hyperband": Example({"nevergrad-hyperband": 4}, start_point("nevergrad-hyperband", units=64, lr=0.1)),
    "optuna_multiobjective": Example({"optuna-multiobjective": 8}, optuna_multiobjective),
    "pb2": Example({"pb2": 4}, population("pb2", 6)),
    "quick_start": Example({"quick-start": 2}, quick_start),
    "ray_cluster": Example({"ray-cluster": 4}, ray_cluster, heavy=True),
    "resume": Example({"resume-*-undisturbed": 6, "resume-*[0-9]": 6}, resume, slow=True),
    "sklearn_example": Example(check=sklearn_example, slow=True),
    "tensorflow_loop": Example({"tensorflow-loop": 2}, saved("tensorflow-loop", "state.index"), heavy=True),
    "torch_asha": Example({"torch-asha": 6}, stopped_early("torch-asha", 4, r"6 trials, with \d\d % of the epochs .*"), heavy=True),
    "torch_pbt": Example({"torch-pbt": 4}, population("torch-pbt", 4), heavy=True),
    "wandb_offline": Example({"wandb-outside": 2, "wandb-mixin": 1, "wandb-setup": 1}, wandb_offline, slow=True),
    "xgboost_example": Example({"xgboost": 4}, stopped_early("xgboost", 9, r"The best model has \d trees and errs .*"), heavy=True),
}
UNKNOWN = Example(heavy=True)


def test_each_file_has_an_entry_and_each_entry_a_file() -> None:
    assert sorted(EXAMPLES) == FILES, "what must a run of the example leave? Say so in EXAMPLES of tests/e2e/test_examples.py"


# -- as a user runs them ---------------------------------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.parametrize("name", [pytest.param(name, marks=EXAMPLES.get(name, UNKNOWN).marks) for name in FILES])
def test_smoke_test(name: str, tmp_path: Path) -> None:
    example = EXAMPLES.get(name, UNKNOWN)
    storage, here, home = (tmp_path / folder for folder in ("results", "here", "home"))
    here.mkdir()
    home.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(OUTSIDE)}
    environment["HOME"] = str(home)
    before = _cpu_s()
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--smoke-test", "--storage-path", str(storage)]
    run = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert _cpu_s() - before < CPU_S

    assert not list(here.iterdir()), "it has left something where it was started"
    assert not (home / "tunesmith_results").exists(), "not all went to --storage-path"
    lines = [line for line in run.stdout.splitlines() if re.match(r"best \S.*[\d.]", line, re.IGNORECASE)]
    assert lines, f"no line says what was best:\n{run.stdout}"
    assert "Traceback" not in run.stdout + run.stderr
    assert " raised for trial" not in run.stdout + run.stderr, "a logger failed"

    experiments = sorted(path.parent.name for path in storage.glob("*/experiment.db"))
    assert experiments, "no experiment is in --storage-path"
    for path in experiments:
        assert {trial.status for trial in tune.open_experiment(storage / path).trials} == {"TERMINATED"}
    for pattern, count in example.experiments.items():
        (path,) = [path for path in storage.glob(pattern) if (path / "experiment.db").exists()]
        experiments.remove(path.name)
        assert len(tune.open_experiment(path).trials) == count
    assert not (example.experiments and experiments), "experiments that nobody has said anything about"
    example.check(Done(run.stdout, storage))


def _cpu_s() -> float:
    """Seconds of all cores that children of this process, and theirs, have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


# -- make examples ---------------------------------------------------------------------------------------------------------------------

GOOD = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--smoke-test", action="store_true")
parser.add_argument("--storage-path")
print(parser.parse_args())
print("best loss: 0.5 with {}")
"""


@pytest.mark.e2e
def test_running_all_says_which_failed(tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.py").write_text("raise SystemExit('no data')", encoding="utf-8")
    command = [sys.executable, str(ROOT / "tools" / "run_examples.py"), "--smoke-test", "bad.py", "good.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 1, run.stderr
    assert "\n== bad.py\nno data\n" in run.stdout
    assert "smoke_test=True" in run.stdout
    assert re.search(r"^bad\.py +[\d.]+ s  FAILED$", run.stdout, re.MULTILINE)
    assert re.search(r"^good\.py +[\d.]+ s  ok  best loss: 0\.5 with \{\}$", run.stdout, re.MULTILINE)
    assert run.stdout.endswith("1 failed: bad.py\n")
    run = subprocess.run([*command[:-2], "good.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0
