"""Loggers: what writes results to files and services, behind the loop.

By default every trial gets ``params.json``, ``progress.csv``, ``result.json`` and an event file for TensorBoard (and ``error.txt`` if it
fails). Files are projections of the journal: they can be thrown away and written anew with :func:`rebuild_files`. For loggers of your
own subclass :class:`LoggerCallback` and give it to ``callbacks=[...]``.
"""

from __future__ import annotations

from tunesmith.logger.base import Logger, LoggerCallback
from tunesmith.logger.build import DEFAULT_LOGGERS, default_loggers, loggers_from, rebuild_files, split_callbacks
from tunesmith.logger.error import ErrorFileCallback
from tunesmith.logger.host import LoggerHost
from tunesmith.logger.legacy import CSVLogger, JsonLogger, LegacyLoggerCallback, NoopLogger, TBXLogger, UnifiedLogger
from tunesmith.logger.tables import CSVLoggerCallback, JsonLoggerCallback
from tunesmith.logger.tensorboard import TBXLoggerCallback

__all__ = [
    "DEFAULT_LOGGERS",
    "CSVLogger",
    "CSVLoggerCallback",
    "ErrorFileCallback",
    "JsonLogger",
    "JsonLoggerCallback",
    "LegacyLoggerCallback",
    "Logger",
    "LoggerCallback",
    "LoggerHost",
    "NoopLogger",
    "TBXLogger",
    "TBXLoggerCallback",
    "UnifiedLogger",
    "default_loggers",
    "loggers_from",
    "rebuild_files",
    "split_callbacks",
]
