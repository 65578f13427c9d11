"""The callbacks and ``resume`` of Keras, one by one, in this process. Runs on any back end; ``test_keras_torch`` runs it on torch."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import tunesmith as tune
from tunesmith.errors import SpecError, TrialsFailed
from tunesmith.integration.keras import ReportCheckpointCallback, TuneReportCallback, TuneReportCheckpointCallback, resume

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    # Keras reads variables of TensorFlow in a way of numpy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

TORCH = keras.backend.backend() == "torch"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


def build(lr: Any = 0.1, width: int = 2, optimizer: Any = keras.optimizers.SGD, compiled: bool = True, **layers: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((3,)), keras.layers.GaussianNoise(0.1), keras.layers.Dense(width, **layers), keras.layers.Dropout(0.5),
        keras.layers.Dense(1),
    ])  # fmt: skip
    if compiled:
        model.compile(optimizer=optimizer(lr), loss="mse", metrics=["mae"], run_eagerly=True)
    return model


def fit(model: Any, callbacks: Any, epochs: int = 1, **arguments: Any) -> Any:
    return model.fit(X, Y, batch_size=4, epochs=epochs, callbacks=callbacks, verbose=0, **arguments)


def state(model: Any) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(each) for each in [*model.variables, *model.optimizer.variables]]


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other))


def run(folder: Path, train: Callable[[], Any], **arguments: Any) -> Any:
    """An experiment of one trial in this process."""

    def trial(config: dict[str, Any]) -> None:
        train()

    return tune.run(trial, executor="inline", storage_path=str(folder), verbose=0, seed=1, **arguments)


def reports(folder: Path, train: Callable[[], Any]) -> list[dict[str, Any]]:
    """What a trial has reported: the metrics of Keras only."""
    (frame,) = run(folder, train).trial_dataframes.values()
    names = [name for name in frame if re.fullmatch(r"(mine|(val_)?(loss|mae|learning_rate))", name)]
    return [{name: row[name] for name in names if np.isfinite(row[name])} for _, row in frame.iterrows()]


def checkpoints(analysis: Any) -> dict[int, tune.Checkpoint]:
    """By the number of their report."""
    (trial,) = analysis.trials
    paths = sorted(Path(trial.logdir).glob("checkpoint_*"))
    opened = [tune.Checkpoint(path) for path in paths]
    return {int(re.search(r'"iteration": ?(\d+)', Path(each.path, ".tunesmith.json").read_text())[1]): each for each in opened}


def test_the_back_end_is_the_one_that_was_asked_for() -> None:
    assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", "tensorflow")


# What is reported


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, {"loss", "mae", "val_loss", "val_mae"}),
        ("val_mae", {"val_mae"}),
        (["loss", "val_loss"], {"loss", "val_loss"}),
        ({"mine": "mae"}, {"mine"}),
    ],
)
@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback, ReportCheckpointCallback])
def test_the_metrics_of_each_epoch(tmp_path, callback, metrics, expected) -> None:
    histories = []

    def train() -> None:
        histories.append(fit(build(), [callback(metrics=metrics)], epochs=2, validation_data=(X, Y)).history)

    found = reports(tmp_path, train)
    assert [set(each) for each in found] == [expected] * 2
    (history,) = histories
    for name in expected:
        assert [each[name] for each in found] == history["mae" if name == "mine" else name]


@pytest.mark.parametrize(
    ("on", "expected"),
    [
        ("epoch_end", [{"loss", "mae", "val_loss", "val_mae"}] * 2),
        ("train_batch_end", [{"loss", "mae"}] * 6),
        ("batch_end", [{"loss", "mae"}] * 6),
        ("test_end", [{"loss", "mae"}] * 2),
        ("test_batch_end", [{"loss", "mae"}] * 6),
        ("train_end", [{"loss", "mae", "val_loss", "val_mae"}]),
        (["epoch_end", "train_end"], [{"loss", "mae", "val_loss", "val_mae"}] * 3),
        ("epoch_begin", [set()] * 2),
        (["train_begin", "train_batch_begin", "test_begin", "test_batch_begin"], [set()] * (1 + 6 + 2 + 6)),
    ],
)
def test_events_of_training(tmp_path, on, expected) -> None:
    def train() -> None:
        fit(build(), [TuneReportCallback(on=on)], epochs=2, validation_data=(X, Y), validation_batch_size=4)

    assert [set(each) for each in reports(tmp_path, train)] == expected


@pytest.mark.parametrize(("on", "number"), [("predict_begin", 1), ("predict_end", 1), ("predict_batch_begin", 3), ("predict_batch_end", 3)])
def test_events_of_prediction(tmp_path, on, number) -> None:
    def train() -> None:
        build().predict(X, batch_size=4, verbose=0, callbacks=[TuneReportCallback(on=on)])

    (trial,) = run(tmp_path, train).trials
    assert trial.last_result["training_iteration"] == number


def test_batches_of_others_stay_out_of_the_way() -> None:
    """On back ends with threads Keras calls for batches behind the training, unless a callback does something there."""
    assert TuneReportCheckpointCallback().async_safe
    assert TuneReportCallback(on=["epoch_end", "test_end"]).async_safe
    assert not TuneReportCallback(on=["epoch_end", "batch_end"]).async_safe
    assert not ReportCheckpointCallback("test_batch_end").async_safe


def test_a_metric_that_is_not_there_names_those_that_are(tmp_path) -> None:
    names = r"no metric 'val_mea' at epoch_end, but loss, mae, val_loss, val_mae\. Did you mean 'val_mae'\?"
    with pytest.raises(TrialsFailed, match=names):
        run(tmp_path, lambda: fit(build(), [TuneReportCallback("val_mea")], validation_data=(X, Y)))


def test_metrics_at_an_event_that_has_none(tmp_path) -> None:
    with pytest.raises(TrialsFailed, match=r"no metric 'loss' at epoch_begin, but none at all"):
        run(tmp_path, lambda: fit(build(), [TuneReportCallback("loss", on="epoch_begin")]))


def test_metrics_of_a_validation_that_is_not_yet_are_left_out(tmp_path) -> None:
    def train() -> None:
        fit(build(), [TuneReportCheckpointCallback(["loss", "val_loss"])], epochs=5, validation_data=(X, Y), validation_freq=2)

    assert [set(each) for each in reports(tmp_path, train)] == [{"loss"}, {"loss", "val_loss"}, {"loss"}, {"loss", "val_loss"}, {"loss"}]


def test_a_validation_that_never_is_is_told(tmp_path) -> None:
    def train() -> None:
        with pytest.warns(UserWarning, match=r"TuneReportCallback: there was no val_loss, because fit\(\) has validated nothing"):
            fit(build(), [TuneReportCallback(["loss", "val_loss"])])

    assert [set(each) for each in reports(tmp_path, train)] == [{"loss"}]


# Wrong arguments


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TuneReportCallback(metrics=3), "metrics must be the name .* got 3"),
        (lambda: TuneReportCallback(metrics=[]), r"metrics must be .* got \[\]"),
        (lambda: TuneReportCallback(metrics={"a": 1}), r"metrics must be .* got \{'a': 1\}"),
        (lambda: TuneReportCheckpointCallback(metrics=[{"a": "b"}]), r"metrics must be .* got \[\{'a': 'b'\}\]"),
        (lambda: TuneReportCallback(on="epoch_ends"), r"on='epoch_ends' is no event .* Did you mean 'epoch_end'\? There are: epoch_begin"),
        (lambda: TuneReportCallback(on=[]), r"on must be the name of an event .* got \[\]"),
        (lambda: TuneReportCallback(on=None), "on must be the name of an event .* got None"),
        (lambda: TuneReportCallback(on=[7]), "on=7 is no event"),
        (lambda: TuneReportCheckpointCallback(on="validation_end"), "on='validation_end' is no event"),
        (lambda: TuneReportCheckpointCallback(checkpoint_on="x"), "checkpoint_on='x' is no event"),
        (lambda: TuneReportCheckpointCallback(report_metrics_on="x"), "report_metrics_on='x' is no event"),
        (lambda: TuneReportCheckpointCallback(on="epoch_end", checkpoint_on="train_end"), "stands for checkpoint_on and report_metrics_on"),
        (lambda: TuneReportCheckpointCallback("epoch_end", "epoch_end"), "Give it by its name: checkpoint_on='epoch_end'"),
        (lambda: TuneReportCheckpointCallback(["batch_end"]), "Give it by its name"),
        (lambda: TuneReportCheckpointCallback(frequency=0), "frequency must be a whole number >= 1 .* got 0"),
        (lambda: TuneReportCheckpointCallback(frequency=True), "frequency must be .* got True"),
        (lambda: TuneReportCheckpointCallback(frequency=1.5), "frequency must be .* got 1.5"),
        (lambda: TuneReportCheckpointCallback(frequency=[1, 2]), r"a list of 1, .* got \[1, 2\]"),
        (lambda: TuneReportCheckpointCallback(filename="checkpoint"), r"'\*.keras' for the whole model, .* got 'checkpoint'"),
        (lambda: TuneReportCheckpointCallback(filename="models/model.keras"), "filename must be"),
        (lambda: ReportCheckpointCallback(filename=3), "ReportCheckpointCallback: filename must be .* got 3"),
        (lambda: ReportCheckpointCallback(["loss"]), "ReportCheckpointCallback: checkpoint_on='loss' is no event"),
    ],
)
def test_wrong_arguments(make, message) -> None:
    with pytest.raises(SpecError, match=message):
        make()


# Checkpoints


def test_a_checkpoint_is_a_model_that_keras_loads(tmp_path) -> None:
    predicted = []

    def train() -> None:
        model = build()
        fit(model, [TuneReportCheckpointCallback()], epochs=2)
        predicted.append(model.predict(X, verbose=0))

    saved = checkpoints(run(tmp_path, train))
    assert {number: each.to_dict()["epoch"] for number, each in saved.items()} == {1: 1, 2: 2}
    model = keras.models.load_model(os.path.join(saved[2].path, "model.keras"))
    np.testing.assert_array_equal(model.predict(X, verbose=0), predicted[0])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"frequency": 2}, {2: 2, 4: 4}),
        ({"frequency": [2, 1], "on": ["epoch_end", "train_end"]}, {2: 2, 4: 4, 6: 5}),
        ({"checkpoint_on": "train_end", "report_metrics_on": "epoch_end"}, {6: 5}),
        ({"checkpoint_on": "epoch_end", "report_metrics_on": "train_end"}, {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}),
        ({"on": "train_batch_end", "frequency": 4}, {4: 1, 8: 2, 12: 3}),
        ({"on": "test_end"}, {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}),
    ],
)
def test_when_there_are_checkpoints_and_of_which_epoch(tmp_path, arguments, expected) -> None:
    """Of an epoch that has begun nothing counts; the validation comes when its training is over."""

    def train() -> None:
        fit(build(), [TuneReportCheckpointCallback(filename="model.weights.h5", **arguments)], epochs=5, validation_data=(X, Y))

    assert {number: each.to_dict()["epoch"] for number, each in checkpoints(run(tmp_path, train)).items()} == expected


class Own(keras.Model):
    """It cannot be told from its configuration what it was made with."""

    def __init__(self, given: object) -> None:
        super().__init__()
        self.given, self.layer = given, keras.layers.Dense(1)

    def build(self, shape: Any) -> None:
        self.layer.build(shape)

    def call(self, inputs: Any) -> Any:
        return self.layer(inputs)


def own() -> Any:
    keras.utils.set_random_seed(1)
    model = Own(object())
    model.compile(optimizer="sgd", loss="mse", run_eagerly=True)
    return model


def test_a_model_that_cannot_be_saved_as_a_whole(tmp_path) -> None:
    with pytest.raises(TrialsFailed, match=r"the whole model can't be saved\. With filename='model.weights.h5' its weights"):
        run(tmp_path / "whole", lambda: fit(own(), [TuneReportCheckpointCallback()]))
    trained = []

    def train() -> None:
        trained.append(own())
        fit(trained[0], [TuneReportCheckpointCallback(filename="model.weights.h5")])

    analysis = run(tmp_path / "weights", train)
    fresh = own()
    with pytest.raises(SpecError, match="the model has no weights yet"):
        resume(fresh, checkpoints(analysis)[1])
    fresh.build((None, 3))
    assert resume(fresh, checkpoints(analysis)[1]) == 1
    assert same(state(fresh), state(trained[0]))


# Going on


@pytest.mark.parametrize("filename", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, keras.optimizers.SGD])
def test_what_is_resumed_goes_on_as_if_nothing_had_been(tmp_path, filename, optimizer) -> None:
    """Weights, optimizer, Dropout's seeds, and the generators that the order of the samples is drawn from."""
    shuffle = {"shuffle": TORCH}  # on TensorFlow it is drawn where nobody can look
    order: list[list[int]] = []

    class Draws(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            order.append([epoch, random.randrange(10**6), int(np.random.randint(10**6))])  # noqa: NPY002

    models: list[Any] = []

    def train(start: tune.Checkpoint | None = None) -> None:
        models.append(build(optimizer=optimizer))
        first = resume(models[-1], start)
        fit(models[-1], [Draws(), TuneReportCheckpointCallback(filename=filename)], 4, initial_epoch=first, **shuffle)

    whole = checkpoints(run(tmp_path / "whole", train))
    part = run(tmp_path / "part", lambda: train(whole[2]))
    assert part.trials[0].last_result["training_iteration"] == 2
    assert same(state(models[0]), state(models[1]))
    assert order[4:] == order[2:4]


def test_a_new_trial_begins_at_epoch_0(tmp_path) -> None:
    found = []

    def train() -> None:
        model = build()
        before = state(model)
        found.append((resume(model), same(state(model), before)))
        tune.report(loss=1)

    run(tmp_path, train)
    assert found == [(0, True)]


class Lowers(keras.callbacks.Callback):
    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.optimizer.learning_rate = 0.01


def rate(model: Any) -> float:
    return round(float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)), 6)


def test_a_learning_rate_that_was_lowered_comes_back(tmp_path) -> None:
    def train() -> None:
        model = build(0.1)
        for epoch in range(2):  # also where fit() is called more than once
            fit(model, [Lowers(), TuneReportCheckpointCallback()], epoch + 1, initial_epoch=epoch)

    saved = checkpoints(run(tmp_path / "first", train))[2]
    again = build(0.1)
    assert resume(again, saved) == 2
    assert rate(again) == 0.01

    def go_on() -> None:
        model = build(0.1)
        fit(model, [TuneReportCheckpointCallback()], 3, initial_epoch=resume(model, saved))

    third = build(0.1)
    assert resume(third, checkpoints(run(tmp_path / "second", go_on))[1]) == 3
    assert rate(third) == 0.01, "after the second resume, too"


def test_another_learning_rate_than_it_was_compiled_with_holds(tmp_path) -> None:
    saved = checkpoints(run(tmp_path, lambda: fit(build(0.1), [Lowers(), TuneReportCheckpointCallback()])))[1]
    other = build(0.2)
    resume(other, saved)
    assert rate(other) == 0.2


def test_schedules_of_learning_rates(tmp_path) -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
    models = []

    def train() -> None:
        models.append(build(schedule))
        fit(models[0], [TuneReportCheckpointCallback()])

    saved = checkpoints(run(tmp_path, train))[1]
    again = build(schedule)
    resume(again, saved)
    assert rate(again) == rate(models[0]) == 0.05
    assert same(state(again), state(models[0]))


def test_mixed_precision(tmp_path) -> None:
    """Its optimizer is wrapped in another one."""
    models = []

    def train() -> None:
        models.append(build(dtype="mixed_float16", optimizer=lambda lr: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(lr))))
        fit(models[-1], [TuneReportCheckpointCallback()])

    saved = checkpoints(run(tmp_path, train))[1]
    again = build(0.3, dtype="mixed_float16", optimizer=lambda lr: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(lr)))
    resume(again, saved)
    assert rate(again) == 0.3
    again.optimizer.learning_rate = 0.1
    assert same(state(again), state(models[0]))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: build(compiled=False), "the model is not compiled yet"),
        (lambda: build(width=5), "is of a model with other layers than 'sequential.*Keras says: .*could not be loaded"),
    ],
)
def test_models_that_cannot_be_resumed(tmp_path, model, message) -> None:
    saved = checkpoints(run(tmp_path, lambda: fit(build(), [TuneReportCheckpointCallback()])))[1]
    with pytest.raises(SpecError, match=re.compile(message, re.DOTALL)):
        resume(model(), saved)


@pytest.mark.parametrize(("model", "message"), [(lambda: build(compiled=False), "not compiled yet"), (own, "has no weights yet")])
def test_a_new_trial_says_so_too_and_not_only_its_retry(tmp_path, model, message) -> None:
    with pytest.raises(TrialsFailed, match=message):
        run(tmp_path, lambda: resume(model()))


def test_a_model_that_only_predicts_may_be_saved(tmp_path) -> None:
    def train() -> None:
        build(compiled=False).predict(X, verbose=0, callbacks=[TuneReportCheckpointCallback(on="predict_end")])

    assert checkpoints(run(tmp_path, train))[1].to_dict()["learning_rate"] is None


def test_checkpoints_of_others_are_refused(tmp_path) -> None:
    for made in (tune.Checkpoint(tmp_path), tune.Checkpoint.from_dict({"epoch": 3})):
        with pytest.raises(SpecError, match=r"was not made by a callback of tune\.integration\.keras"):
            resume(build(), made)


# Stops, and outside of trials


def test_a_stop_unwinds_fit_at_once(tmp_path) -> None:
    told: list[str] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: told.append("batch"), on_train_end=lambda logs: told.append("end")
    )

    def train() -> None:
        model = build()
        try:
            fit(model, [TuneReportCheckpointCallback(), note], epochs=5)
        except Exception:
            told.append("swallowed")
        finally:
            told.append("finally")
        told.append("after")

    (trial,) = run(tmp_path, train, stop={"training_iteration": 2}).trials
    assert (trial.status, trial.last_result["training_iteration"]) == ("TERMINATED", 2)
    assert told == ["batch"] * 6 + ["finally"]


def test_a_stop_in_the_midst_of_an_epoch(tmp_path) -> None:
    batches: list[int] = []
    note = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: batches.append(batch))
    run(tmp_path, lambda: fit(build(), [TuneReportCallback(on="train_batch_end"), note], epochs=5), stop={"training_iteration": 5})
    assert batches == [0, 1, 2, 0, 1]


def test_outside_of_a_trial_it_trains_and_nothing_else(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))  # a save would fail
    monkeypatch.setattr("tunesmith.trainable.session._warned", [])
    model = build()
    with pytest.warns(UserWarning, match=r"get_checkpoint\(\) was called outside a tunesmith run"):
        assert resume(model) == 0
    history = fit(model, [TuneReportCheckpointCallback(), TuneReportCallback()], epochs=2)  # a second warning would be an error
    assert history.epoch == [0, 1]
