"""Classes and functions of the script itself, and of files that are not on the path, in worker processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

SCRIPT = """
import os, pickle, sys
import importlib.util
import tunesmith as tune

root = sys.argv[1]

class Net:
    def __init__(self, width):
        self.width = width
        self.steps = 0

class Mine(Exception):
    def __init__(self, net):
        super().__init__(net)
        self.net = net

spec = importlib.util.spec_from_file_location("elsewhere", os.path.join(root, "elsewhere.py"))
elsewhere = importlib.util.module_from_spec(spec)
sys.modules["elsewhere"] = elsewhere
spec.loader.exec_module(elsewhere)

def train(config):
    saved = tune.get_checkpoint()
    net = Net(config["width"])
    if saved:
        with open(os.path.join(saved.path, "net.pkl"), "rb") as file:
            net = pickle.load(file)
        assert type(net) is Net, type(net)
    while net.steps < 4:
        net.steps += 1
        place = os.path.join(tune.get_context().get_trial_dir(), "scratch")
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "net.pkl"), "wb") as file:
            pickle.dump(net, file)
        tune.report({"loss": elsewhere.loss(net.width, net.steps)}, checkpoint=place)
        if net.steps == 2 and not saved:
            if config["width"] == 1:
                os._exit(1)
            raise Mine(net)

if __name__ == "__main__":
    result = tune.run(
        train, config={"width": tune.grid_search([1, 2])}, storage_path=os.path.join(root, "results"), metric="loss", mode="min",
        max_failures=1, verbose=0, executor="local",
    )
    with open(os.path.join(result.best_checkpoint.path, "net.pkl"), "rb") as file:
        net = pickle.load(file)
    assert type(net) is Net
    print(net.width, net.steps, [trial.status for trial in result.trials])
"""
ELSEWHERE = "FACTOR = 2\n\ndef loss(width, steps):\n    return FACTOR * width / steps\n"


@pytest.mark.parametrize("form", ["script", "code", "stdin"])
def test_classes_of_the_script_are_the_same_in_trials(tmp_path: Path, form: str) -> None:
    tmp_path.joinpath("script.py").write_text(SCRIPT, encoding="utf-8")
    tmp_path.joinpath("elsewhere.py").write_text(ELSEWHERE, encoding="utf-8")
    command = {"script": ["script.py"], "code": ["-c", SCRIPT], "stdin": ["-"]}[form]
    done = subprocess.run(
        [sys.executable, "-W", "error", *command, str(tmp_path)], cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        input=SCRIPT if form == "stdin" else "", capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "1 4 ['TERMINATED', 'TERMINATED']\n"
