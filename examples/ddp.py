"""Trials that are two processes each, which train one neural network together (PyTorch's DistributedDataParallel) on handwritten digits.
Install: pip install "tunesmith[torch,sklearn]"
Takes: about a minute on 4 cores. On a Ray cluster (ray.init() before tune.run) the workers of a trial may run on several machines.
"""

import argparse
import os

try:
    import torch
    from sklearn.datasets import load_digits
    from torch.nn.functional import cross_entropy
    from torch.utils.data import DataLoader, TensorDataset
except ImportError:
    raise SystemExit('This example needs scikit-learn and PyTorch: pip install "tunesmith[torch,sklearn]"') from None

import tunesmith as tune
from tunesmith.integration.torch import distributed, prepare_data_loader, prepare_model


def train(config):
    images, digits = load_digits(return_X_y=True)
    images, digits = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(0))
    train_part, test_part = order[:1350], order[1350:]

    # Each worker sees half of the data; gradients are averaged, so both have the same weights at any time.
    loader = DataLoader(TensorDataset(images[train_part], digits[train_part]), batch_size=32, shuffle=True)
    loader = prepare_data_loader(loader)
    hidden = config["hidden"]
    model = prepare_model(torch.nn.Sequential(torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)))
    optimiser = torch.optim.SGD(model.parameters(), lr=config["lr"], momentum=0.9)
    first = 0
    if (saved := tune.get_checkpoint()) is not None:  # the same in all workers
        state = saved.to_dict()
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["epoch"] + 1

    for epoch in range(first, config["epochs"]):
        for inputs, targets in loader:
            optimiser.zero_grad()
            cross_entropy(model(inputs), targets).backward()
            optimiser.step()
        with torch.no_grad():
            accuracy = 100 * (model(images[test_part]).argmax(1) == digits[test_part]).float().mean().item()
        state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch}
        tune.report(accuracy=accuracy, checkpoint=state)  # what rank 0 reports counts; the others wait for the decision, too


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    parser.add_argument("--num-workers", type=int, default=2, help="processes of each trial")
    args = parser.parse_args()
    epochs = 3 if args.smoke_test else 15
    if (os.cpu_count() or 1) < args.num_workers:
        os.environ.setdefault("TUNESMITH_NUM_CPUS", str(args.num_workers))  # a small machine can do it, too

    analysis = tune.run(
        distributed(train, num_workers=args.num_workers),
        name="ddp",
        metric="accuracy",
        mode="max",
        config={"lr": tune.loguniform(1e-3, 1), "hidden": tune.choice([16, 32, 64]), "epochs": epochs},
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=2, reduction_factor=3),
        num_samples=3 if args.smoke_test else 12,
        storage_path=args.storage_path,
        seed=0,
    )
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
