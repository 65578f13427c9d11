"""How fast virtual time passes: 10,000 workers and 1,000,000 reports, first in first out and with ASHA, on one core.

Trials report a loss that a function of two parameters gives; every trial has a pace of its own, so that hardly two reports come at the same
instant: each is a turn of the loop. First in, first out: 50,000 trials of 20 reports. ASHA, max_t=81 and a reduction factor of 3, with
a random search as long as it takes to a million reports.

Seconds are those of the processor: there is one thread. The memory is all that the process had at its peak, the results of all trials and
every decision included.
"""

from __future__ import annotations

import resource
import time
from typing import Any

from _common import Medians, Row, main

WORKERS, REPORTS = 10_000, 1_000_000


def curve(config: dict[str, float], iteration: int) -> tuple[dict[str, float], float]:
    return {"loss": config["x"] + config["slope"] / iteration}, 30.0 + 60.0 * config["slope"]


def run(num_samples: int, max_t: int, scheduler: Any) -> dict[str, float]:
    import tunesmith as tune

    space = {"x": tune.uniform(0, 1), "slope": tune.uniform(0, 1)}
    began = time.process_time()
    sim = tune.simulate(
        curve, config=space, num_samples=num_samples, workers=WORKERS, max_t=max_t, scheduler=scheduler, metric="loss", mode="min", seed=1
    )
    seconds = time.process_time() - began
    reports = sum(len(found.values) for found in sim.curves().values())
    if reports < REPORTS:
        raise SystemExit(f"only {reports:,} reports")
    return {
        "seconds": seconds, "us/report": seconds / reports * 1e6, "reports": reports, "utilisation": 100 * sim.utilisation,
        "hours": sim.seconds / 3600, "MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }  # fmt: skip


def fifo() -> dict[str, float]:
    return run(REPORTS // 20, 20, None)


def asha() -> dict[str, float]:
    import tunesmith as tune

    return run(340_000, 81, tune.ASHAScheduler(max_t=81, reduction_factor=3))


def table(found: Medians) -> list[Row]:
    rows = []
    for case, name in (("fifo", "first in, first out"), ("asha", "ASHA")):
        one = found[case]
        what = f"simulation, {WORKERS:,} workers, {one['reports']:,.0f} reports, {name}"
        rows += [
            Row(f"{what}: CPU seconds", one["seconds"], 180, "lower"),
            Row(f"{what}: us/report", one["us/report"]),
            Row(f"{what}: % of the workers' time in use over {one['hours']:.1f} h", one["utilisation"]),
            Row(f"{what}: peak memory, MB", one["MB"]),
        ]
    return rows


CASES = {"fifo": fifo, "asha": asha}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=1)
