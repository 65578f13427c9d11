"""PBT and PB2 on real networks against random search with the same budget: so many networks, each trained for so many epochs.

A small multi-layer perceptron (64 - 32 - 10, plain numpy, stochastic gradient descent with momentum) learns scikit-learn's digits,
shifted by up to a pixel and with noise on them, anew each time: so the noise of the steps never dies out by itself, and the learning rate
has to fall for the last gains. Learning rate, momentum and weight decay are searched. Random search trains 12 networks for 30 epochs with
constant values; PBT the same 12 with the same first values, and every 3 epochs the worst quarter copies the best one and changes its
values; all with default settings. What counts is the validation loss of the network that is best in the end; its loss and accuracy on
test images, by which nobody has chosen anything, are shown beside.

Trials run in virtual time (``simulate``): scheduler and core are the real ones, and the networks are really trained, one after the other.
An epoch takes a second on a worker of its own; after 30 seconds all is over, so a network that goes on from an older checkpoint does not
get more epochs for it.

    python benchmarks/pbt_digits.py [--seeds 20] [--population 12] [--epochs 30]
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before numpy: one thread, always the same sums

import argparse
import functools
import statistics
from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from tunesmith.schedulers.fifo import FIFOScheduler
from tunesmith.schedulers.pb2 import PB2
from tunesmith.schedulers.pbt import PopulationBasedTraining
from tunesmith.simulation import simulate
from tunesmith.space import loguniform, randint, uniform

Array = NDArray[np.float64]
Part = tuple[Array, NDArray[np.int64]]

HIDDEN, BATCH, NOISE, INTERVAL = 32, 16, 0.2, 3
SPACE = {"lr": loguniform(1e-3, 1), "momentum": uniform(0, 0.95), "weight_decay": loguniform(1e-6, 1e-2)}
EVERY: dict[str, Any] = {"time_attr": "training_iteration", "perturbation_interval": INTERVAL}
CASES: dict[str, Callable[[], Any]] = {
    "random search": FIFOScheduler,
    "PBT": lambda: PopulationBasedTraining(**EVERY, hyperparam_mutations=SPACE),
    "PB2": lambda: PB2(**EVERY, hyperparam_bounds=SPACE),
}
MEASURES = {"loss": "validation loss", "test_loss": "test loss", "test_accuracy": "test accuracy"}


@functools.cache
def digits() -> tuple[Part, Part, Part]:
    """Images as rows, and which digit each is: 800 for training, 500 for validation, 497 for the test; these two disturbed once for all."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    draw = np.random.default_rng(0)
    order = draw.permutation(len(labels))
    images, labels = images[order] / 16, labels[order]
    ours, validation, test = slice(800), slice(800, 1300), slice(1300, None)
    seen, *unseen = ((images[part], labels[part]) for part in (ours, validation, test))
    return seen, *((disturbed(part, draw), those) for part, those in unseen)  # type: ignore[return-value]


def disturbed(images: Array, draw: np.random.Generator) -> Array:
    """Each shifted by up to a pixel to any side, and with noise on all pixels."""
    count = len(images)
    padded = np.pad(images.reshape(count, 8, 8), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))
    shifts = draw.integers(0, 3, (2, count))
    found: Array = windows[np.arange(count), shifts[0], shifts[1]].reshape(count, 64) + draw.normal(0, NOISE, (count, 64))
    return found


def forward(weights: list[Array], images: Array) -> tuple[Array, Array]:
    """Hidden layer and probabilities."""
    hidden = np.maximum(images @ weights[0] + weights[1], 0)
    logits = hidden @ weights[2] + weights[3]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return hidden, powers / powers.sum(1, keepdims=True)


def step(config: dict[str, Any], weights: list[Array], speed: list[Array], images: Array, labels: NDArray[np.int64]) -> None:
    """One step of stochastic gradient descent with momentum; weights and speed are changed."""
    hidden, back = forward(weights, images)
    back[np.arange(len(labels)), labels] -= 1
    back /= len(labels)
    below = (back @ weights[2].T) * (hidden > 0)
    for at, slope in enumerate((images.T @ below, below.sum(0), hidden.T @ back, back.sum(0))):
        speed[at] *= config["momentum"]
        speed[at] += slope + config["weight_decay"] * weights[at]
        weights[at] -= config["lr"] * speed[at]


def epoch(config: dict[str, Any], number: int, memory: dict[str, Any]) -> dict[str, float]:
    """One pass over the images; what ``memory`` holds goes with checkpoints."""
    if not memory:
        draw = np.random.default_rng(config["network"])
        shapes = ((64, HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,))
        memory["weights"] = [draw.normal(0, sqrt(2 / shape[0]), shape) if len(shape) == 2 else np.zeros(shape) for shape in shapes]
        memory["speed"] = [np.zeros(shape) for shape in shapes]
    seen, validation, test = digits()
    draw = np.random.default_rng([config["network"], number])
    order, images = draw.permutation(len(seen[1])), disturbed(seen[0], draw)
    with np.errstate(all="ignore"):  # networks that diverge
        for at in range(0, len(order), BATCH):
            batch = order[at : at + BATCH]
            step(config, memory["weights"], memory["speed"], images[batch], seen[1][batch])
        loss, _ = judged(memory["weights"], validation)
        test_loss, accuracy = judged(memory["weights"], test)
    return {"loss": loss, "test_loss": test_loss, "test_accuracy": accuracy}


def judged(weights: list[Array], part: Part) -> tuple[float, float]:
    """Cross-entropy (10 for all that is worse, or diverged) and accuracy."""
    images, labels = part
    _, probabilities = forward(weights, images)
    loss = float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())
    return (min(loss, 10.0) if np.isfinite(loss) else 10.0), float((probabilities.argmax(1) == labels).mean())


def play(case: str, seed: int, population: int, epochs: int) -> dict[str, float]:
    """The last result of the network that is best in the end. Equal seeds: the same networks and first values in all cases."""
    config = {**SPACE, "network": randint(0, 1_000_000)}
    options: dict[str, Any] = {"num_samples": population, "workers": population, "metric": "loss", "mode": "min"}
    # told half a second before the end, trials end with the report that they are on their way to
    sim = simulate(epoch, config=config, scheduler=CASES[case](), max_t=epochs, time_budget_s=epochs - 0.5, seed=seed, **options)
    assert sim.work_s <= population * epochs
    return min((trial.last_result for trial in sim.trials), key=lambda result: result["loss"])


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval (Student)."""
    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / sqrt(len(values))
    return f"{statistics.mean(values):+.4f} [{statistics.mean(values) - half:+.4f}, {statistics.mean(values) + half:+.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description="PBT and PB2 against random search with the same budget, on digits.")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--population", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    print(f"{given.seeds} seeds, {given.population} networks x {given.epochs} epochs each; the best after the last epoch, means over seeds")
    found: dict[str, list[dict[str, float]]] = {}
    for case in CASES:
        found[case] = [play(case, seed, given.population, given.epochs) for seed in range(given.seeds)]
        means = (f"{name} {statistics.mean(result[key] for result in found[case]):.4f}" for key, name in MEASURES.items())
        print(f"{case:13}: {', '.join(means)}", flush=True)
    for case, other in (("PBT", "random search"), ("PB2", "random search"), ("PB2", "PBT")):
        print(f"{case} - {other}, paired, 95 % interval:")
        for key, name in MEASURES.items():
            print(f"    {name}: {interval([one[key] - two[key] for one, two in zip(found[case], found[other])])}")


if __name__ == "__main__":
    main()
