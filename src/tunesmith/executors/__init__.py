"""Executors run attempts: :mod:`~tunesmith.executors.inline` in the driver's own thread; all speak :mod:`~tunesmith.executors.base`."""

from __future__ import annotations

from tunesmith.executors.base import Assignment, Executor, ExecutorCapabilities, ExecutorSetup
from tunesmith.executors.inline import InlineExecutor

__all__ = ["Assignment", "Executor", "ExecutorCapabilities", "ExecutorSetup", "InlineExecutor"]
