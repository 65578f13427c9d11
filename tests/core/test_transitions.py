"""The table: complete, used, and obeyed; what it lacks raises and changes nothing, what is late is ignored and counted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from tunesmith.core import events as ev
from tunesmith.core import handlers
from tunesmith.core.controller import Controller
from tunesmith.core.handlers import HANDLERS
from tunesmith.core.transitions import EXPERIMENT, MOVES, NEW, STARTING, TABLE, diagram
from tunesmith.core.trial import ERROR, PAUSED, PENDING, RUNNING, TERMINATED
from tunesmith.errors import BugError, IllegalTransition

STATUSES = (PENDING, STARTING, RUNNING, PAUSED, TERMINATED, ERROR)
EVENTS = get_args(ev.Event)


def test_every_event_has_its_place() -> None:
    assert {event for _, event in TABLE} | set(EXPERIMENT) == set(EVENTS)
    assert not {event for _, event in TABLE} & set(EXPERIMENT)


def test_every_handler_exists_and_is_used() -> None:
    named = {name for name, _ in TABLE.values()} | set(EXPERIMENT.values())
    assert named == set(HANDLERS)
    for name, handler in HANDLERS.items():
        assert inspect.isgeneratorfunction(handler)
        assert handler is getattr(handlers, name)


def test_an_event_means_the_same_in_every_status() -> None:
    meanings = {(event, name) for (_, event), (name, _) in TABLE.items()}
    assert len(meanings) == len({event for event, _ in meanings})


def test_the_table_speaks_of_known_statuses() -> None:
    for (status, _), (_, targets) in TABLE.items():
        assert status in (NEW, *STATUSES)
        assert set(targets) <= set(STATUSES)
    assert {event for status, event in TABLE if status in (TERMINATED, ERROR)} == {ev.Reopened}  # else an end is an end
    for status, target in MOVES:
        assert {status, target} <= set(STATUSES)
        assert status not in (TERMINATED, ERROR)


def test_every_status_can_be_reached_and_left() -> None:
    edges = {(status, target) for (status, _), (_, targets) in TABLE.items() for target in targets} | set(MOVES)
    reached = {NEW}
    for _ in STATUSES:
        reached |= {target for status, target in edges if status in reached}
    assert reached == {NEW, *STATUSES}
    for status in (NEW, PENDING, STARTING, RUNNING, PAUSED):
        assert any(source == status and target != status for source, target in edges)


def test_the_diagram_is_the_table() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert "    RUNNING --> PAUSED: Reported" in lines
    assert "    PENDING --> STARTING: launch" in lines
    drawn = sum(target != status for (status, _), (_, targets) in TABLE.items() for target in targets) + len(MOVES)
    assert len(lines) == len(set(lines)) == 1 + drawn


# -- every pair ----------------------------------------------------------------------------------------------------------


def pending(script: Any, told: Any) -> Any:
    """Trial 1 waits, for the slot that trial 0 has."""
    one = script(told({(0, 1): "PAUSE"}), totals={"cpu": 2}, slots=1, num_samples=2, config_resources=True)
    one.begin()
    one.feed(ev.CapacityChanged({"cpu": 2.0}, 2))
    one.state.asked = 1
    one.feed(ev.CapacityChanged({"cpu": 2.0}, 1))
    one.suggest()
    return one


def starting(script: Any, told: Any) -> Any:
    one = script(num_samples=3, totals={"cpu": 8})
    one.begin()
    one.suggest()
    return one


def running(script: Any, told: Any) -> Any:
    one = script(num_samples=3, totals={"cpu": 8})
    one.begin(2)
    one.report(1, "1/checkpoint_000000")
    return one


def warm(script: Any, told: Any) -> Any:
    one = script(
        told({(1, 1): "PAUSE"}, chosen=lambda runnable: runnable.pending[0] if runnable.pending else None), num_samples=2, warm_pause=True
    )
    one.begin(2)
    one.report(1, "1/checkpoint_000000")
    return one


def cold(script: Any, told: Any) -> Any:
    one = script(told({(1, 1): "PAUSE"}, chosen=lambda runnable: runnable.pending[0] if runnable.pending else None), num_samples=2)
    one.begin(2)
    one.report(1, "1/checkpoint_000000")
    one.end(1, "stopped")
    return one


def terminated(script: Any, told: Any) -> Any:
    one = running(script, told)
    one.end(1)
    return one


def error(script: Any, told: Any) -> Any:
    one = running(script, told)
    one.end(1, "user_error")
    return one


PLACES: dict[str, Callable[[Any, Any], Any]] = {
    "PENDING": pending,
    "STARTING": starting,
    "RUNNING": running,
    "PAUSED warm": warm,
    "PAUSED cold": cold,
    "TERMINATED": terminated,
    "ERROR": error,
}


def about(trial: int, attempt: int) -> list[ev.Event]:
    """One event of each kind that concerns a trial, as news."""
    return [
        ev.Suggested(trial, {"x": 1}),
        ev.AttemptStarted(trial, attempt),
        ev.Reported(trial, attempt, 99, {"loss": 1.0}),
        ev.CheckpointSaved(trial, attempt, 99, f"{trial}/checkpoint_000099"),
        ev.SaveSkipped(trial, attempt, 99, "no room"),
        ev.Explored(trial, {"x": 2}),
        ev.AttemptEnded(trial, attempt, "finished"),
        ev.UserAction("stop", trial),
    ]


@pytest.mark.parametrize("place", PLACES)
def test_every_pair_is_handled_illegal_or_late(place: str, script: Any, told: Any) -> None:
    """An accepted event is in the table, or raises; either way, what is not handled leaves the state as it was."""
    status = place.partition(" ")[0]
    outcomes = {}
    for index in range(len(about(1, 0))):
        one = PLACES[place](script, told)
        if status in (TERMINATED, ERROR):
            assert one.status(1) == status
        else:
            assert one.trial(1).status == (RUNNING if status == STARTING else status)
        live = one.state.trials.get(1)
        event = about(1, live.attempt if live else 0)[index]
        before, late, accepted = one.controller.digest(), one.state.late, one.controller.accepts(event)
        name = type(event).__name__
        if not accepted:
            assert one.feed(event) == []
            assert (one.decisions, one.state.late) == ([], late + 1)
            outcomes[name] = "late"
        elif (status, type(event)) in TABLE:
            one.feed(event)
            outcomes[name] = "handled"
            continue
        else:
            with pytest.raises(IllegalTransition, match=f"trial 1 is {status} and cannot take {name}"):
                one.feed(event)
            assert one.state.late == late
            outcomes[name] = "illegal"
        assert one.controller.digest() == before
    assert outcomes == EXPECTED[place]


EXPECTED = {
    "PENDING": {
        "Suggested": "late",
        "AttemptStarted": "late",
        "Reported": "illegal",
        "CheckpointSaved": "late",
        "SaveSkipped": "late",
        "Explored": "late",
        "AttemptEnded": "late",
        "UserAction": "handled",
    },
    "STARTING": {
        "Suggested": "late",
        "AttemptStarted": "handled",
        "Reported": "illegal",
        "CheckpointSaved": "illegal",
        "SaveSkipped": "illegal",
        "Explored": "late",
        "AttemptEnded": "handled",
        "UserAction": "handled",
    },
    "RUNNING": {
        "Suggested": "late",
        "AttemptStarted": "late",
        "Reported": "handled",
        "CheckpointSaved": "handled",
        "SaveSkipped": "handled",
        "Explored": "late",
        "AttemptEnded": "handled",
        "UserAction": "handled",
    },
    "PAUSED warm": {
        "Suggested": "late",
        "AttemptStarted": "late",
        "Reported": "illegal",
        "CheckpointSaved": "handled",
        "SaveSkipped": "handled",
        "Explored": "late",
        "AttemptEnded": "handled",
        "UserAction": "handled",
    },
    "PAUSED cold": {
        "Suggested": "late",
        "AttemptStarted": "late",
        "Reported": "illegal",
        "CheckpointSaved": "late",
        "SaveSkipped": "late",
        "Explored": "late",
        "AttemptEnded": "late",
        "UserAction": "handled",
    },
    "TERMINATED": dict.fromkeys(
        ("Suggested", "AttemptStarted", "Reported", "CheckpointSaved", "SaveSkipped", "Explored", "AttemptEnded", "UserAction"), "late"
    ),
    "ERROR": dict.fromkeys(
        ("Suggested", "AttemptStarted", "Reported", "CheckpointSaved", "SaveSkipped", "Explored", "AttemptEnded", "UserAction"), "late"
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attempt", [-1, 1])
def test_events_of_other_attempts_are_late(place: str, attempt: int, script: Any, told: Any) -> None:
    one = PLACES[place](script, told)
    live = one.state.trials.get(1)
    before = one.controller.digest()
    for event in about(1, (live.attempt if live else 0) + attempt):
        if hasattr(event, "attempt"):
            assert not one.controller.accepts(event)
            assert one.feed(event) == []
    assert one.controller.digest() == before


def test_events_of_trials_that_never_were_are_late(script: Any) -> None:
    one = script(num_samples=2)
    before = one.controller.digest()
    for event in about(77, 0)[1:]:
        assert one.feed(event) == []
    assert one.controller.digest() == before
    with pytest.raises(IllegalTransition, match="trial 77 is UNKNOWN"):
        one.feed(ev.Suggested(77, {}))
    assert one.controller.digest() == before


@pytest.mark.parametrize("event", [ev.CapacityChanged({}), ev.StopRequested("x"), ev.SearchExhausted("x"), ev.SpecChanged({})])
def test_nothing_comes_before_the_start(event: ev.Event, told: Any) -> None:
    controller = Controller(told())
    with pytest.raises(IllegalTransition, match="before ExperimentStarted"):
        controller.handle(event)
    assert controller.digest() == Controller(told()).digest()


@pytest.mark.parametrize("session", [0, 2, 7])
def test_sessions_follow_each_other(session: int, script: Any) -> None:
    one = script()
    with pytest.raises(IllegalTransition, match=f"session {session} after session 0"):
        one.feed(ev.ExperimentStarted({}, session))


def test_an_outcome_that_nobody_knows_is_illegal(script: Any, told: Any) -> None:
    one = running(script, told)
    before = one.controller.digest()
    with pytest.raises(IllegalTransition, match="'bored'"):
        one.end(1, "bored")
    assert one.controller.digest() == before


def test_illegal_ones_are_our_own_bugs() -> None:
    assert issubclass(IllegalTransition, BugError)


def test_the_diagram_in_the_docs_is_drawn_from_the_table() -> None:
    page = Path(__file__).parents[2] / "docs" / "design" / "transitions.md"
    assert diagram() in page.read_text(encoding="utf-8")
