"""The local executor passes the public kit."""

from __future__ import annotations

from tunesmith.executors import LocalExecutor
from tunesmith.testing import ExecutorKit


class TestLocal(ExecutorKit):
    def make(self):
        return LocalExecutor()
