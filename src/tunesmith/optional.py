"""Packages that are not installed with this one: imported where they are used, with advice where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from tunesmith.errors import SpecError

__all__ = ["load"]


def load(owner: str, module: str, extra: str) -> Any:
    """The module of an optional package.

    Args:
        owner: who needs it, for the message.
        module: what to import.
        extra: which of ``pip install tunesmith[extra]`` brings it.

    Raises:
        SpecError: it is not installed, or cannot be imported; says what to install.

    Example:
        >>> load("JsonSearch", "json", "json").dumps([1])
        '[1]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SpecError(f'{owner} needs the package {package} ({error}). Install it: pip install "tunesmith[{extra}]"') from error
