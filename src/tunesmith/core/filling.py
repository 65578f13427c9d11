"""After each event that may have moved something: start what can be started, ask for suggestions, notice the end.

The experiment never waits for something that cannot happen. Where nothing runs and nothing was asked for, an exploit that waits for a
checkpoint is given up, a trial that the scheduler would not start is started, and a paused one that it would not resume is ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith.core import commands as cmd
from tunesmith.core.commands import Decision
from tunesmith.core.ends import Decisions, displaced, stop
from tunesmith.core.state import State
from tunesmith.core.trial import PAUSED, PENDING, Trial
from tunesmith.core.wishes import enact
from tunesmith.errors import BugError

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller

__all__ = ["Runnable", "free_slots", "settle", "tries"]

_BOUND = 1024
"""Attempts at once, and suggestions asked for at once, where nothing else bounds them."""

_TRIES = 10
"""Infeasible configurations per trial of ``num_samples`` before the search is given up."""


@dataclass(slots=True)
class Runnable:
    """What could be started now, for ``Scheduler.choose``.

    Args:
        pending: the first waiting trial of each kind of request that fits, by number.
        paused: numbers of all paused trials, oldest pause first.
    """

    pending: list[Trial]
    paused: Sequence[int] | Iterable[int]
    _state: State

    def get(self, number: int) -> Trial | None:
        """The live trial with this number, if it could be started now."""
        trial = self._state.trials.get(number)
        state = self._state
        if trial is None or trial.then or trial.exploit is not None or number in state.held or number in state.skipped:
            return None
        return trial if trial.status in (PENDING, PAUSED) and state.pool.fits(trial.request) else None

    def first_paused(self) -> Trial | None:
        """The trial that has been paused longest and fits."""
        return next((trial for number in self.paused if (trial := self.get(number)) is not None), None)


def settle(ctl: Controller) -> Decisions:
    """All that follows from a changed state, until nothing more does."""
    state = ctl.state
    while True:
        while followups := ctl.take_followups():
            yield from enact(ctl, followups)
        if state.finished or not state.ready:
            return
        if not state.stopping:
            yield from _fill(ctl)
            state.drawn = state.drawn and tries(state) == 0
            if not (state.drawn or state.asked or state.skipped) and tries(state) == 0:  # those that are left out may be waited for
                ctl.drawn_all()
                continue
        moved = False
        for decision in _close(ctl):
            moved = True
            yield decision
        if not moved:
            return


def free_slots(state: State) -> int:
    """How many more attempts may run at once, resources aside."""
    running = len(state.running)
    limit = _BOUND + running
    for bound in (state.settings.max_concurrent, state.slots):
        if bound is not None and bound < limit:
            limit = bound
    return limit - running


def tries(state: State) -> int | None:
    """Trials that may still be drawn; None: without end."""
    wanted = state.settings.num_samples
    if state.exhausted or state.only:
        return 0
    if wanted is None:
        return None
    if state.infeasible >= _TRIES * wanted:
        return 0
    return wanted - (state.next_number - state.infeasible)


# -- starting ------------------------------------------------------------------------------------------------------------


def _fill(ctl: Controller) -> Decisions:
    """Start what can be started; ask for suggestions for the slots that are left."""
    state = ctl.state
    refused = False
    while (limit := free_slots(state)) > 0:
        runnable = _runnable(state)
        if runnable is None:
            break
        launch = _choose(ctl, runnable)
        if launch is None:
            refused = bool(runnable.pending)
            break
        yield launch
    if limit > 0:
        _ask(state, limit, refused)


def _runnable(state: State) -> Runnable | None:
    """What there is to choose from; None: nothing that fits."""
    heads = state.heads() if state.queues else []
    if not heads and not any(state.pool.fits(request) for request in state.kinds):
        return None
    return Runnable(heads, state.paused, state)


def _choose(ctl: Controller, runnable: Runnable) -> Decision | None:
    state = ctl.state
    for number in (*state.woken, *state.lost):
        if runnable.get(number) is not None:
            return Decision("launch", number, "resumed by the user" if number in state.woken else "")
    chosen = ctl.scheduler.choose(runnable)
    if chosen is None:
        return None
    launch = chosen if isinstance(chosen, Decision) else Decision("launch", chosen.number)
    if launch.do != "launch" or launch.trial is None or runnable.get(launch.trial) is None:
        raise BugError(f"scheduler {type(ctl.scheduler).__name__} chose trial {launch.trial}, which cannot be started now")
    return launch


def _ask(state: State, limit: int, refused: bool) -> None:
    """Ask for as many suggestions as could be started at once. ``refused``: the scheduler wants new trials rather than waiting ones."""
    settings = state.settings
    if state.queues and (not (refused or settings.config_resources) or state.counts[PENDING] >= settings.pending_cap):
        return  # what waits needs the same as what would be drawn
    left = tries(state)
    if left is not None and left <= state.asked:
        return
    room = 1 if settings.config_resources else state.pool.room(state.default_request, min(limit, _BOUND))
    if not (room or state.running or settings.growing or state.pool.possible(state.default_request)):
        room = 1  # can never be placed: one trial says so
    if left is not None:
        room = min(room, left)
    if room > state.asked:
        n = room - state.asked
        state.out.append(cmd.Suggest(n, state.next_number + state.asked))
        state.asked = room


# -- the end -------------------------------------------------------------------------------------------------------------


def _close(ctl: Controller) -> Decisions:
    """Where nothing is under way: what keeps the experiment going, one step at a time, or its end."""
    state = ctl.state
    if state.running or state.asked or any(state.trials[number].then for number in state.warm):
        return
    if state.stopping:
        yield Decision("finish", None, state.stopping)
    elif state.counts[PENDING] and (not state.skipped or state.waiting()):
        yield from _start_anyway(ctl)
    elif (left := tries(state)) is None or left > 0:
        return  # capacity is what is missing: it may come
    elif (first := state.first_paused()) is not None:
        yield from _end_paused(ctl, first)
    elif state.only:
        others = f"; {len(state.trials)} unfinished ones are left to another" if state.trials else ""
        yield Decision("finish", None, f"the trials of this session have ended{others}")
    else:
        drawn = state.next_number - state.infeasible
        if state.settings.num_samples is not None and not state.exhausted and drawn < state.settings.num_samples:
            state.exhausted = f"{state.infeasible} configurations were infeasible, {drawn} were not"
        yield Decision("finish", None, state.exhausted or f"all {drawn} trials have ended")


def _start_anyway(ctl: Controller) -> Decisions:
    state = ctl.state
    pending = state.waiting()
    for trial in pending:
        if trial.exploit is not None and trial.exploit.checkpoint is None:
            yield Decision("skip", trial.number, f"exploit given up: trial {trial.exploit.source} does not run, so it saves no checkpoint")
            return
    if any(trial.exploit is not None for trial in pending) or free_slots(state) <= 0:
        return  # the answer to Explore comes, or capacity
    for trial in pending:
        if state.pool.fits(trial.request):
            yield Decision("launch", trial.number, "nothing else was left to run")
            return
    if not state.settings.growing:
        yield from displaced(ctl, pending)


def _end_paused(ctl: Controller, first: Trial) -> Decisions:
    """The scheduler had the choice and resumes none: the one that was paused first ends, and it is asked again."""
    state = ctl.state
    if state.held or free_slots(state) <= 0:
        return  # a person resumes it, or capacity comes
    if state.pool.fits(first.request):
        yield from stop(ctl, first, Decision("stop", first.number, "paused, and nothing was left that could resume it"))
    elif not state.settings.growing:
        yield from displaced(ctl, (first,))
