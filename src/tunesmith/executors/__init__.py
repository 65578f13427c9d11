"""Executors run attempts: :mod:`~tunesmith.executors.local` in processes of this machine, :mod:`~tunesmith.executors.inline` in the
driver's own thread; all speak :mod:`~tunesmith.executors.base`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tunesmith.executors.base import Assignment, Executor, ExecutorCapabilities, ExecutorSetup

if TYPE_CHECKING:
    from tunesmith.executors.inline import InlineExecutor
    from tunesmith.executors.local import LocalExecutor

__all__ = ["Assignment", "Executor", "ExecutorCapabilities", "ExecutorSetup", "InlineExecutor", "LocalExecutor"]

_HOMES = {"InlineExecutor": "inline", "LocalExecutor": "local"}


def __getattr__(name: str) -> Any:
    """Each executor is loaded when it is asked for: a worker needs none of them."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
