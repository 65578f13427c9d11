from __future__ import annotations

from tunesmith.executors.inline import InlineExecutor
from tunesmith.testing.executor_kit import ExecutorKit


class TestInline(ExecutorKit):
    def make(self) -> InlineExecutor:
        return InlineExecutor()
