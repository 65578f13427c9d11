"""What people see on the console while an experiment runs, and at its end.

Only what plain lines need is loaded from here; the reporters that users choose are in :mod:`tunesmith.progress.reporters`.
"""

from __future__ import annotations

from tunesmith.progress.console import console
from tunesmith.progress.plain import PlainReporter

__all__ = ["PlainReporter", "console"]
