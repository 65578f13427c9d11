"""What people see on the console while an experiment runs, and at its end."""

from __future__ import annotations

from tunesmith.progress.plain import PlainReporter

__all__ = ["PlainReporter"]
