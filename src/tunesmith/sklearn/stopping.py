"""``early_stopping=``: True, a scheduler's name, or a scheduler."""

from __future__ import annotations

import copy
import inspect
from typing import Any

from tunesmith.create import SCHEDULERS, create_scheduler
from tunesmith.errors import SpecError
from tunesmith.schedulers import ASHAScheduler

__all__ = ["scheduler_of"]


def scheduler_of(given: Any, steps: int) -> Any:
    """The scheduler that ``early_stopping`` asks for, made for this search alone; None: there is none.

    Args:
        given: False or None; True: ASHA; a name as for :func:`tunesmith.run`, or that of a class; a scheduler, which is copied.
        steps: how many a trial has; the scheduler's ``max_t``, where it has one and is not given.

    Raises:
        SpecError: there is no such scheduler.

    Example:
        >>> scheduler_of(False, 10), type(scheduler_of("HyperBandScheduler", 10)).__name__
        (None, 'HyperBandScheduler')
    """
    if given is None or given is False:
        return None
    if given is True:
        return ASHAScheduler(max_t=steps)
    if isinstance(given, str):
        name = _class_names().get(given.lower(), given)
        cls = type(_bare(name))
        return create_scheduler(name, **({"max_t": steps} if "max_t" in inspect.signature(cls).parameters else {}))
    if not hasattr(given, "on_result"):
        raise SpecError(f"early_stopping must be True, False, the name of a scheduler, or a scheduler, got {given!r}.")
    return copy.deepcopy(given)


def _class_names() -> dict[str, str]:
    return {target.partition(":")[2].lower(): name for name, target in SCHEDULERS.items()}


def _bare(name: str) -> Any:
    return create_scheduler(name)
