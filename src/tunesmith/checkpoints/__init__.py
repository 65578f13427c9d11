"""Checkpoints: what users hold (:class:`Checkpoint`) and where they are kept (:class:`~tunesmith.checkpoints.store.LocalStore`)."""

from __future__ import annotations

from tunesmith.checkpoints.checkpoint import Checkpoint
from tunesmith.checkpoints.room import DiskLow
from tunesmith.checkpoints.store import Kept, LocalStore

__all__ = ["Checkpoint", "DiskLow", "Kept", "LocalStore"]
