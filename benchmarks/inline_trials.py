"""Inline trials a second, one report each, two parameters at random: with a journal, with and without the default files.

The peer's trials report one intermediate value, too. Its storages: in memory, SQLite, journal file. Beside the run with files stands what
making a directory with three small files costs on the same disk by itself: nobody who writes them can be faster.
"""

from __future__ import annotations

from typing import Any

from _common import Medians, Row, beside, main, peer, scratch, stopwatch, trials_a_second
from _peers import optuna_on_plane, optuna_run

TRIALS, WARM_UP = 2_000, 20
PEER_TRIALS = {"memory": 2_000, "sqlite": 100, "journal": 500}


def ours(**options: Any) -> dict[str, float]:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        tune.report(loss=(config["x"] - 1) ** 2 + config["y"])

    return trials_a_second(objective, TRIALS, "inline", warm_up=WARM_UP, **options)


def theirs(storage: str) -> dict[str, float]:
    count = PEER_TRIALS[storage]
    return {"trials/s": count / optuna_run(optuna_on_plane, count, warm_up=WARM_UP, storage=storage)}


def files_only() -> dict[str, float]:
    folder = scratch()
    with stopwatch() as elapsed:
        for trial in range(TRIALS):
            made = folder / f"00000_{trial:05}"
            made.mkdir()
            for name, size in (("params.json", 50), ("progress.csv", 400), ("result.json", 400)):
                (made / name).write_text("x" * size, encoding="utf-8")
    return {"trials/s": TRIALS / elapsed()}


def table(found: Medians) -> list[Row]:
    storages = {"memory": "in memory", "sqlite": "SQLite", "journal": "journal file"}
    peers = {peer("optuna", how): found[f"optuna-{kind}"]["trials/s"] for kind, how in storages.items()}
    disk = {"the bare files, no run": found["disk"]["trials/s"]}
    return [
        *beside("inline trials/s, journal only (loggers=())", found["bare"]["trials/s"], 4_000, peers),
        *beside("inline trials/s, journal and default files", found["files"]["trials/s"], 1_500, {**peers, **disk}),
    ]


CASES = {
    "bare": lambda: ours(loggers=()),
    "files": ours,
    "disk": files_only,
    "optuna-memory": lambda: theirs("memory"),
    "optuna-sqlite": lambda: theirs("sqlite"),
    "optuna-journal": lambda: theirs("journal"),
}

if __name__ == "__main__":
    main(__file__, CASES, table)
