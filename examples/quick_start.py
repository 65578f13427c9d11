"""Tunes a small neural network on scikit-learn's 1,797 handwritten digits: momentum on a grid, learning rate at random.
Install: pip install "tunesmith[sklearn]"   (in a clone of the repository, `make quickstart` does it)
Takes: about 15 seconds on 2 cores.
"""

import argparse

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

import tunesmith as tune


def train_func(config, reporter):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    model = MLPClassifier(
        hidden_layer_sizes=(64,),
        solver="sgd",
        momentum=config["momentum"],
        learning_rate_init=config["lr"],
        random_state=0,
    )
    for _ in range(config["epochs"]):
        model.partial_fit(train_images, train_digits, classes=range(10))
        reporter(mean_accuracy=100 * model.score(test_images, test_digits), loss=model.loss_)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="two short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    all_trials = tune.run(
        train_func,
        name="quick-start",
        metric="mean_accuracy",
        mode="max",
        stop={"mean_accuracy": 97.5},
        config={
            "momentum": tune.grid_search([0.1, 0.9] if args.smoke_test else [0.1, 0.5, 0.9]),
            "lr": tune.loguniform(1e-3, 1),
            "epochs": 2 if args.smoke_test else 30,
        },
        num_samples=1 if args.smoke_test else 8,
        storage_path=args.storage_path,
    )

    best = all_trials.best_trial
    print(f"Best accuracy: {best.last_result['mean_accuracy']:.1f} %")
    print(f"Best config:   {all_trials.best_config}")
    print(f"Its files:     {best.logdir}")
    print(f"All files:     {all_trials.experiment_path}")
