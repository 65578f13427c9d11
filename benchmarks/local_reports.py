"""Reports a second from worker processes: 2 trials of 4,000 reports, each waiting for its decision, default files on.

Beside it stands a bare loop: two forked processes that report over sockets; each turn writes what has come to SQLite in one commit, to a
table and to a file of JSON lines, and then answers. The run decides, resumes, names columns and shows progress besides.
"""

from __future__ import annotations

import json
import sqlite3
import time

from _common import Medians, Objective, Row, beside, main, peer, reports_a_second, scratch, stopwatch
from _peers import Channel, ray_tune, serve

TRIALS, REPORTS, RAY_REPORTS, WARM_UP = 2, 4_000, 1_000, 20


def reporting(reports: int) -> Objective:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        for step in range(reports):
            tune.report(loss=config["x"] / (step + 1))

    return objective


def ours() -> dict[str, float]:
    return reports_a_second(reporting, TRIALS, REPORTS, "local", warm_up=WARM_UP)


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
    return {"reports/s": TRIALS * REPORTS / elapsed()}


def table(found: Medians) -> list[Row]:
    peers = {peer("ray"): found["ray"]["reports/s"], "a bare socket loop with SQLite and files": found["bare"]["reports/s"]}
    return beside("local reports/s, 2 trials, default files", found["ours"]["reports/s"], 6_000, peers)


CASES = {"ours": ours, "bare": bare, "ray": ray}

if __name__ == "__main__":
    main(__file__, CASES, table, seldom={"ray": 1})
