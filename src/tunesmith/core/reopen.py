"""Sessions that take up what was over, and sessions for some trials only.

Ended trials leave one byte in the state. What is to go on of one comes with the event, from whoever has kept it; see
:class:`~tunesmith.core.events.Reopened`.
"""

from __future__ import annotations

from collections.abc import Collection

from tunesmith.core import events as ev
from tunesmith.core.policy import Breaker
from tunesmith.core.retention import Saved
from tunesmith.core.shelf import admit, take_back
from tunesmith.core.state import State
from tunesmith.core.trial import ERROR, PENDING, TERMINATED, Trial

__all__ = ["begin_only", "reopen"]


def reopen(state: State, event: ev.Reopened) -> Trial:
    """The trial waits again, as it was before its end, with a fresh budget of failures."""
    number = event.trial
    failed = state.ended[number] == 2
    state.counts[ERROR if failed else TERMINATED] -= 1
    if failed:  # whoever takes up failed trials has mended something
        state.breaker = Breaker()
    trial = state.revive(number, event.values, event.resources)
    trial.space, trial.attempt, trial.time_total = event.space, event.attempt, event.time_total
    trial.metrics, trial.frontier, trial.exploits = event.metrics, event.frontier, event.exploits
    trial.iteration = min(event.iteration, event.frontier)  # an attempt without reports has counted from what it loaded
    known = {one.id: one for one in take_back(state, number)}
    trial.saved = [known.get(entry[0]) or Saved(*entry) for entry in event.saved]
    if state.settings.max_checkpoint_bytes is not None:
        for one in trial.saved:
            if one.id not in known:
                admit(state, number, one)
    if event.base is not None:
        trial.base = next((one for one in trial.saved if one.id == event.base[0]), None) or Saved(*event.base)
        if trial.base not in trial.saved:  # another trial's, since an exploit
            trial.borrowed = True
            state.pin(trial.base.id)
    state.enqueue(trial)
    return trial


def begin_only(state: State, only: Collection[int] | None) -> None:
    """A session begins that is about these trials (None: about all). Who was left out by the last one is back."""
    left_out, state.skipped = state.skipped, set()
    for number in sorted(left_out):
        trial = state.trials.get(number)
        if trial is not None and trial.status == PENDING and trial.exploit is None:
            state.enqueue(trial)
    state.only = only is not None
    if only is not None:
        state.skipped = set(state.trials) - set(only)
        for number in sorted(state.skipped):
            state.disarm(f"exploit:{number}")
