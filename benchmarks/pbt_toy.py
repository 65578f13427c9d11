"""The toy problem of the PBT paper (Jaderberg et al. 2017, section 4.1 and figure 2), in simulated time.

Two workers climb a surrogate ``1.2 - h0 * theta0 ** 2 - h1 * theta1 ** 2`` of what counts, ``Q = 1.2 - theta0 ** 2 - theta1 ** 2``. They
begin at theta = (0.9, 0.9) with h = (1, 0) and (0, 1). Whoever keeps its h gets to 0.39; the optimum is 1.2. Every 4 of 200 steps PBT may
copy the better worker, weights and h, and change h. Q is told with noise of 1e-9: the two are mirror images at first, as no real ones are.

    python benchmarks/pbt_toy.py [--seeds 50]
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable
from math import sqrt
from typing import Any

from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.schedulers.pb2 import PB2
from tunesmith.schedulers.pbt import PopulationBasedTraining
from tunesmith.search import BasicVariantGenerator
from tunesmith.simulation import simulate
from tunesmith.space import uniform

RATE, STEPS, INTERVAL, TARGET = 0.03, 200, 4, 1.19
RANGE = {"h0": uniform(0, 1), "h1": uniform(0, 1)}
EVERY: dict[str, Any] = {"time_attr": "training_iteration", "perturbation_interval": INTERVAL, "quantile_fraction": 0.5}
STILL: dict[str, Any] = {"resample_probability": 0, "perturbation_factors": (1,)}
CASES: dict[str, Callable[[], Any]] = {
    "grid search": FIFOScheduler,
    "explore only": FIFOScheduler,
    "exploit only": lambda: PopulationBasedTraining(**EVERY, **STILL, hyperparam_mutations=RANGE),
    "PBT": lambda: PopulationBasedTraining(**EVERY, hyperparam_mutations=RANGE),
    "PB2": lambda: PB2(**EVERY, hyperparam_bounds=RANGE),
}


def worker(alone: bool, seed: int) -> Callable[..., dict[str, float]]:
    """Gradient ascent on the surrogate. ``alone``: it changes its h every interval as PBT would, and never copies."""
    noise = random.Random(seed)

    def step(config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> dict[str, float]:
        h = memory.setdefault("h", [config["h0"], config["h1"]]) if alone else [config["h0"], config["h1"]]
        if alone and iteration % INTERVAL == 0:
            h[:] = [noise.random() if noise.random() < 0.25 else min(1.0, one * noise.choice((1.2, 0.8))) for one in h]
        theta = memory.setdefault("theta", [0.9, 0.9])
        theta[:] = [at - RATE * 2 * weight * at for weight, at in zip(h, theta)]
        return {"q": 1.2 - theta[0] ** 2 - theta[1] ** 2 + 1e-9 * noise.random()}

    return step


def play(case: str, seed: int) -> tuple[float, float]:
    """Q of the better worker at the end, and the steps that one of them took to the target."""
    corners = BasicVariantGenerator(points_to_evaluate=[{"h0": 1.0, "h1": 0.0}, {"h0": 0.0, "h1": 1.0}])
    options: dict[str, Any] = {"num_samples": 2, "workers": 2, "max_t": STEPS, "metric": "q", "mode": "max", "seed": seed}
    sim = simulate(worker(case == "explore only", seed), config=RANGE, search_alg=corners, scheduler=CASES[case](), **options)
    return sim.best_value, sim.time_to(TARGET)


def main() -> None:
    parser = argparse.ArgumentParser(description="The toy problem of the PBT paper.")
    parser.add_argument("--seeds", type=int, default=50)
    seeds = parser.parse_args().seeds
    print(f"Q of the better of two workers after {STEPS} steps, {seeds} seeds; the optimum is 1.2")
    for case in CASES:
        found, steps = zip(*(play(case, seed) for seed in range(seeds)))
        half = 1.96 * statistics.stdev(found) / sqrt(seeds)
        reached = sum(q >= TARGET for q in found)
        line = f"{case:13}: {statistics.mean(found):.4f} +- {half:.4f} (95 %), least {min(found):.4f}"
        line += f"; {TARGET} reached in {reached / seeds:.0%}"
        print(line + (f", after {statistics.median(steps):.0f} steps (median)" if reached > seeds / 2 else ""), flush=True)


if __name__ == "__main__":
    main()
