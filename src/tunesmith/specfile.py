"""``spec.pkl``: what JSON cannot hold of an experiment, for those who go on with it or run one of its trials again.

Each part is pickled for itself, so that a callback which cannot be pickled costs only itself. Secrets are left out of the
space. Nothing but a resume and ``rerun`` ever reads this file; looking at results never unpickles.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping
from typing import Any

from tunesmith.errors import JournalCorrupt, SpecError
from tunesmith.secrets import redact
from tunesmith.spec import ExperimentSpec

__all__ = ["FILE", "load", "save"]

FILE = "spec.pkl"
_FORMAT = 1
_MACHINERY = ("path", "resume", "executor")
"""Fields that belong to one process, not to the experiment."""
_REQUIRED = ("trainable", "space")


def save(spec: ExperimentSpec) -> None:
    """Write ``spec.pkl`` into the experiment's directory, in one step.

    Raises:
        SerializationError: the trainable cannot be pickled; it names what it captured.
        StorageFull: the file cannot be written.
    """
