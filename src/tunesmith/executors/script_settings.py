"""What the script has set for its process, and its author expects to hold in trials, too: logging to the console, ignored warnings.

Handlers that write anywhere else stay behind: a log file has one writer.
"""

from __future__ import annotations

import logging
import pickle
import sys
import warnings
from typing import Any

__all__ = ["ScriptSettings", "apply_settings", "present_settings"]

ScriptSettings = tuple[list[tuple[Any, ...]], list[bytes]]
"""Loggers (name, level, propagate, handlers), and filters of warnings. Picklable by anyone."""


def present_settings() -> ScriptSettings:
    """Those of this process."""
    loggers: list[logging.Logger] = [logging.root]
    loggers += [one for one in list(logging.root.manager.loggerDict.values()) if isinstance(one, logging.Logger)]
    found = []
    for logger in loggers:
        handlers = [handler for one in logger.handlers if (handler := _handler(one)) is not None]
        if handlers or logger.level or not logger.propagate:
            found.append((logger.name, logger.level, logger.propagate, handlers))
    return found, _filters()


def apply_settings(settings: ScriptSettings) -> None:
    """Make them this process's own. What can't be rebuilt here (a formatter of the script's own class) is as if it were not set."""
    loggers, filters = settings
    for name, level, propagate, handlers in loggers:
        logger = logging.getLogger(name) if name != "root" else logging.root
        logger.setLevel(level)
        logger.propagate = propagate
        for stream, threshold, formatter in handlers:
            handler = logging.StreamHandler(getattr(sys, stream))
            handler.setLevel(threshold)
            handler.setFormatter(_Later(formatter) if formatter is not None else None)
            logger.addHandler(handler)
    for blob in reversed(filters):
        action, message, (home, name), module, line = pickle.loads(blob)
        entry = (action, message, _category(home, name), module, line)
        if entry not in warnings.filters:
            warnings.filters.insert(0, entry)  # type: ignore[attr-defined]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _handler(handler: logging.Handler) -> tuple[str, int, bytes | None] | None:
    if type(handler) is not logging.StreamHandler:
        return None
    for name in ("stdout", "stderr"):
        if handler.stream is not None and handler.stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
            return name, handler.level, _dumped(handler.formatter) if handler.formatter is not None else None
    return None


def _filters() -> list[bytes]:
    """In their order. "error" stays behind: importing a library must not fail in a trial because it is slow to get there."""
    found = []
    category: Any
    for action, message, category, module, line in warnings.filters:
        if action != "error":
            blob = _dumped((action, message, (category.__module__, category.__qualname__), module, line))
            found += [blob] if blob is not None else []
    return found


class _ByName(type):
    """Of categories that are known by their names only: a filter that torch has set should not import torch in every trial."""

    def __subclasscheck__(cls, other: type) -> bool:
        return any((one.__module__, one.__qualname__) == (cls.__module__, cls.__qualname__) for one in other.__mro__)


def _category(home: str, name: str) -> type:
    found = getattr(sys.modules.get(home), name, None)
    return found if isinstance(found, type) else _ByName(name, (), {"__module__": home, "__qualname__": name})


def _dumped(thing: object) -> bytes | None:
    try:
        return pickle.dumps(thing)
    except Exception:
        return None


class _Later(logging.Formatter):
    """Rebuilt when it is first used: one of torch's should not import torch in every trial. If it can't be, that is said once."""

    def __init__(self, blob: bytes) -> None:
        super().__init__()
        self._blob = blob
        self._real: Any = None

    def format(self, record: logging.LogRecord) -> str:
        if self._real is None:
            try:
                self._real = pickle.loads(self._blob)
            except Exception as error:
                self._real = logging.Formatter()
                return f"({_lost(error)})\n{self._real.format(record)}"
        return str(self._real.format(record))


def _lost(error: Exception) -> str:
    return f"the script's own format of these lines is not to be had in a trial: {type(error).__name__}: {error}"
