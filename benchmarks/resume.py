"""Resuming a large experiment: 10,000 trials with 200,000 results; and what one append to the journal costs as it grows.

"Resume" is the whole of a call of ``run(resume=True)`` that adds one trial, in a process of its own, from the call to its return: the
journal is folded, the searcher catches up, one trial runs. "Append" is the mean over 1,000 commits of one report each, around the 10th and
around the 100,000th trial of one journal.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from _common import Medians, Row, main, scratch, stopwatch

TRIALS, REPORTS = 10_000, 20
SMALL, LARGE, SPAN = 10, 100_000, 1_000


def run(folder: Path, trials: int, **options: Any) -> float:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        for step in range(REPORTS):
            tune.report(loss=config["x"] / (step + 1))

    space = {"x": tune.uniform(0, 1), "lr": tune.loguniform(1e-4, 1)}
    given = {"metric": "loss", "mode": "min", "search_alg": "random", "executor": "inline", "loggers": ()}
    given |= {"verbose": 0, "seed": 1, "name": "large"}
    with stopwatch() as elapsed:
        tune.run(objective, config=space, num_samples=trials, storage_path=str(folder), **given, **options)  # type: ignore[arg-type]
    return elapsed()


def resumed() -> dict[str, float]:
    folder = scratch()
    run(folder, TRIALS)
    again = [sys.executable, __file__, "--again", str(folder)]
    done = subprocess.run(again, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the resume failed:\n{done.stderr}")
    return {"seconds": float(json.loads(done.stdout.splitlines()[-1]))}


def appended() -> dict[str, float]:
    from tunesmith.core import events as ev
    from tunesmith.core.ports import Header, Record
    from tunesmith.journal import SqliteJournal

    journal = SqliteJournal.create(scratch() / "journal.db", Header(uuid="0" * 32, name="growing", created=0.0))

    def report(trial: int, iteration: int) -> Record:
        metrics = {"loss": 1.0 / iteration, "training_iteration": iteration, "time_total_s": float(iteration)}
        return Record(ev.Reported(trial, 0, iteration, metrics))

    def grow(first: int, last: int) -> None:
        for begin in range(first, last, 500):  # many at a time: what they cost is not measured
            trials = range(begin, min(begin + 500, last))
            journal.append([Record(ev.Suggested(trial, {"x": 0.5}, "random")) for trial in trials])
            journal.append([report(trial, 1) for trial in trials])

    def cost(trial: int) -> float:
        begin = time.perf_counter()
        for iteration in range(2, SPAN + 2):
            journal.append([report(trial, iteration)])
        return (time.perf_counter() - begin) / SPAN * 1e6

    grow(0, SMALL)
    cost(SMALL - 1)  # warm
    few = cost(SMALL - 2)
    grow(SMALL, LARGE)
    many = cost(LARGE - 1)
    journal.close()
    return {"few": few, "many": many, "ratio": many / few}


def table(found: Medians) -> list[Row]:
    append = found["append"]
    return [
        Row(f"resume of {TRIALS:,} trials with {TRIALS * REPORTS:,} results, then one more, s", found["resume"]["seconds"], 10, "lower"),
        Row(f"append of one report at {SMALL} trials, us", append["few"]),
        Row(f"append of one report at {LARGE:,} trials, us", append["many"]),
        Row(f"append at {LARGE:,} trials / at {SMALL}", append["ratio"], 1.3, "lower"),
    ]


CASES = {"resume": resumed, "append": appended}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--again"]:
        print(run(Path(sys.argv[2]), TRIALS + 1, resume=True))
    else:
        main(__file__, CASES, table, repeat=3)
