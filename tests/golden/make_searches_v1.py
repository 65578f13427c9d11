"""Writes searches_v1.json: what native searchers propose for one seed. Run it only when a searcher is meant to propose something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tunesmith.create import create_searcher
from tunesmith.search.base import Proposal
from tunesmith.space import Space, choice, loguniform, randint, uniform

FILE = Path(__file__).with_name("searches_v1.json")
NAMES = ("random", "sobol", "tpe", "bohb", "gp", "auto", "nsga2", "cmaes")
TRIALS = {"gp": 12, "auto": 12}
"""Where numbers come of long sums, processors may differ in the last digits, and those add up: few of their trials are by the model."""


def proposed(name: str) -> list[dict[str, Any]]:
    """The configurations of the first trials, numbers with six digits."""
    searcher = create_searcher(name)
    space = Space.parse({"x": uniform(-1, 1), "lr": loguniform(1e-5, 1), "n": randint(0, 100), "c": choice(["a", "b", "c"])})
    searcher.bind(space, "loss", "min", 12345, budget=40)
    found = []
    for trial in range(TRIALS.get(name, 25)):
        answer = searcher.propose(trial, str(trial))
        assert isinstance(answer, Proposal)
        config = space.resolve(answer.values)
        result = {"loss": config["x"] ** 2 + abs(config["n"] - 40) / 50 + (config["c"] != "b"), "training_iteration": 1}
        searcher.on_trial_result(str(trial), dict(result))
        searcher.on_trial_complete(str(trial), result)
        found.append({key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in config.items()})
    return found


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: [\n  " + ",\n  ".join(json.dumps(config) for config in proposed(name)) + "\n]" for name in NAMES]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
