"""Public conformance kits and fault injection: what a plug-in has to pass, and how to break things on purpose.

Subclass a kit in a test module of your own, give it a ``make`` method, and pytest runs the whole of it on your class::

    from tunesmith.testing import SearcherKit

    class TestMySearcher(SearcherKit):
        def make(self):
            return MySearcher()

Kits need pytest and some need hypothesis; importing this package does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith.testing.executor_kit import ExecutorKit
    from tunesmith.testing.framework_kit import Diary, FrameworkKit
    from tunesmith.testing.gates import Gate, until_gone
    from tunesmith.testing.gpus import FakeMachine, FakeNvml
    from tunesmith.testing.journal_kit import JournalKit
    from tunesmith.testing.logger_kit import LoggerKit
    from tunesmith.testing.scheduler_kit import SchedulerKit
    from tunesmith.testing.searcher_kit import SearcherKit

__all__ = [
    "Diary", "ExecutorKit", "FakeMachine", "FakeNvml", "FrameworkKit", "Gate", "JournalKit", "LoggerKit", "SchedulerKit", "SearcherKit",
    "until_gone",
]  # fmt: skip

_HOME = {
    "Diary": "framework_kit",
    "ExecutorKit": "executor_kit",
    "FakeMachine": "gpus",
    "FakeNvml": "gpus",
    "FrameworkKit": "framework_kit",
    "Gate": "gates",
    "JournalKit": "journal_kit",
    "LoggerKit": "logger_kit",
    "SchedulerKit": "scheduler_kit",
    "SearcherKit": "searcher_kit",
    "until_gone": "gates",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
