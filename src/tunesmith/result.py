"""Names of the keys that every result has, for scripts that import them: ``from tunesmith.result import TRAINING_ITERATION``."""

from __future__ import annotations

from tunesmith.core.events import DEFAULT_METRIC

__all__ = [
    "CONFIG",
    "DEFAULT_METRIC",
    "DONE",
    "EXPR_PARAM_FILE",
    "EXPR_PROGRESS_FILE",
    "EXPR_RESULT_FILE",
    "HOSTNAME",
    "PID",
    "TIMESTAMP",
    "TIME_THIS_ITER_S",
    "TIME_TOTAL_S",
    "TRAINING_ITERATION",
    "TRIAL_ID",
]

TRAINING_ITERATION = "training_iteration"
TIME_THIS_ITER_S = "time_this_iter_s"
TIME_TOTAL_S = "time_total_s"
TIMESTAMP = "timestamp"
TRIAL_ID = "trial_id"
DONE = "done"
CONFIG = "config"
PID = "pid"
HOSTNAME = "hostname"

EXPR_PARAM_FILE = "params.json"
EXPR_PROGRESS_FILE = "progress.csv"
EXPR_RESULT_FILE = "result.json"
