"""What the installed Ray Tune writes is read as Ray itself reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunesmith.analysis import open_experiment

SCRIPT = """
import json, os, sys, tempfile
os.environ.update(RAY_TRAIN_ENABLE_V2="0", RAY_USAGE_STATS_ENABLED="0", RAY_AIR_NEW_OUTPUT="0")
import ray
from ray import tune

def train(config):
    if config["lr"] > 0.5:
        raise ValueError("too big")
    for step in range(1, 5):
        with tempfile.TemporaryDirectory() as folder:
            open(os.path.join(folder, "weights"), "w").write(str(step))
            saved = tune.Checkpoint.from_directory(folder) if step % 2 == 0 else None
            tune.report({"loss": config["lr"] / step, "val": {"acc": float("nan") if step == 3 else step / 10}}, checkpoint=saved)

for attempt in range(3):
    try:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
        break
    except Exception as error:  # Ray gives itself 30 s, whatever else the machine is doing
        if "timed out during startup" not in str(error) or attempt == 2:
            raise
        ray.shutdown()
space = {"lr": tune.grid_search([0.2, 0.1, 0.9]), "net": {"act": tune.choice(["a", "b"])}, "fn": len}
run = tune.RunConfig(name="real", storage_path=sys.argv[1], verbose=0)
grid = tune.Tuner(train, param_space=space, tune_config=tune.TuneConfig(metric="loss", mode="min"), run_config=run).fit()
best = grid.get_best_result()
told = {
    "path": best.path, "lr": best.config["lr"], "checkpoint": best.checkpoint.path, "errors": grid.num_errors, "ended": grid.num_terminated,
    "ids": [result.metrics.get("trial_id") for result in grid], "rows": grid.get_dataframe().to_dict(orient="records"),
}
print("TOLD", json.dumps(told, default=str))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.heavy
def test_as_ray_reads_it(tmp_path: Path) -> None:
    import json

    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "results")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("TOLD"))[5:])
    analysis = open_experiment(tmp_path / "results" / "real")
    best = analysis.get_best_trial(mode="min")
    assert analysis.default_metric == "loss"
    assert (best.path, best.config["lr"]) == (told["path"], told["lr"])
    checkpoint = analysis.get_last_checkpoint(best)
    assert checkpoint is not None
    assert checkpoint.path == told["checkpoint"]
    assert (analysis.num_errors, analysis.num_terminated) == (told["errors"], told["ended"]) == (1, 2)
    assert [trial.trial_id for trial in analysis][:2] == told["ids"][:2]
    assert "ValueError: too big" in str(analysis.errors[0])
    rows = analysis.dataframe().to_dict(orient="records")
    for ours, rays in zip(rows, told["rows"], strict=True):
        same = set(rays) & set(ours) - {"logdir", "done", "time_since_restore"}
        assert len(same) > 15
        assert {name: ours[name] for name in same} == {name: rays[name] for name in same}
        assert ours["time_since_restore"] == pytest.approx(rays["time_since_restore"])
    assert analysis.trial_dataframes[best.trial_id]["val/acc"].isna().tolist() == [False, False, True, False]
