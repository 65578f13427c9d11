"""Schedulers decide which trials go on: pure, cheap, part of the folded state. Each is loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.schedulers.base import Scheduler, SchedulerCapabilities, TrialScheduler
from tunesmith.schedulers.fifo import FIFOScheduler

if TYPE_CHECKING:
    from tunesmith.schedulers.asha import ASHAScheduler, AsyncHyperBandScheduler
    from tunesmith.schedulers.bohb import HyperBandForBOHB
    from tunesmith.schedulers.fixed_cut import FixedCutScheduler
    from tunesmith.schedulers.hyperband import HyperBandScheduler
    from tunesmith.schedulers.median import MedianStoppingRule, PercentileStoppingRule
    from tunesmith.schedulers.pasha import PASHAScheduler
    from tunesmith.schedulers.patience import PatienceScheduler
    from tunesmith.schedulers.pb2 import PB2
    from tunesmith.schedulers.pbt import PopulationBasedTraining
    from tunesmith.schedulers.pbt_replay import PopulationBasedTrainingReplay
    from tunesmith.schedulers.resource_changing import DistributeResources, DistributeResourcesToTopJob, ResourceChangingScheduler
    from tunesmith.schedulers.successive_halving import SuccessiveHalvingScheduler

__all__ = [
    "PB2",
    "ASHAScheduler",
    "AsyncHyperBandScheduler",
    "DistributeResources",
    "DistributeResourcesToTopJob",
    "FIFOScheduler",
    "FixedCutScheduler",
    "HyperBandForBOHB",
    "HyperBandScheduler",
    "MedianStoppingRule",
    "PASHAScheduler",
    "PatienceScheduler",
    "PercentileStoppingRule",
    "PopulationBasedTraining",
    "PopulationBasedTrainingReplay",
    "ResourceChangingScheduler",
    "Scheduler",
    "SchedulerCapabilities",
    "SuccessiveHalvingScheduler",
    "TrialScheduler",
]

_EXPORTS = {
    "asha": "ASHAScheduler AsyncHyperBandScheduler",
    "bohb": "HyperBandForBOHB",
    "fixed_cut": "FixedCutScheduler",
    "hyperband": "HyperBandScheduler",
    "median": "MedianStoppingRule PercentileStoppingRule",
    "pasha": "PASHAScheduler",
    "patience": "PatienceScheduler",
    "pb2": "PB2",
    "pbt": "PopulationBasedTraining",
    "pbt_replay": "PopulationBasedTrainingReplay",
    "resource_changing": "DistributeResources DistributeResourcesToTopJob ResourceChangingScheduler",
    "successive_halving": "SuccessiveHalvingScheduler",
}
_HOME = {name: module for module, names in _EXPORTS.items() for name in names.split()}


if not TYPE_CHECKING:  # or else no misspelling would ever be found

    def __getattr__(name: str) -> object:
        import importlib

        if name not in _HOME:
            from tunesmith.hints import did_you_mean

            raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{did_you_mean(name, __all__)}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
