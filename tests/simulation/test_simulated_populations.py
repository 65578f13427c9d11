"""Population-based training in virtual time: what the mutations name changes, also where the space has a constant or nothing."""

from __future__ import annotations

from typing import Any

import tunesmith as tune


def climbing(config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> dict[str, float]:
    """The score that has been climbed to: the higher the rate, the faster."""
    memory["score"] = memory.get("score", 0.0) + config["rate"] * (1 - config["drag"])
    return {"score": memory["score"]}


def test_constants_and_absent_entries_are_mutated() -> None:
    scheduler = tune.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=2, hyperparam_mutations={"rate": tune.uniform(0.1, 2.0), "drag": [0.0, 0.5]}
    )
    sim = tune.simulate(
        climbing, config={"rate": 0.5}, num_samples=6, workers=6, max_t=20, scheduler=scheduler, metric="score", mode="max", seed=3,
        keep_records=True,
    )  # fmt: skip
    exploits = [decision for decision in sim.decisions() if decision["do"] == "exploit"]
    assert exploits
    assert sim.best_value is not None
    assert sim.best_value > 0.5 * 20, "more than the constant rate can give"
