"""BayesOptSearch with today's bayesian-optimization, beside which the tests' own environment has an older one that Nevergrad wants."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

NEEDED = ["bayesian-optimization>=3", "colorama", "packaging"]
"""Today's, and what it needs besides numpy, scipy and scikit-learn, which are there."""

SCRIPT = """
import sys

import bayes_opt
import tunesmith as tune
from tunesmith.search.bayesopt import BayesOptSearch


def train(config):
    return {"loss": (config["x"] - 0.3) ** 2 + (config["n"] - 4) ** 2 / 9}


analysis = tune.run(
    train, name="today", config={"x": tune.uniform(-1, 1), "n": tune.randint(0, 10)}, num_samples=20, metric="loss", mode="min",
    search_alg=BayesOptSearch(random_search_steps=6, random_state=1), storage_path=sys.argv[1], executor="inline", verbose=0,
)
print(bayes_opt.__version__, bayes_opt.__file__, hasattr(bayes_opt, "UtilityFunction"), len(analysis.trials), analysis.best_result["loss"])
"""


@pytest.mark.e2e
@pytest.mark.slow
def test_twenty_trials_with_todays_library(tmp_path: Path, run_script: Callable[..., str]) -> None:
    """Installed for this test alone, from where pip is told to look (index, mirrors, folders of wheels: its usual configuration)."""
    folder = tmp_path / "today"
    options = ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--target", str(folder)]
    # the tests' home is empty, and pip's configuration is in the user's
    home = {**os.environ, "HOME": pwd.getpwuid(os.getuid()).pw_dir}
    subprocess.run([sys.executable, "-m", "pip", "install", *options, *NEEDED], env=home, check=True, timeout=300)

    printed = run_script(SCRIPT, env={**os.environ, "PYTHONPATH": str(folder)}, timeout=300)

    version, where, has_old, trials, best = printed.split()[-5:]
    assert int(version.partition(".")[0]) >= 3
    assert Path(where).is_relative_to(folder)
    assert has_old == "False"
    assert trials == "20"
    assert float(best) < 0.1
