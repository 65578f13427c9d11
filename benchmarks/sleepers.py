"""What the driver costs trials that only sleep, many at a time: no work of theirs competes for the cores, so all that is lost is ours.

Time over the ideal, from run() to its return: 160 trials of a second on 16 slots; 96 trials at once that report 10 times a second for 30 s.
And 500 trials at once: when the last has started, and how much memory each process has for itself (what it shares with the template it
was forked from does not count).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from _common import Medians, Objective, Row, main, scratch, timed_run

SLOTS, SHORT = 16, 160
REPORTERS, REPORTS, PAUSE = 96, 300, 0.1
MANY = 500


def run(objective: Objective, trials: int, at_once: int, **options: Any) -> float:
    """Seconds from the call of run() to its return."""
    os.environ["TUNESMITH_NUM_CPUS"] = str(at_once)
    return timed_run(objective, trials, "local", **options)


def short() -> dict[str, float]:
    import tunesmith as tune

    def objective(_: dict[str, Any]) -> None:
        time.sleep(1)
        tune.report(loss=1.0)

    return {"over": over(run(objective, SHORT, SLOTS), SHORT / SLOTS)}


def reporters() -> dict[str, float]:
    import tunesmith as tune

    def objective(_: dict[str, Any]) -> None:
        for step in range(REPORTS):
            time.sleep(PAUSE)
            tune.report(loss=step)

    return {"over": over(run(objective, REPORTERS, REPORTERS), REPORTS * PAUSE)}


def many() -> dict[str, float]:
    import tunesmith as tune

    gate = scratch() / "open"

    class Meter(tune.Callback):
        def __init__(self) -> None:
            self.processes: list[int] = []
            self.seconds = self.largest = 0.0

        def on_trial_result(self, result: dict[str, Any], **_: Any) -> None:
            self.processes.append(result["pid"])
            if len(self.processes) == MANY:
                self.seconds = time.perf_counter() - begin
                time.sleep(2)  # until all are asleep
                self.largest = max(map(private_mb, self.processes))
                gate.touch()

    def objective(_: dict[str, Any]) -> None:
        tune.report(loss=1.0)
        while not gate.exists():
            time.sleep(1)

    meter = Meter()
    begin = time.perf_counter()
    run(objective, MANY, MANY, callbacks=[meter])
    return {"seconds": meter.seconds, "MB": meter.largest}


def private_mb(pid: int) -> float:
    """Memory of a process that no other has, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 2**10


def over(seconds: float, ideal: float) -> float:
    return (seconds / ideal - 1) * 100


def table(found: Medians) -> list[Row]:
    return [
        Row(f"{SHORT} trials of 1 s sleep on {SLOTS} slots, % over the ideal", found["short"]["over"], 3, "lower"),
        Row(f"{REPORTERS} trials at once, 10 reports/s for 30 s, % over", found["reporters"]["over"], 5, "lower"),
        Row(f"{MANY} trials at once, seconds until the last has started", found["many"]["seconds"], 15, "lower"),
        Row(f"{MANY} trials at once, most memory that one has for itself, MB", found["many"]["MB"], 15, "lower"),
    ]


CASES = {"short": short, "reporters": reporters, "many": many}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=3, seldom={"reporters": 1})
