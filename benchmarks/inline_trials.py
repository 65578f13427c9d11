"""Inline trials a second, one report each, two parameters at random: with a journal, with and without the default files.

The peer's trials report one intermediate value, too. Its storages: in memory, SQLite, journal file. Beside the run with files stands what
making a directory with three small files costs on the same disk by itself: nobody who writes them can be faster.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from _common import Row, main, measure, peer, scratch, stopwatch

TRIALS, WARM_UP = 2_000, 20
PEER_TRIALS = {"memory": 2_000, "sqlite": 100, "journal": 500}


def ours(trials: int = TRIALS, **options: Any) -> dict[str, float]:
    import tunesmith as tune

    if trials == TRIALS:
        ours(WARM_UP, **options)  # modules are loaded then; import_time.py measures that
    def objective(config: dict[str, float]) -> None:
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
            storage_path=str(folder),
            **options,
        )
        seconds = elapsed()
    return {"trials/s": trials / seconds}


def storage(kind: str, folder: Path) -> Any:
    """One of the peer's storages."""
    import optuna

    if kind == "memory":
        return optuna.storages.InMemoryStorage()
    if kind == "sqlite":
        return optuna.storages.RDBStorage(f"sqlite:///{folder}/study.db")
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / "study.log")))


def theirs(kind: str) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        loss = (trial.suggest_float("x", -5, 5) - 1) ** 2 + trial.suggest_float("y", 1e-3, 1, log=True)
        trial.report(loss, 1)
        return loss

    count = PEER_TRIALS[kind]
    study = optuna.create_study(storage=storage(kind, scratch()), sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=WARM_UP)
    with stopwatch() as elapsed:
        study.optimize(objective, n_trials=count)
        seconds = elapsed()
    return {"trials/s": count / seconds}


def files_only() -> dict[str, float]:
    folder = scratch()
    with stopwatch() as elapsed:
        for trial in range(TRIALS):
            made = folder / f"00000_{trial:05}"
            made.mkdir()
            for name, size in (("params.json", 50), ("progress.csv", 400), ("result.json", 400)):
                (made / name).write_text("x" * size, encoding="utf-8")
        seconds = elapsed()
    return {"trials/s": TRIALS / seconds}


def table(repeat: int) -> list[Row]:
    found = measure(__file__, list(CASES), repeat)
    peers = {"memory": "in memory", "sqlite": "SQLite", "journal": "journal file"}
    rows = []
    for case, what, target in (("bare", "journal only (loggers=())", 4_000), ("files", "journal and default files", 1_500)):
        for kind, how in peers.items():
            value, other = found[case]["trials/s"], found[f"optuna-{kind}"]["trials/s"]
            rows.append(Row(f"inline trials/s, {what}", value, target=target, peer=peer("optuna", how), peer_value=other))
    value, other = found["files"]["trials/s"], found["disk"]["trials/s"]
    rows.append(Row("inline trials/s, journal and default files", value, target=1_500, peer="the bare files, no run", peer_value=other))
    return rows


CASES: dict[str, Callable[[], dict[str, float]]] = {
    "bare": lambda: ours(loggers=()),
    "files": ours,
    "disk": files_only,
    "optuna-memory": lambda: theirs("memory"),
    "optuna-sqlite": lambda: theirs("sqlite"),
    "optuna-journal": lambda: theirs("journal"),
}

if __name__ == "__main__":
    main(__file__, CASES, table)
