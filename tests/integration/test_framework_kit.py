"""The kit itself, with the simplest training there is: a line through points, by gradient descent in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tunesmith as tune
from tunesmith.testing import FrameworkKit

pytestmark = pytest.mark.e2e


def train(config: dict[str, Any]) -> None:
    xs = np.linspace(-1, 1, 20)
    saved = tune.get_checkpoint()
    state = {"epoch": 0, "weights": np.zeros(2)} if saved is None else saved.to_dict()
    weights, epoch = state["weights"], state["epoch"]
    config["diary"].begins(epoch, weights.tobytes())
    error = weights[0] * xs + weights[1] - (3 * xs + 1)
    while epoch < config["epochs"]:
        weights = weights - config["lr"] * np.array([(error * xs).mean(), error.mean()])
        error = weights[0] * xs + weights[1] - (3 * xs + 1)
        epoch += 1
        tune.report(loss=float((error**2).mean()), checkpoint={"epoch": epoch, "weights": weights})
        config["diary"].trained(epoch, weights.tobytes())


class TestLine(FrameworkKit):
    train = staticmethod(train)


def train_without_weights(config: dict[str, Any]) -> None:
    """Restores how far it was, and nothing else."""
    saved = tune.get_checkpoint()
    epoch = 0 if saved is None else saved.to_dict()["epoch"]
    rng = np.random.default_rng(epoch if saved is None else 1000)
    config["diary"].begins(epoch, rng.bytes(8))
    while epoch < config["epochs"]:
        epoch += 1
        tune.report(loss=1 / (config["lr"] * epoch), checkpoint={"epoch": epoch})
        config["diary"].trained(epoch, rng.bytes(8))


class Forgets(FrameworkKit):
    train = staticmethod(train_without_weights)


@pytest.mark.parametrize("test", ["test_a_killed_trial_goes_on_with_the_same_weights", "test_pbt_copies_weights"])
def test_an_integration_that_forgets_weights_is_found(test, tmp_path):
    with pytest.raises(AssertionError, match=r"other weights|weights of the good one"):
        getattr(Forgets(), test)(tmp_path)
