"""What schedulers and people ask for, made complete (a pause: how) and legal for what the trial is doing now.

A wish that cannot be any more is dropped: the trial has ended, or has been told to end, before the scheduler could know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tunesmith.core.apply import rests
from tunesmith.core.commands import Decision
from tunesmith.core.ends import Decisions, stop
from tunesmith.core.resizing import wished
from tunesmith.core.trial import PAUSED, PENDING, RUNNING, Trial

if TYPE_CHECKING:
    from tunesmith.core.controller import Controller

__all__ = ["abandon", "act", "consult", "enact", "exploit_ready"]

_WORDS = {"CONTINUE": None, "NOOP": None, "PAUSE": "pause", "STOP": "stop"}
_POWERS = frozenset({"continue", "exploit", "pause", "resize", "save", "stop"})


def consult(answer: Any, trial: Trial | None, scheduler: object) -> list[Decision]:
    """A scheduler's answer as a list: None, one of Ray's words, a Decision, or several of these. ``trial``: the one in hand, if any is.

    Raises:
        TypeError: it is none of that.
    """
    if answer is None:
        return []
    if isinstance(answer, str):
        if answer in _WORDS and (trial is not None or _WORDS[answer] is None):
            word = _WORDS[answer]
            return [Decision(word, trial.number)] if word and trial is not None else []
    elif isinstance(answer, Decision):
        if answer.do in _POWERS and (trial is not None or answer.trial is not None):  # a copy: the scheduler may give the same object again
            return [replace(answer, trial=trial.number) if answer.trial is None and trial is not None else answer]
    elif isinstance(answer, Iterable):
        return [decision for one in answer for decision in consult(one, trial, scheduler)]
    raise TypeError(
        f"scheduler {type(scheduler).__name__} answered {answer!r} {f'for trial {trial.number}' if trial is not None else 'for no trial'}; "
        f"expected CONTINUE, PAUSE, STOP or a Decision that does one of {sorted(_POWERS)}"
    )


def enact(ctl: Controller, decisions: Iterable[Decision]) -> Decisions:
    """A scheduler's decisions, one after the other. While the experiment ends, only stops count."""
    state = ctl.state
    for decision in decisions:
        trial = state.trials.get(decision.trial if decision.trial is not None else -1)
        if trial is None or trial.then == "end":
            continue
        do = decision.do
        if do == "stop":
            yield from stop(ctl, trial, decision)
        elif state.stopping or trial.leaving:
            continue
        elif do == "pause":
            if trial.status == RUNNING:
                yield _pause(ctl, trial, decision.reason)
        elif do == "exploit":
            if _may_exploit(ctl, trial, decision.data["source"]):
                yield decision
                yield from exploit_ready(trial)
        elif do == "resize":
            if (sized := wished(ctl, trial, decision)) is not None:
                yield sized
        elif do == "save":
            if _may_save(ctl, trial):
                yield decision
        elif trial.number == ctl.current and not trial.owed:
            yield decision


def _may_save(ctl: Controller, trial: Trial) -> bool:
    """Whether an attempt is there that can be asked for its state, and has not just saved it."""
    warm = trial.number in ctl.state.warm
    if not trial.started or trial.saving or not (trial.status == RUNNING or warm):
        return False
    return not ((warm or trial.number == ctl.current) and rests(trial) and not trial.borrowed)


def _may_exploit(ctl: Controller, trial: Trial, number: int) -> bool:
    """Whether the trial can go on from a checkpoint of trial ``number``; from one of its own only where no work is lost by it."""
    source = ctl.state.trials.get(number)
    if source is None or trial.exploit is not None or trial.number in ctl.state.held:
        return False
    return source is not trial or rests(trial) or (trial.alive and trial.started and ctl.state.settings.can_save)


def exploit_ready(trial: Trial) -> Decisions:
    """The exploit's turn, if all that it needs is there and the old attempt is gone."""
    exploit = trial.exploit
    if trial.status == PENDING and exploit is not None and exploit.values is not None and exploit.checkpoint is not None:
        at = exploit.checkpoint.iteration
        data: dict[str, Any] = {"source": exploit.source, "checkpoint": exploit.checkpoint.id, "iteration": at}
        if exploit.space != trial.space:  # for readers, who may not know the source
            data["space"] = exploit.space
        changes = ", ".join(f"{path} {_short(old)} {how} -> {_short(new)}" for path, (old, new, how) in exploit.changes.items())
        reason = trial.reason if exploit.source == trial.number else f"{trial.reason}; from iteration {at}"
        reason += f": {changes}" if changes else ""
        yield Decision("exploited", trial.number, reason, data)
        yield from abandon(trial, f"trial {trial.number} has itself gone on from a checkpoint of trial {exploit.source}")


def abandon(trial: Trial, why: str) -> Decisions:
    """Whoever waits for the trial's next checkpoint waits no longer: it would not be of what they wanted to copy, or never come."""
    for waiter in tuple(trial.waiters):
        yield Decision("skip", waiter, f"exploit given up: {why}")


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def act(ctl: Controller, action: str, trial: Trial) -> Decisions:
    """What a person asks for: stop, pause or resume. A trial that a person paused is resumed by a person, or by the next session."""
    number = trial.number
    if action == "stop":
        yield from stop(ctl, trial, Decision("stop", number, "stopped by the user"))
    elif action == "resume":
        if number in ctl.state.held or (trial.status == PAUSED and not trial.then):
            yield Decision("resume", number, "resumed by the user")
    elif action == "pause" and not trial.leaving and trial.exploit is None:
        if trial.status == RUNNING:
            yield _pause(ctl, trial, "paused by the user", held=True)
        elif number not in ctl.state.held:
            mode = trial.mode if trial.status == PAUSED else "rerun"
            yield Decision("pause", number, "paused by the user", {"mode": mode, "held": True})


def _pause(ctl: Controller, trial: Trial, reason: str, *, held: bool = False) -> Decision:
    """How to pause: warm if the executor can and the trial holds no GPU, else from a checkpoint, else run it again.

    A trial that is not at a report now (or was told to go on from it) cannot be held warm: its CPU would not be free before its next one.
    """
    state = ctl.state
    settings = state.settings
    slots = settings.warm_slots if settings.deterministic or state.room is None else state.room
    roomy = settings.warm_pause and len(state.warm) < slots
    promised = trial.saving and settings.can_save  # a checkpoint that somebody waits for: held warm it would not be written
    if roomy and not promised and trial.number == ctl.current and not trial.owed and not trial.resources.get("gpu"):
        mode = "warm"
    else:
        mode = "cold" if settings.can_save or trial.base is not None else "rerun"
    return Decision("pause", trial.number, reason, {"mode": mode, "held": True} if held else {"mode": mode})
