"""Carrying out decisions on the state. Each function changes the state and appends the commands that follow; none decides.

Handlers yield decisions, the controller applies them here one by one, so that a recorded decision can stand in for a computed
one when a journal is replayed by changed code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tunesmith.core import commands as cmd
from tunesmith.core import shelf
from tunesmith.core.retention import Saved, superfluous
from tunesmith.core.state import State
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED, Exploit, Trial

__all__ = ["apply", "arm_deadlines", "arm_exploit", "cause", "keep", "release_attempt", "rests"]


def release_attempt(state: State, trial: Trial) -> None:
    """The trial's attempt is gone: its resources, timers and the pin on what it loaded go too."""
    state.release(trial)
    trial.left = None
    taken_along = trial.then in ("pause", "resize") and trial.base is not None
    if taken_along and (deadline := state.timers.get(f"deadline:{trial.number}")) is not None:
        trial.left = max(0.0, deadline - state.now)
    if state.timers:
        state.disarm(f"deadline:{trial.number}")
        state.disarm(f"silence:{trial.number}")
    if trial.loaded is not None:
        state.unpin(trial.loaded)
        trial.loaded = None
    state.warm.discard(trial.number)
    trial.started = False
    trial.saving = False
    trial.owed = ""


def keep(state: State, trial: Trial, saved: Saved) -> None:
    """A checkpoint of the trial became durable: it is the new base, and retention says which older ones may go."""
    settings = state.settings
    if trial.borrowed and trial.base is not None:
        state.unpin(trial.base.id)
    if trial.base is not None and trial.base.iteration != saved.iteration:
        trial.replaced = ()
    trial.base, trial.borrowed = saved, False
    trial.saving = False
    trial.saved.append(saved)
    shelf.put(state, trial, saved)
    gone = set(superfluous(trial.saved, settings.num_to_keep, settings.score_order))
    if gone:
        trial.replaced += tuple(one.id for one in trial.saved if one.id in gone and one.iteration == saved.iteration)
        for one in trial.saved:
            if one.id in gone:
                shelf.forget(state, one)
        trial.saved = [one for one in trial.saved if one.id not in gone]
        for checkpoint in sorted(gone):
            state.doom(checkpoint)


def arm_deadlines(state: State, trial: Trial) -> None:
    """Its code runs from here on: what it waited for before is not its own time."""
    settings = state.settings
    if settings.max_trial_s is not None:
        state.arm(f"deadline:{trial.number}", state.now + (settings.max_trial_s if trial.left is None else trial.left))
        trial.left = None
    if settings.max_silence_s is not None:
        state.arm(f"silence:{trial.number}", state.now + settings.max_silence_s)


def _launch(state: State, trial: Trial, decision: cmd.Decision) -> None:
    warm = trial.mode == "warm"
    if not warm:  # the attempt counts on from what it loads, so it may report iterations again
        trial.restore = start = trial.base
        trial.iteration, trial.time_total = (start.iteration, start.time_total) if start else (0, 0.0)
    state.move(trial, RUNNING)
    trial.mode = trial.reason = trial.outcome = ""
    state.held.discard(trial.number)
    state.hold(trial)
    if warm:
        arm_deadlines(state, trial)
        state.warm.discard(trial.number)
        trial.owed = "continue"
        state.out.append(cmd.Continue(trial.number, trial.attempt))
        return
    trial.owed = "launch"
    if trial.restore is not None:
        trial.loaded = trial.restore.id
        state.pin(trial.loaded)
    state.out.append(state.launch_command(trial))


def _continue(state: State, trial: Trial, decision: cmd.Decision) -> None:
    trial.owed = "continue"
    state.out.append(cmd.Continue(trial.number, trial.attempt))


def _pause(state: State, trial: Trial, decision: cmd.Decision) -> None:
    mode = decision.data["mode"]
    if decision.data.get("held"):
        state.held.add(trial.number)
    if trial.status == PAUSED:
        state.woken.pop(trial.number, None)
        return
    if trial.status == PENDING:
        state.move(trial, PAUSED)
        trial.mode = "rerun" if trial.base is None else "cold"
        return
    trial.owed = mode
    trial.reason = decision.reason
    state.out.append(cmd.Pause(trial.number, trial.attempt, mode))
    if mode == "warm":
        trial.mode = mode
        state.warm.add(trial.number)
        state.release(trial)
        deadline = state.timers.get(f"deadline:{trial.number}")
        trial.left = deadline - state.now if deadline is not None else None
        state.disarm(f"deadline:{trial.number}")
        state.disarm(f"silence:{trial.number}")
        state.move(trial, PAUSED)
    else:
        trial.then = "pause"


def _resume(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """A person wants the paused trial to go on: it is started before anything else, as soon as it fits."""
    state.held.discard(trial.number)
    if trial.status == PAUSED:
        state.woken[trial.number] = None


def _paused(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """The attempt of a trial that was to be paused (cold, rerun) is gone."""
    trial.attempt += 1
    trial.then = ""
    trial.mode = "rerun" if trial.base is None else "cold"
    _charge(trial, decision)
    _take_size(state, trial, decision)
    if trial.status != PAUSED:
        state.move(trial, PAUSED)


def cause(data: Mapping[str, Any]) -> dict[str, Any]:
    """What of a stop's data says by what it is, for the end that follows."""
    return {key: data[key] for key in ("by", "bound") if key in data}


def _stop(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """End the running (or warm) attempt in an orderly way; ``then`` says what comes after."""
    data = decision.data
    trial.then = data.get("then", "end")
    trial.outcome = data.get("outcome", "stopped")
    trial.reason = decision.reason
    trial.by = cause(data)
    trial.mode = ""
    trial.size = None
    state.held.discard(trial.number)
    if trial.then != "interrupt":  # that one goes on in the next session
        state.woken.pop(trial.number, None)
    if not trial.owed.startswith("kill:"):
        settings = state.settings
        wished = settings.save_at_end or (trial.then == "interrupt" and settings.can_save)  # else its work since the last one is lost
        save = wished and trial.then in ("end", "interrupt") and trial.started
        trial.owed = "stop+save" if save else "stop"
        state.out.append(cmd.Stop(trial.number, trial.attempt, save=save))


def _kill(state: State, trial: Trial, decision: cmd.Decision) -> None:
    outcome = decision.data["outcome"]
    trial.owed = f"kill:{outcome}"
    if trial.then in ("", "pause", "interrupt", "resize"):
        trial.outcome, trial.reason = outcome, decision.reason
    state.disarm(f"deadline:{trial.number}")
    state.disarm(f"silence:{trial.number}")
    state.out.append(cmd.Kill(trial.number, trial.attempt, outcome))


def _save(state: State, trial: Trial, decision: cmd.Decision) -> None:
    trial.saving = True
    state.out.append(cmd.Save(trial.number, trial.attempt))


def _charge(trial: Trial, decision: cmd.Decision) -> None:
    if decision.data.get("charge"):
        kind = decision.data["outcome"]
        trial.failures[kind] = trial.failures.get(kind, 0) + 1


def _retry(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """A new attempt of the same trial, from its newest checkpoint (or from scratch)."""
    trial.attempt += 1
    trial.then = trial.mode = ""
    state.held.discard(trial.number)
    _charge(trial, decision)
    if decision.data.get("charge"):
        trial.left = None
    _take_size(state, trial, decision)
    if trial.status != PENDING:
        state.move(trial, PENDING)
    state.enqueue(trial)


def _take_size(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """The next attempt takes what the decision says, if it says so."""
    trial.size = None
    if (resources := decision.data.get("resources")) is not None:
        state.resize(trial, resources)


def _resize(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """Other resources: at once where nothing runs, else from the next attempt on, which begins where this one ends."""
    data = decision.data
    if not trial.alive:
        state.resize(trial, data["resources"])
        if trial.status == PENDING and trial.exploit is None:
            state.enqueue(trial)
        return
    trial.then, trial.mode = "resize", ""
    trial.size, trial.reason = data["resources"], decision.reason
    trial.owed = "stop+save" if data["save"] else "stop"
    state.out.append(cmd.Stop(trial.number, trial.attempt, save=data["save"]))


def arm_exploit(state: State, trial: Trial) -> None:
    """Bound the wait for the source's checkpoint. With ``deterministic`` its next save, its end or an idle experiment bounds it."""
    if not state.settings.deterministic:
        state.arm(f"exploit:{trial.number}", state.now + state.settings.exploit_wait_s)


def _exploit(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """The trial will go on with other values from the source's checkpoint: one record, the checkpoint pinned."""
    data = decision.data
    source = state.trials[data["source"]]
    trial.exploits += 1
    exploit = Exploit(source.number, data.get("values"), data, space=source.space, number=trial.exploits)
    trial.exploit = exploit
    trial.reason = decision.reason
    if source.base is not None and not source.saving and (source is not trial or rests(trial)):
        exploit.checkpoint = source.base
        state.pin(exploit.checkpoint.id)
    else:
        source.waiters.append(trial.number)
        if source is not trial:  # its own comes before its attempt is gone, or never
            arm_exploit(state, trial)
    save = exploit.checkpoint is None and state.settings.can_save and trial.started  # so that nothing is lost if it is given up
    if exploit.values is None:
        exploit.data = {**data, "source_values": source.values}
        state.out.append(state.explore_command(trial))
    if trial.status == RUNNING or (trial.status == PAUSED and trial.mode == "warm"):
        trial.then = "exploit"
        trial.mode = ""
        state.woken.pop(trial.number, None)
        trial.owed = "stop+save" if save else "stop"
        state.out.append(cmd.Stop(trial.number, trial.attempt, save=save))
    elif trial.status == PAUSED:
        state.move(trial, PENDING)
        trial.mode = ""


def rests(trial: Trial) -> bool:
    """Whether its newest checkpoint is of its present state, so that nothing is lost if it goes on from there."""
    return trial.base is not None and not trial.saving and (not trial.alive or trial.base.iteration == trial.iteration)


def _exploited(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """Everything an exploit needs is there: the trial is ready for its new attempt."""
    exploit = trial.exploit
    assert exploit is not None and exploit.values is not None and exploit.checkpoint is not None
    if trial.borrowed and trial.base is not None:
        state.unpin(trial.base.id)
    trial.values, trial.space = exploit.values, exploit.space
    trial.base, trial.borrowed = exploit.checkpoint, True  # the exploit's pin is now the base's
    if trial.base in trial.saved:  # its own: its newest is never let go
        trial.borrowed = False
        state.unpin(trial.base.id)
    state.shelf.freed = True
    trial.iteration = trial.frontier = exploit.checkpoint.iteration
    trial.time_total = exploit.checkpoint.time_total
    trial.exploit = trial.left = None
    state.enqueue(trial)


def _skip(state: State, trial: Trial, decision: cmd.Decision) -> None:
    """An exploit that cannot be: the trial goes on from its own newest checkpoint."""
    exploit = trial.exploit
    state.disarm(f"exploit:{trial.number}")
    if exploit is not None:
        if exploit.checkpoint is not None:
            state.unpin(exploit.checkpoint.id)
        source = state.trials.get(exploit.source)
        if source is not None and trial.number in source.waiters:
            source.waiters.remove(trial.number)
    trial.exploit = None
    if trial.status == PENDING:
        state.enqueue(trial)


def _end(state: State, trial: Trial, decision: cmd.Decision) -> None:
    if trial.exploit is not None:
        _skip(state, trial, decision)
    if trial.borrowed and trial.base is not None:
        state.unpin(trial.base.id)
    if decision.data["outcome"] == "infeasible":
        state.infeasible += 1
        state.drawn = False  # another is drawn in its place, or the scheduler is told again that none will be
    shelf.retired(state, trial, decision.data["outcome"])
    state.retire(trial, TERMINATED if decision.data["status"] == TERMINATED else ERROR)


def _halt(state: State, decision: cmd.Decision) -> None:
    """The experiment ends: nothing is launched or suggested any more."""
    state.kind = decision.data["kind"]
    state.stopping = decision.reason or state.kind
    state.asked = 0
    if (until := decision.data.get("until")) is not None:
        state.arm("drain", until)
    for timer in [name for name in state.timers if name == "budget" or name.startswith("exploit:")]:
        state.disarm(timer)


def _finish(state: State, decision: cmd.Decision) -> None:
    state.finished = decision.reason
    for timer in list(state.timers):
        state.disarm(timer)
    state.out.append(cmd.Finish(decision.reason))


_TRIAL: dict[str, Callable[[State, Trial, cmd.Decision], None]] = {
    "launch": _launch,
    "continue": _continue,
    "pause": _pause,
    "resume": _resume,
    "paused": _paused,
    "stop": _stop,
    "kill": _kill,
    "save": _save,
    "retry": _retry,
    "resize": _resize,
    "exploit": _exploit,
    "exploited": _exploited,
    "skip": _skip,
    "end": _end,
}
def _drop(state: State, decision: cmd.Decision) -> None:
    """Checkpoints that nobody needs make room."""
    if decision.data["checkpoints"]:
        shelf.drop(state, decision.data["trial"], decision.data["checkpoints"])


_EXPERIMENT: dict[str, Callable[[State, cmd.Decision], None]] = {"halt": _halt, "finish": _finish, "drop": _drop}


def apply(state: State, decision: cmd.Decision) -> None:
    """Apply one decision.

    Raises:
        KeyError: no such decision, or no such live trial.
    """
    if decision.trial is None:
        _EXPERIMENT[decision.do](state, decision)
    else:
        _TRIAL[decision.do](state, state.trials[decision.trial], decision)
