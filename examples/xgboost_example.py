"""XGBoost with ASHA: each boosting round is reported, the bad ones stop early, and a trial that is interrupted goes on from its trees.
Install: pip install "tunesmith[sklearn,xgboost]"
Takes: about 20 seconds on 2 cores.
"""

import argparse

try:
    import xgboost
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn and XGBoost: pip install "tunesmith[sklearn,xgboost]"') from None

import tunesmith as tune
from tunesmith.integration.xgboost import TuneReportCheckpointCallback, resume


def train(config):
    cells, benign = load_breast_cancer(return_X_y=True)
    train_cells, test_cells, train_benign, test_benign = train_test_split(cells, benign, test_size=0.25, random_state=0, stratify=benign)

    start = resume(rounds=config["rounds"])  # all of them, unless the trial goes on from a checkpoint
    xgboost.train(
        {"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "seed": 0, **config["params"]},
        xgboost.DMatrix(train_cells, train_benign),
        start.left,
        xgb_model=start.model,
        evals=[(xgboost.DMatrix(test_cells, test_benign), "eval")],
        verbose_eval=False,
        callbacks=[TuneReportCheckpointCallback({"loss": "eval-logloss", "error": "eval-error"}, frequency=10)],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()
    rounds = 9 if args.smoke_test else 81

    analysis = tune.run(
        train,
        name="xgboost",
        metric="loss",
        mode="min",
        config={
            "params": {
                "eta": tune.loguniform(1e-3, 1),
                "max_depth": tune.randint(1, 9),
                "min_child_weight": tune.choice([1, 2, 3]),
                "subsample": tune.uniform(0.5, 1.0),
            },
            "rounds": rounds,
        },
        scheduler=tune.ASHAScheduler(max_t=rounds, grace_period=3, reduction_factor=3),
        num_samples=4 if args.smoke_test else 40,
        storage_path=args.storage_path,
        seed=0,
    )

    best = analysis.best_result
    model = TuneReportCheckpointCallback.get_model(analysis.get_last_checkpoint())
    print(f"{sum(trial.iteration for trial in analysis)} rounds were boosted, instead of {len(analysis) * rounds} without ASHA.")
    print(f"The best model has {model.num_boosted_rounds()} trees and errs in {100 * best['error']:.1f} % of cases.")
    print(f"best loss: {best['loss']:.4f} with {analysis.best_config['params']}")
