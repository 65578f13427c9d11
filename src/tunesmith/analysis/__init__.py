"""What came out of an experiment: of one that just ended, one that still runs, or one found on disk."""

from __future__ import annotations

from tunesmith.analysis.experiment import ExperimentAnalysis, open_experiment
from tunesmith.analysis.results import Result, ResultGrid

__all__ = ["ExperimentAnalysis", "Result", "ResultGrid", "open_experiment"]
