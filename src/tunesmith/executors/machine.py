"""How much this machine can hold."""

from __future__ import annotations

import json
import math
import os

from tunesmith.errors import ExecutorError

__all__ = ["machine_totals"]


def machine_totals() -> dict[str, float]:
    """Totals to place trials on, e.g. ``{"cpu": 8.0, "gpu": 0.0}``.

    CPUs are those that this process may use (affinity, cgroup quota). ``TUNESMITH_NUM_CPUS``, ``TUNESMITH_NUM_GPUS`` and
    ``TUNESMITH_RESOURCES`` (a JSON object of further ones) override.

    Raises:
        ExecutorError: one of these variables is no number, or no JSON object of numbers, >= 0.
    """
    totals = {"cpu": _cpus(), "gpu": 0.0}
    variable = os.environ.get("TUNESMITH_RESOURCES")
    if variable:
        try:
            given = dict(json.loads(variable))
        except (ValueError, TypeError):
            raise _bad("TUNESMITH_RESOURCES", variable, 'a JSON object such as {"tpu": 4}') from None
        totals.update({str(key): _amount("TUNESMITH_RESOURCES", value, "numbers >= 0") for key, value in given.items()})
    for key, name in (("cpu", "TUNESMITH_NUM_CPUS"), ("gpu", "TUNESMITH_NUM_GPUS")):
        if os.environ.get(name):
            totals[key] = _amount(name, os.environ[name], "a number >= 0")
    return totals


def _amount(variable: str, value: object, expected: str) -> float:
    try:
        amount = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        amount = math.nan
    if not (0 <= amount < math.inf):
        raise _bad(variable, value, expected)
    return amount


def _bad(variable: str, value: object, expected: str) -> ExecutorError:
    return ExecutorError(f"The environment variable {variable} is {value!r}; expected {expected}. Correct or unset it.")


def _cpus() -> float:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return float(max(1, min(usable, math.floor(_quota()) if _quota() < usable else usable)))


def _quota() -> float:
    """CPUs that the control group allows; infinite if it sets no limit or there is none."""
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
    except (OSError, ValueError):
        try:
            with open("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", encoding="ascii") as file:
                quota = file.read().strip()
            with open("/sys/fs/cgroup/cpu/cpu.cfs_period_us", encoding="ascii") as file:
                period = file.read().strip()
        except OSError:
            return math.inf
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)
