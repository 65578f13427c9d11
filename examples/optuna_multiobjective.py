"""Optuna with two objectives: forests for handwritten digits that err seldom and are small; the answer is a front, not one trial.
Install: pip install "tunesmith[sklearn,optuna]"
Takes: about half a minute on 2 cores.
"""

import argparse

try:
    import optuna
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedKFold, cross_validate
except ImportError:
    raise SystemExit('This example needs scikit-learn and Optuna: pip install "tunesmith[sklearn,optuna]"') from None

import tunesmith as tune
from tunesmith.search.optuna import OptunaSearch


def train(config):
    images, digits = load_digits(return_X_y=True)
    forest = RandomForestClassifier(
        n_estimators=config["trees"],
        max_depth=config["depth"],
        min_samples_leaf=config["leaf"],
        max_features=config["features"],
        random_state=0,
    )
    folds = StratifiedKFold(config["folds"], shuffle=True, random_state=0)
    scores = cross_validate(forest, images, digits, cv=folds, return_estimator=True)
    nodes = [sum(tree.tree_.node_count for tree in one.estimators_) for one in scores["estimator"]]
    return {"error": 100 * (1 - scores["test_score"].mean()), "nodes": sum(nodes) / len(nodes)}


def front_of(trials):
    """Those of which no other is better in one and as good in the other."""
    found = sorted(trials, key=lambda trial: (trial.last_result["nodes"], trial.last_result["error"]))
    front = []
    for trial in found:
        if not front or trial.last_result["error"] < front[-1].last_result["error"]:
            front.append(trial)
    return front


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", help="where results go (default: ~/tunesmith_results)")
    args = parser.parse_args()

    analysis = tune.run(
        train,
        name="optuna-multiobjective",
        metric=["error", "nodes"],
        mode=["min", "min"],
        config={
            "trees": tune.lograndint(1, 101),
            "depth": tune.randint(2, 16),
            "leaf": tune.lograndint(1, 21),
            "features": tune.uniform(0.02, 0.5),
            "folds": 2 if args.smoke_test else 4,
        },
        search_alg=OptunaSearch(sampler=optuna.samplers.NSGAIISampler(population_size=4 if args.smoke_test else 10)),
        num_samples=8 if args.smoke_test else 60,
        storage_path=args.storage_path,
        seed=0,
    )

    front = front_of(trial for trial in analysis.trials if "error" in trial.last_result)
    print(f"Of {len(analysis)} forests, {len(front)} are on the front:")
    print(" nodes  error    forest")
    for trial in front:
        result, config = trial.last_result, trial.config
        print(f"{result['nodes']:6.0f}  {result['error']:4.1f} %   {config['trees']} trees of depth {config['depth']}")
    best = front[-1]
    print(f"best error: {best.last_result['error']:.1f} % with {best.config}")
