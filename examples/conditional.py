"""Which model, and with which settings? One search over five of scikit-learn's classifiers, each with parameters that only it has.
Install: pip install "tunesmith[sklearn]"
Takes: about 40 seconds on 2 cores.
"""

import argparse
from collections import defaultdict

try:
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC
except ImportError:
    raise SystemExit('This example needs scikit-learn: pip install "tunesmith[sklearn]"') from None

import tunesmith as tune

# An option of a choice that has domains in it is a space of its own: what is in it is drawn only when the option is. They nest.
MODELS = {
    "model": tune.choice(
        [
            {"name": "logistic", "C": tune.loguniform(1e-3, 1e3)},
            {
                "name": "svm",
                "C": tune.loguniform(1e-2, 1e3),
                "kernel": tune.choice(
                    [
                        {"kernel": "linear"},
                        {"kernel": "rbf", "gamma": tune.loguniform(1e-4, 1)},
                        {"kernel": "poly", "gamma": tune.loguniform(1e-3, 1), "degree": tune.randint(2, 5)},
                    ]
                ),
            },
            {"name": "neighbours", "n_neighbors": tune.lograndint(1, 50), "weights": tune.choice(["uniform", "distance"])},
            {"name": "forest", "max_depth": tune.randint(2, 15), "max_features": tune.uniform(0.1, 1)},
            {"name": "boosting", "learning_rate": tune.loguniform(1e-2, 1), "max_leaf_nodes": tune.lograndint(3, 32)},
        ]
    ),
    "folds": 5,
}


def build(name, kernel=None, **settings):
    """The model of one configuration: it finds exactly the settings that belong to it."""
    if name == "forest":
        return RandomForestClassifier(n_estimators=50, random_state=0, **settings)
    if name == "boosting":
        return HistGradientBoostingClassifier(max_iter=50, random_state=0, **settings)
    if name == "svm":
        model = SVC(**kernel, **settings, max_iter=100_000)
    elif name == "neighbours":
        model = KNeighborsClassifier(**settings)
    else:
        model = LogisticRegression(max_iter=1000, **settings)
    return make_pipeline(StandardScaler(), model)


def evaluate(config):
    cells, benign = load_breast_cancer(return_X_y=True)
    folds = StratifiedKFold(config["folds"], shuffle=True, random_state=0)
    scores = cross_val_score(build(**config["model"]), cells, benign, cv=folds)
    return {"accuracy": 100 * scores.mean(), "spread": 100 * scores.std()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    # No searcher is named: the first line of the run says which one `auto` has chosen, and why.
    analysis = tune.run(
        evaluate,
        name="conditional",
        metric="accuracy",
        mode="max",
        config=MODELS,
        num_samples=8 if args.smoke_test else 60,
        storage_path=args.storage_path,
        seed=0,
    )

    scores = defaultdict(list)
    for trial in analysis.trials:
        scores[trial.config["model"]["name"]].append(trial.last_result["accuracy"])
    print(f"{'model':10}  tried  best accuracy")
    for name, found in sorted(scores.items(), key=lambda item: -max(item[1])):
        print(f"{name:10}  {len(found):5}  {max(found):.2f} %")
    best = analysis.best_result
    print(f"best accuracy: {best['accuracy']:.2f} % (± {best['spread']:.2f} between folds) with {analysis.best_config['model']}")
