"""Keras in trials of their own processes: what every integration must do, with each callback that saves. Runs on any back end."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from sklearn.datasets import load_digits

import tunesmith as tune
from tunesmith.integration.keras import ReportCheckpointCallback, TuneReportCheckpointCallback, resume
from tunesmith.testing import FrameworkKit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    # Keras reads variables of TensorFlow in a way of numpy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


class Writes(keras.callbacks.Callback):
    """Into the diary, after the report of an epoch: the weights, and what the optimizer knows beside the learning rate."""

    def __init__(self, diary: Any) -> None:
        super().__init__()
        self.diary = diary

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.diary.trained(epoch + 1, state(self.model))


def state(model: Any) -> bytes:
    variables = [*model.weights, *(each for each in model.optimizer.variables if "learning_rate" not in each.path)]
    return b"".join(keras.ops.convert_to_numpy(each).tobytes() for each in variables)


def train(config: dict[str, Any], callback: keras.callbacks.Callback) -> None:
    images, digits = load_digits(return_X_y=True)
    images, digits = images[:600] / 16, digits[:600]
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.1), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.SGD(config["lr"], momentum=0.9), loss=loss)
    first = resume(model)
    config["diary"].begins(first, state(model))
    model.fit(
        images[:500], digits[:500], batch_size=50, epochs=config["epochs"], initial_epoch=first, verbose=0,
        validation_data=(images[500:], digits[500:]), callbacks=[callback, Writes(config["diary"])],
    )  # fmt: skip


def train_and_save_models(config: dict[str, Any]) -> None:
    train(config, TuneReportCheckpointCallback({"loss": "val_loss"}))


def train_and_save_weights(config: dict[str, Any]) -> None:
    train(config, ReportCheckpointCallback(metrics={"loss": "val_loss"}, filename="model.weights.h5"))


class TestWholeModels(FrameworkKit):
    train = staticmethod(train_and_save_models)
    good, bad = 0.05, 1e-6


class TestWeights(FrameworkKit):
    train = staticmethod(train_and_save_weights)
    good, bad = 0.05, 1e-6


def test_trials_train_on_the_drivers_back_end(tmp_path):
    def backend(config: dict[str, Any]) -> dict[str, Any]:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        return {"backend": keras.backend.backend(), "module": type(model(keras.ops.ones((1, 1)))).__module__.partition(".")[0]}

    analysis = tune.run(backend, executor="local", storage_path=str(tmp_path), verbose=0, num_samples=2, reuse_actors=False)
    library = {"tensorflow": "tensorflow", "torch": "torch"}[keras.backend.backend()]
    for trial in analysis.trials:
        assert (trial.last_result["backend"], trial.last_result["module"]) == (keras.backend.backend(), library)
