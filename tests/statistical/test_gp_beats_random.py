"""Bayesian optimisation against random search with many times its trials, on functions with known minima; fixed seeds."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tunesmith.search.gp import GPSearch
from tunesmith.space import Space, choice, loguniform, randint, uniform

pytestmark = pytest.mark.slow

Values = dict[str, Any]
SEEDS = range(10)

HEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
WIDTHS = np.array([[3, 10, 30], [0.1, 10, 35], [3, 10, 30], [0.1, 10, 35]])
CENTRES = np.array([[0.3689, 0.117, 0.2673], [0.4699, 0.4387, 0.747], [0.1091, 0.8732, 0.5547], [0.0381, 0.5743, 0.8828]])


def branin(config: Values) -> float:
    x, y = config["x"], config["y"]
    curve = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return curve**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887


def hartmann(config: Values) -> float:
    x = np.array([config["a"], config["b"], config["c"]])
    return 3.86278 - float(HEIGHTS @ np.exp(-(WIDTHS * (x - CENTRES) ** 2).sum(1)))


def mixed(config: Values) -> float:
    shift = {"a": 0.0, "b": 0.7, "c": 1.5, "d": 0.3}[config["kind"]]
    return (math.log10(config["lr"]) + 3 - shift) ** 2 + (config["n"] - 17) ** 2 / 60 + (config["w"] - 0.3) ** 2 * 4 + shift / 2


def conditional(config: Values) -> float:
    chosen = config["opt"]
    rest = (config["layers"] - 4) ** 2 / 20 + (config["drop"] - 0.25) ** 2 * 3
    if chosen["name"] == "sgd":
        return rest + 0.2 + (math.log10(chosen["lr"]) + 1.3) ** 2 + (chosen["mom"] - 0.9) ** 2 * 3
    return rest + (math.log10(chosen["lr"]) + 3.2) ** 2 * 0.7 + (chosen["beta"] - 0.95) ** 2 * 2


TASKS: dict[str, tuple[Callable[[Values], float], Mapping[str, Any], int]] = {
    "branin": (branin, {"x": uniform(-5, 10), "y": uniform(0, 15)}, 30),
    "hartmann": (hartmann, {name: uniform(0, 1) for name in "abc"}, 30),
    "mixed": (mixed, {"kind": choice(list("abcd")), "lr": loguniform(1e-6, 1), "n": randint(1, 65), "w": uniform(0, 1)}, 35),
    "conditional": (
        conditional,
        {
            "opt": choice([
                {"name": "sgd", "lr": loguniform(1e-5, 1), "mom": uniform(0, 1)},
                {"name": "adam", "lr": loguniform(1e-6, 1), "beta": uniform(0.5, 1)},
            ]),
            "layers": randint(1, 9),
            "drop": uniform(0, 1),
        },
        40,
    ),
}  # fmt: skip


def by_model(loss: Callable[[Values], float], config: Mapping[str, Any], trials: int, seed: int) -> float:
    searcher, space = GPSearch("loss", "min"), Space.parse(dict(config))
    searcher.bind(space, seed=seed)
    best = math.inf
    for number in range(trials):
        proposal = searcher.propose(number, str(number))
        best = min(best, found := loss(space.resolve(proposal.values)))
        searcher.on_trial_complete(str(number), {"loss": found})
    return best


def by_chance(loss: Callable[[Values], float], config: Mapping[str, Any], trials: int, seed: int) -> float:
    rng, space = random.Random(seed), Space.parse(dict(config))
    return min(loss(space.resolve(space.draw(rng))) for _ in range(trials))


@pytest.mark.parametrize("task", TASKS)
def test_it_is_better_than_random_search_with_five_times_its_trials(task: str) -> None:
    loss, config, trials = TASKS[task]
    ours = [by_model(loss, config, trials, seed) for seed in SEEDS]
    chance = [by_chance(loss, config, 5 * trials, seed) for seed in SEEDS]
    assert sum(own < other for own, other in zip(ours, chance)) >= 9, (ours, chance)  # by luck: 1 of 100
    assert np.median(ours) < 0.2 * np.median(chance)
