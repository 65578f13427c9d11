"""Bayesian optimisation with Gaussian processes, with numpy and scipy only."""

from __future__ import annotations

from tunesmith.search.gp.sampler import GPSampler
from tunesmith.search.gp.search import GPSearch

__all__ = ["GPSampler", "GPSearch"]
