"""The scheduler of one's own on the page about schedulers passes the kit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tunesmith.schedulers import Scheduler
from tunesmith.testing import SchedulerKit

PAGE = Path(__file__).parents[2] / "docs" / "schedulers.md"


def documented() -> Any:
    """The class, from the block that defines it."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    source = next(block for block in blocks if "class BestFirst" in block)
    found: dict[str, Any] = {}
    exec(source.partition("analysis = ")[0], found)
    return found["BestFirst"]


BestFirst = documented()


class TestBestFirst(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        made: Scheduler = BestFirst(metric, mode, turn=2)
        return made


class TestBestFirstWithALargePool(SchedulerKit):
    def make(self, metric: str, mode: str) -> Scheduler:
        made: Scheduler = BestFirst(metric, mode, turn=3, pool=100)
        return made


def test_every_scheduler_is_on_the_page() -> None:
    import tunesmith.schedulers as schedulers

    text = PAGE.read_text(encoding="utf-8")
    hidden = {"SchedulerCapabilities", "TrialScheduler"}
    assert {name for name in schedulers.__all__ if name not in text} <= hidden
