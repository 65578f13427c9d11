"""LightGBM with population-based training: those that fall behind go on from the trees of the best, with other learning rates.
Install: pip install "tunesmith[sklearn,lightgbm]"
Takes: about half a minute on 2 cores.
"""

import argparse

try:
    import lightgbm
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn and LightGBM: pip install "tunesmith[sklearn,lightgbm]"') from None

import tunesmith as tune
from tunesmith.integration.lightgbm import TuneReportCheckpointCallback, resume


def train(config):
    images, digits = load_digits(return_X_y=True)
    train_images, test_images, train_digits, test_digits = train_test_split(images, digits, test_size=0.25, random_state=0, stratify=digits)
    data = lightgbm.Dataset(train_images, train_digits)

    start = resume(rounds=config["rounds"])
    lightgbm.train(
        {
            "objective": "multiclass",
            "num_class": 10,
            "metric": ["multi_logloss", "multi_error"],
            "num_leaves": config["num_leaves"],
            "learning_rate": config["learning_rate"],
            "feature_fraction": config["feature_fraction"],
            "seed": start.done,  # not the same columns again for those that go on
            "verbosity": -1,
        },
        data,
        start.left,
        init_model=start.model,
        valid_sets=[data.create_valid(test_images, test_digits)],
        valid_names=["eval"],
        callbacks=[TuneReportCheckpointCallback({"loss": "eval-multi_logloss", "error": "eval-multi_error"}, frequency=config["every"])],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    every = 4 if args.smoke_test else 10

    mutable = {"learning_rate": tune.loguniform(0.005, 0.5), "feature_fraction": tune.uniform(0.1, 1.0)}
    analysis = tune.run(
        train,
        name="lightgbm",
        metric="loss",
        mode="min",
        config={**mutable, "num_leaves": 15, "rounds": 6 if args.smoke_test else 75, "every": every},
        scheduler=tune.PopulationBasedTraining(
            time_attr="training_iteration",
            perturbation_interval=every,
            quantile_fraction=0.5,
            hyperparam_mutations=mutable,
            synch=True,  # each waits for the others after so many rounds, so that all are compared
        ),
        num_samples=2 if args.smoke_test else 6,
        storage_path=args.storage_path,
        seed=0,
    )

    print(f"Trees of another were taken over in {len(analysis.exploits())} cases. The best model was trained with:")
    for rounds, config in analysis.best_schedule():
        print(f"  from round {rounds:2} on: learning_rate={config['learning_rate']:.3f} feature_fraction={config['feature_fraction']:.2f}")
    best = analysis.best_result
    print(f"The best model errs in {100 * best['error']:.1f} % of the digits.")
    print(f"best loss: {best['loss']:.4f} with {analysis.best_config}")
