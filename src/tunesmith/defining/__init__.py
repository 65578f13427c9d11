"""Spaces that are defined as trials run: the objective asks for its parameters where it needs them."""

from __future__ import annotations

from tunesmith.defining.front import define_by_run
from tunesmith.defining.trial import DefinedTrial

__all__ = ["DefinedTrial", "define_by_run"]
