"""Makes benchmarks/curves/digits.npz: learning curves of real networks on scikit-learn's digits, for the benchmarks in simulated time.

    python benchmarks/make_curves.py [--seed 0] [--configs 2000] [--out benchmarks/curves/digits.npz]

2,000 random configurations of a multi-layer perceptron, 81 epochs each, in plain numpy on one thread (some 15 minutes). Half of the 1,797
images are trained on; loss and accuracy are of the other half. Networks of one shape and batch size are trained side by side as one stack
of matrices. Equal seed, equal table, on the same numpy and BLAS.

Seconds are not measured but computed, so that they do not depend on what else the machine did: per epoch 20 ms for data and validation,
per step 40 us and 40 us a layer, and the multiplications at 2 GFLOP/s, as an unbatched loop on one core has them; each epoch times
``exp(N(0, 0.1))``, so that trials do not go in step.

A network that diverges has the loss 10, as has any loss above it.
"""

from __future__ import annotations

import os

os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before numpy: one thread, always the same sums

import argparse
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tunesmith.simulation import CurveTable

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Columns = dict[str, NDArray[np.generic]]

EPOCHS = 81
WORST = 10.0
HIDDEN, LAYERS, BATCHES = (8, 16, 32, 64, 128), (1, 2, 3), (16, 32, 64, 128)
PIXELS, CLASSES = 64, 10
AT_ONCE = 200_000
"""Parameters that are trained side by side: as many as stay in the cache."""


@dataclass(slots=True)
class Digits:
    """Images as rows of 64 numbers from 0 to 1, and which digit each is."""

    images: Floats
    digits: Ints
    unseen_images: Floats
    unseen_digits: Ints

    @classmethod
    def load(cls) -> Digits:
        from sklearn.datasets import load_digits

        images, digits = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(digits))
        images, digits = (images[order] / 16).astype(np.float32), digits[order]
        half = len(digits) // 2
        return cls(images[:half], digits[:half], images[half:], digits[half:])


def draw(count: int, seed: int) -> Columns:
    """Random configurations, one column for each hyperparameter."""
    rng = np.random.default_rng([seed, 1])
    return {
        "hidden": rng.choice(HIDDEN, count),
        "layers": rng.choice(LAYERS, count),
        "batch_size": rng.choice(BATCHES, count),
        "lr": np.exp(rng.uniform(np.log(1e-3), np.log(1.0), count)),
        "momentum": rng.uniform(0.0, 0.99, count),
        "weight_decay": np.exp(rng.uniform(np.log(1e-6), np.log(1e-1), count)),
        "dropout": rng.uniform(0.0, 0.6, count),
        "activation": rng.choice(["relu", "tanh"], count),
    }


def shapes(hidden: int, layers: int) -> list[tuple[int, int]]:
    """Inputs and outputs of each layer's weights."""
    widths = [PIXELS, *[hidden] * layers, CLASSES]
    return list(pairwise(widths))


def parameters(hidden: int, layers: int) -> int:
    return sum((inputs + 1) * outputs for inputs, outputs in shapes(hidden, layers))


def seconds(configs: Columns, images: int, seed: int) -> Floats:
    """What each epoch of each configuration takes: [config, epoch]."""
    size = np.array([parameters(int(hidden), int(layers)) for hidden, layers in zip(configs["hidden"], configs["layers"])])
    steps = -(-images // configs["batch_size"].astype(np.int64))
    epoch = 20e-3 + steps * (40e-6 + 40e-6 * configs["layers"].astype(float)) + 6 * size * images / 2e9
    noise = np.random.default_rng([seed, 2]).normal(0.0, 0.1, (len(size), EPOCHS))
    return (epoch[:, None] * np.exp(noise)).astype(np.float32)


class Stack:
    """Networks of one shape, trained side by side: each array has the networks as its first axis.

    Args:
        configs: their configurations; the relu networks come first.
        hidden, layers: of all of them.
        rng: for starting weights, the order of images, and dropout.
    """

    def __init__(self, configs: Columns, hidden: int, layers: int, rng: np.random.Generator) -> None:
        self.count = len(configs["lr"])
        self.rng = rng
        self.lr, self.momentum, self.decay = (configs[name].astype(np.float32)[:, None] for name in ("lr", "momentum", "weight_decay"))
        self.keep = (1 - configs["dropout"]).astype(np.float32)[:, None, None]
        self.relus = int((configs["activation"] == "relu").sum())
        size = parameters(hidden, layers)
        self.values, self.speed, self.slope = (np.zeros((self.count, size), np.float32) for _ in range(3))
        self.weights, self.biases = self._views(self.values, hidden, layers)
        self.weight_slopes, self.bias_slopes = self._views(self.slope, hidden, layers)
        for weights in self.weights:
            gain = np.where(np.arange(self.count) < self.relus, 2.0, 1.0)[:, None, None]
            weights[...] = rng.standard_normal(weights.shape) * np.sqrt(gain / weights.shape[1])

    def _views(self, flat: Floats, hidden: int, layers: int) -> tuple[list[Floats], list[Floats]]:
        weights, biases, at = [], [], 0
        for inputs, outputs in shapes(hidden, layers):
            weights.append(flat[:, at : at + inputs * outputs].reshape(self.count, inputs, outputs))
            at += inputs * outputs
            biases.append(flat[:, at : at + outputs].reshape(self.count, 1, outputs))
            at += outputs
        return weights, biases

    def forward(self, images: Floats, train: bool) -> tuple[list[Floats], list[Floats], Floats]:
        """Inputs of each layer, by which factor dropout has changed them, and the logits: [network, image, ...]."""
        inputs, factors = [images], []
        for weights, biases in zip(self.weights[:-1], self.biases[:-1]):
            z = inputs[-1] @ weights
            z += biases
            np.maximum(z[: self.relus], 0, out=z[: self.relus])
            np.tanh(z[self.relus :], out=z[self.relus :])
            if train:
                factors.append((self.rng.random(z.shape, dtype=np.float32) < self.keep) / self.keep)
                z *= factors[-1]
            inputs.append(z)
        return inputs, factors, inputs[-1] @ self.weights[-1] + self.biases[-1]

    def step(self, images: Floats, digits: Ints) -> None:
        """One step of stochastic gradient descent, each network with its own batch: [network, image, 64], [network, image]."""
        inputs, factors, logits = self.forward(images, train=True)
        back = _probabilities(logits)
        np.put_along_axis(back, digits[..., None], np.take_along_axis(back, digits[..., None], 2) - 1, 2)
        back /= digits.shape[1]
        for layer in range(len(self.weights) - 1, -1, -1):
            np.matmul(inputs[layer].transpose(0, 2, 1), back, out=self.weight_slopes[layer])
            back.sum(1, keepdims=True, out=self.bias_slopes[layer])
            if layer:
                back = back @ self.weights[layer].transpose(0, 2, 1)
                back *= factors[layer - 1]
                self._through_activation(back, inputs[layer], factors[layer - 1])
        self.slope += self.decay * self.values
        self.speed *= self.momentum
        self.speed += self.slope
        self.values -= self.lr * self.speed

    def _through_activation(self, back: Floats, outputs: Floats, factors: Floats) -> None:
        """Multiply by the slopes of the activations; where dropout has made an output 0, ``back`` is 0 already."""
        relus = self.relus
        back[:relus] *= outputs[:relus] > 0
        kept = np.where(factors[relus:] > 0, factors[relus:], 1)
        back[relus:] *= 1 - (outputs[relus:] / kept) ** 2

    def epoch(self, data: Digits, batch: int) -> None:
        order = self.rng.permuted(np.tile(np.arange(len(data.digits)), (self.count, 1)), axis=1)
        for at in range(0, len(data.digits), batch):
            chosen = order[:, at : at + batch]
            self.step(data.images[chosen], data.digits[chosen])

    def validate(self, data: Digits) -> tuple[Floats, Floats]:
        """Cross-entropy and accuracy of each network on images it has not seen."""
        images = np.broadcast_to(data.unseen_images, (self.count, *data.unseen_images.shape))
        logits = self.forward(images, train=False)[2]
        digits = data.unseen_digits
        right = _probabilities(logits.astype(np.float64))[:, np.arange(len(digits)), digits]
        loss = -np.log(np.maximum(right, 1e-30)).mean(1)
        loss = np.where(np.isfinite(loss), np.minimum(loss, WORST), WORST)
        return loss.astype(np.float32), (logits.argmax(2) == digits).mean(1).astype(np.float32)


def _probabilities(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(2, keepdims=True))
    found: Floats = powers / powers.sum(2, keepdims=True)
    return found


def stacks(configs: Columns) -> list[Ints]:
    """Which configurations are trained side by side: of one shape and batch size, relu first, and not too many."""
    found = []
    for hidden in HIDDEN:
        for layers in LAYERS:
            for batch in BATCHES:
                alike = (configs["hidden"] == hidden) & (configs["layers"] == layers) & (configs["batch_size"] == batch)
                rows = np.flatnonzero(alike)
                most = max(1, AT_ONCE // parameters(hidden, layers))
                found += [rows[at : at + most] for at in range(0, len(rows), most)]
    return [rows[np.argsort(configs["activation"][rows], kind="stable")] for rows in found]  # "relu" < "tanh"


def train(configs: Columns, data: Digits, seed: int) -> tuple[Floats, Floats]:
    """Loss and accuracy on unseen images after each epoch: [config, epoch]."""
    count = len(configs["lr"])
    loss, accuracy = np.zeros((count, EPOCHS), np.float32), np.zeros((count, EPOCHS), np.float32)
    done, begin = 0, time.perf_counter()
    for rows in stacks(configs):
        mine = {name: column[rows] for name, column in configs.items()}
        stack = Stack(mine, int(mine["hidden"][0]), int(mine["layers"][0]), np.random.default_rng([seed, 3, int(rows[0])]))
        for epoch in range(EPOCHS):
            stack.epoch(data, int(mine["batch_size"][0]))
            loss[rows, epoch], accuracy[rows, epoch] = stack.validate(data)
        done += len(rows)
        print(f"{done} of {count} after {time.perf_counter() - begin:.0f} s", flush=True)
    return loss, accuracy


def as_table(configs: Columns, loss: Floats, accuracy: Floats, took: Floats) -> CurveTable:
    """All of it, with what a reader wants to know."""
    import tunesmith as tune
    from tunesmith.simulation import CurveTable

    space = {
        "hidden": tune.choice(list(HIDDEN)),
        "layers": tune.choice(list(LAYERS)),
        "batch_size": tune.choice(list(BATCHES)),
        "lr": tune.loguniform(1e-3, 1.0),
        "momentum": tune.uniform(0.0, 0.99),
        "weight_decay": tune.loguniform(1e-6, 1e-1),
        "dropout": tune.uniform(0.0, 0.6),
        "activation": tune.choice(["relu", "tanh"]),
    }
    return CurveTable.from_arrays(
        {name: configs[name].tolist() for name in space},
        {"loss": loss, "accuracy": accuracy},
        took,
        log=("lr", "weight_decay"),
        units={"loss": "cross-entropy", "seconds": "s, computed", "hidden": "units a layer"},
        space=space,
        about="multi-layer perceptrons on scikit-learn's digits, validated on 899 images; benchmarks/make_curves.py",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains the networks of the curve table.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--configs", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "curves" / "digits.npz")
    options = parser.parse_args()
    data = Digits.load()
    configs = draw(options.configs, options.seed)
    with np.errstate(all="ignore"):  # networks that diverge
        loss, accuracy = train(configs, data, options.seed)
    as_table(configs, loss, accuracy, seconds(configs, len(data.digits), options.seed)).save(options.out)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
