"""Trials on a Ray cluster: ray.init() is all that is added to a script. Without an address it starts a cluster here, with two CPUs.
Install: pip install "tunesmith[sklearn,ray]"
Takes: about a minute on 2 cores. On a cluster: run it on one of its nodes, with --address=auto (docs/cluster.md).
"""

import argparse
import os
import socket
from collections import Counter

try:
    import ray
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn and Ray: pip install "tunesmith[sklearn,ray]"') from None

import tunesmith as tune


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    # A trial whose node is lost goes on elsewhere, from here: checkpoints go to the driver, or to the disk that all nodes see.
    saved = tune.get_checkpoint()
    if saved is not None:
        model, first = saved.to_dict()["model"], saved.to_dict()["epoch"] + 1
    else:
        settings = {"learning_rate_init": config["lr"], "momentum": config["momentum"]}
        model, first = MLPClassifier((config["units"],), solver="sgd", random_state=0, **settings), 0
    for epoch in range(first, config["epochs"]):
        model.partial_fit(train_images, train_digits, classes=range(10))
        accuracy = 100 * model.score(test_images, test_digits)
        tune.report(accuracy=accuracy, node=socket.gethostname(), checkpoint={"model": model, "epoch": epoch})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    own = os.environ.get("RAY_ADDRESS") or "local"
    parser.add_argument("--address", default=own, help="of the cluster (default: RAY_ADDRESS, or a new one)")
    args = parser.parse_args()
    epochs = 3 if args.smoke_test else 27

    new = {"num_cpus": 2, "include_dashboard": False} if args.address == "local" else {}
    ray.init(args.address, log_to_driver=False, **new)

    # From here on there is nothing of Ray's: the connection is found, and the first line of the run says so.
    analysis = tune.run(
        train,
        name="ray-cluster",
        metric="accuracy",
        mode="max",
        config={
            "lr": tune.loguniform(1e-3, 1),
            "momentum": tune.uniform(0, 0.99),
            "units": tune.lograndint(8, 128),
            "epochs": epochs,
        },
        scheduler=tune.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3),
        num_samples=4 if args.smoke_test else 16,
        resources_per_trial={"cpu": 1},  # and "gpu", or custom resources of the nodes
        storage_path=args.storage_path,
        seed=0,
    )
    nodes = Counter(trial.last_result["node"] for trial in analysis.trials)
    print("trials on each node:", ", ".join(f"{node}: {count}" for node, count in nodes.items()))
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
