"""The one place that makes a result for people: rows of files, callbacks, tables and dataframes all come from here.

A row is the reported metrics and, beside them, the keys that users of Ray Tune know:

=========================  ==================================================================================================
``training_iteration``     count of the trial's reports, from 1, continued from the checkpoint that the attempt loaded
``time_this_iter_s``       seconds since the previous report, time inside ``report()`` not counted
``time_total_s``           running sum of it
``time_since_restore``     the same since this attempt started; ``iterations_since_restore``: its reports
``timestamp``, ``date``    wall time of the report: whole seconds since the epoch; local, ``%Y-%m-%d_%H-%M-%S``
``done``                   the report said so, or the trial was stopped at it
``trial_id``               and ``experiment_tag``, ``pid``, ``hostname``, ``node_ip``, ``config``
``checkpoint_dir_name``    of the checkpoint that came with the report, or None
=========================  ==================================================================================================

What the user reported under ``training_iteration``, ``time_this_iter_s``, ``timestamp`` and ``date`` stands; the other names are ours.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tunesmith.core.events import Reported
from tunesmith.core.flat import ResultDict

if TYPE_CHECKING:
    from tunesmith.journal.views import TrialInfo

__all__ = ["AUTO_KEYS", "date_of", "result_row"]

AUTO_KEYS = frozenset(
    {
        "training_iteration",
        "time_this_iter_s",
        "time_total_s",
        "time_since_restore",
        "iterations_since_restore",
        "timestamp",
        "date",
        "done",
        "trial_id",
        "experiment_tag",
        "pid",
        "hostname",
        "node_ip",
        "config",
        "checkpoint_dir_name",
    }
)
"""Keys of a row that the user need not report."""


@lru_cache(maxsize=64)
def date_of(second: int) -> str:
    """``second`` since the epoch as a row's ``date``."""
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(second))


def result_row(
    report: Reported,
    trial: TrialInfo,
    info: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    extras: Mapping[str, Any] | None = None,
) -> ResultDict:
    """The result of one report as people see it.

    Args:
        report: the event. Call this when ``trial`` has been folded up to this very report, not later:
            ``trial.time_since_restore``, ``trial.iterations_since_restore`` and ``trial.stopped`` belong to it.
        trial: whose report it is.
        info: ``AttemptStarted.info`` of the report's attempt: pid, hostname, node_ip.
        config: put in as it is, not copied; None: the row has no ``config``.
        extras: values that the journal does not keep (arrays, images), for loggers in the driver's process.

    Returns:
        A new flat dict; change it freely.
    """
    row = ResultDict(report.metrics)
    if extras:
        row.update(extras)
    second = int(trial.experiment.wall(report.at))
    row.setdefault("timestamp", second)
    checkpoint = report.checkpoint
    row["checkpoint_dir_name"] = checkpoint.rpartition("/")[2] if checkpoint else None
    row["done"] = trial.stopped or bool(row.setdefault("done", False))
    row.setdefault("training_iteration", report.iteration)
    row["trial_id"] = trial.trial_id
    row.setdefault("date", date_of(second))
    known = info or {}
    row["pid"] = known.get("pid")
    row["hostname"] = known.get("hostname")
    row["node_ip"] = known.get("node_ip")
    if config is not None:
        row["config"] = config
    row["time_since_restore"] = trial.time_since_restore
    row["iterations_since_restore"] = trial.iterations_since_restore
    row["experiment_tag"] = trial.experiment_tag
    return row
