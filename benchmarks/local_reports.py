"""Reports a second from worker processes: 2 trials of 4,000 reports, each waiting for its decision, default files on.

Beside it stands a bare loop: two forked processes that report over sockets; each turn writes what has come to SQLite in one commit, to a
table and to a file of JSON lines, and then answers. The run decides, resumes, names columns and shows progress besides.
"""

from __future__ import annotations

import json
import sqlite3
import time

from _common import Row, main, measure, peer, scratch, stopwatch
from _peers import Channel, ray_tune, serve

TRIALS, REPORTS, RAY_REPORTS, WARM_UP = 2, 4_000, 1_000, 20


def ours(reports: int = REPORTS) -> dict[str, float]:
    import tunesmith as tune

    if reports == REPORTS:
        ours(WARM_UP)  # modules are loaded then; import_time.py measures that

    def objective(config: dict[str, float]) -> None:
        for step in range(reports):
            tune.report(loss=config["x"] / (step + 1))

    folder = scratch()
    with stopwatch() as elapsed:
        tune.run(
            objective,
            config={"x": tune.uniform(0, 1)},
            num_samples=TRIALS,
            metric="loss",
            mode="min",
            executor="local",
            seed=1,
            verbose=0,
            storage_path=str(folder),
        )
        seconds = elapsed()
    return {"reports/s": TRIALS * reports / seconds}


def ray() -> dict[str, float]:
    def objective(config: dict[str, float]) -> None:
        from ray import tune

        for step in range(RAY_REPORTS):
            tune.report({"loss": config["x"] / (step + 1)})

    _, times = ray_tune(objective, TRIALS, reuse=True)
    return {"reports/s": (len(times) - 1) / (times[-1] - times[0])}  # its slow start is in first_result.py


def bare() -> dict[str, float]:
    def work(channel: Channel) -> None:
        for step in range(REPORTS):
            channel.send(step + 1, {"loss": 1 / (step + 1), "time_total_s": time.time()})
            channel.receive()

    folder = scratch()
    database = sqlite3.connect(folder / "journal.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=NORMAL")
    database.execute("CREATE TABLE reports (iteration INTEGER, metrics TEXT)")
    with (folder / "result.json").open("w") as lines, (folder / "progress.csv").open("w") as rows, stopwatch() as elapsed:
        for turn in serve(work, TRIALS):
            database.execute("BEGIN")
            for _, (iteration, metrics) in turn:
                line = json.dumps(metrics)
                database.execute("INSERT INTO reports VALUES (?, ?)", (iteration, line))
                lines.write(line + "\n")
                rows.write(f"{iteration},{metrics['loss']!r},{metrics['time_total_s']!r}\n")
            database.execute("COMMIT")
            for channel, _ in turn:
                channel.send("continue")
        seconds = elapsed()
    return {"reports/s": TRIALS * REPORTS / seconds}


def table(repeat: int) -> list[Row]:
    found = measure(__file__, list(CASES), repeat, seldom={"ray": 1})
    value = found["ours"]["reports/s"]
    what = "local reports/s, 2 trials, default files"
    return [
        Row(what, value, target=6_000, peer=peer("ray"), peer_value=found["ray"]["reports/s"]),
        Row(what, value, target=6_000, peer="a bare socket loop with SQLite and files", peer_value=found["bare"]["reports/s"]),
    ]


CASES = {"ours": ours, "bare": bare, "ray": ray}

if __name__ == "__main__":
    main(__file__, CASES, table)
