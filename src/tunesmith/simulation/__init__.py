"""Experiments in virtual time: the real scheduler, searcher and core, and trials that are played from functions, tables or journals.

See ``docs/simulation.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.executors.fault_plan import Delays, Faults
    from tunesmith.simulation.front import simulate
    from tunesmith.simulation.result import Simulation
    from tunesmith.simulation.sources import FunctionSource, TableSource
    from tunesmith.simulation.table import CurveTable

__all__ = ["CurveTable", "Delays", "Faults", "FunctionSource", "Simulation", "TableSource", "simulate"]

_HOME = {
    "CurveTable": "simulation.table",
    "Delays": "executors.fault_plan",
    "Faults": "executors.fault_plan",
    "FunctionSource": "simulation.sources",
    "Simulation": "simulation.result",
    "TableSource": "simulation.sources",
    "simulate": "simulation.front",
}


def __getattr__(name: str) -> Any:
    """Each is loaded when it is asked for: tables need numpy."""
    if name in _HOME:
        return getattr(importlib.import_module(f"tunesmith.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
