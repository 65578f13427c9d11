"""What loggers cost a run: 2 trials of 4,000 reports with 6 numbers each, from worker processes, without and with files.

Loggers run behind the loop, in a thread of the driver; ``run()`` waits for them, so all that they do is in these numbers. The ratios are
to the same run without any logger, as is what we want to reach.
"""

from __future__ import annotations

from typing import Any

from _common import Medians, Objective, Row, main, timed_run

TRIALS, REPORTS, WARM_UP = 2, 4_000, 20


def reporting(reports: int) -> Objective:
    import tunesmith as tune

    def objective(config: dict[str, float]) -> None:
        for step in range(reports):
            loss = config["x"] / (step + 1)
            val = {"loss": 1.1 * loss, "acc": 1 - 1.1 * loss}
            tune.report({"loss": loss, "acc": 1 - loss, "val": val, "lr": 0.1 * loss, "epoch": step})

    return objective


def measured(**options: Any) -> dict[str, float]:
    """Modules are loaded in a run before."""
    import tunesmith as tune

    space = {"x": tune.uniform(0, 1)}
    timed_run(reporting(WARM_UP), TRIALS, "local", space, **options)
    return {"reports/s": TRIALS * REPORTS / timed_run(reporting(REPORTS), TRIALS, "local", space, **options)}


def none() -> dict[str, float]:
    return measured(loggers=())


def tables() -> dict[str, float]:
    from tunesmith.logger import CSVLogger, JsonLogger

    return measured(loggers=(JsonLogger, CSVLogger))


def tensorboard() -> dict[str, float]:
    from tunesmith.logger import TBXLogger

    return measured(loggers=(TBXLogger,))


def default() -> dict[str, float]:
    return measured()


def table(found: Medians) -> list[Row]:
    bare = found["none"]["reports/s"]
    targets = {"tables": ("result.json, progress.csv", 0.75), "tensorboard": ("TensorBoard alone", 0.5), "default": ("default files", 0.5)}
    return [
        Row(f"local reports/s, {what}", found[case]["reports/s"], share * bare, peer="no files", peer_value=bare)
        for case, (what, share) in targets.items()
    ]


CASES = {"none": none, "tables": tables, "tensorboard": tensorboard, "default": default}

if __name__ == "__main__":
    main(__file__, CASES, table)
