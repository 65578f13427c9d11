"""From what users write as ``stop=`` to one stopper."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.stopper.base import CombinedStopper, FunctionStopper, Stopper
from tunesmith.stopper.bounds import DictStopper

__all__ = ["stopper_from"]


def stopper_from(stop: Any) -> Stopper | None:
    """Turn what users pass as ``stop=`` into one :class:`Stopper`.

    Args:
        stop: None, a dict of bounds, a function of ``(trial_id, result)``, a stopper (anything callable that also has
            ``stop_all``), or a list of these, of which any may stop.

    Raises:
        SpecError: it is something else, or a part of it is invalid.

    Example:
        >>> from tunesmith.stopper import MaximumIterationStopper
        >>> stopper_from([{"training_iteration": 10}, MaximumIterationStopper(5)]).verdict("t", {"training_iteration": 10})
        'stop criterion training_iteration >= 10 reached (10)'
    """
    if stop is None or isinstance(stop, Stopper):
        return stop
    if isinstance(stop, Mapping):
        return DictStopper(stop) if stop else None
    if isinstance(stop, Iterable) and not isinstance(stop, (str, bytes)) and not callable(stop):
        parts = [part for part in map(stopper_from, stop) if part is not None]
        return CombinedStopper(*parts) if len(parts) > 1 else next(iter(parts), None)
    if not callable(stop):
        raise SpecError(f"stop: expected a dict, a function of (trial_id, result), a Stopper or a list of these, got {stop!r}.")
    return FunctionStopper(stop)
