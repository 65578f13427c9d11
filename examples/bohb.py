"""BOHB: HyperBand's brackets stop most neural networks early, and the searcher learns from every rung which to try next.
Install: pip install "tunesmith[sklearn]"
Takes: about half a minute on 2 cores.
"""

import argparse

try:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

import tunesmith as tune
from tunesmith.schedulers import HyperBandForBOHB
from tunesmith.search import BOHBSearch


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    saved = tune.get_checkpoint()  # a trial that was promoted may go on in another process
    state = saved.to_dict() if saved else {"epoch": 0, "model": None}
    model = state["model"] or MLPClassifier(
        hidden_layer_sizes=(config["units"],),
        activation=config["activation"],
        learning_rate_init=config["lr"],
        alpha=config["alpha"],
        batch_size=config["batch"],
        random_state=0,
    )
    for epoch in range(state["epoch"] + 1, config["epochs"] + 1):
        model.partial_fit(train_images, train_digits, classes=range(10))
        accuracy = 100 * model.score(test_images, test_digits)
        tune.report(accuracy=accuracy, checkpoint={"epoch": epoch, "model": model})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    epochs = 3 if args.smoke_test else 27

    analysis = tune.run(
        train,
        name="bohb",
        metric="accuracy",
        mode="max",
        config={
            "units": tune.lograndint(4, 129),
            "activation": tune.choice(["relu", "tanh", "logistic"]),
            "lr": tune.loguniform(1e-4, 1),
            "alpha": tune.loguniform(1e-6, 1),
            "batch": tune.choice([16, 32, 64, 128]),
            "epochs": epochs,
        },
        search_alg=BOHBSearch(),
        scheduler=HyperBandForBOHB(time_attr="training_iteration", max_t=epochs, reduction_factor=3),
        num_samples=5 if args.smoke_test else 49,
        storage_path=args.storage_path,
        seed=0,
    )

    trained = sum(trial.iteration for trial in analysis)
    print(f"{trained} epochs were trained; {len(analysis)} trials to the end are {len(analysis) * epochs}.")
    print(f"best accuracy: {analysis.best_result['accuracy']:.1f} % with {analysis.best_config}")
