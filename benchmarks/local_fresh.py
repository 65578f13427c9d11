"""Trials a second with a process of its own for each, in a script that imports numpy and scikit-learn: one report each, default files on.

Beside it: what forking such a process costs by itself, two children at a time that end at once.
"""

from __future__ import annotations

from _common import Medians, Row, beside, main, peer, trials_a_second
from _peers import bare_forks, ray_trials

TRIALS, RAY_TRIALS, WARM_UP = 300, 8, 4


def imports() -> None:
    """What the script of a user imports at its top."""
    import numpy  # noqa: F401, ICN001
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.model_selection  # noqa: F401


def ours() -> dict[str, float]:
    imports()
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    return trials_a_second(objective, TRIALS, "local", warm_up=WARM_UP, reuse_actors=False)


def ray() -> dict[str, float]:
    imports()
    return ray_trials(RAY_TRIALS, warm_up=2, reuse=False, imports=imports)


def forks() -> dict[str, float]:
    imports()
    return {"trials/s": TRIALS / bare_forks(lambda: None, TRIALS)[-1]}


def table(found: Medians) -> list[Row]:
    what = "local trials/s, one report each, a fresh process each, scikit-learn imported"
    peers = {peer("ray", "fresh actors"): found["ray"]["trials/s"], "bare forks of such a process": found["forks"]["trials/s"]}
    return beside(what, found["ours"]["trials/s"], 50, peers)


CASES = {"ours": ours, "forks": forks, "ray": ray}

if __name__ == "__main__":
    main(__file__, CASES, table, seldom={"ray": 1})
