"""The invariants notice what they are there for: each kind of damage, done by hand, is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tunesmith.core.invariants import check
from tunesmith.core.retention import Saved
from tunesmith.core.state import State
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, Exploit
from tunesmith.errors import BugError


def busy(script: Any, told: Any) -> Any:
    """Trial 0 exploits 1 and waits for its checkpoint, 1 and 3 run, 2 is paused warm, 4 waits for room."""

    def only_waiting(runnable: Any) -> Any:
        return runnable.pending[0] if runnable.pending else None

    scheduler = told({(0, 1): told.exploit(1, "better", values={"x": 1}), (2, 1): "PAUSE"}, chosen=only_waiting)
    one = script(scheduler, num_samples=9, totals={"cpu": 4, "gpu": 2}, warm_pause=True, config_resources=True, max_trial_s=99.0)
    one.begin(3, {"cpu": 1})
    one.begin(1, {"cpu": 1, "gpu": 0.5})
    one.report(0)
    one.end(0, "stopped")
    one.report(2)
    one.report(3, "3/a")
    one.suggest(resources={"cpu": 3})
    assert [one.status(number) for number in range(5)] == ["PENDING", "RUNNING", "PAUSED", "RUNNING", "PENDING"]
    return one


def set_trial(number: int, **values: Any) -> Callable[[State], None]:
    def damage(state: State) -> None:
        for name, value in values.items():
            setattr(state.trials[number], name, value)

    return damage


A_BASE = Saved("3/z", 1, 1.0)

DAMAGE: list[tuple[str, Callable[[State], Any]]] = [
    ("are counted as RUNNING", lambda state: state.counts.update({RUNNING: 7})),
    ("are counted as ERROR", lambda state: state.counts.update({ERROR: 1})),
    ("live trials are", lambda state: state.ended.append(0)),
    ("running are", lambda state: state.running.add(4)),
    ("are counted as PENDING, 1 are", set_trial(4, status=RUNNING)),
    ("paused are", lambda state: state.paused.clear()),
    ("warm are", lambda state: state.warm.clear()),
    ("woken are", lambda state: state.woken.update({1: None})),
    ("requests of paused trials", lambda state: state.kinds.clear()),
    ("lacks|holds resources", set_trial(1, holds=False)),
    ("in use are", lambda state: state.pool.used.update(cpu=0)),
    ("card 0 has", lambda state: state.pool.cards.__setitem__(0, 10_000)),
    ("has cards", set_trial(3, gpus=())),
    ("oversubscribed", lambda state: state.pool.totals.update(cpu=1)),
    ("which retention has let go", set_trial(3, saved=[])),
    ("pinned are", lambda state: state.pins.update({"3/a": 1})),
    ("pinned are", set_trial(1, base=A_BASE, borrowed=True)),
    ("which is not pinned", set_trial(1, owed="launch", restore=A_BASE)),
    ("which are to be deleted", lambda state: state.doomed.add("3/a")),
    ("nobody needs them", lambda state: state.doomed.add("9/a")),
    ("neither started nor owed", set_trial(1, started=False, owed="")),
    ("is paused warm", set_trial(1, mode="warm")),
    ("has no deadline", lambda state: state.timers.pop("deadline:1")),
    ("started without an attempt", set_trial(4, started=True)),
    ("is owed launch", set_trial(4, owed="launch")),
    ("keeps 9/a loaded", lambda state: (set_trial(4, loaded="9/a")(state), state.pins.update({"9/a": 1}))),
    ("waits in no queue", lambda state: state.queues.clear()),
    ("beyond 0", set_trial(1, iteration=7)),
    ("held by a person", lambda state: state.held.add(1)),
    ("has 'lunch' before it", set_trial(1, then="lunch")),
    ("has waiter 4, which does not wait", lambda state: state.trials[1].waiters.append(4)),
    ("has a waiter twice", lambda state: state.trials[1].waiters.append(0)),
    ("waits for 1, which does not know", lambda state: state.trials[1].waiters.clear()),
    ("waits for a checkpoint without end", lambda state: state.timers.pop("exploit:0")),
    ("waits for 4, which does not know", lambda state: setattr(state.trials[4], "exploit", Exploit(4, None, {}))),
    ("with an exploit", lambda state: setattr(state.trials[3], "exploit", Exploit(1, None, {}))),
    ("is for a trial that has ended", lambda state: state.timers.update({"silence:9": 1.0})),
    ("is for an exploit that does not wait", lambda state: state.timers.update({"exploit:1": 1.0})),
    ("is for a trial that does not run", lambda state: state.timers.update({"silence:4": 1.0})),
    ("is for a trial that is being killed", set_trial(1, owed="kill:silent")),
    ("the time budget runs", lambda state: (state.timers.update({"budget": 1.0}), setattr(state, "stopping", "x"))),
    ("finished, with timers", lambda state: setattr(state, "finished", "x")),
]


def test_the_busy_one_is_sound(script: Any, told: Any) -> None:
    check(busy(script, told).controller)


@pytest.mark.parametrize(("promise", "damage"), DAMAGE, ids=[f"{index} {promise}" for index, (promise, _) in enumerate(DAMAGE)])
def test_damage_is_found(promise: str, damage: Callable[[State], Any], script: Any, told: Any) -> None:
    one = busy(script, told)
    damage(one.state)
    with pytest.raises(BugError, match=f"invariant broken: .*({promise})"):
        check(one.controller)


def test_an_exploit_that_could_go_on(script: Any, told: Any) -> None:
    one = busy(script, told)
    exploit = one.trial(0).exploit
    exploit.checkpoint = A_BASE
    one.state.pins["3/z"] = 1
    one.trial(1).waiters.clear()
    del one.state.timers["exploit:0"]
    with pytest.raises(BugError, match="trial 0 has all that its exploit needs, and waits"):
        check(one.controller)


def test_waiting_although_it_fits(script: Any, told: Any) -> None:
    one = busy(script, told)
    one.state.pool.totals["cpu"] = 90_000
    with pytest.raises(BugError, match="trial 4 waits although it fits"):
        check(one.controller)
    check(one.controller, takes_pending=False)
    one.state.woken[2] = None
    with pytest.raises(BugError, match="trial 2 was to be resumed, fits, and is not"):
        check(one.controller, takes_pending=False)


def test_nothing_will_ever_happen(script: Any, told: Any) -> None:
    def only_waiting(runnable: Any) -> Any:
        return runnable.pending[0] if runnable.pending else None

    one = script(told({(0, 1): "PAUSE"}, chosen=only_waiting), num_samples=2)
    one.begin(2)
    one.report(0)
    one.end(0, "stopped")
    assert (one.status(0), one.status(1)) == (PAUSED, RUNNING)
    one.end(1)
    assert one.state.finished
    two = script(num_samples=1)
    two.state.asked = 0
    with pytest.raises(BugError, match="wait for what cannot come"):
        check(two.controller)
    two.state.stopping = "x"
    with pytest.raises(BugError, match="was to end, nothing runs"):
        check(two.controller)


def test_a_shrunk_cluster_may_be_oversubscribed(script: Any, told: Any) -> None:
    one = busy(script, told)
    one.state.pool.resize({"cpu": 1.0})
    check(one.controller, shrunk=True)


def test_statuses_are_those_of_the_living(script: Any, told: Any) -> None:
    one = busy(script, told)
    one.trial(4).status = "ASLEEP"
    one.state.counts[PENDING] -= 1
    with pytest.raises(BugError, match="none of the living has"):
        check(one.controller)
