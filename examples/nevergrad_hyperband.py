"""Nevergrad with HyperBand: an evolution strategy proposes neural networks for handwritten digits, HyperBand stops the bad ones early.
Install: pip install "tunesmith[sklearn,nevergrad]"
Takes: about 20 seconds on 2 cores.
"""

import argparse

try:
    import nevergrad  # noqa: F401
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn and Nevergrad: pip install "tunesmith[sklearn,nevergrad]"') from None

import tunesmith as tune
from tunesmith.schedulers import HyperBandScheduler
from tunesmith.search.nevergrad import NevergradSearch


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    model = MLPClassifier(
        hidden_layer_sizes=(config["units"],),
        solver="sgd",
        learning_rate_init=config["lr"],
        momentum=config["momentum"],
        batch_size=config["batch"],
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
        name="nevergrad-hyperband",
        metric="accuracy",
        mode="max",
        config={
            "units": tune.lograndint(8, 256),
            "lr": tune.loguniform(1e-3, 1),
            "momentum": tune.uniform(0, 0.99),
            "batch": tune.choice([16, 32, 64, 128]),
            "epochs": epochs,
        },
        num_samples=4 if args.smoke_test else 40,
        search_alg=NevergradSearch("CMA", points_to_evaluate=[{"units": 64, "lr": 0.1, "momentum": 0.9, "batch": 32}]),
        scheduler=HyperBandScheduler(time_attr="training_iteration", max_t=epochs),
        storage_path=args.storage_path,
    )

    print(f"Best accuracy: {analysis.best_result['accuracy']:.1f} %")
    print(f"Best config:   {analysis.best_config}")
