"""Seconds from the start of Python to the first result that the driver sees, in a script that imports nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from _common import Medians, Row, main, peer, scratch

OURS = """
import time
import tunesmith as tune

class First(tune.Callback):
    def on_trial_result(self, **_):
        print("first", time.monotonic())

def objective(config):
    tune.report(loss=config["x"])

tune.run(objective, config={"x": tune.uniform(0, 1)}, metric="loss", mode="min", executor="local", verbose=0, callbacks=[First()])
"""

RAYS = """
import os
import time
from ray import tune

class First(tune.Callback):
    def on_trial_result(self, **_):
        print("first", time.monotonic())

def objective(config):
    tune.report({"loss": config["x"]})

tuner = tune.Tuner(
    objective,
    param_space={"x": tune.uniform(0, 1)},
    tune_config=tune.TuneConfig(metric="loss", mode="min"),
    run_config=tune.RunConfig(verbose=0, callbacks=[First()], storage_path=os.path.abspath("results")),
)
tuner.fit()
"""


def script(text: str) -> dict[str, float]:
    folder = scratch()
    (folder / "script.py").write_text(text, encoding="utf-8")
    environment = {**os.environ, "TUNESMITH_RESULTS_DIR": str(folder / "results")}
    begin = time.monotonic()  # the same clock in all processes
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("first ")]
    if done.returncode != 0 or not lines:
        raise SystemExit(f"the script failed:\n{done.stderr}")
    return {"seconds": float(lines[0][1]) - begin}


def table(found: Medians) -> list[Row]:
    what = "Python start to first result, seconds"
    return [Row(what, found["ours"]["seconds"], 0.5, "lower", peer("ray"), found["ray"]["seconds"])]


CASES = {"ours": lambda: script(OURS), "ray": lambda: script(RAYS)}

if __name__ == "__main__":
    main(__file__, CASES, table, seldom={"ray": 2})
