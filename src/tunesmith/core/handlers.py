"""What each event means: handlers first record its facts in the state, then yield the decisions that follow from it.

A handler is a generator. The controller applies each decision before it asks for the next one, so a later decision sees what
the earlier ones did. Handlers never change the state for a decision; :mod:`tunesmith.core.apply` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tunesmith.core import events as ev
from tunesmith.core import policy
from tunesmith.core.apply import arm_deadlines, arm_exploit, keep, release_attempt
from tunesmith.core.commands import Decision
from tunesmith.core.ends import Decisions, displaced, end, failed, halt, onward, overdue, unplaceable
from tunesmith.core.placement import request_of
from tunesmith.core.reopen import begin_only, reopen
from tunesmith.core.resizing import next_size, shrunk
from tunesmith.core.retention import Saved
from tunesmith.core.settings import Settings
from tunesmith.core.shelf import drops, objective, recount
from tunesmith.core.state import State
from tunesmith.core.trial import PAUSED, RUNNING, Trial
from tunesmith.core.wishes import abandon, act, consult, enact, exploit_ready

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller

__all__ = ["HANDLERS"]


# -- the experiment as a whole -------------------------------------------------------------------------------------------


def experiment_started(ctl: Controller, event: ev.ExperimentStarted) -> Decisions:
    """A session begins. Nothing is started before its capacity is known; what changed and what was lost comes first."""
    state = ctl.state
    if state.session < 0:
        state.settings = Settings.parse(event.spec)
        _derive(state)
        ctl.scheduler.change(event.spec.get("scheduler_options", {}))
        ctl.scheduler.start(state.settings)
    state.session = event.session
    state.ready = False
    if state.kind == "breaker":  # somebody has looked at it, and goes on
        state.breaker = policy.Breaker()
    state.stopping = state.kind = state.finished = state.exhausted = ""
    state.asked = 0
    state.room = None
    state.held.clear()
    state.disarm("drain")  # the last session may have died while it ended
    begin_only(state, event.only)
    _arm_budget(state)
    for trial in state.trials.values():
        if trial.exploit is not None and trial.exploit.checkpoint is None and trial.number not in state.skipped:
            arm_exploit(state, trial)
    state.out += [state.explore_command(state.trials[number]) for number in state.exploring()]
    return
    yield


def _derive(state: State) -> None:
    """What follows from the settings."""
    state.default_request = request_of(state.settings.resources)
    state.unseen = set(state.settings.metrics)


def _arm_budget(state: State) -> None:
    budget = state.settings.time_budget_s
    if budget is not None:
        state.arm("budget", budget)
    else:
        state.disarm("budget")


def _move_timers(state: State, kind: str, before: float | None, after: float | None) -> None:
    """A limit changed: attempts that run now are measured by the new one."""
    if before == after:
        return
    for number in sorted(state.running):
        timer = f"{kind}:{number}"
        if after is None:
            state.disarm(timer)
        elif state.trials[number].started and not state.trials[number].owed.startswith("kill:"):
            started = state.timers[timer] - before if before is not None else state.now
            state.arm(timer, started + after)


def spec_changed(ctl: Controller, event: ev.SpecChanged) -> Decisions:
    """Settings change. An experiment that has finished stays so: in a new session this comes before its capacity is known."""
    state = ctl.state
    unseen, settings = state.unseen, state.settings
    limits = settings.max_trial_s, settings.max_silence_s
    settings.change(event.changes)
    _derive(state)
    _move_timers(state, "deadline", limits[0], settings.max_trial_s)
    _move_timers(state, "silence", limits[1], settings.max_silence_s)
    if "metrics" not in event.changes:
        state.unseen = unseen
    if "scheduler_options" in event.changes:
        ctl.scheduler.change(event.changes["scheduler_options"])
    if "space" in event.changes:
        state.space += 1
    if "num_samples" in event.changes:
        state.exhausted = ""
    if "time_budget_s" in event.changes and not (state.stopping or state.finished):
        _arm_budget(state)
    if "max_checkpoint_bytes" in event.changes:
        recount(state)
    if "max_checkpoint_bytes" in event.changes or "keep_best" in event.changes:
        yield from drops(state)


def capacity_changed(ctl: Controller, event: ev.CapacityChanged) -> Decisions:
    state = ctl.state
    state.pool.resize(event.totals, event.out)
    state.slots = event.slots
    state.room = state.room if event.warm is None else event.warm
    state.ready = True
    ctl.scheduler.on_capacity(dict(event.totals), event.nodes)
    yield from shrunk(state)
    if not state.finished:
        waiting = [trial for trial in state.waiting() if unplaceable(ctl, trial)]
        yield from displaced(ctl, (trial for trial in waiting if not state.stopping))  # the first may end the experiment


def search_exhausted(ctl: Controller, event: ev.SearchExhausted) -> Decisions:
    ctl.state.exhausted = event.reason or "the searcher has no more to propose"
    ctl.state.asked = 0
    return
    yield


def stop_requested(ctl: Controller, event: ev.StopRequested) -> Decisions:
    yield from halt(ctl, "drain" if event.drain else "stop", event.reason)


def timer_fired(ctl: Controller, event: ev.TimerFired) -> Decisions:
    state, (kind, _, number) = ctl.state, event.timer.partition(":")
    state.timers.pop(event.timer, None)
    if kind == "budget":
        yield from halt(ctl, "budget", f"time budget of {state.settings.time_budget_s:g} s is used up")
        return
    if kind == "drain":
        yield from overdue(ctl)
        return
    trial = state.trials[int(number)]
    if kind == "exploit":
        assert trial.exploit is not None
        yield Decision("skip", trial.number, f"exploit given up: trial {trial.exploit.source} had no checkpoint in time")
    elif kind == "deadline":
        reason = f"ran longer than max_trial_s={state.settings.max_trial_s:g}"
        yield Decision("kill", trial.number, reason, {"outcome": "timeout"})
    else:
        reason = f"no report for max_silence_s={state.settings.max_silence_s:g}"
        yield Decision("kill", trial.number, reason, {"outcome": "silent"})


# -- trials --------------------------------------------------------------------------------------------------------------


def suggested(ctl: Controller, event: ev.Suggested) -> Decisions:
    state = ctl.state
    state.asked = max(0, state.asked - 1)
    trial = state.add(event.trial, event.values, event.resources)
    state.enqueue(trial)
    wishes = consult(ctl.scheduler.on_trial_add(trial), trial, ctl.scheduler)
    if unplaceable(ctl, trial):
        yield from displaced(ctl, (trial,))
    else:
        yield from enact(ctl, wishes)


def attempt_started(ctl: Controller, event: ev.AttemptStarted) -> Decisions:
    trial = ctl.state.trials[event.trial]
    trial.started = True
    if trial.owed == "launch":
        trial.owed = ""
    if not trial.owed.startswith("kill:"):
        arm_deadlines(ctl.state, trial)
    return
    yield


def reported(ctl: Controller, event: ev.Reported) -> Decisions:
    state = ctl.state
    trial = state.trials[event.trial]
    metrics = event.metrics
    trial.iteration = event.iteration
    trial.metrics = metrics
    trial.named = event.named
    trial.time_total = metrics.get("time_total_s", 0.0)
    repeat = event.iteration <= trial.frontier
    if not repeat:
        trial.frontier = event.iteration
        trial.alike = (0, "")
    if trial.loaded is not None:
        state.unpin(trial.loaded)
        trial.loaded = None
    if state.unseen:
        state.unseen.difference_update([name for name, value in metrics.items() if not isinstance(value, str)])
    if state.settings.max_silence_s is not None:
        state.arm(f"silence:{trial.number}", state.now + state.settings.max_silence_s)
    if not trial.then:
        trial.owed = ""
    if event.checkpoint is not None:
        yield from _kept(state, trial, event.checkpoint, event.iteration, event.bytes)
    yield from _answer(ctl, trial, event, repeat)


def _answer(ctl: Controller, trial: Trial, event: ev.Reported, repeat: bool) -> Decisions:
    """The decision that the trial waits for."""
    settings, number, then = ctl.state.settings, trial.number, trial.then
    if event.verdict is not None:
        yield Decision("stop", number, event.verdict, {"by": "criterion"})
    elif event.metrics.get("done"):
        yield Decision("stop", number, "reported done", {"outcome": "finished"})
    elif settings.nan_policy == "fail" and (bad := _nan(settings, event.metrics)):
        reason = f"reported nan for '{bad}' at iteration {event.iteration}"
        yield Decision("stop", number, reason, {"outcome": "nan"})
    else:
        if not repeat:
            wishes = consult(ctl.scheduler.on_result(trial, event.metrics), trial, ctl.scheduler)
            if wishes:
                yield from enact(ctl, wishes)
        if trial.status == RUNNING and not trial.owed:
            yield Decision("continue", number)
        elif then and trial.then == then:  # told to pause or end while it was on its way here: the report counts, and it is told again
            ctl.state.say_again(trial)


def _nan(settings: Settings, metrics: dict[str, Any]) -> str:
    for name in settings.metrics:
        value = metrics.get(name)
        if isinstance(value, float) and math.isnan(value):
            return name
    return ""


def checkpoint_saved(ctl: Controller, event: ev.CheckpointSaved) -> Decisions:
    yield from _kept(ctl.state, ctl.state.trials[event.trial], event.checkpoint, event.iteration, event.bytes)


def save_skipped(ctl: Controller, event: ev.SaveSkipped) -> Decisions:
    """There was no room: whoever waited for that checkpoint waits no longer."""
    trial = ctl.state.trials[event.trial]
    trial.saving = False
    for waiter in tuple(trial.waiters):
        yield Decision("skip", waiter, f"exploit given up: trial {trial.number} could not save: {event.reason}")


def _kept(state: State, trial: Trial, checkpoint: str, iteration: int, size: int) -> Decisions:
    """A checkpoint is durable; exploits that waited for it can go on."""
    attribute = state.settings.score_attribute
    metrics = trial.metrics if trial.loaded is None else {}  # before its first report an attempt has those of another past
    score = metrics.get(attribute) if attribute else None
    score = score if isinstance(score, (int, float)) else None
    value = objective(state.settings, metrics) if iteration == trial.iteration else None
    saved = Saved(checkpoint, iteration, trial.time_total, score, value, size)
    keep(state, trial, saved)
    yield from drops(state)
    if not trial.waiters:
        return
    waiters = [state.trials[number] for number in trial.waiters]
    trial.waiters = []
    for waiter in waiters:
        assert waiter.exploit is not None
        waiter.exploit.checkpoint = saved
        state.pin(checkpoint)
        state.disarm(f"exploit:{waiter.number}")
    for waiter in waiters:
        yield from exploit_ready(waiter)


def explored(ctl: Controller, event: ev.Explored) -> Decisions:
    trial = ctl.state.trials[event.trial]
    assert trial.exploit is not None
    trial.exploit.values, trial.exploit.changes = event.values, event.changes
    yield from exploit_ready(trial)


def user_action(ctl: Controller, event: ev.UserAction) -> Decisions:
    yield from act(ctl, event.action, ctl.state.trials[event.trial])


# -- the end of an attempt -----------------------------------------------------------------------------------------------


def attempt_ended(ctl: Controller, event: ev.AttemptEnded) -> Decisions:
    """What follows is what the attempt was told to end for; if it ended by itself, its outcome."""
    state = ctl.state
    trial = state.trials[event.trial]
    number, outcome = trial.number, event.outcome
    idle, saving = trial.status == PAUSED, trial.saving
    release_attempt(state, trial)
    then, trial.then = trial.then, ""
    if saving or then == "exploit":
        yield from abandon(trial, f"trial {number} has ended without the checkpoint that was waited for")
    if then == "end":
        if trial.outcome in policy.FAILURES:
            yield from failed(ctl, trial, ev.AttemptEnded(number, event.attempt, trial.outcome))
        else:
            yield from end(ctl, trial, trial.outcome, trial.reason, by=trial.by)
    elif then == "exploit":
        yield Decision("retry", number, trial.reason, {"outcome": outcome, "wait": True, **next_size(state, trial)})
        yield from exploit_ready(trial)
    elif outcome == "finished":
        yield from end(ctl, trial, outcome, "")
    elif outcome == "infeasible":
        yield from end(ctl, trial, outcome, policy.describe_error(event))
    elif idle and outcome not in ("user_error", "nan"):  # lost while it was held: nothing ran, so nobody is to blame
        yield Decision("paused", number, trial.reason, {"outcome": outcome, **next_size(state, trial)})
    elif outcome in policy.FAILURES and then != "interrupt":
        yield from failed(ctl, trial, event, pausing=then == "pause")
    elif then == "pause":
        yield Decision("paused", number, trial.reason, {"outcome": outcome, **next_size(state, trial)})
    elif then == "resize" and outcome != "interrupted":
        data = next_size(state, trial)
        missed = "" if data.get("resources") == trial.size else "; there is no room for that any more"
        yield Decision("retry", number, f"{trial.reason}{missed}", {"outcome": outcome, **data})
    elif outcome == "stopped" and then != "interrupt":
        yield from end(ctl, trial, outcome, "ended by itself")
    else:
        what = f"killed, as it {trial.reason}" if trial.outcome == "interrupted" else "interrupted"
        yield Decision("retry", number, onward(trial, what), {"outcome": outcome, **next_size(state, trial)})
        if outcome == "driver_lost":
            state.lost[number] = None


def reopened(ctl: Controller, event: ev.Reopened) -> Decisions:
    ctl.scheduler.on_trial_reopen(reopen(ctl.state, event))
    yield from drops(ctl.state)


HANDLERS: dict[str, Callable[..., Decisions]] = {
    handler.__name__: handler
    for handler in (
        experiment_started, spec_changed, capacity_changed, search_exhausted, stop_requested, timer_fired, suggested, attempt_started,
        reported, checkpoint_saved, save_skipped, explored, user_action, attempt_ended, reopened,
    )
}  # fmt: skip
