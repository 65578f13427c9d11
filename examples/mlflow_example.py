"""Trials as runs of MLflow, in a local database file: from outside by a callback, or with mlflow.log_metrics and artifacts in the trial.
Install: pip install "tunesmith[sklearn]" mlflow
Takes: about 40 seconds on 2 cores.
"""

import argparse
from pathlib import Path

try:
    import alembic  # noqa: F401 - MLflow needs it, and SQLAlchemy, for a database file; mlflow-skinny comes without
    import mlflow
    import sqlalchemy  # noqa: F401
    from sklearn.datasets import load_diabetes
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.metrics import root_mean_squared_error
    from sklearn.model_selection import train_test_split
except ImportError:
    raise SystemExit('This example needs scikit-learn and MLflow: pip install "tunesmith[sklearn]" mlflow') from None

import tunesmith as tune
from tunesmith.integration.mlflow import MLflowLoggerCallback, mlflow_mixin


def stages_of(config):
    """The training: ten more trees a stage. Yields the model and its error on patients that it has not seen."""
    patients, progression = load_diabetes(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(patients, progression, test_size=0.25, random_state=0)
    settings = {name: config[name] for name in ("learning_rate", "max_depth", "subsample")}
    model = GradientBoostingRegressor(n_estimators=0, warm_start=True, random_state=0, **settings)
    for _ in range(config["stages"]):
        model.n_estimators += 10
        model.fit(train_x, train_y)
        yield model, root_mean_squared_error(test_y, model.predict(test_x))


# 1. From outside: the training function does not know of MLflow. Every number that it reports is a metric.
def train(config):
    for _, error in stages_of(config):
        tune.report(rmse=error)


# 2. In the trial: `mlflow` is set up, a run of the trial's is active. Where it logs to is said in config["mlflow"].
@mlflow_mixin
def train_and_log(config):
    for step, (model, error) in enumerate(stages_of(config)):
        mlflow.log_metrics({"rmse": error, "train_loss": model.train_score_[-1]}, step=step)
        tune.report(rmse=error)
    mlflow.log_dict(dict(zip(load_diabetes().feature_names, model.feature_importances_.tolist())), "importances.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke-test", action="store_true", help="a few short trials, to see that everything works")
    parser.add_argument("--storage-path", default="~/tunesmith_results", help="where all results go, MLflow's, too (default: %(default)s)")
    args = parser.parse_args()

    results = Path(args.storage_path).expanduser().absolute()
    results.mkdir(parents=True, exist_ok=True)
    uri = f"sqlite:///{results / 'mlflow.db'}"  # or that of a server
    space = {
        "learning_rate": tune.loguniform(1e-2, 1),
        "max_depth": tune.randint(1, 7),
        "subsample": tune.uniform(0.3, 1),
        "stages": 3 if args.smoke_test else 20,
    }
    common = {"metric": "rmse", "mode": "min", "storage_path": results, "seed": 0}
    outside = tune.run(
        train,
        name="mlflow-outside",
        config=space,
        num_samples=2 if args.smoke_test else 20,
        scheduler=tune.ASHAScheduler(max_t=space["stages"], grace_period=2, reduction_factor=3),
        callbacks=[MLflowLoggerCallback(uri, experiment_name="diabetes", parent_run=True)],
        **common,
    )
    block = {"tracking_uri": uri, "experiment_name": "diabetes-inside", "artifact_location": (results / "mlflow-artifacts").as_uri()}
    few = 1 if args.smoke_test else 4
    inside = tune.run(train_and_log, name="mlflow-inside", config={**space, "mlflow": block}, num_samples=few, **common)

    client = mlflow.MlflowClient(uri)
    for name in ("diabetes", "diabetes-inside"):
        found = client.get_experiment_by_name(name).experiment_id
        runs = client.search_runs([found], "metrics.rmse > 0", order_by=["metrics.rmse"])
        top = runs[0]
        print(f"MLflow's experiment {name!r}: {len(runs)} runs; the best, {top.info.run_name}, has rmse {top.data.metrics['rmse']:.2f}")
    print(f"To see them: mlflow ui --backend-store-uri {uri}")
    best = min((outside, inside), key=lambda analysis: analysis.best_result["rmse"])
    print(f"best rmse: {best.best_result['rmse']:.2f} with {best.best_config}")
