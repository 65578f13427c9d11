"""Searchers: where configurations come from.

Each is loaded when it is first used, as are the libraries behind it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tunesmith.search.base import FINISHED, Exhausted, Proposal, Searcher, SearcherCapabilities
from tunesmith.search.basic_variant import BasicVariantGenerator

if TYPE_CHECKING:
    from tunesmith.search.auto import AutoSearch
    from tunesmith.search.ax import AxSearch
    from tunesmith.search.bayesopt import BayesOptSearch
    from tunesmith.search.bohb import BOHBSearch, TuneBOHB
    from tunesmith.search.cmaes import CMAESSearch
    from tunesmith.search.gp import GPSearch
    from tunesmith.search.hyperopt import HyperOptSearch
    from tunesmith.search.limiter import ConcurrencyLimiter
    from tunesmith.search.nevergrad import NevergradSearch
    from tunesmith.search.nsga2 import NSGA2Search
    from tunesmith.search.optuna import OptunaSearch
    from tunesmith.search.quasi_random import QuasiRandomSearch
    from tunesmith.search.repeater import Repeater
    from tunesmith.search.smac import SMACSearch
    from tunesmith.search.tpe import TPESearch

HOMES = {
    "AutoSearch": "auto",
    "AxSearch": "ax",
    "BOHBSearch": "bohb",
    "BayesOptSearch": "bayesopt",
    "CMAESSearch": "cmaes",
    "ConcurrencyLimiter": "limiter",
    "GPSearch": "gp",
    "HyperOptSearch": "hyperopt",
    "NSGA2Search": "nsga2",
    "NevergradSearch": "nevergrad",
    "OptunaSearch": "optuna",
    "QuasiRandomSearch": "quasi_random",
    "Repeater": "repeater",
    "SMACSearch": "smac",
    "TPESearch": "tpe",
    "TuneBOHB": "bohb",
}

__all__ = [
    "FINISHED",
    "AutoSearch",
    "AxSearch",
    "BOHBSearch",
    "BasicVariantGenerator",
    "BayesOptSearch",
    "CMAESSearch",
    "ConcurrencyLimiter",
    "Exhausted",
    "GPSearch",
    "HyperOptSearch",
    "NSGA2Search",
    "NevergradSearch",
    "OptunaSearch",
    "Proposal",
    "QuasiRandomSearch",
    "Repeater",
    "SMACSearch",
    "Searcher",
    "SearcherCapabilities",
    "TPESearch",
    "TuneBOHB",
]


def __getattr__(name: str) -> Any:
    home = HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
