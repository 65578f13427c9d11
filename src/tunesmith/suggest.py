"""``tune.suggest``: the name that :mod:`tunesmith.search` had in the first releases of Ray Tune; the same names, the same modules."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from tunesmith import search

__all__ = search.__all__


class _Same(ModuleType):
    """``tunesmith.suggest.hyperopt`` for ``tunesmith.search.hyperopt``, which is loaded when it is looked into."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__.replace("suggest", "search", 1)), name)


for _home in sorted(set(search.HOMES.values())):
    sys.modules[f"{__name__}.{_home}"] = _Same(f"{__name__}.{_home}")


def __getattr__(name: str) -> Any:
    return getattr(search, name)
