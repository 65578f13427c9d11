"""100,000 inline trials in one run: the driver's memory after warm-up, and what the last 1,000 trials cost beside the first 1,000.

The trial's own code takes both measurements, between trials of the same loop: no thread, no second process. Cost is the mean of
1,000 consecutive trials; the first 1,000 are counted after a warm-up of 500, in which modules are loaded.
"""

from __future__ import annotations

import gc
import resource
import time

from _common import Row, main, measure, peer, scratch, stopwatch

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


def ours(trials: int = TRIALS) -> dict[str, float]:
    import tunesmith as tune

    meter = Meter(trials)

    def objective(config: dict[str, float]) -> None:
        meter()
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    space = {"x": tune.uniform(-5, 5), "y": tune.loguniform(1e-3, 1)}
    folder = scratch()
    with stopwatch() as elapsed:
        tune.run(
            objective,
            config=space,
            num_samples=trials,
            metric="loss",
            mode="min",
            executor="inline",
            seed=1,
            verbose=0,
            loggers=(),
            storage_path=str(folder),
        )
        seconds = elapsed()
    return meter.result(seconds)


def theirs() -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    meter = Meter(PEER_TRIALS)

    def objective(trial: optuna.Trial) -> float:
        meter()
        loss = (trial.suggest_float("x", -5, 5) - 1) ** 2 + trial.suggest_float("y", 1e-3, 1, log=True)
        trial.report(loss, 1)
        return loss

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    with stopwatch() as elapsed:
        study.optimize(objective, n_trials=PEER_TRIALS)
        seconds = elapsed()
    return meter.result(seconds)


def table(repeat: int) -> list[Row]:
    found = measure(__file__, list(CASES), repeat)
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
