"""PyTorch Lightning: a convolutional network for handwritten digits. A callback reports each validation, and ASHA stops the bad trials.
Install: pip install "tunesmith[lightning,sklearn]"
Takes: about 40 seconds on 2 cores.
"""

import argparse
import logging
import warnings

try:
    import pytorch_lightning as pl
    import torch
    from sklearn.datasets import load_digits
    from torch.utils.data import DataLoader, TensorDataset, random_split
except ImportError:
    raise SystemExit('This example needs PyTorch Lightning and scikit-learn: pip install "tunesmith[lightning,sklearn]"') from None

import tunesmith as tune
from tunesmith.integration.pytorch_lightning import TuneReportCheckpointCallback, ckpt_path


class DigitData(pl.LightningDataModule):
    def __init__(self, batch_size):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        images, numbers = load_digits(return_X_y=True)
        images = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
        parts = random_split(TensorDataset(images, torch.tensor(numbers)), [0.75, 0.25], torch.Generator().manual_seed(0))
        self.train_part, self.test_part = parts

    def train_dataloader(self):
        return DataLoader(self.train_part, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.test_part, batch_size=512)


class DigitNet(pl.LightningModule):
    def __init__(self, config):
        super().__init__()
        self.save_hyperparameters()
        channels = config["channels"]
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, channels, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
            torch.nn.Dropout(config["dropout"]), torch.nn.Linear(16 * channels, 10),
        )  # fmt: skip

    def training_step(self, batch, _):
        images, numbers = batch
        return torch.nn.functional.cross_entropy(self.net(images), numbers)

    def validation_step(self, batch, _):
        images, numbers = batch
        scores = self.net(images)
        self.log("val_loss", torch.nn.functional.cross_entropy(scores, numbers))
        self.log("val_accuracy", 100 * (scores.argmax(1) == numbers).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.config["lr"])


def train(config):
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    trainer = pl.Trainer(
        max_epochs=config["epochs"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,  # the callback does that
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[TuneReportCheckpointCallback({"loss": "val_loss", "accuracy": "val_accuracy"})],
    )
    trainer.fit(DigitNet(config), DigitData(config["batch_size"]), ckpt_path=ckpt_path())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 3 if args.smoke_test else 12

    analysis = tune.run(
        train,
        name="lightning",
        metric="accuracy",
        mode="max",
        config={
            "lr": tune.loguniform(1e-4, 1e-1),
            "channels": tune.choice([4, 8, 16]),
            "dropout": tune.uniform(0, 0.5),
            "batch_size": tune.choice([32, 64, 128]),
            "epochs": epochs,
        },
        num_samples=4 if args.smoke_test else 20,
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        keep_checkpoints_num=1,
        storage_path=args.storage_path,
        seed=0,
    )
    best = analysis.best_result
    print(f"best accuracy: {best['accuracy']:.1f} % with {analysis.best_config}")
