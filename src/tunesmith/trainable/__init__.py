"""Trainables: what is tuned, as functions or classes; the session that they report through; how one attempt is run."""

from __future__ import annotations

from tunesmith.trainable.attempt import AttemptRunner, run_attempt
from tunesmith.trainable.base import TrainableSpec, with_parameters, with_resources
from tunesmith.trainable.class_api import Trainable
from tunesmith.trainable.session import TuneContext, get_checkpoint, get_context, report

__all__ = [
    "AttemptRunner",
    "Trainable",
    "TrainableSpec",
    "TuneContext",
    "get_checkpoint",
    "get_context",
    "report",
    "run_attempt",
    "with_parameters",
    "with_resources",
]
