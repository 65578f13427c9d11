"""What each event means: handlers first record its facts in the state, then yield the decisions that follow from it.

A handler is a generator. The controller applies each decision before it asks for the next one, so a later decision sees what
the earlier ones did. Handlers never change the state for a decision; :mod:`tunesmith.core.apply` does.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from tunesmith.core import events as ev
from tunesmith.core import policy
from tunesmith.core.apply import keep, release_attempt
from tunesmith.core.commands import Decision
from tunesmith.core.placement import request_of
from tunesmith.core.retention import Saved
from tunesmith.core.settings import Settings
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED, Trial

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller

__all__ = ["HANDLERS", "Decisions"]

Decisions = Iterator[Decision]


# -- the experiment as a whole -------------------------------------------------------------------------------------------


def experiment_started(ctl: Controller, event: ev.ExperimentStarted) -> Decisions:
    state = ctl.state
    if state.session < 0:
        state.settings = Settings.parse(event.spec)
        state.default_request = request_of(state.settings.resources)
        ctl.scheduler.start(state.settings)
    state.session = event.session
    state.stopping = state.kind = state.finished = ""
    state.asked = 0
    budget = state.settings.time_budget_s
    if budget is not None:
        state.arm("budget", budget)
    for trial in state.trials.values():
        if trial.exploit is not None and trial.exploit.checkpoint is None:
            state.arm(f"exploit:{trial.number}", state.now + state.settings.exploit_wait_s)
    return
    yield


def spec_changed(ctl: Controller, event: ev.SpecChanged) -> Decisions:
    ctl.state.settings.change(event.changes)
    ctl.state.default_request = request_of(ctl.state.settings.resources)
    if "num_samples" in event.changes:
        ctl.state.exhausted = ""
    return
    yield


def capacity_changed(ctl: Controller, event: ev.CapacityChanged) -> Decisions:
    state = ctl.state
    state.pool.resize(event.totals)
    state.slots = event.slots
    for trial in [t for t in state.trials.values() if t.status == PENDING and _unplaceable(ctl, t)]:
        yield from _unplaceable_end(ctl, trial)


def search_exhausted(ctl: Controller, event: ev.SearchExhausted) -> Decisions:
    ctl.state.exhausted = event.reason
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
    trial = state.trials[int(number)]
    if kind == "exploit":
        source = trial.exploit.source if trial.exploit is not None else trial.number
        yield Decision("skip", trial.number, f"exploit given up: trial {source} had no checkpoint in time")
    elif kind == "deadline":
        reason = f"ran longer than max_trial_s={state.settings.max_trial_s:g}"
        yield Decision("kill", trial.number, reason, {"outcome": "timeout"})
    else:
        reason = f"no report for max_silence_s={state.settings.max_silence_s:g}"
        yield Decision("kill", trial.number, reason, {"outcome": "silent"})


def halt(ctl: Controller, kind: str, reason: str) -> Decisions:
    """End the experiment; with kind "drain" its unfinished trials can be continued by a resume."""
    state = ctl.state
    if state.stopping and (kind != "drain" or state.kind == "drain"):
        return
    yield Decision("halt", None, reason, {"kind": kind})
    drain = kind == "drain"
    for number in sorted(state.trials):
        trial = state.trials[number]
        if trial.alive:
            if drain and not trial.then:
                yield Decision("stop", number, reason, {"then": "interrupt"})
            elif not drain and trial.then != "end":
                yield Decision("stop", number, reason)
        elif not drain:
            yield from end(ctl, trial, "stopped", reason)


# -- trials --------------------------------------------------------------------------------------------------------------


def suggested(ctl: Controller, event: ev.Suggested) -> Decisions:
    state = ctl.state
    state.asked = max(0, state.asked - 1)
    trial = state.add(event.trial, event.values, event.resources)
    followups = ctl.consult(ctl.scheduler.on_trial_add(trial), trial)
    if _unplaceable(ctl, trial):
        yield from _unplaceable_end(ctl, trial)
        return
    state.enqueue(trial)
    yield from enact(ctl, followups)


def _unplaceable(ctl: Controller, trial: Trial) -> bool:
    state = ctl.state
    return not state.settings.growing and bool(state.pool.totals) and not state.pool.possible(trial.request)


def _unplaceable_end(ctl: Controller, trial: Trial) -> Decisions:
    have = ", ".join(f"{name} {amount / 10_000:g}" for name, amount in sorted(ctl.state.pool.totals.items()))
    need = ", ".join(f"{name} {amount:g}" for name, amount in sorted(trial.resources.items()))
    yield from end(ctl, trial, "unplaceable", f"asks for {need}; there is {have} in all")


def attempt_started(ctl: Controller, event: ev.AttemptStarted) -> Decisions:
    trial = ctl.state.trials[event.trial]
    trial.started = True
    if trial.owed == "launch":
        trial.owed = ""
    return
    yield


def reported(ctl: Controller, event: ev.Reported) -> Decisions:
    state = ctl.state
    trial = state.trials[event.trial]
    settings = state.settings
    metrics = event.metrics
    trial.iteration = event.iteration
    trial.metrics = metrics
    trial.time_total = metrics.get("time_total_s", 0.0)
    trial.owed = ""
    repeat = event.iteration <= trial.frontier
    if not repeat:
        trial.frontier = event.iteration
    if trial.loaded is not None:
        state.unpin(trial.loaded)
        trial.loaded = None
    if settings.metrics and not trial.objective_seen and all(name in metrics for name in settings.metrics):
        trial.objective_seen = state.objective_seen = True
    if settings.max_silence_s is not None:
        state.arm(f"silence:{trial.number}", state.now + settings.max_silence_s)
    if event.checkpoint is not None:
        yield from _kept(ctl, trial, event.checkpoint, event.iteration)
    yield from _answer(ctl, trial, event, repeat)


def _answer(ctl: Controller, trial: Trial, event: ev.Reported, repeat: bool) -> Decisions:
    """The decision that the trial waits for."""
    settings, number = ctl.state.settings, trial.number
    if event.verdict is not None:
        yield Decision("stop", number, event.verdict)
    elif event.metrics.get("done"):
        yield Decision("stop", number, "reported done")
    elif settings.nan_policy == "fail" and (bad := _nan(settings, event.metrics)):
        reason = f"reported nan for '{bad}' at iteration {event.iteration}"
        yield Decision("stop", number, reason, {"outcome": "nan"})
    elif repeat:
        yield Decision("continue", number)
    else:
        answers = ctl.consult(ctl.scheduler.on_result(trial, event.metrics), trial)
        yield from enact(ctl, answers)
        if trial.status == RUNNING and not trial.owed:
            yield Decision("continue", number)


def _nan(settings: Settings, metrics: dict[str, object]) -> str:
    for name in settings.metrics:
        value = metrics.get(name)
        if isinstance(value, float) and math.isnan(value):
            return name
    return ""


def checkpoint_saved(ctl: Controller, event: ev.CheckpointSaved) -> Decisions:
    yield from _kept(ctl, ctl.state.trials[event.trial], event.checkpoint, event.iteration)


def _kept(ctl: Controller, trial: Trial, checkpoint: str, iteration: int) -> Decisions:
    """A checkpoint is durable; exploits that waited for it can go on."""
    state = ctl.state
    attribute = state.settings.score_attribute
    score = trial.metrics.get(attribute) if attribute else None
    saved = Saved(checkpoint, iteration, trial.time_total, score if isinstance(score, (int, float)) else None)
    keep(state, trial, saved)
    waiters, trial.waiters = trial.waiters, []
    for number in waiters:
        target = state.trials[number]
        if target.exploit is not None:
            target.exploit.checkpoint = saved
            state.pin(checkpoint)
            yield from _exploit_ready(target)


def explored(ctl: Controller, event: ev.Explored) -> Decisions:
    trial = ctl.state.trials[event.trial]
    if trial.exploit is not None:
        trial.exploit.values = event.values
        yield from _exploit_ready(trial)


def _exploit_ready(trial: Trial) -> Decisions:
    exploit = trial.exploit
    if trial.status == PENDING and exploit is not None and exploit.values is not None and exploit.checkpoint is not None:
        yield Decision("exploited", trial.number, trial.reason, {"source": exploit.source, "checkpoint": exploit.checkpoint.id})


def user_action(ctl: Controller, event: ev.UserAction) -> Decisions:
    state = ctl.state
    trial = state.trials[event.trial]
    if event.action == "stop":
        yield from stop(ctl, trial, Decision("stop", trial.number, "stopped by the user"))
    elif event.action == "pause":
        if trial.status == RUNNING and not trial.then and not trial.owed.startswith("kill"):
            yield _pause(ctl, trial, "paused by the user", running=True)
        elif trial.status == PENDING and trial.exploit is None:
            yield Decision("pause", trial.number, "paused by the user", {"mode": "rerun"})
    elif event.action == "resume" and trial.status == PAUSED and not trial.then and state.pool.fits(trial.request):
        yield Decision("launch", trial.number, "resumed by the user")


# -- the end of an attempt -----------------------------------------------------------------------------------------------


def attempt_ended(ctl: Controller, event: ev.AttemptEnded) -> Decisions:
    state = ctl.state
    trial = state.trials[event.trial]
    was_paused = trial.status == PAUSED
    release_attempt(state, trial)
    then, outcome = trial.then, event.outcome
    trial.then = ""
    if then == "end":
        if trial.outcome in policy.FAILURES:
            yield from failed(ctl, trial, ev.AttemptEnded(event.trial, event.attempt, trial.outcome))
        else:
            yield from end(ctl, trial, trial.outcome, trial.reason)
    elif then == "exploit":
        yield Decision("retry", trial.number, trial.reason, {"outcome": outcome, "wait": True})
        yield from _exploit_ready(trial)
    elif outcome == "finished":
        yield from end(ctl, trial, outcome, "")
    elif then == "interrupt" and not was_paused:
        yield Decision("retry", trial.number, _onward(trial, "interrupted"), {"outcome": outcome})
    elif outcome == "infeasible":
        yield from end(ctl, trial, outcome, policy.describe_error(event))
    elif then == "pause" or (was_paused and outcome not in ("user_error", "nan")):
        charge = outcome in policy.FAILURES
        yield Decision("paused", trial.number, trial.reason, {"outcome": outcome, "charge": charge})
    elif outcome in policy.FAILURES:
        yield from failed(ctl, trial, event)
    else:
        yield Decision("retry", trial.number, _onward(trial, "interrupted"), {"outcome": outcome})


def _onward(trial: Trial, what: str) -> str:
    return f"{what}; goes on from iteration {trial.base.iteration}" if trial.base else f"{what}; starts anew"


def failed(ctl: Controller, trial: Trial, event: ev.AttemptEnded) -> Decisions:
    """A failure: another attempt if the budget of its class allows, else the end."""
    state = ctl.state
    used = trial.failures.get(event.outcome, 0)
    allowed = policy.budget(state.settings, event.outcome)
    text = trial.reason if event.outcome in ("nan", "timeout", "silent") and trial.reason else policy.describe_error(event)
    if not state.stopping and (allowed < 0 or used < allowed):
        reason = _onward(trial, f"{text} (failure {used + 1})")
        yield Decision("retry", trial.number, reason, {"outcome": event.outcome, "charge": True})
    else:
        yield from end(ctl, trial, event.outcome, text, event)


def end(ctl: Controller, trial: Trial, outcome: str, reason: str, event: ev.AttemptEnded | None = None) -> Decisions:
    """The trial is over."""
    state = ctl.state
    failure = outcome in policy.FAILURES
    status = ERROR if failure else TERMINATED
    waiters, trial.waiters = trial.waiters, []
    number, reports, seen, metrics = trial.number, trial.iteration, trial.objective_seen, trial.metrics
    yield Decision("end", number, reason, {"status": status, "outcome": outcome})
    yield from enact(ctl, ctl.take_followups())
    for waiter in waiters:
        if waiter in state.trials:
            yield Decision("skip", waiter, f"exploit given up: trial {number} ended without a checkpoint")
    if state.stopping:
        return
    if failure:
        ended = event or ev.AttemptEnded(number, 0, outcome)
        if state.settings.fail_fast:
            yield from halt(ctl, "fail_fast", f"fail_fast: trial {number} failed with {reason}")
        elif state.breaker.failure(ended, state.settings.identical):
            count = state.breaker.count
            yield from halt(ctl, "breaker", f"the first {count} trials all failed alike: {reason}")
        return
    if outcome != "infeasible":
        state.breaker.success()
    if reports and state.settings.metrics and not seen and not state.objective_seen and outcome in ("finished", "stopped"):
        yield from halt(ctl, "metric", _never_reported(state.settings, metrics))


def _never_reported(settings: Settings, metrics: dict[str, object]) -> str:
    own = sorted(name for name in metrics if name not in AUTOFILLED)
    missing = next(name for name in settings.metrics if name not in metrics)
    close = difflib.get_close_matches(missing, own, 1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    return f"metric '{missing}' was never reported; reported were: {', '.join(own) or 'none'}.{hint}"


AUTOFILLED = frozenset({
    "training_iteration", "time_this_iter_s", "time_total_s", "timesteps_total", "episodes_total", "timesteps_this_iter",
    "episodes_this_iter", "done", "should_checkpoint",
})  # fmt: skip
"""Keys that every report has, not worth naming to someone who looks for a metric."""


# -- what schedulers ask for ---------------------------------------------------------------------------------------------


def enact(ctl: Controller, decisions: list[Decision]) -> Decisions:
    """A scheduler's decisions, one after the other, made complete (pause: how) and legal for the trial's status."""
    for decision in decisions:
        trial = ctl.state.trials.get(decision.trial if decision.trial is not None else -1)
        if trial is None or trial.then == "end":
            continue
        if decision.do == "stop":
            yield from stop(ctl, trial, decision)
        elif decision.do == "pause":
            if trial.status == RUNNING and not trial.then:
                yield _pause(ctl, trial, decision.reason, running=trial.number != ctl.current)
        elif decision.do == "exploit":
            if decision.data["source"] in ctl.state.trials and trial.exploit is None and not trial.then:
                yield decision
                yield from _exploit_ready(trial)
        elif decision.do == "save":
            if trial.status == RUNNING and trial.started and not trial.saving:
                yield decision
        elif decision.do == "continue" and trial.number == ctl.current and not trial.owed:
            yield decision


def stop(ctl: Controller, trial: Trial, decision: Decision) -> Decisions:
    """End a trial for good, whatever it is doing."""
    if trial.alive:
        if trial.then != "end":
            yield decision
    else:
        yield from end(ctl, trial, decision.data.get("outcome", "stopped"), decision.reason)


def _pause(ctl: Controller, trial: Trial, reason: str, *, running: bool) -> Decision:
    """How to pause: warm if the executor can and the trial holds no GPU, else from a checkpoint, else run it again.

    ``running``: it is not at a report now. It cannot be held warm then, since its CPU is not free before its next report.
    """
    state = ctl.state
    settings = state.settings
    roomy = settings.warm_pause and len(state.warm) < settings.warm_slots
    if roomy and not running and not trial.resources.get("gpu"):
        mode = "warm"
    elif settings.can_save or (trial.base is not None and trial.base.iteration == trial.iteration):
        mode = "cold"
    else:
        mode = "cold" if trial.base is not None else "rerun"
    return Decision("pause", trial.number, reason, {"mode": mode})


HANDLERS: dict[str, Callable[..., Decisions]] = {
    handler.__name__: handler
    for handler in (
        experiment_started, spec_changed, capacity_changed, search_exhausted, stop_requested, timer_fired, suggested, attempt_started,
        reported, checkpoint_saved, explored, user_action, attempt_ended,
    )
}  # fmt: skip
