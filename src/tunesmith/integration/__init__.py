"""Integrations with other libraries: one module each, imported on use, as ``tune.integration.torch`` or by an import of its own."""

from __future__ import annotations

import importlib
from types import ModuleType

from tunesmith.hints import did_you_mean

__all__ = ["keras", "lightgbm", "mlflow", "pytorch_lightning", "torch", "transformers", "wandb", "xgboost"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}.{did_you_mean(name, __all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
