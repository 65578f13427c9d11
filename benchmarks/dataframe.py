"""Dataframes of a large experiment: 10,000 trials with 1,000,000 results, read from its journal on one core.

The journal is written by the journal's own writer, as runs write it: trials interleaved, each with a name for its configuration's
values, a process, and three metrics beside the automatic ones. Each case opens it anew, in a process of its own.
"""

from __future__ import annotations

import importlib
import os
import resource
from pathlib import Path

from _common import Medians, Row, main, scratch, stopwatch

TRIALS, REPORTS = 10_000, 100
TOGETHER = 100
"""Trials that report in turn."""


def write(folder: Path, trials: int = TRIALS, reports: int = REPORTS) -> Path:
    """The journal of an experiment of that size; returns its directory."""
    from tunesmith.core import events as ev
    from tunesmith.core.commands import Decision
    from tunesmith.core.ports import Header, Record
    from tunesmith.journal import SqliteJournal
    from tunesmith.space import Space, choice, loguniform

    space = Space.parse({"lr": loguniform(1e-4, 1), "net": {"act": choice(["relu", "tanh"])}, "epochs": reports})
    spec = {"trainable_name": "train", "space": space.describe(), "metrics": ["loss"], "modes": ["min"]}
    header = Header(uuid="3f2a9" + "0" * 27, name="large", created=1_900_000_000.0)
    with SqliteJournal.create(folder / "experiment.db", header) as journal:
        journal.append([Record(ev.ExperimentStarted(spec))])
        for first in range(0, trials, TOGETHER):
            numbers = range(first, min(first + TOGETHER, trials))
            batch = []
            for number in numbers:
                values = {"lr": (number + 1) / trials, "net/act": ("relu", "tanh")[number % 2]}
                batch.append(Record(ev.Suggested(number, values, "random", at=float(first)), [Decision("launch", number)]))
                info = {"pid": number, "hostname": "box", "node_ip": "127.0.0.1"}
                batch.append(Record(ev.AttemptStarted(number, 0, info, at=float(first))))
            for step in range(1, reports + 1):
                for number in numbers:
                    loss = 1 / step + number / trials
                    metrics = {"loss": loss, "val/acc": 1 - loss / 2, "epoch": step, "training_iteration": step}
                    metrics |= {"time_this_iter_s": 0.25, "time_total_s": step / 4}
                    batch.append(Record(ev.Reported(number, 0, step, metrics, at=first + step / 4)))
            for number in numbers:
                ended = ev.AttemptEnded(number, 0, "finished", at=first + reports / 4)
                end = Decision("end", number, "", {"status": "TERMINATED", "outcome": "finished"})
                batch.append(Record(ended, [end]))
            journal.append(batch)
    return folder


def measured() -> dict[str, float]:
    importlib.import_module("pandas")  # that takes longer than many a table

    from tunesmith.analysis import open_experiment

    folder = write(scratch())
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, float] = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with stopwatch() as elapsed:
        newest = open_experiment(folder).dataframe()
    found["dataframe"] = elapsed()
    with stopwatch() as elapsed:
        best = open_experiment(folder).dataframe("loss", "min")
    found["best"] = elapsed()
    with stopwatch() as elapsed:
        indexed = open_experiment(folder).results_df
    found["results_df"] = elapsed()
    with stopwatch() as elapsed:
        frames = open_experiment(folder).trial_dataframes
    found["trial_dataframes"] = elapsed()
    with stopwatch() as elapsed:
        assert len(open_experiment(folder).history_df) == TRIALS * REPORTS
    found["history_df"] = elapsed()
    with stopwatch() as elapsed:
        assert open_experiment(folder).best_trial.number == 0
    found["best_trial"] = elapsed()
    assert len(newest) == len(best) == len(indexed) == len(frames) == TRIALS
    assert all(len(frames[path]) == REPORTS for path in list(frames)[:10])
    found["MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return found


def table(found: Medians) -> list[Row]:
    seconds = found["tables"]
    size = f"{TRIALS:,} trials, {TRIALS * REPORTS:,} results"
    return [
        Row(f"trial_dataframes of {size}, s", seconds["trial_dataframes"], 5, "lower"),
        Row(f"dataframe() of {size}, s", seconds["dataframe"], 5, "lower"),
        Row(f"dataframe(metric, mode) of {size}, s", seconds["best"], 5, "lower"),
        Row(f"results_df of {size}, s", seconds["results_df"], 5, "lower"),
        Row(f"history_df of {size}, s", seconds["history_df"], 5, "lower"),
        Row(f"best_trial of {size}, s", seconds["best_trial"], 5, "lower"),
        Row("memory that all of these took at most, MB", seconds["MB"]),
    ]


if __name__ == "__main__":
    main(__file__, {"tables": measured}, table, repeat=3)
