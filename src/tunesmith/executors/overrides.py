"""What the user says there is, against what can be found out: three environment variables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping

from tunesmith.errors import ExecutorError, SpecError
from tunesmith.resources import amounts

__all__ = ["overrides"]


def overrides(environ: Mapping[str, str] | None = None) -> dict[str, float]:
    """Amounts from ``TUNESMITH_NUM_CPUS``, ``TUNESMITH_NUM_GPUS`` and ``TUNESMITH_RESOURCES``, a JSON object of these and any others.

    The first two win over the third. Empty ones count as unset.

    Args:
        environ: where to look; None: the process's environment.

    Raises:
        ExecutorError: one of them is no number >= 0 (of GPUs: no whole one), or no JSON object of numbers.

    Example:
        >>> overrides({"TUNESMITH_NUM_CPUS": "4", "TUNESMITH_RESOURCES": '{"license": 2, "CPU": 8}'})
        {'license': 2.0, 'cpu': 4.0}
    """
    environ = os.environ if environ is None else environ
    found: dict[str, float] = {}
    if text := environ.get("TUNESMITH_RESOURCES"):
        try:
            found = amounts(json.loads(text), "TUNESMITH_RESOURCES")
        except (ValueError, SpecError):
            raise _bad("TUNESMITH_RESOURCES", text, 'a JSON object of numbers >= 0 such as {"tpu": 4}') from None
        if not found.get("gpu", 0.0).is_integer():
            raise _bad("TUNESMITH_RESOURCES", text, "a whole number of GPUs")
    for key, name, expected in (("cpu", "TUNESMITH_NUM_CPUS", "a number >= 0"), ("gpu", "TUNESMITH_NUM_GPUS", "a whole number >= 0")):
        if text := environ.get(name):
            found[key] = _amount(name, text, expected)
            if key == "gpu" and not found[key].is_integer():
                raise _bad(name, text, expected)
    return found


def _amount(variable: str, text: str, expected: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < math.inf:
        raise _bad(variable, text, expected)
    return amount


def _bad(variable: str, text: str, expected: str) -> ExecutorError:
    return ExecutorError(f"The environment variable {variable} is {text!r}; expected {expected}. Correct or unset it.")
