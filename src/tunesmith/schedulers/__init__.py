"""Schedulers decide which trials go on: pure, cheap, part of the folded state."""

from __future__ import annotations

from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities, TrialScheduler
from tunesmith.schedulers.fifo import FIFOScheduler

__all__ = ["FIFOScheduler", "Scheduler", "SchedulerCapabilities", "TrialScheduler"]
