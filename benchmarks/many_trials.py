"""100,000 inline trials in one run: the driver's memory after warm-up, and what the last 1,000 trials cost beside the first 1,000.

The trial's own code takes both measurements, between trials of the same loop: no thread, no second process. Cost is the mean of
1,000 consecutive trials; the first 1,000 are counted after a warm-up of 500, in which modules are loaded.
"""

from __future__ import annotations

import gc
import resource
import time
from typing import TYPE_CHECKING

from _common import Medians, Row, main, peer, plane, timed_run
from _peers import optuna_on_plane, optuna_run

if TYPE_CHECKING:
    import optuna

TRIALS = 100_000
PEER_TRIALS = 4_000
WARM_UP, SPAN = 500, 1_000


class Meter:
    """Called once per trial: times at the ends of both spans, memory after warm-up and at the end."""

    def __init__(self, trials: int) -> None:
        self.trials, self.count = trials, 0
        self.times: dict[int, float] = {}
        self.memory: dict[int, float] = {}

    def __call__(self) -> None:
        self.count += 1
        if self.count in (WARM_UP, WARM_UP + SPAN, self.trials - SPAN, self.trials):
            self.times[self.count] = time.perf_counter()
        if self.count in (self.trials // 10, self.trials):
            self.memory[self.count] = resident_mb()

    def result(self, seconds: float) -> dict[str, float]:
        first = self.times[WARM_UP + SPAN] - self.times[WARM_UP]
        last = self.times[self.trials] - self.times[self.trials - SPAN]
        early, late = self.memory[self.trials // 10], self.memory[self.trials]
        return {
            "last/first": last / first,
            "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
            "bytes/trial": (late - early) * 2**20 / (self.trials * 0.9),
            "trials/s": self.trials / seconds,
        }


def resident_mb() -> float:
    """Resident memory of this process in MB, without what waits for the garbage collector."""
    import psutil

    gc.collect()
    return float(psutil.Process().memory_info().rss) / 2**20


def ours() -> dict[str, float]:
    import tunesmith as tune

    meter = Meter(TRIALS)

    def objective(config: dict[str, float]) -> None:
        meter()
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    return meter.result(timed_run(objective, TRIALS, "inline", plane(), loggers=()))


def theirs() -> dict[str, float]:
    meter = Meter(PEER_TRIALS)

    def objective(trial: optuna.Trial) -> float:
        meter()
        return optuna_on_plane(trial)

    return meter.result(optuna_run(objective, PEER_TRIALS))


def table(found: Medians) -> list[Row]:
    us, them = found["ours"], found["optuna-memory"]
    other = peer("optuna", f"in memory, {PEER_TRIALS:,} trials")
    return [
        Row(f"last 1,000 of {TRIALS:,} trials / first 1,000", us["last/first"], 1.3, "lower", other, them["last/first"]),
        Row(f"driver, largest RSS until run() has returned from {TRIALS:,} trials, MB", us["MB"], 300, "lower"),
        Row("growth after the first tenth, bytes/trial", us["bytes/trial"], 300, "lower", other, them["bytes/trial"]),
        Row(f"inline trials/s over {TRIALS:,} trials", us["trials/s"]),
    ]


CASES = {"ours": ours, "optuna-memory": theirs}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=3)
