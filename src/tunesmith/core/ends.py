"""Ends: of a trial, after a failure, of the experiment. Generators of decisions, shared by the handlers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tunesmith.core import events as ev
from tunesmith.core import policy
from tunesmith.core.apply import cause
from tunesmith.core.commands import Decision
from tunesmith.core.placement import worded
from tunesmith.core.resizing import go_back, next_size, way_back
from tunesmith.core.settings import Settings
from tunesmith.core.shelf import drops
from tunesmith.core.trial import ERROR, TERMINATED, Trial

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller
    from tunesmith.core.state import State

__all__ = ["Decisions", "displaced", "end", "failed", "halt", "onward", "overdue", "stop", "unplaceable"]

Decisions = Iterator[Decision]

AUTOFILLED = frozenset({
    "training_iteration", "time_this_iter_s", "time_total_s", "timesteps_total", "episodes_total", "timesteps_this_iter",
    "episodes_this_iter", "done", "should_checkpoint",
})  # fmt: skip
"""Keys that every report has, not worth naming to someone who looks for a metric."""


# -- the experiment ------------------------------------------------------------------------------------------------------


def halt(ctl: Controller, kind: str, reason: str) -> Decisions:
    """End the experiment. Of the kinds in ``RESUMABLE``, its unfinished trials can be continued by a resume."""
    state = ctl.state
    if state.stopping and (kind != "drain" or state.kind in policy.RESUMABLE):
        return
    yield Decision("halt", None, reason, {"kind": kind, **_bound(state)})
    drain = kind in policy.RESUMABLE
    for number in sorted(state.trials):
        trial = state.trials[number]
        if trial.alive:
            if drain and not trial.then:
                yield Decision("stop", number, reason, {"then": "interrupt"})
            elif not drain and trial.then != "end":
                yield Decision("stop", number, reason, {"by": f"halt:{kind}"})
        elif not drain and number not in state.skipped:
            yield from end(ctl, trial, "stopped", reason, by={"by": f"halt:{kind}"})


def _bound(state: State) -> dict[str, float]:
    """``until``: the second at which attempts that have not ended are killed; nothing if none runs, or they have all the time they need."""
    settings = state.settings
    if settings.drain_s is None or settings.deterministic or not any(trial.alive for trial in state.trials.values()):
        return {}
    return {"until": state.timers.get("drain", state.now + settings.drain_s)}  # a second reason to end does not put it off


def overdue(ctl: Controller) -> Decisions:
    """The experiment ends, and its attempts have had their time: they are killed. What comes after their ends was settled before."""
    state = ctl.state
    for number in sorted(state.trials):
        trial = state.trials[number]
        if trial.alive and not trial.owed.startswith("kill:"):
            outcome = "stopped" if trial.then == "end" else "interrupted"
            yield Decision("kill", number, f"had not ended within drain_s={state.settings.drain_s}", {"outcome": outcome})


# -- a trial -------------------------------------------------------------------------------------------------------------


def stop(ctl: Controller, trial: Trial, decision: Decision) -> Decisions:
    """End a trial for good, whatever it is doing."""
    if not trial.alive:
        yield from end(ctl, trial, decision.data.get("outcome", "stopped"), decision.reason, by=cause(decision.data))
    elif trial.then != "end":
        yield decision


def onward(trial: Trial, what: str) -> str:
    """What happened to an attempt, and where the next one begins."""
    return f"{what}; goes on from iteration {trial.base.iteration}" if trial.base else f"{what}; starts anew"


def failed(ctl: Controller, trial: Trial, event: ev.AttemptEnded, *, pausing: bool = False) -> Decisions:
    """A failure: another attempt if the budget of its class allows, else the end. ``pausing``: the attempt ended on its way to a pause."""
    state = ctl.state
    used = trial.failures.get(event.outcome, 0)
    allowed = policy.budget(state.settings, event.outcome)
    ours = event.outcome == trial.outcome and trial.reason  # what we ended it for
    text = ours or policy.describe_error(event)
    over = state.stopping and state.kind not in policy.RESUMABLE
    limit = state.settings.identical if allowed < 0 else None
    trial.alike = trial.alike[0] + 1 if trial.alike[1] == policy.signature(event) else 1, policy.signature(event)
    if limit is not None and trial.alike[0] >= limit:  # "without end" is meant for a trial that gets somewhere in between
        text = f"failed alike {trial.alike[0]} times in a row without a new report: {text}"
        yield from end(ctl, trial, event.outcome, text, event)
    elif over or (0 <= allowed <= used):
        yield from end(ctl, trial, event.outcome, text, event)
    elif not (size := next_size(state, trial)) and unplaceable(ctl, trial):
        yield from displaced(ctl, (trial,))
    else:
        reason = onward(trial, f"{text} (failure {used + 1})")
        yield Decision("paused" if pausing else "retry", trial.number, reason, {"outcome": event.outcome, "charge": True, **size})


def end(
    ctl: Controller, trial: Trial, outcome: str, reason: str, event: ev.AttemptEnded | None = None, by: dict[str, Any] | None = None
) -> Decisions:
    """The trial is over; so may be the experiment, and exploits that waited for a checkpoint of it. ``by``: see :class:`Trial`."""
    state = ctl.state
    number = trial.number
    waiters, trial.waiters = trial.waiters, []
    status = ERROR if outcome in policy.FAILURES else TERMINATED
    yield Decision("end", number, reason, {"status": status, "outcome": outcome, **(by or {})})
    yield from drops(state)
    for waiter in [waiter for waiter in waiters if waiter != number]:  # it may have been about to copy itself
        yield Decision("skip", waiter, f"exploit given up: trial {number} ended without a checkpoint")
    if state.stopping:
        return
    if status == ERROR:
        if state.settings.fail_fast:
            yield from halt(ctl, "fail_fast", f"fail_fast: trial {number} failed with {reason}")
        elif state.breaker.failure(event or ev.AttemptEnded(number, 0, outcome), state.settings.identical, trial.iteration) and not any(
            other.iteration > state.breaker.furthest for other in state.trials.values()
        ):
            yield from halt(ctl, "breaker", f"the first {state.breaker.count} trials all failed alike: {reason}")
    elif outcome != "infeasible":
        state.breaker.success()
        if state.unseen and trial.iteration:
            yield from halt(ctl, "metric", _never_reported(state.settings, state.unseen, trial))


def _never_reported(settings: Settings, unseen: set[str], trial: Trial) -> str:
    import difflib  # only on the way to an error: it is not cheap to import

    own = sorted(name for name in {*trial.metrics, *trial.named} if name not in AUTOFILLED)
    missing = next(name for name in settings.metrics if name in unseen)
    if missing in own:
        what = "an array or an object" if missing in trial.named else f"the text {trial.metrics[missing]!r:.60}"
        return f"metric '{missing}' was reported as {what}, and must be a number."
    close = difflib.get_close_matches(missing, own, 1)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    if missing == ev.DEFAULT_METRIC:
        hint = " That is the name of a number reported without one, and what a mode is for if no metric is given: give metric=."
    return f"metric '{missing}' was never reported; reported were: {', '.join(own) or 'none'}.{hint}"


# -- what can never run --------------------------------------------------------------------------------------------------


def unplaceable(ctl: Controller, trial: Trial) -> bool:
    """Whether no attempt of the trial can ever be placed."""
    state = ctl.state
    return state.ready and not state.settings.growing and not state.pool.possible(trial.request)


def displaced(ctl: Controller, trials: Iterable[Trial]) -> Decisions:
    """End trials that can never be placed; if all further ones ask for the same and nothing runs, the experiment too.

    One that only cannot be placed since it was resized goes back to what it took before.
    """
    state = ctl.state
    hopeless = ""
    for trial in trials:
        if trial.number not in state.trials:  # the end of another one has ended the experiment
            continue
        if (first := way_back(state, trial)) is not None:
            yield go_back(state, trial, first)
            continue
        reason = f"asks for {worded(trial.resources)}; there is {state.pool.whole()}"
        if trial.request == state.default_request and not state.settings.config_resources:
            hopeless = f"no trial can be placed: each {reason}"
        yield from end(ctl, trial, "unplaceable", reason)
    if hopeless and not state.running:
        yield from halt(ctl, "unplaceable", hopeless)
