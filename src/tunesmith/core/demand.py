"""What would be launched if there were room for it: of use to an executor whose capacity may grow. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith.core.filling import free_slots, tries

if TYPE_CHECKING:
    from tunesmith.core.state import State
    from tunesmith.core.trial import Trial

__all__ = ["demand"]


def demand(state: State) -> tuple[list[Trial], int]:
    """Trials that wait for room; and how many more there would be of the usual kind, whose configurations need not be known for that.

    Suggestions that were asked for count as launched: there is room for them.
    """
    if not state.ready or state.stopping or state.finished:
        return [], 0
    limit = free_slots(state) - state.asked
    waiting = [trial for trial in state.waiting() if trial.exploit is None][: max(0, limit)]
    limit -= len(waiting)
    left = tries(state)
    if left is not None:
        limit = min(limit, left - state.asked)
    return waiting, 0 if state.settings.config_resources else max(0, limit)
