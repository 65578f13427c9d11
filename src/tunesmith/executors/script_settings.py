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
            handler.setFormatter(_loaded(formatter))
            logger.addHandler(handler)
    for blob in reversed(filters):
        action, message, category, module, line = _loaded(blob) or (None,) * 5
        if category is not None:
            entry = (action, message, category, module, line)
            if entry not in warnings.filters:
                warnings.filters.insert(0, entry)  # type: ignore[attr-defined]
    warnings._filters_mutated()  # type: ignore[attr-defined]


def _handler(handler: logging.Handler) -> tuple[str, int, bytes | None] | None:
    if type(handler) is not logging.StreamHandler:
        return None
    for name in ("stdout", "stderr"):
        if handler.stream is not None and handler.stream in (getattr(sys, name), getattr(sys, f"__{name}__")):
            return name, handler.level, _dumped(handler.formatter)
    return None


def _filters() -> list[bytes]:
    """In their order. "error" stays behind: importing a library must not fail in a trial because it is slow to get there."""
    return [blob for entry in warnings.filters if entry[0] != "error" and (blob := _dumped(entry)) is not None]


def _dumped(thing: object) -> bytes | None:
    try:
        return pickle.dumps(thing)
    except Exception:
        return None


def _loaded(blob: bytes | None) -> Any:
    try:
        return pickle.loads(blob) if blob is not None else None
    except Exception:
        return None
