"""When to end a trial, or the whole experiment: ``stop=`` and the classes behind it.

``stop=`` takes a dict of bounds, a function of ``(trial_id, result)``, a :class:`Stopper`, or a list of these.
A stopper sees every accepted report once; it may keep state. It is the user's code, so the shell calls it at the edge
and journals its answer.
"""

from __future__ import annotations

from tunesmith.stopper.base import CombinedStopper, FunctionStopper, NoopStopper, Stopper
from tunesmith.stopper.bounds import DictStopper, MaximumIterationStopper
from tunesmith.stopper.build import stopper_from
from tunesmith.stopper.plateau import EarlyStopping, ExperimentPlateauStopper, TrialPlateauStopper
from tunesmith.stopper.timeout import TimeoutStopper

__all__ = [
    "CombinedStopper",
    "DictStopper",
    "EarlyStopping",
    "ExperimentPlateauStopper",
    "FunctionStopper",
    "MaximumIterationStopper",
    "NoopStopper",
    "Stopper",
    "TimeoutStopper",
    "TrialPlateauStopper",
    "stopper_from",
]
