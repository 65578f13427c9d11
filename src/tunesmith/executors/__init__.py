"""Executors run attempts; all speak :mod:`~tunesmith.executors.base`.

:mod:`~tunesmith.executors.local` in processes of this machine, :mod:`~tunesmith.executors.inline` in the driver's own thread,
:mod:`~tunesmith.executors.ray_cluster` in actors of a Ray cluster; :mod:`~tunesmith.executors.simulated` plays them in virtual time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.executors.base import Assignment, Executor, ExecutorCapabilities, ExecutorSetup
    from tunesmith.executors.inline import InlineExecutor
    from tunesmith.executors.local import LocalExecutor
    from tunesmith.executors.ray_cluster import RayExecutor
    from tunesmith.executors.simulated import SimulatedExecutor

__all__ = [
    "Assignment", "Executor", "ExecutorCapabilities", "ExecutorSetup", "InlineExecutor", "LocalExecutor", "RayExecutor",
    "SimulatedExecutor",
]  # fmt: skip

_HOMES = {
    **dict.fromkeys(["Assignment", "Executor", "ExecutorCapabilities", "ExecutorSetup"], "base"),
    "InlineExecutor": "inline",
    "LocalExecutor": "local",
    "RayExecutor": "ray_cluster",
    "SimulatedExecutor": "simulated",
}


def __getattr__(name: str) -> Any:
    """Each is loaded when it is asked for: a worker needs no executor, and to start an interpreter needs nothing else."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
