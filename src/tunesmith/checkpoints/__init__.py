"""Checkpoints: what users hold (:class:`Checkpoint`) and where they are kept (:class:`~tunesmith.checkpoints.store.LocalStore`)."""

from __future__ import annotations

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.checkpoints.store import LocalStore

__all__ = ["Checkpoint", "LocalStore"]
