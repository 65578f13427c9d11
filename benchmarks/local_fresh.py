"""Trials a second with a process of its own for each, in a script that imports numpy and scikit-learn: one report each, default files on.

Beside it: what forking such a process costs by itself, two children at a time that end at once.
"""

from __future__ import annotations

from _common import Row, main, measure, peer, scratch, stopwatch
from _peers import bare_forks, ray_tune

TRIALS, RAY_TRIALS, WARM_UP = 300, 8, 4


def imports() -> None:
    """What the script of a user imports at its top."""
    import numpy  # noqa: F401, ICN001
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.model_selection  # noqa: F401


def ours(trials: int = TRIALS) -> dict[str, float]:
    imports()
    import tunesmith as tune

    if trials == TRIALS:
        ours(WARM_UP)  # modules are loaded then; import_time.py measures that

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    folder = scratch()
    with stopwatch() as elapsed:
        tune.run(
            objective,
            config={"x": tune.uniform(-5, 5), "y": tune.loguniform(1e-3, 1)},
            num_samples=trials,
            metric="loss",
            mode="min",
            executor="local",
            reuse_actors=False,
            seed=1,
            verbose=0,
            storage_path=str(folder),
        )
        seconds = elapsed()
    return {"trials/s": trials / seconds}


def ray() -> dict[str, float]:
    imports()

    def objective(config: dict[str, float]) -> None:
        imports()
        from ray import tune

        tune.report({"loss": (config["x"] - 1) ** 2 + config["y"]})

    ray_tune(objective, 2, reuse=False)
    return {"trials/s": RAY_TRIALS / ray_tune(objective, RAY_TRIALS, reuse=False)[0]}


def forks() -> dict[str, float]:
    imports()
    return {"trials/s": TRIALS / bare_forks(lambda: None, TRIALS)[-1]}


def table(repeat: int) -> list[Row]:
    found = measure(__file__, list(CASES), repeat, seldom={"ray": 1})
    value = found["ours"]["trials/s"]
    what = "local trials/s, one report each, a fresh process each, scikit-learn imported"
    return [
        Row(what, value, target=50, peer=peer("ray", "fresh actors"), peer_value=found["ray"]["trials/s"]),
        Row(what, value, target=50, peer="bare forks of such a process", peer_value=found["forks"]["trials/s"]),
    ]


CASES = {"ours": ours, "forks": forks, "ray": ray}

if __name__ == "__main__":
    main(__file__, CASES, table)
