"""HyperOpt with HyperBand: TPE proposes neural networks for handwritten digits, HyperBand stops the bad ones early.
Install: pip install "tunesmith[sklearn,hyperopt]"
Takes: about 20 seconds on 2 cores.
"""

import argparse

try:
    import hyperopt  # noqa: F401
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn and HyperOpt: pip install "tunesmith[sklearn,hyperopt]"') from None

import tunesmith as tune
from tunesmith.schedulers import HyperBandScheduler
from tunesmith.search.hyperopt import HyperOptSearch


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    solver = config["solver"]
    model = MLPClassifier(
        hidden_layer_sizes=(config["units"],),
        solver=solver["name"],
        learning_rate_init=solver["lr"],
        momentum=solver.get("momentum", 0.9),
        random_state=0,
    )
    for _ in range(config["epochs"]):
        model.partial_fit(train_images, train_digits, classes=range(10))
        tune.report(accuracy=100 * model.score(test_images, test_digits))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 3 if args.smoke_test else 27

    analysis = tune.run(
        train,
        name="hyperopt-hyperband",
        metric="accuracy",
        mode="max",
        config={
            "units": tune.lograndint(8, 256),
            # momentum exists for sgd only, and the model knows it
            "solver": tune.choice(
                [
                    {"name": "sgd", "lr": tune.loguniform(1e-3, 1), "momentum": tune.uniform(0, 0.99)},
                    {"name": "adam", "lr": tune.loguniform(1e-4, 1e-1)},
                ]
            ),
            "epochs": epochs,
        },
        num_samples=4 if args.smoke_test else 40,
        # what you would have tried first is a good start
        search_alg=HyperOptSearch(points_to_evaluate=[{"units": 64, "solver": {"name": "adam", "lr": 1e-3}}], n_initial_points=10),
        scheduler=HyperBandScheduler(time_attr="training_iteration", max_t=epochs),
        storage_path=args.storage_path,
    )

    print(f"Best accuracy: {analysis.best_result['accuracy']:.1f} %")
    print(f"Best config:   {analysis.best_config}")
