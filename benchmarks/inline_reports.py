"""Inline reports a second: 2 trials of 5,000 reports each, journal on, default files; the peer reports and asks whether to prune."""

from __future__ import annotations

from _common import Medians, Objective, Row, main, peer, reports_a_second
from _peers import optuna_run

TRIALS, REPORTS, WARM_UP = 2, 5_000, 20
PEER_REPORTS = 300


def reporting(reports: int) -> Objective:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        for step in range(reports):
            tune.report(loss=config["x"] / (step + 1))

    return objective


def ours() -> dict[str, float]:
    return reports_a_second(reporting, TRIALS, REPORTS, "inline", warm_up=WARM_UP)


def theirs() -> dict[str, float]:
    import optuna

    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", 0, 1)
        for step in range(PEER_REPORTS):
            trial.report(x / (step + 1), step)
            trial.should_prune()
        return x

    seconds = optuna_run(objective, TRIALS, warm_up=1, storage="sqlite", pruner=optuna.pruners.NopPruner())
    return {"reports/s": TRIALS * PEER_REPORTS / seconds}


def table(found: Medians) -> list[Row]:
    value, other = found["ours"]["reports/s"], found["optuna-sqlite"]["reports/s"]
    return [Row("inline reports/s, 2 trials", value, target=12_000, peer=peer("optuna", "SQLite"), peer_value=other)]


CASES = {"ours": ours, "optuna-sqlite": theirs}

if __name__ == "__main__":
    main(__file__, CASES, table)
