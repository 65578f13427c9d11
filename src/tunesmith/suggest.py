"""``tune.suggest``: the name that :mod:`tunesmith.search` had in the first releases of Ray Tune; the same names."""

from __future__ import annotations

from tunesmith import search
from tunesmith.search import *  # noqa: F403

__all__ = search.__all__
