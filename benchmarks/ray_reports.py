"""Reports a second of 2 trials at once on a Ray cluster of this machine, each report waiting for its decision, default files on.

Ours and Ray Tune's on the same cluster, in turn. For both the time runs from the first result that a callback is told of to the last:
how long actors take to start is in ray_trials.py. Ours by the connections that trials make to the driver, and by Ray's calls, as where
a network lets nothing else through.
"""

from __future__ import annotations

import time
from typing import Any

from _cluster import joined, same_cluster
from _common import Medians, Objective, Row, main, peer, timed_run
from _peers import ray_tune

TRIALS, REPORTS, RAY_REPORTS, WARM_UP = 2, 4_000, 1_000, 20


def reporting(reports: int) -> Objective:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        for step in range(reports):
            tune.report(loss=config["x"] / (step + 1))

    return objective


def ours(direct: bool, reports: int) -> dict[str, float]:
    import tunesmith as tune
    from tunesmith.executors import RayExecutor

    class Times(tune.Callback):
        def on_trial_result(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    times: list[float] = []
    joined()
    for count in (WARM_UP, reports):
        times.clear()
        timed_run(reporting(count), TRIALS, RayExecutor(direct=direct), {"x": tune.uniform(0, 1)}, callbacks=[Times()])
    return {"reports/s": (len(times) - 1) / (times[-1] - times[0])}


def ray() -> dict[str, float]:
    def objective(config: dict[str, float]) -> None:
        from ray import tune

        for step in range(RAY_REPORTS):
            tune.report({"loss": config["x"] / (step + 1)})

    joined()
    _, times = ray_tune(objective, TRIALS, reuse=True)
    return {"reports/s": (len(times) - 1) / (times[-1] - times[0])}


def table(found: Medians) -> list[Row]:
    theirs = found["ray"]["reports/s"]
    direct, calls = found["direct"]["reports/s"], found["calls"]["reports/s"]
    return [
        Row("reports/s on Ray, 2 trials", direct, 3 * theirs, peer=peer("ray", "Tune"), peer_value=theirs),
        Row("reports/s on Ray, 2 trials, by Ray's calls", calls, peer=peer("ray", "Tune"), peer_value=theirs),
    ]


CASES = {"direct": lambda: ours(True, REPORTS), "calls": lambda: ours(False, RAY_REPORTS), "ray": ray}

if __name__ == "__main__":
    with same_cluster():
        main(__file__, CASES, table, repeat=3, seldom={"ray": 1})
