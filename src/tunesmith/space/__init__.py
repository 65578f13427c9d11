"""Search spaces: domains, nested and conditional configs, constraints, grids, and how values become configs.

:class:`Space` is the whole of it for other modules; the functions are what users write spaces with. The encoding to the unit cube,
which needs numpy, is in :mod:`tunesmith.space.encode`.
"""

from __future__ import annotations

from tunesmith.space.api import (
    choice,
    grid_search,
    lograndint,
    loguniform,
    qlograndint,
    qloguniform,
    qrandint,
    qrandn,
    quniform,
    randint,
    randn,
    require,
    sample_from,
    uniform,
)
from tunesmith.space.describe import config_from_description
from tunesmith.space.domains import Categorical, Domain, Float, Function, Grid, Integer, Normal, Require
from tunesmith.space.space import Space

__all__ = [
    "Categorical",
    "Domain",
    "Float",
    "Function",
    "Grid",
    "Integer",
    "Normal",
    "Require",
    "Space",
    "choice",
    "config_from_description",
    "grid_search",
    "lograndint",
    "loguniform",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "require",
    "sample_from",
    "uniform",
]
