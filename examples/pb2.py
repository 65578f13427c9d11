"""PB2 with four trials: who falls behind copies a better classifier, and a model of past gains says how it is trained on.
Install: pip install "tunesmith[sklearn]"
Takes: about 20 seconds on 2 cores.
"""

import argparse

try:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

import tunesmith as tune


def train(config):
    images, digits = load_digits(return_X_y=True)
    split = train_test_split(images / 16, digits, test_size=0.25, random_state=0, stratify=digits)
    train_images, test_images, train_digits, test_digits = split

    saved = tune.get_checkpoint()
    state = saved.to_dict() if saved else {"epoch": 0, "model": SGDClassifier(loss="log_loss", learning_rate="constant", random_state=0)}
    model = state["model"]  # its own, or that of the trial it copies ...
    model.set_params(eta0=config["lr"], alpha=config["alpha"])  # ... with new hyperparameters
    for epoch in range(state["epoch"] + 1, config["epochs"] + 1):
        model.partial_fit(train_images, train_digits, classes=range(10))
        loss = log_loss(test_digits, model.predict_proba(test_images), labels=range(10))
        tune.report(loss=loss, accuracy=100 * model.score(test_images, test_digits), checkpoint={"epoch": epoch, "model": model})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few epochs, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    bounds = {"lr": tune.loguniform(1e-4, 1), "alpha": tune.loguniform(1e-7, 1e-1)}
    analysis = tune.run(
        train,
        name="pb2",
        metric="loss",
        mode="min",
        config={**bounds, "epochs": 6 if args.smoke_test else 58},
        scheduler=tune.PB2(
            time_attr="training_iteration",
            perturbation_interval=4 if args.smoke_test else 5,
            quantile_fraction=0.5,
            hyperparam_bounds=bounds,
            synch=True,
        ),
        num_samples=4,
        storage_path=args.storage_path,
        seed=0,
    )

    print(f"A better one was copied in {len(analysis.exploits())} cases. The best classifier was trained with:")
    for epoch, config in analysis.best_schedule():
        print(f"  from epoch {epoch:2} on: lr={config['lr']:.4f} alpha={config['alpha']:.1e}")
    best = analysis.best_result
    print(f"best loss: {best['loss']:.4f} (accuracy {best['accuracy']:.1f} %) with {analysis.best_config}")
