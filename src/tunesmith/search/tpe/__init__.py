"""Tree-structured Parzen estimators: what is likelier among good configurations than among bad ones."""

from __future__ import annotations

from tunesmith.search.tpe.sampler import TPESampler
from tunesmith.search.tpe.search import TPESearch

__all__ = ["TPESampler", "TPESearch"]
