"""What must hold after every ``handle``. Tests call :func:`check` after each event; it costs O(live trials) and is never on in a run."""

from __future__ import annotations

from collections import Counter

from tunesmith.core.controller import Controller
from tunesmith.core.filling import free_slots, tries
from tunesmith.core.placement import UNIT, request_of
from tunesmith.core.state import State
from tunesmith.core.trial import ERROR, LIVE, PAUSED, PENDING, RUNNING, TERMINATED, Trial
from tunesmith.errors import BugError

__all__ = ["check"]


def check(controller: Controller, *, shrunk: bool = False, takes_pending: bool = True) -> None:
    """Raise if the controller's state contradicts itself, or if nothing could ever happen any more.

    Args:
        controller: between two calls of ``handle``.
        shrunk: the capacity has been made smaller, so that more may be in use than there is.
        takes_pending: the scheduler's ``choose`` never leaves a waiting trial that fits (all but deliberately nasty ones).

    Raises:
        BugError: the first promise that is broken, with the trial concerned.
    """
    state = controller.state
    _check_statuses(state)
    _check_resources(state, shrunk)
    _check_pins(state)
    for trial in state.trials.values():
        _check_trial(state, trial)
        _check_exploit(state, trial)
    _check_skipped(state)
    _check_timers(state)
    _check_shelf(state)
    _check_waiting(state, takes_pending)
    _check_future(state)


def _require(holds: bool, promise: str) -> None:
    if not holds:
        raise BugError(f"invariant broken: {promise}; please report this")


def _check_statuses(state: State) -> None:
    by_status = {status: {n for n, trial in state.trials.items() if trial.status == status} for status in LIVE}
    for status, numbers in by_status.items():
        _require(state.counts[status] == len(numbers), f"{state.counts[status]} trials are counted as {status}, {len(numbers)} are")
    for status, code in ((TERMINATED, 1), (ERROR, 2)):
        ended = state.ended.count(code)
        _require(state.counts[status] == ended, f"{state.counts[status]} trials are counted as {status}, {ended} are")
    live = [number for number, code in enumerate(state.ended) if not code]
    _require(sorted(state.trials) == live, f"live trials are {sorted(state.trials)}, by their ends {live}")
    _require(sum(by_status[status].__len__() for status in LIVE) == len(live), "a live trial has a status that none of the living has")
    _require(state.running == by_status[RUNNING], f"running are {sorted(state.running)}, by status {sorted(by_status[RUNNING])}")
    _require(set(state.paused) == by_status[PAUSED], f"paused are {sorted(state.paused)}, by status {sorted(by_status[PAUSED])}")
    warm = {number for number in by_status[PAUSED] if state.trials[number].alive}
    _require(state.warm == warm, f"warm are {sorted(state.warm)}, alive and paused {sorted(warm)}")
    _require(set(state.woken) <= by_status[PAUSED], f"woken are {sorted(state.woken)}, and not all of them are paused")
    kinds = Counter(state.trials[number].request for number in state.paused)
    _require(state.kinds == dict(kinds), f"requests of paused trials are counted {state.kinds}, and are {dict(kinds)}")


def _check_resources(state: State, shrunk: bool) -> None:
    pool = state.pool
    held: Counter[str] = Counter()
    cards: Counter[int] = Counter()
    for number, trial in state.trials.items():
        _require(trial.holds == (trial.status == RUNNING), f"trial {number} is {trial.status}, but that it holds resources: {trial.holds}")
        if trial.holds:
            held.update(dict(trial.request))
            cards.update({card: round(part * UNIT) for card, part in trial.gpus})
            gpus = sum(round(part * UNIT) for _, part in trial.gpus)
            _require(gpus == dict(trial.request).get("gpu", 0), f"trial {number} asked for {trial.request} and has cards {trial.gpus}")
    used = {name: amount for name, amount in pool.used.items() if amount}
    _require(used == dict(held), f"in use are {used}, held by trials {dict(held)}")
    leasable = sum(pool.capacity(card) for card in range(pool.count))
    _require(pool.totals.get("gpu", 0) == leasable, f"{pool.totals.get('gpu', 0)} of cards can be leased, and their sum is {leasable}")
    for card, free in enumerate(pool.cards):
        _require(pool.capacity(card) - free == cards[card], f"card {card} has {free} free, trials hold {cards[card]} of it")
    _require(shrunk or not pool.oversubscribed(), f"oversubscribed: {pool.used} in use of {pool.totals}, cards {pool.cards}")


def _check_pins(state: State) -> None:
    needed: Counter[str] = Counter()
    for number, trial in state.trials.items():
        saved = {one.id for one in trial.saved}
        if trial.base is not None and trial.borrowed:
            needed[trial.base.id] += 1
        elif trial.base is not None:
            _require(trial.base.id in saved, f"trial {number} would go on from {trial.base.id}, which retention has let go")
        if trial.loaded is not None:
            needed[trial.loaded] += 1
        if trial.exploit is not None and trial.exploit.checkpoint is not None:
            needed[trial.exploit.checkpoint.id] += 1
        if trial.owed == "launch" and trial.restore is not None:
            _require(trial.loaded == trial.restore.id, f"trial {number} is about to load {trial.restore.id}, which is not pinned")
        _require(not saved & state.doomed, f"trial {number} keeps {saved & state.doomed}, which are to be deleted")
    if state.shelf.champion is not None:
        needed[state.shelf.champion[1].id] += 1
    _require(state.pins == dict(needed), f"pinned are {state.pins}, needed {dict(needed)}")
    _require(state.doomed <= set(state.pins), f"{state.doomed - set(state.pins)} are to be deleted and nobody needs them")


def _check_trial(state: State, trial: Trial) -> None:
    who = f"trial {trial.number} ({trial.status})"
    if trial.status == RUNNING:
        _require(bool(trial.owed) or trial.started, f"{who} is neither started nor owed a command")
        _require(not trial.mode, f"{who} is paused {trial.mode}")
        if trial.started and state.settings.max_trial_s is not None and not trial.owed.startswith("kill:"):
            _require(f"deadline:{trial.number}" in state.timers, f"{who} has no deadline")
    else:
        _require(not trial.started or trial.number in state.warm, f"{who} is started without an attempt")
        _require(trial.number in state.warm or not (trial.owed or trial.then or trial.saving), f"{who} is owed {trial.owed}{trial.then}")
        _require(trial.number in state.warm or trial.loaded is None, f"{who} keeps {trial.loaded} loaded")
    if trial.status == PAUSED:
        _require(trial.mode in ("cold", "rerun", "warm") or trial.number in state.warm, f"{who} is paused in no way")
        _require((trial.mode == "cold") <= (trial.base is not None), f"{who} is paused cold without a checkpoint")
    if trial.status == PENDING and trial.exploit is None and trial.number not in state.skipped:
        _require(trial.number in state.queues.get(trial.request, ()), f"{who} waits in no queue")
    known = max(trial.frontier, trial.restore.iteration if trial.restore is not None else 0)
    _require(known >= trial.iteration, f"{who} is at iteration {trial.iteration}, beyond {known}, which it has reported or loaded")
    _require(trial.number not in state.held or trial.status == PAUSED or trial.then == "pause", f"{who} is held by a person")
    _require(trial.then in ("", "end", "pause", "exploit", "interrupt", "resize"), f"{who} has '{trial.then}' before it")
    _require((trial.then == "resize") == (trial.size is not None), f"{who} is to take {trial.size}, and has '{trial.then}' before it")
    _require(trial.request == request_of(trial.resources), f"{who} takes {trial.resources}, and asks for {trial.request}")


def _check_exploit(state: State, trial: Trial) -> None:
    exploit = trial.exploit
    who = f"trial {trial.number}"
    for waiter in trial.waiters:
        other = state.trials.get(waiter)
        wish = other.exploit if other is not None else None
        waits = wish is not None and wish.source == trial.number and wish.checkpoint is None
        _require(waits, f"{who} has waiter {waiter}, which does not wait for it")
    _require(len(set(trial.waiters)) == len(trial.waiters), f"{who} has a waiter twice: {trial.waiters}")
    if exploit is None:
        return
    _require(exploit.number == trial.exploits, f"{who} has an exploit numbered {exploit.number}, and {trial.exploits} were decided")
    _require(trial.then in ("exploit", "end") or trial.status == PENDING, f"{who} is {trial.status}, to {trial.then}, with an exploit")
    if exploit.checkpoint is None:
        source = state.trials.get(exploit.source)
        _require(source is not None and trial.number in source.waiters, f"{who} waits for {exploit.source}, which does not know")
        _require(source is not trial or trial.then in ("exploit", "end"), f"{who} waits for itself, and nothing is to end")
        if source is not None and "source_values" in exploit.data:
            same = (source.values, source.space) == (exploit.data["source_values"], exploit.space)
            _require(same, f"{who} waits for a checkpoint of {source.number}, and copies values that are not its any more")
        untimed = state.settings.deterministic or bool(state.stopping) or trial.number in state.skipped or source is trial
        _require(untimed or f"exploit:{trial.number}" in state.timers, f"{who} waits for a checkpoint without end")
    elif exploit.values is not None:
        _require(trial.status != PENDING, f"{who} has all that its exploit needs, and waits")


def _check_skipped(state: State) -> None:
    _require(state.only or not state.skipped, f"trials {sorted(state.skipped)} are left out of a session that is about all")
    for number in state.skipped:
        trial = state.trials.get(number)
        runs = trial is not None and trial.alive and not trial.then and state.ready
        _require(not runs, f"trial {number} runs, and this session is not about it")


def _check_timers(state: State) -> None:
    for timer in state.timers:
        kind, _, number = timer.partition(":")
        if kind == "budget":
            _require(not state.stopping, "the time budget runs while the experiment ends")
            continue
        if kind == "drain":
            _require(bool(state.stopping), "attempts are to be killed though the experiment does not end")
            continue
        trial = state.trials.get(int(number))
        _require(trial is not None, f"timer {timer} is for a trial that has ended")
        assert trial is not None
        if kind == "exploit":
            _require(trial.exploit is not None and trial.exploit.checkpoint is None, f"timer {timer} is for an exploit that does not wait")
        else:
            _require(trial.status == RUNNING or trial.number in state.warm, f"timer {timer} is for a trial that does not run")
            _require(not trial.owed.startswith("kill:"), f"timer {timer} is for a trial that is being killed")
    _require(not (state.finished and state.timers), f"finished, with timers {sorted(state.timers)}")


def _check_shelf(state: State) -> None:
    shelf, settings = state.shelf, state.settings
    known = {one.id: one for trial in state.trials.values() for one in trial.saved}
    known |= {one.id: one for held in shelf.ended.values() for one in held}
    _require(not known.keys() & state.doomed, f"{known.keys() & state.doomed} are kept and to be deleted")
    _require(all(state.ended[number] for number in shelf.ended), "a living trial's checkpoints are on the shelf")
    if settings.max_checkpoint_bytes is not None:
        size = sum(one.bytes for one in known.values())
        _require(shelf.total == size, f"checkpoints have {size} bytes, counted are {shelf.total}")
        _require(shelf.kept.keys() == known.keys(), f"known are {sorted(known)}, on the shelf {sorted(shelf.kept)}")
        bases = {trial.base.id for trial in state.trials.values() if trial.base is not None}
        leader = {held[-1].id for number, held in shelf.ended.items() if (number,) == (shelf.leader or ())[:1]}
        free = known.keys() - bases - state.pins.keys() - leader
        _require(size <= settings.max_checkpoint_bytes or not free, f"{size} bytes, though nobody needs {sorted(free)}")
    if settings.keep_best is not None:
        _require(len(shelf.ended) <= settings.keep_best + 2, f"{len(shelf.ended)} ended trials have checkpoints")


def _check_waiting(state: State, takes_pending: bool) -> None:
    """Nothing waits while something runnable fits."""
    if not state.ready or state.stopping or state.finished or free_slots(state) <= 0:
        return
    for trial in state.waiting():
        fits = trial.exploit is None and state.pool.fits(trial.request)
        _require(not (takes_pending and fits), f"trial {trial.number} waits although it fits and a slot is free")
    for number in set(state.woken) - state.skipped:
        _require(not state.pool.fits(state.trials[number].request), f"trial {number} was to be resumed, fits, and is not")


def _check_future(state: State) -> None:
    """Something can still happen, or it is finished: nobody waits for what cannot come."""
    if not state.ready or state.finished or state.running or state.asked or state.held or state.exploring():
        return
    if any(state.trials[number].then for number in state.warm):
        return
    _require(not state.stopping, "the experiment was to end, nothing runs, and it has not finished")
    left = tries(state)
    concerned = [trial for number, trial in state.trials.items() if number not in state.skipped]
    requests = {trial.request for trial in concerned} | ({state.default_request} if left != 0 else set())
    growing = state.settings.growing and not all(state.pool.fits(request) for request in requests)
    waiting = f"trials {sorted(state.trials)} and {'any number of' if left is None else left} new ones"
    _require(growing or free_slots(state) <= 0, f"nothing runs and nothing was asked for; {waiting} wait for what cannot come")
