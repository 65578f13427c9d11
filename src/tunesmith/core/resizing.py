"""Resources that change while an experiment runs: a resize is one attempt's end and the next one's begin, with other resources.

An attempt keeps what it was given: its threads and its cards were settled when its process started. So what runs is told to save and
to end, and its trial waits, with its new request, for the next attempt, like any other that waits; no failure is counted. What does
not run just asks for something else from then on.

The scheduler asked for it, and nobody needs it to go on. Where the machine has become too small for it meanwhile, the trial goes back to
what it had, or else to what it took before it was ever resized: it is not to end for want of something that it did not need.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.core.commands import Decision
from tunesmith.core.placement import request_of, worded
from tunesmith.core.trial import PAUSED, Trial

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller
    from tunesmith.core.state import State

__all__ = ["go_back", "next_size", "shrunk", "way_back", "wished"]


def wished(ctl: Controller, trial: Trial, decision: Decision) -> Decision | None:
    """A scheduler's wish for other resources, made complete; None if it can't be now, or work would be lost by it.

    Nothing is lost where the trial does not run, where it can be asked to save, or where it is at a report and has just saved.
    """
    state = ctl.state
    size: dict[str, float] = decision.data["resources"]
    request = request_of(size)
    if trial.exploit is not None or request == trial.request or not state.pool.possible(request):
        return None
    data: dict[str, Any] = {"resources": size}
    if trial.alive:
        warm = trial.status == PAUSED
        waits = warm or (trial.number == ctl.current and not trial.owed)
        saved = waits and trial.base is not None and trial.base.iteration == trial.iteration
        if not trial.started or not (saved or state.settings.can_save):
            return None
        if warm and (trial.number in state.held or trial.number in state.woken):
            return None  # a person has it in hand
        data["save"] = not saved
    return Decision("resize", trial.number, decision.reason, data)


def next_size(state: State, trial: Trial) -> dict[str, Any]:
    """For the decision that ends an attempt: which resources the next one takes, if others than this one took."""
    size = trial.size if trial.size is not None else trial.resources
    if state.ready and not state.pool.possible(request_of(size)):
        possible = [one for one in (trial.resources, trial.first) if one is not None and state.pool.possible(request_of(one))]
        size = possible[0] if possible else trial.resources
    return {} if size == trial.resources else {"resources": size}


def way_back(state: State, trial: Trial) -> dict[str, float] | None:
    """What a trial goes back to that cannot be placed with what it takes now; None: there is no need, or no way."""
    first = trial.first
    if first is None or trial.size is not None or state.pool.possible(trial.request) or not state.pool.possible(request_of(first)):
        return None
    return first


def go_back(state: State, trial: Trial, first: dict[str, float]) -> Decision:
    """The decision for it; see :func:`way_back`."""
    reason = f"goes back to {worded(first)}: {worded(trial.resources)} cannot be had any more, there is {state.pool.whole()}"
    return Decision("resize", trial.number, reason, {"resources": first, **({"save": state.settings.can_save} if trial.alive else {})})


def shrunk(state: State) -> Iterator[Decision]:
    """The capacity has changed: who does not run, and cannot be placed any more as it is, goes back."""
    for number in sorted(state.trials):
        trial = state.trials[number]
        if not trial.alive and number not in state.skipped and (first := way_back(state, trial)) is not None:
            yield go_back(state, trial, first)
