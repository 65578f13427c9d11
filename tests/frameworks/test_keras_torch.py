"""Keras on PyTorch. A process has one back end for good, so the other files of Keras's run here once more, in processes of their own.

Runs are small: if TensorFlow is installed, Keras imports it to save a whole model, whatever the back end, and every new trial waits for
that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

HERE = Path(__file__).parent
BACK_END = "test_the_back_end_is_the_one_that_was_asked_for"
IN_TRIALS = "test_trials_train_on_the_drivers_back_end"
RUNS = {
    "alone": ("test_keras.py", "", 60, BACK_END),
    "in trials": ("test_keras_kit.py", "TestWeights and (each_epoch or killed)", 2, "test_a_killed_trial_goes_on_with_the_same_weights"),
    "in trials that are stopped": ("test_keras_kit.py", "TestWeights and asha", 1, "test_asha_stops_in_the_midst_of_training"),
    "whole models in trials": ("test_keras_kit.py", "TestWholeModels and killed", 1, "test_a_killed_trial_goes_on_with_the_same_weights"),
    "whole models in a population": ("test_keras_kit.py", "TestWholeModels and pbt", 1, "test_pbt_copies_weights"),
    "in a population": ("test_keras_kit.py", f"TestWeights and pbt or {IN_TRIALS}", 2, IN_TRIALS),
}


@pytest.mark.parametrize("run", RUNS)
def test_on_torch(run: str, tmp_path: Path) -> None:
    name, which, number, one_of_them = RUNS[run]
    report = tmp_path / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", which, str(HERE / name)]
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    ran = [case.get("name") for case in ET.parse(report).iter("testcase") if case.find("skipped") is None]
    assert len(ran) >= number
    assert one_of_them in ran
