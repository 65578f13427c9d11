"""Which loggers a run has, and writing the files of a finished one anew."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.journal.trials import TrialBook
from tunesmith.logger.base import LoggerCallback
from tunesmith.logger.error import ErrorFileCallback
from tunesmith.logger.host import LoggerHost
from tunesmith.logger.legacy import CSVLogger, JsonLogger, LegacyLoggerCallback, TBXLogger
from tunesmith.logger.policies import PolicyFiles
from tunesmith.logger.tables import CSVLoggerCallback, JsonLoggerCallback
from tunesmith.logger.tensorboard import TBXLoggerCallback

__all__ = ["DEFAULT_LOGGERS", "default_loggers", "loggers_from", "rebuild_files", "split_callbacks"]

DEFAULT_LOGGERS = (JsonLogger, CSVLogger, TBXLogger)
"""What ``loggers=None`` stands for; add to it as in ``loggers=DEFAULT_LOGGERS + (Mine,)``."""

_FAST = {JsonLogger: JsonLoggerCallback, CSVLogger: CSVLoggerCallback, TBXLogger: TBXLoggerCallback}


def default_loggers() -> list[LoggerCallback]:
    """New loggers for the default files: params.json, result.json, progress.csv, TensorBoard's event file, error.txt."""
    return [JsonLoggerCallback(), CSVLoggerCallback(), TBXLoggerCallback(), ErrorFileCallback()]


def loggers_from(loggers: Any, callbacks: Iterable[Any] = ()) -> list[Any]:
    """What runs behind the loop: the loggers that ``loggers=`` names, and those among ``callbacks``.

    Args:
        loggers: None: the default files; ``()``: no files at all; else :class:`~tunesmith.logger.base.Logger` classes and
            :class:`~tunesmith.logger.base.LoggerCallback` objects or classes. ``error.txt`` comes with any of them.
        callbacks: ``callbacks=[...]`` of the run. A class that is there already is not added again by default.

    Raises:
        SpecError: an entry of ``loggers`` is no logger.
    """
    own = [callback for callback in callbacks if getattr(callback, "behind", False)]
    if loggers is None:
        return own + [logger for logger in default_loggers() if type(logger) not in map(type, own)]
    if isinstance(loggers, (str, bytes)) or not isinstance(loggers, Iterable):
        raise SpecError(f"loggers: expected a list of Logger classes or LoggerCallback objects, got {loggers!r}.")
    chosen: list[Any] = []
    older = []
    for logger in loggers:
        if logger in _FAST:
            chosen.append(_FAST[logger]())
        elif getattr(logger, "behind", False):
            chosen.append(logger() if isinstance(logger, type) else logger)
        elif isinstance(logger, type) and hasattr(logger, "on_result"):
            older.append(logger)
        else:
            raise SpecError(f"loggers: {logger!r} is neither a Logger class (with on_result) nor a LoggerCallback.")
    if older:
        chosen.append(LegacyLoggerCallback(older))
    if chosen and not any(type(logger) is ErrorFileCallback for logger in [*own, *chosen]):
        chosen.append(ErrorFileCallback())
    return own + chosen


def split_callbacks(callbacks: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """``callbacks=[...]`` as (those that run in the loop, loggers that run behind it)."""
    callbacks = list(callbacks)
    return [one for one in callbacks if not getattr(one, "behind", False)], [one for one in callbacks if getattr(one, "behind", False)]


def _described_loggers() -> list[LoggerCallback]:
    """The default ones, for configurations that come from the journal's description alone."""
    return [JsonLoggerCallback(described=True), *default_loggers()[1:]]


def _rebuild_policies(path: str, reader: Any) -> None:
    """The files of population-based training, if there have been any."""
    first = next(iter(reader.read(0, 1)), None)
    options = getattr(first.event, "spec", {}).get("scheduler_options") if first is not None else None
    if options and options.get("log_config"):
        PolicyFiles(reader.header, path, past=reader.read())


def rebuild_files(path: str, loggers: Sequence[Any] | None = None) -> None:
    """Write the files of all trials of an experiment anew from its journal, in place of what is there.

    Args:
        path: the experiment's directory.
        loggers: who writes; None: the default files. ``error.txt`` is completed, not replaced. Where a configuration holds what JSON
            cannot, the journal knows its name only: files show that, and ``params.json`` and ``params.pkl`` that are there stay.

    Raises:
        JournalError: there is no journal, or it cannot be read.
    """
    from tunesmith.journal import JOURNAL_FILE, open_reader

    journal = os.path.join(path, JOURNAL_FILE)
    with open_reader(journal) as reader:
        book = TrialBook(reader.header, path, keep_finished=False)
        own = _described_loggers() if loggers is None else loggers
        host = LoggerHost(own, book, lambda: open_reader(journal))
        host.follow(reader.last())
        host.close()
        if loggers is None:
            _rebuild_policies(path, reader)
    if host.failures:
        raise host.failures[0][1]
