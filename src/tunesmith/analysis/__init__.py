"""What came out of an experiment: of one that just ended, one that still runs, or one found on disk."""

from __future__ import annotations

from tunesmith.analysis.alike import IdenticalCurves
from tunesmith.analysis.experiment import ExperimentAnalysis, open_experiment
from tunesmith.analysis.older import Analysis
from tunesmith.analysis.results import Result, ResultGrid

__all__ = ["Analysis", "ExperimentAnalysis", "IdenticalCurves", "Result", "ResultGrid", "open_experiment"]
