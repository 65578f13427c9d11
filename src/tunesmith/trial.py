"""``tune.trial``: the read-only view of a trial that callbacks, stoppers and results hold, and the names of its statuses."""

from __future__ import annotations

from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.journal.views import TrialInfo as Trial

__all__ = ["ERROR", "PAUSED", "PENDING", "RUNNING", "TERMINATED", "Trial"]
