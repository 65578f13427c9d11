"""Hugging Face's trainer reports to trials, and goes on where it was. Its model reads digits as sequences of 64 grey values."""

from __future__ import annotations

import hashlib
import os

import pytest
import torch
import transformers
from sklearn.datasets import load_digits

import tunesmith as tune
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration.transformers import TuneReportCallback, TuneReportCheckpointCallback, resume_from_checkpoint
from tunesmith.testing import FrameworkKit

pytestmark = [pytest.mark.slow, pytest.mark.heavy]

STEPS = 6  # in an epoch


def digits():
    images, numbers = load_digits(return_X_y=True)
    samples = [{"input_ids": torch.tensor(image, dtype=torch.long), "labels": number} for image, number in zip(images, numbers)]
    return samples[:300], samples[300:400]


def network():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=17, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32, max_position_embeddings=64,
        num_labels=10, initializer_range=0.5,
    )  # fmt: skip
    return transformers.BertForSequenceClassification(config)


def accuracy(predicted):
    return {"accuracy": float((predicted.predictions.argmax(1) == predicted.label_ids).mean())}


def trainer(folder, callbacks, lr=1e-2, epochs=2, optimizers=(None, None), model=None, evaluate=None, **arguments):
    usual = {"eval_strategy": "epoch", "logging_strategy": "epoch", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    told = transformers.TrainingArguments(
        output_dir=str(folder), learning_rate=lr, num_train_epochs=epochs, per_device_train_batch_size=50, per_device_eval_batch_size=100,
        use_cpu=True, dataloader_pin_memory=False, **{**usual, **arguments},
    )  # fmt: skip
    train, test = digits()
    return transformers.Trainer(
        network() if model is None else model, told, train_dataset=train, eval_dataset=evaluate or test, compute_metrics=accuracy,
        callbacks=callbacks, optimizers=optimizers,
    )  # fmt: skip


def weights(model):
    return torch.cat([values.detach().flatten() for values in model.parameters()]).numpy().tobytes()


class Notes(transformers.TrainerCallback):
    """Keeps the diary. Stands after our callbacks, so it is only called if those return."""

    def __init__(self, diary):
        self.diary = diary

    def on_train_begin(self, args, state, control, model=None, **_):
        self.diary.begins(state.global_step // STEPS, weights(model))

    def on_save(self, args, state, control, model=None, **_):
        self.diary.trained(state.global_step // STEPS, weights(model))


METRICS = {"loss": "eval_loss", "accuracy": "eval_accuracy"}


def train(config):
    folder = os.path.join(tune.get_trial_dir(), "trainer")
    made = trainer(folder, [TuneReportCheckpointCallback(METRICS), Notes(config["diary"])], config["lr"], config["epochs"])
    made.train(resume_from_checkpoint=resume_from_checkpoint())


class TestTrainer(FrameworkKit):
    train = staticmethod(train)
    good, bad = 1e-2, 1e-7


def run(tmp_path, train, **arguments):
    given = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "storage_path": str(tmp_path / "results"), "seed": 3}
    return tune.run(train, **{**given, **arguments})


def rows(analysis):
    (frame,) = analysis.trial_dataframes.values()
    return frame


class Fails(transformers.TrainerCallback):
    def __init__(self, flag, epoch):
        self.flag, self.epoch = flag, epoch

    def on_epoch_begin(self, args, state, control, **_):
        if round(state.epoch or 0) == self.epoch and not self.flag.exists():
            self.flag.touch()
            raise RuntimeError("once")


def test_training_after_a_resume_equals_training_without_an_interruption(tmp_path):
    def train(config):
        callbacks = [TuneReportCheckpointCallback(METRICS)]
        made = trainer(tmp_path / "out", [*callbacks, Fails(tmp_path / "flag", 2)] if config["fails"] else callbacks, epochs=4)
        made.train(resume_from_checkpoint=resume_from_checkpoint())
        (tmp_path / f"{config['fails']}").write_text(hashlib.sha256(weights(made.model)).hexdigest())

    losses = [list(rows(run(tmp_path, train, config={"fails": fails}, max_failures=1))["loss"]) for fails in (False, True)]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]
    assert (tmp_path / "flag").exists()
    assert (tmp_path / "False").read_text() == (tmp_path / "True").read_text()


def rates(made):
    return [(group["initial_lr"], group["weight_decay"]) for group in made.optimizer.param_groups], made.lr_scheduler.base_lrs


def test_other_arguments_of_the_config_are_not_undone_by_the_checkpoint(tmp_path):
    def train(config):
        first = trainer(tmp_path / "out", [TuneReportCheckpointCallback(METRICS)], 4e-3, epochs=1, weight_decay=0.5)
        first.train()
        before = rates(first)
        same = trainer(tmp_path / "out", [TuneReportCheckpointCallback(METRICS)], 4e-3, epochs=2, weight_decay=0.5)
        same.train(resume_from_checkpoint=resume_from_checkpoint())
        assert rates(same) == before == ([(4e-3, 0.5), (4e-3, 0.0)], [4e-3, 4e-3])
        other = trainer(tmp_path / "out", [TuneReportCheckpointCallback(METRICS)], 1e-3, epochs=3, weight_decay=0.25)
        other.train(resume_from_checkpoint=resume_from_checkpoint())
        assert rates(other) == ([(1e-3, 0.25), (1e-3, 0.0)], [1e-3, 1e-3])

    assert len(rows(run(tmp_path, train))) == 3


def test_neither_are_those_of_an_optimizer_of_ones_own(tmp_path):
    def train(config):
        for epochs, lr in [(1, 0.1), (2, 0.05)]:
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), lr=lr)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=STEPS, gamma=0.5)
            callbacks = [TuneReportCheckpointCallback(METRICS)]
            made = trainer(tmp_path / "out", callbacks, epochs=epochs, optimizers=(optimizer, scheduler), model=model)
            made.train(resume_from_checkpoint=resume_from_checkpoint())
            (group,) = made.optimizer.param_groups
            assert (group["initial_lr"], group["lr"]) == (lr, pytest.approx(lr * 0.5**epochs))

    assert len(rows(run(tmp_path, train))) == 2


@pytest.mark.parametrize(
    ("metrics", "on", "names"),
    [
        (None, "evaluate", {"eval_loss", "loss", "eval_accuracy", "grad_norm"}),
        ("eval_loss", "evaluate", {"eval_loss"}),
        (["loss"], ["log"], {"loss"}),
        ({"train": "loss", "loss": "eval_loss"}, ["log", "evaluate"], {"train", "loss"}),
    ],
)
@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_metrics_are_reported_by_the_names_given(tmp_path, metrics, on, names, callback):
    def train(config):
        trainer(tmp_path / "out", [callback(metrics, on)]).train()

    frame = rows(run(tmp_path, train, metric=max(names, key=len)))
    assert len(frame) == 2
    assert names <= set(frame)
    assert ({"eval_loss", "eval_accuracy", "grad_norm"} & set(frame)) == ({"eval_loss", "eval_accuracy", "grad_norm"} & names)


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_reports_in_the_midst_of_epochs(tmp_path, callback):
    def train(config):
        trainer(tmp_path / "out", [callback(METRICS)], eval_strategy="steps", eval_steps=4, eval_on_start=True).train()

    analysis = run(tmp_path, train)
    assert len(rows(analysis)) == 3  # after 4, 8 and 12 steps
    assert (analysis.trials[0].checkpoint is not None) == (callback is TuneReportCheckpointCallback)


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_several_evaluation_sets_are_one_report(tmp_path, callback):
    _, test = digits()
    names = {"a": "eval_first_loss", "b": "eval_second_loss"}

    def train(config):
        trainer(tmp_path / "out", [callback(names)], evaluate={"first": test[:50], "second": test[50:]}).train()

    frame = rows(run(tmp_path, train, metric="a"))
    assert len(frame) == 2
    assert (frame["a"] != frame["b"]).all()


def test_reports_with_what_the_trainer_saves(tmp_path):
    def train(config):
        trainer(tmp_path / "out", [TuneReportCheckpointCallback(METRICS, on="save")], save_strategy="epoch").train()

    analysis = run(tmp_path, train)
    assert len(rows(analysis)) == 2
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-6"]


def test_nothing_is_reported_before_the_first_evaluation(tmp_path):
    def train(config):
        trainer(tmp_path / "out", [TuneReportCallback(METRICS, on="log")], logging_strategy="steps", logging_steps=2).train()

    assert len(rows(run(tmp_path, train))) == 4  # after 6 (evaluated in the same step), 8, 10 and 12 steps


def test_the_best_ones_only_are_saved_and_all_are_reported(tmp_path):
    def train(config):
        callbacks = [TuneReportCheckpointCallback(METRICS)]
        trainer(tmp_path / "out", callbacks, 1e-12, save_strategy="best", metric_for_best_model="accuracy").train()

    assert len(rows(run(tmp_path, train))) == 2
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-6"]


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_a_training_without_reports_is_told(tmp_path, callback):
    message = rf"{callback.__name__}: nothing was reported in 6 steps of training, .* on=\['evaluate'\] .* eval_strategy='no'"
    with pytest.warns(UserWarning, match=message):
        trainer(tmp_path / "out", [callback(METRICS)], epochs=1, eval_strategy="no").train()


def test_evaluations_outside_of_training_are_no_results(tmp_path):
    def train(config):
        made = trainer(tmp_path / "out", [TuneReportCallback(METRICS)])
        made.evaluate()
        made.train()
        made.evaluate()

    assert len(rows(run(tmp_path, train))) == 2


def test_a_metric_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(UserCodeError, match=r"'accuracy' is not there; there are: epoch, eval_accuracy, .* after 6 steps"):
        trainer(tmp_path, [TuneReportCallback("accuracy")]).train()
    with pytest.raises(UserCodeError, match=r"'loss' is not there; .*first log on: logging_strategy='steps', logging_steps=500"):
        trainer(tmp_path, [TuneReportCallback("loss")], logging_strategy="steps").train()


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_wrong_arguments(callback):
    with pytest.raises(SpecError, match=rf"{callback.__name__}\(on='epoch_end'\): expected one or several of evaluate, log, save"):
        callback(on="epoch_end")
    for wrong in ([], None, [["log"]]):
        with pytest.raises(SpecError, match="expected one or several of"):
            callback(on=wrong)
    with pytest.raises(SpecError, match=r"metrics must be a name, a list of names.* got 3"):
        callback(3)


def test_a_checkpoint_that_is_no_trainers(tmp_path):
    def train(config):
        assert resume_from_checkpoint() is None
        tune.report(loss=1, checkpoint={"epoch": 1})
        with pytest.raises(UserCodeError, match=r"was not saved by a trainer; it holds _dict_checkpoint\.pkl"):
            resume_from_checkpoint()

    assert run(tmp_path, train).trials[0].status == "TERMINATED"


def test_a_stop_passes_through_the_trainer(tmp_path):
    unwound = []

    def train(config):
        made = trainer(tmp_path / "out", [TuneReportCallback(METRICS)], epochs=5)
        try:
            made.train()
        finally:
            unwound.append(made.state.global_step)

    assert len(rows(run(tmp_path, train, stop={"training_iteration": 3}))) == 3
    assert unwound == [3 * STEPS]
