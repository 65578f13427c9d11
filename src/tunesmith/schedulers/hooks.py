"""Hooks of a scheduler of the user's own, looked at before the run: one that nothing would call, or could call, is an error."""

from __future__ import annotations

import inspect
import math
from typing import Any

from tunesmith.errors import SpecError
from tunesmith.schedulers.base import Scheduler

__all__ = ["check_hooks"]

_RAYS = {
    "on_trial_result": "on_result",
    "on_trial_complete": "on_trial_end",
    "on_trial_error": "on_trial_end",
    "on_trial_remove": "on_trial_end",
    "choose_trial_to_run": "choose",
}
"""Ray's hook -> the one that is called here."""


def check_hooks(scheduler: Any) -> Any:
    """Refuse hooks of Ray's protocol, which would be passed over in silence, and hooks that do not take what ours are called with.

    A class that has both, to serve Ray as well, is fine: a hook of Ray's is in vain only where it is defined closer to the scheduler's
    class than ours is, as in a subclass of ``ASHAScheduler`` with ``on_trial_result``.

    Returns:
        the scheduler, or what else was given in place of one.

    Raises:
        SpecError: the message says what to write instead, for all that is wrong.

    Example:
        >>> class Old(Scheduler):
        ...     def on_trial_result(self, controller, trial, result):
        ...         return self.STOP
        >>> try:
        ...     check_hooks(Old())
        ... except SpecError as error:
        ...     print(str(error).partition(", and")[0])
        the scheduler Old has hooks that nothing here can call: write on_result(self, trial, result) instead of on_trial_result
    """
    cls = type(scheduler)
    if isinstance(scheduler, type):  # a slip that others have words for
        return scheduler
    in_vain: dict[str, list[str]] = {}
    for rays, ours in _RAYS.items():
        if _level(cls, rays) < _level(cls, ours):
            in_vain.setdefault(ours, []).append(rays)
    for ours in ("on_trial_add", *_RAYS.values()):
        if ours not in in_vain and (given := _misfit(scheduler, ours)):
            in_vain[ours] = [given]
    if not in_vain:
        return scheduler
    changes = "; ".join(f"write {_shown(ours)} instead of {' and '.join(given)}" for ours, given in in_vain.items())
    from_ray = f" Those that come with Ray are in tune.schedulers, too; this one is of {cls.__module__}." if _is_rays(cls) else ""
    raise SpecError(
        f"the scheduler {cls.__name__} has hooks that nothing here can call: {changes}, and without the controller: what is to be done is "
        f"what a hook returns, such as self.stop(reason). docs/schedulers.md, 'A scheduler of your own', has all hooks.{from_ray}"
    )


def _level(cls: type, name: str) -> float:
    """How many classes up it is defined; infinite: nowhere."""
    return next((level for level, base in enumerate(cls.__mro__) if name in vars(base)), math.inf)


def _misfit(scheduler: Any, hook: str) -> str:
    """The head of a hook that cannot be called with the arguments of ours; "" if it can, or is not there."""
    try:
        signature = inspect.signature(getattr(scheduler, hook))
    except (AttributeError, TypeError, ValueError):
        return ""
    try:
        signature.bind(*_arguments(hook))
    except TypeError:
        return f"{hook}({', '.join(['self', *signature.parameters])})"
    return ""


def _arguments(hook: str) -> list[str]:
    return list(inspect.signature(getattr(Scheduler, hook)).parameters)[1:]


def _shown(hook: str) -> str:
    return f"{hook}({', '.join(['self', *_arguments(hook)])})"


def _is_rays(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "ray"
