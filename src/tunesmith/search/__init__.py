"""Searchers: where configurations come from."""

from __future__ import annotations

from tunesmith.search.base import FINISHED, Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.search.basic_variant import BasicVariantGenerator

__all__ = ["FINISHED", "BasicVariantGenerator", "Exhausted", "Proposal", "Searcher", "SearcherCapabilities"]
