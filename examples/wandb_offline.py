"""Logs to Weights & Biases, without network or account: from outside by a callback, or in the trial by a decorator or a function.
Install: pip install "tunesmith[sklearn,wandb]"
Takes: about a minute on 2 cores. To send the runs to the server as they are made: `wandb login`, then WANDB_MODE=online.
"""

import argparse
import os
from pathlib import Path

try:
    import wandb
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn and W&B: pip install "tunesmith[sklearn,wandb]"') from None

import tunesmith as tune
from tunesmith.integration.wandb import WandbLoggerCallback, setup_wandb, wandb_mixin

os.environ.setdefault("WANDB_MODE", "offline")


def epochs_of(config):
    """The training: yields what there is to say after each epoch."""
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split
    model = MLPClassifier((config["units"],), learning_rate_init=config["lr"], random_state=0)
    for _ in range(config["epochs"]):
        model.partial_fit(train_images, train_digits, classes=range(10))
        yield {"accuracy": 100 * model.score(test_images, test_digits), "loss": model.loss_}, model


# 1. From outside: the training function does not know of W&B. What it reports is logged, arrays as histograms.
def train(config):
    for result, model in epochs_of(config):
        tune.report({**result, "weights": model.coefs_[0]})


# 2. In the trial, with a decorator: `wandb.log`, `wandb.config` and `wandb.run` just work. Its settings are in config["wandb"].
@wandb_mixin
def train_and_log(config):
    for result, model in epochs_of(config):
        wandb.log({**result, "weights": wandb.Histogram(model.coefs_[0].ravel())})
        tune.report(result)


# 3. In the trial, with a function: the run is what it returns.
def train_with_setup(config):
    run = setup_wandb(config, project="tunesmith-digits")
    for result, _ in epochs_of(config):
        run.log(result)
        tune.report(result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 2 if args.smoke_test else 15

    space = {"lr": tune.loguniform(1e-4, 1e-1), "units": tune.lograndint(8, 128), "epochs": epochs}
    common = {"metric": "accuracy", "mode": "max", "storage_path": args.storage_path, "seed": 0}
    outside = tune.run(
        train,
        name="wandb-outside",
        config=space,
        num_samples=2 if args.smoke_test else 12,
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        callbacks=[WandbLoggerCallback(project="tunesmith-digits", log_config=True)],
        **common,
    )
    few = 1 if args.smoke_test else 4
    block = {"project": "tunesmith-digits", "tags": ["mixin"]}
    inside = tune.run(train_and_log, name="wandb-mixin", config={**space, "wandb": block}, num_samples=few, **common)
    set_up = tune.run(train_with_setup, name="wandb-setup", config=space, num_samples=few, **common)

    print("\nOffline runs, one directory each. To send them to the server later:")
    for analysis in (outside, inside, set_up):
        place = Path(analysis.experiment_path)
        print(f"  wandb sync {place}/*/wandb/offline-run-*    # {len(list(place.glob('*/wandb/offline-run-*')))} runs")
    best = max((outside, inside, set_up), key=lambda analysis: analysis.best_result["accuracy"])
    print(f"best accuracy: {best.best_result['accuracy']:.1f} % with {best.best_config}")
