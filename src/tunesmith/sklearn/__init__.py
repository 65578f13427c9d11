"""Drop-ins for scikit-learn's search classes: candidates are trials of a run, with any searcher and any scheduler.

Importing this module imports scikit-learn; ``import tunesmith`` does not.
"""

from __future__ import annotations

from tunesmith.optional import load

load("tunesmith.sklearn", "sklearn", "sklearn")

from tunesmith.sklearn.grid import TuneGridSearchCV  # noqa: E402 - what is missing is named first
from tunesmith.sklearn.search import TuneSearchCV  # noqa: E402

__all__ = ["TuneGridSearchCV", "TuneSearchCV"]
