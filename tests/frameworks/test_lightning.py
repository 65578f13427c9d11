"""Lightning's trainers report to trials, and go on where they were."""

from __future__ import annotations

import copy
import hashlib
import pickle
import sys
import types

import pytest
import pytorch_lightning
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import tunesmith as tune
from tunesmith.errors import SpecError, UserCodeError
from tunesmith.integration import pytorch_lightning as integration
from tunesmith.integration.pytorch_lightning import (
    TuneCheckpointCallback,
    TuneReportCallback,
    TuneReportCheckpointCallback,
    ckpt_path,
)
from tunesmith.testing import FrameworkKit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # on this machine a few more would not help
    pytest.mark.filterwarnings("ignore:.*ended before the epoch ended"),  # a test is about this
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning's own use of torch
]


class Digits(pytorch_lightning.LightningModule):
    """One layer of weights behind some dropout: random numbers matter."""

    def __init__(self, lr, decay=0.0):
        super().__init__()
        self.lr, self.decay = lr, decay
        self.layer = torch.nn.Linear(64, 10)

    def forward(self, images):
        return self.layer(torch.nn.functional.dropout(images, 0.2, self.training))

    def training_step(self, batch, _):
        loss = torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, _):
        scores = self(batch[0])
        self.log("val_loss", torch.nn.functional.cross_entropy(scores, batch[1]))
        self.log("val_accuracy", (scores.argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=self.decay)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.9)]


def loaders():
    images, digits = load_digits(return_X_y=True)
    images, digits = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits)
    train, test = TensorDataset(images[:1200], digits[:1200]), TensorDataset(images[1200:], digits[1200:])
    return DataLoader(train, batch_size=200, shuffle=True), DataLoader(test, batch_size=597)


STEPS = 6  # in an epoch


def fit(module, callbacks, epochs=2, path=None, **arguments):
    usual = {"num_sanity_val_steps": 1, "logger": False, "enable_checkpointing": False}
    trainer = pytorch_lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False,
        **{**usual, **arguments},
    )  # fmt: skip
    trainer.fit(module, *loaders(), ckpt_path=path)
    return trainer


def weights(module):
    return torch.cat([values.detach().flatten() for values in module.parameters()]).numpy().tobytes()


class Notes(pytorch_lightning.Callback):
    """Keeps the diary. Stands after our callbacks, so it is only called if those return."""

    def __init__(self, diary):
        self.diary = diary

    def on_train_start(self, trainer, pl_module):
        self.diary.begins(trainer.global_step // STEPS, weights(pl_module))

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            self.diary.trained(trainer.global_step // STEPS, weights(pl_module))


METRICS = {"loss": "val_loss", "accuracy": "val_accuracy"}


def train(config):
    callbacks = [TuneReportCheckpointCallback(METRICS), Notes(config["diary"])]
    fit(Digits(config["lr"]), callbacks, config["epochs"], ckpt_path())


class TestReportCheckpoint(FrameworkKit):
    train = staticmethod(train)


def train_with_two(config):
    callbacks = [TuneCheckpointCallback(), TuneReportCallback(METRICS), Notes(config["diary"])]
    fit(Digits(config["lr"]), callbacks, config["epochs"], ckpt_path())


class TestTwoCallbacks(FrameworkKit):
    train = staticmethod(train_with_two)


def run(tmp_path, train, **arguments):
    given = {"metric": "loss", "mode": "min", "verbose": 0, "executor": "inline", "storage_path": str(tmp_path / "results"), "seed": 3}
    return tune.run(train, **{**given, **arguments})


def run_fit(tmp_path, callback, epochs=2, metric="loss", **arguments):
    """The results of a trial that is one ``fit`` with this callback."""

    def train(config):
        fit(Digits(0.1), [callback], epochs, **arguments)

    return rows(run(tmp_path, train, metric=metric))


def rows(analysis):
    (frame,) = analysis.trial_dataframes.values()
    return frame


class Fails(pytorch_lightning.Callback):
    def __init__(self, flag, epoch):
        self.flag, self.epoch = flag, epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch and not self.flag.exists():
            self.flag.touch()
            raise RuntimeError("once")


@pytest.mark.parametrize("on", ["validation_end", "train_epoch_end"])
def test_training_after_a_resume_equals_training_without_an_interruption(tmp_path, on):
    def train(config):
        module = Digits(0.1)
        callbacks = [TuneReportCheckpointCallback({"loss": "val_loss"}, on=on)]
        fit(module, [*callbacks, Fails(tmp_path / "flag", 2)] if config["fails"] else callbacks, 5, ckpt_path())
        (tmp_path / f"{config['fails']}").write_text(hashlib.sha256(weights(module)).hexdigest())

    losses = [list(rows(run(tmp_path, train, config={"fails": fails}, max_failures=1))["loss"]) for fails in (False, True)]
    assert len(losses[0]) == 5
    assert losses[0] == losses[1]
    assert (tmp_path / "flag").exists()
    assert (tmp_path / "False").read_text() == (tmp_path / "True").read_text()


def test_another_learning_rate_of_the_config_is_not_undone_by_the_checkpoint(tmp_path):
    saved = tmp_path / "saved.ckpt"
    first = fit(Digits(0.1), [TuneReportCallback(on="test_end")], 2)
    first.save_checkpoint(saved)
    assert first.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.9**2)
    same = fit(Digits(0.1), [TuneReportCallback(on="test_end")], 3, saved)
    assert same.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 0.9**3, rel=1e-12)
    other = fit(Digits(0.02, decay=0.5), [TuneCheckpointCallback(on="test_end"), TuneReportCallback(on="test_end")], 3, saved)
    (group,) = other.optimizers[0].param_groups
    assert (group["lr"], group["weight_decay"]) == (pytest.approx(0.02 * 0.9**3), 0.5)
    assert other.lr_scheduler_configs[0].scheduler.base_lrs == [pytest.approx(0.02)]


@pytest.mark.parametrize(
    ("metrics", "on", "names"),
    [
        (None, "train_epoch_end", {"train_loss", "val_loss", "val_accuracy"}),
        ("val_loss", "validation_end", {"val_loss"}),
        (["val_loss", "val_accuracy"], ["validation_end"], {"val_loss", "val_accuracy"}),
        ({"loss": "train_loss"}, "train_epoch_end", {"loss"}),
    ],
)
def test_metrics_are_reported_by_the_names_given(tmp_path, metrics, on, names):
    frame = run_fit(tmp_path, TuneReportCallback(metrics, on), metric=min(names))
    assert len(frame) == 2
    assert {name for name in frame if "loss" in name or "acc" in name} == names
    assert frame[min(names)].nunique() == 2


def test_reports_in_the_midst_of_epochs(tmp_path):
    assert len(run_fit(tmp_path, TuneReportCallback(METRICS), val_check_interval=2)) == 6
    assert len(run_fit(tmp_path, TuneReportCallback(METRICS, on="train_batch_end"))) == STEPS  # after the first validation


def test_nothing_is_reported_before_the_first_validation(tmp_path):
    callback = TuneReportCallback({"loss": "val_loss", "train": "train_loss"}, on="train_epoch_end")
    frame = run_fit(tmp_path, callback, 4, check_val_every_n_epoch=2)
    assert len(frame) == 3
    assert frame["loss"].nunique() == 2
    assert frame["train"].nunique() == 3


def test_saving_may_be_left_out(tmp_path):
    assert len(run_fit(tmp_path, TuneReportCheckpointCallback(METRICS, save_checkpoints=False))) == 2
    assert not list(tmp_path.rglob("checkpoint*"))
    assert len(run_fit(tmp_path, TuneReportCheckpointCallback(METRICS))) == 2
    assert len(list(tmp_path.rglob("checkpoint_00000*/checkpoint"))) == 2


def test_a_resume_in_the_midst_of_an_epoch_trains_the_rest_of_it(tmp_path):
    def train(config):
        callbacks = [TuneReportCheckpointCallback(METRICS), Fails(tmp_path / "flag", 1)]
        trainer = fit(Digits(0.1), callbacks, 2, ckpt_path(), val_check_interval=4)
        (tmp_path / "steps").write_text(str(trainer.global_step))

    analysis = run(tmp_path, train, max_failures=1)
    assert (tmp_path / "steps").read_text() == str(2 * STEPS)
    assert len(rows(analysis)) == 2


@pytest.mark.parametrize(
    ("metrics", "on", "message"),
    [
        ("val_los", "validation_end", r"'val_los' is not there; there are: val_accuracy, val_loss\. Did you mean 'val_loss'\?.* 6 steps"),
        ("train_loss", "validation_end", r"means of a training epoch are there from 'train_epoch_end' on"),
    ],
)
def test_a_metric_that_is_not_there_is_named_with_those_that_are(metrics, on, message):
    with pytest.raises(UserCodeError, match=message):
        fit(Digits(0.1), [TuneReportCallback(metrics, on)])


class Silent(Digits):
    def validation_step(self, batch, _):
        self(batch[0])


def test_a_module_that_logs_nothing():
    with pytest.raises(UserCodeError, match=r"TuneReportCallback: there are no metrics; there are: none"):
        fit(Silent(0.1), [TuneReportCallback()])


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneReportCheckpointCallback])
def test_a_training_without_reports_for_want_of_a_validation_is_told(tmp_path, callback):
    message = rf"{callback.__name__}: nothing was reported, because there was no validation before on=\('validation_end',\)"
    with pytest.warns(UserWarning, match=message):
        fit(Digits(0.1), [callback(METRICS)], 1, limit_val_batches=0)
    with pytest.warns(UserWarning, match=r"there was no validation before on=\('train_epoch_end',\)"):
        fit(Digits(0.1), [callback(METRICS, on="train_epoch_end")], 1, check_val_every_n_epoch=2)
    both = callback("train_loss", on=["validation_end", "train_epoch_end"])
    assert len(run_fit(tmp_path, both, 1, "train_loss", limit_val_batches=0)) == 1, "it has reported, so it does not warn"


def test_outside_of_a_trial_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(Digits(0.1), [TuneCheckpointCallback()], 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("callback", [TuneReportCallback, TuneCheckpointCallback, TuneReportCheckpointCallback])
def test_hooks_that_there_are_not(callback):
    for wrong in (None, [["validation_end"]]):
        with pytest.raises(SpecError, match="there is no hook"):
            callback(on=wrong)
    with pytest.raises(SpecError, match=rf"{callback.__name__}\(on='epoch_end'\): there is no hook 'epoch_end'. .* train_epoch_end"):
        callback(on="epoch_end")
    with pytest.raises(SpecError, match="there is no hook 'save_checkpoint'"):
        callback(on=["train_end", "save_checkpoint"])
    with pytest.raises(SpecError, match="it is empty"):
        callback(on=[])


@pytest.mark.parametrize("filename", ["", "a/b", 3])
def test_names_of_files(filename):
    for callback in (TuneCheckpointCallback, TuneReportCheckpointCallback):
        with pytest.raises(SpecError, match=r"filename=.*expected the name of a file"):
            callback(filename=filename)


@pytest.mark.parametrize("metrics", [3, [3], 0.5, [["a"]], b"a"])
def test_metrics_of_a_wrong_kind(metrics):
    with pytest.raises(SpecError, match=r"TuneReportCallback: metrics must be a name, a list of names.* got "):
        TuneReportCallback(metrics)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_a_copy_of_a_callback_reports_too(tmp_path, again):
    copied = again(TuneReportCallback(METRICS, on=["validation_end", "train_epoch_end"]))
    assert copied.on_validation_end.callback is copied
    assert len(run_fit(tmp_path, copied)) == 4


def test_a_checkpoint_without_the_file_names_what_it_holds(tmp_path):
    def train(config):
        fit(Digits(0.1), [TuneReportCheckpointCallback(METRICS, "one.ckpt")], 1)
        with pytest.raises(UserCodeError, match=r"no such file; it holds one\.ckpt"):
            ckpt_path()
        assert ckpt_path("one.ckpt").endswith("one.ckpt")

    assert run(tmp_path, train).trials[0].status == "TERMINATED"


def test_a_stop_passes_through_the_trainer(tmp_path):
    unwound = []

    class Watches(pytorch_lightning.Callback):
        def on_exception(self, trainer, pl_module, exception):
            unwound.append((type(exception).__name__, trainer.global_step))

    def train(config):
        try:
            fit(Digits(0.1), [TuneReportCallback(METRICS), Watches()], 10)
        finally:
            unwound.append("finally")

    assert len(rows(run(tmp_path, train, stop={"training_iteration": 3}))) == 3
    assert unwound == [("TrialStopped", 3 * STEPS), "finally"]


def test_callbacks_belong_to_the_package_that_was_imported(monkeypatch):
    class Other:
        pass

    fake = types.ModuleType("lightning.pytorch")
    fake.Callback = Other
    monkeypatch.setitem(sys.modules, "lightning.pytorch", fake)
    assert integration._bases() == (Other, pytorch_lightning.Callback)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    assert integration._bases() == (Other,)
    monkeypatch.delitem(sys.modules, "lightning.pytorch")
    asked = []

    def load(owner, name, extra):
        asked.append((name, extra))
        if name == "lightning.pytorch":
            raise SpecError("not installed")
        return fake

    monkeypatch.setattr(integration, "load", load)
    assert integration._bases() == (Other,)
    assert asked == [("lightning.pytorch", "lightning"), ("pytorch_lightning", "lightning")]
