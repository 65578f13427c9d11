"""Inline reports a second: 2 trials of 5,000 reports each, journal on, default files; the peer reports and asks whether to prune."""

from __future__ import annotations

from collections.abc import Callable

from _common import Row, main, measure, peer, scratch, stopwatch

TRIALS, REPORTS, WARM_UP = 2, 5_000, 20
PEER_REPORTS = 300


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
            executor="inline",
            seed=1,
            verbose=0,
            storage_path=str(folder),
        )
        seconds = elapsed()
    return {"reports/s": TRIALS * reports / seconds}


def theirs() -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(PEER_REPORTS):
            trial.report(x / (step + 1), step)
            trial.should_prune()
        return x

    study = optuna.create_study(
        storage=f"sqlite:///{scratch()}/study.db", sampler=optuna.samplers.RandomSampler(seed=1), pruner=optuna.pruners.NopPruner()
    )
    study.optimize(objective, n_trials=1)
    with stopwatch() as elapsed:
        study.optimize(objective, n_trials=TRIALS)
        seconds = elapsed()
    return {"reports/s": TRIALS * PEER_REPORTS / seconds}


def table(repeat: int) -> list[Row]:
    found = measure(__file__, list(CASES), repeat)
    value, other = found["ours"]["reports/s"], found["optuna-sqlite"]["reports/s"]
    return [Row("inline reports/s, 2 trials", value, target=12_000, peer=peer("optuna", "SQLite"), peer_value=other)]


CASES: dict[str, Callable[[], dict[str, float]]] = {"ours": ours, "optuna-sqlite": theirs}

if __name__ == "__main__":
    main(__file__, CASES, table)
