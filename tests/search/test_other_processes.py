"""A driver that resumes is another process, where strings have other hashes and sets another order: searchers propose the same there."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import pytest

from tunesmith.create import SEARCHERS, create_searcher
from tunesmith.search.base import Proposal
from tunesmith.space import Space, choice, loguniform, randint, uniform

NUMBERS = {"x": uniform(-1, 1), "lr": loguniform(1e-5, 1), "layers": randint(1, 9)}
OPTIONS = {"act": choice(["relu", "tanh", "elu"])}
BRANCHES = {"opt": choice([{"momentum": uniform(0, 1)}, {"eps": loguniform(1e-6, 1)}, "none"])}
HEAVY = ("ax", "smac")
TRIALS = {"ax": 8, "bayesopt": 12, "gp": 20, "nsga2": 120, "smac": 8}
"""Beyond what is tried before there is a model, or a second generation; 30 for the others."""


def proposed(name: str) -> list[dict[str, object]]:
    """What is tried in a short search, each trial ending before the next begins."""
    count, searcher = TRIALS.get(name, 30), create_searcher(name)
    config = NUMBERS if name == "bayesopt" else NUMBERS | OPTIONS | (BRANCHES if searcher.capabilities.conditional else {})
    searcher.bind(Space.parse(config), "loss", "min", 3, budget=count)
    tried = []
    for trial in range(count):
        answer = searcher.propose(trial, str(trial))
        assert isinstance(answer, Proposal)
        values = dict(answer.values)
        tried.append(values)
        loss = abs(values["x"] - 0.3) + abs(math.log10(values["lr"]) + 2) + values["layers"] / 10 + (values.get("act") != "tanh")
        searcher.on_trial_complete(str(trial), {"loss": loss, "training_iteration": 1})
    return tried


def check(*names: str) -> None:
    found = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, __file__, *names], env=environment, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert list(found[0]) == list(names)
    differ = [name for name in names if found[0][name] != found[1][name]]
    assert not differ, f"another process proposes something else: {differ}"


@pytest.mark.slow
def test_other_hashes_do_not_matter() -> None:
    check(*(name for name in SEARCHERS if name not in HEAVY))


@pytest.mark.slow
@pytest.mark.heavy
@pytest.mark.parametrize("name", HEAVY)
def test_other_hashes_do_not_matter_to(name: str) -> None:
    check(name)


if __name__ == "__main__":
    print(json.dumps({name: proposed(name) for name in sys.argv[1:]}))
