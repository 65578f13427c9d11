"""A network in plain PyTorch for 1,797 handwritten digits: 64 configurations, of which ASHA trains the better ones on, up to 20 epochs.
Install: pip install "tunesmith[torch,sklearn]"
Takes: about a minute on 2 cores.
"""

import argparse
from functools import cache

try:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs PyTorch and scikit-learn: pip install "tunesmith[torch,sklearn]"') from None

import tunesmith as tune
from tunesmith.integration.torch import TrainState

SPACE = {
    "lr": tune.loguniform(1e-4, 1),
    "momentum": tune.uniform(0, 0.99),
    "weight_decay": tune.loguniform(1e-6, 1e-2),
    "hidden": tune.choice([16, 32, 64, 128]),
    "dropout": tune.uniform(0, 0.5),
    "batch_size": tune.choice([32, 64, 128]),
}


@cache
def digits():
    """Images and numbers to train with, images and numbers to test with."""
    images, numbers = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, numbers, test_size=0.25, random_state=0, stratify=numbers)
    train_images, test_images, train_numbers, test_numbers = parts
    return (
        torch.tensor(train_images, dtype=torch.float32), torch.tensor(train_numbers),
        torch.tensor(test_images, dtype=torch.float32), torch.tensor(test_numbers),
    )  # fmt: skip


def train(config):
    train_images, train_numbers, test_images, test_numbers = digits()
    model = torch.nn.Sequential(
        torch.nn.Linear(64, config["hidden"]),
        torch.nn.ReLU(),
        torch.nn.Dropout(config["dropout"]),
        torch.nn.Linear(config["hidden"], 10),
    )
    rates = {name: config[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD(model.parameters(), **rates)
    state = TrainState(model=model, optimizer=optimizer)
    first = state.restore().get("epoch", 0)  # of a trial that is resumed, how far it was

    for epoch in range(first, config["epochs"]):
        model.train()
        for batch in torch.randperm(len(train_images)).split(config["batch_size"]):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(train_images[batch]), train_numbers[batch])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = 100 * (model(test_images).argmax(1) == test_numbers).float().mean().item()
        tune.report(accuracy=accuracy, loss=loss.item(), checkpoint=state.checkpoint(epoch=epoch + 1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 4 if args.smoke_test else 20

    analysis = tune.run(
        train,
        name="torch-asha",
        metric="accuracy",
        mode="max",
        config={**SPACE, "epochs": epochs},
        num_samples=6 if args.smoke_test else 64,
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        keep_checkpoints_num=1,
        storage_path=args.storage_path,
        seed=0,
    )
    whole = 100 * sum(trial.last_result["training_iteration"] for trial in analysis.trials) / (epochs * len(analysis.trials))
    print(f"{len(analysis.trials)} trials, with {whole:.0f} % of the epochs that they would take without ASHA")
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")


if __name__ == "__main__":
    main()
