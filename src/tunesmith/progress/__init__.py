"""What people see on the console while an experiment runs, and at its end."""

from __future__ import annotations

from tunesmith.progress.console import console
from tunesmith.progress.plain import PlainReporter
from tunesmith.progress.reporters import CLIReporter, JupyterNotebookReporter, ProgressReporter, TuneReporterBase

__all__ = ["CLIReporter", "JupyterNotebookReporter", "PlainReporter", "ProgressReporter", "TuneReporterBase", "console"]
