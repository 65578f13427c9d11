"""Population based training in plain PyTorch: trials copy the weights of better ones, and try other learning rates as they go on.
Install: pip install "tunesmith[torch,sklearn]"
Takes: about 30 seconds on 2 cores.
"""

import argparse
import csv
import os

try:
    import torch
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs PyTorch and scikit-learn: pip install "tunesmith[torch,sklearn]"') from None

import tunesmith as tune
from tunesmith.integration.torch import TrainState


def train(config):
    images, numbers = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, numbers, test_size=0.25, random_state=0, stratify=numbers)
    train_images, test_images = (torch.tensor(part, dtype=torch.float32) for part in parts[:2])
    train_numbers, test_numbers = (torch.tensor(part) for part in parts[2:])

    convolutions = [torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 16, 3, stride=2, padding=1), torch.nn.ReLU()]
    model = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), *convolutions, torch.nn.Flatten(), torch.nn.Linear(256, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=config["momentum"])
    # Restored are the weights and the optimiser of the better trial; learning rate and momentum stay those of this trial's config.
    state = TrainState(model=model, optimizer=optimizer)
    first = state.restore().get("epoch", 0)

    for epoch in range(first, config["epochs"]):
        for batch in torch.randperm(len(train_images)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(train_images[batch]), train_numbers[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            scores = model(test_images)
            loss = torch.nn.functional.cross_entropy(scores, test_numbers).item()
            accuracy = 100 * (scores.argmax(1) == test_numbers).float().mean().item()
        tune.report(loss=loss, accuracy=accuracy, lr=optimizer.param_groups[0]["lr"], checkpoint=state.checkpoint(epoch=epoch + 1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        name="torch-pbt",
        metric="loss",
        mode="min",
        config={"lr": tune.loguniform(1e-4, 1e-1), "momentum": tune.uniform(0, 0.95), "epochs": 4 if args.smoke_test else 24},
        num_samples=4 if args.smoke_test else 8,
        scheduler=tune.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=2 if args.smoke_test else 3,
            hyperparam_mutations={"lr": tune.loguniform(1e-4, 1), "momentum": tune.uniform(0, 0.95)},
        ),
        storage_path=args.storage_path,
        seed=0,
    )
    with open(os.path.join(analysis.best_trial.logdir, "progress.csv"), encoding="utf-8") as file:
        rates = dict.fromkeys(float(row["lr"]) for row in csv.DictReader(file))
    print(f"Learning rates of the best trial, one after the other: {', '.join(f'{rate:.2g}' for rate in rates)}")
    best = analysis.best_result
    print(f"best loss: {best['loss']:.4f} (accuracy {best['accuracy']:.1f} %) with {analysis.best_config}")
