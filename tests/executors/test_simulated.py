"""The simulated executor by itself: what happens when, told what, and what faults make of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tunesmith.core.events import AttemptEnded, AttemptStarted, CapacityChanged, CheckpointSaved, Event, Reported
from tunesmith.errors import ExecutorError, Infeasible, SpecError
from tunesmith.executors.base import CONTINUE, PAUSE, STOP, Assignment, ExecutorSetup
from tunesmith.executors.fault_plan import Delays, FaultPlan, Faults
from tunesmith.executors.simulated import SimulatedExecutor
from tunesmith.executors.virtual import VirtualClock, Workers
from tunesmith.simulation import FunctionSource
from tunesmith.trainable.base import TrainableSpec

DELAYS = Delays(start=5, report=0.25, save=2, load=3, stop=1)


def counts_down(config: dict[str, Any], iteration: int) -> Any:
    return {"loss": 1.0 / iteration}, config.get("seconds", 10.0)


class Rig:
    """An executor, and a log of what happens when."""

    def __init__(self, function: Any = counts_down, max_t: int | None = 3, **options: Any) -> None:
        self.executor = SimulatedExecutor(FunctionSource(function, max_t), {"cpu": 4.0}, **options)
        self.log: list[tuple[float, Event]] = []
        self.answers = True

    def launch(self, trial: int = 0, attempt: int = 0, config: dict[str, Any] | None = None, **given: Any) -> None:
        self.executor.launch(Assignment(trial, attempt, str(trial), str(trial), "rig", config or {}, "", **given))

    def step(self, timeout: float | None = None) -> list[Event]:
        """Poll once, and let everybody who reports go on."""
        events = self.executor.poll(timeout)
        self.log += [(self.executor.clock.now(), event) for event in events]
        for event in events:
            if isinstance(event, Reported) and self.answers:
                self.executor.answer(event.trial, event.attempt, CONTINUE)
        return events

    def until(self, kind: type, trial: int = 0) -> Any:
        for _ in range(100):
            for event in self.step():
                if isinstance(event, kind) and getattr(event, "trial", trial) == trial:
                    return event
        raise AssertionError(f"no {kind.__name__}: {self.log}")

    def story(self, trial: int = 0) -> list[tuple[float, str]]:
        return [(at, type(event).__name__) for at, event in self.log if getattr(event, "trial", None) == trial]


def test_a_trial_is_played_to_its_end_at_the_seconds_that_it_takes() -> None:
    rig = Rig(delays=DELAYS)
    rig.launch()
    ended = rig.until(AttemptEnded)
    assert rig.story() == [(5, "AttemptStarted"), (15.25, "Reported"), (25.5, "Reported"), (35.75, "Reported"), (35.75, "AttemptEnded")]
    assert (ended.outcome, ended.error) == ("finished", None)
    reports = [event for _, event in rig.log if isinstance(event, Reported)]
    assert [(e.iteration, e.metrics["training_iteration"]) for e in reports] == [(1, 1), (2, 2), (3, 3)]
    assert [e.metrics["time_total_s"] for e in reports] == [10, 20, 30]
    assert rig.executor.workers.busy_s == 35.75
    assert rig.executor.work_s == 30


def test_the_waiting_is_bounded_and_the_clock_stops_there() -> None:
    rig = Rig()
    rig.launch()
    assert [type(event) for event in rig.step()] == [AttemptStarted]
    assert rig.step(4.0) == []
    assert rig.executor.clock.now() == 4.0
    assert rig.step(0.0) == []
    rig.step(6.0)
    assert rig.story() == [(0, "AttemptStarted"), (10, "Reported")]


def test_what_happens_at_one_instant_comes_together_in_the_order_of_the_launches() -> None:
    rig = Rig()
    for trial in (2, 0, 1):
        rig.launch(trial)
    assert [event.trial for event in rig.step()] == [2, 0, 1]
    assert [(event.trial, type(event)) for event in rig.step()] == [(2, Reported), (0, Reported), (1, Reported)]


def test_a_stop_takes_effect_at_the_report_and_after_its_delay() -> None:
    rig = Rig(delays=DELAYS)
    rig.launch()
    rig.until(AttemptStarted)
    rig.executor.answer(0, 0, STOP)
    assert rig.until(AttemptEnded).outcome == "stopped"
    assert rig.story() == [(5, "AttemptStarted"), (15.25, "Reported"), (16.25, "AttemptEnded")]


def test_a_stop_before_the_start_leaves_no_trace_of_one() -> None:
    rig = Rig(delays=DELAYS)
    rig.launch()
    rig.executor.answer(0, 0, STOP)
    rig.until(AttemptEnded)
    assert rig.story() == [(6, "AttemptEnded")]


def test_a_stop_with_a_save_saves_first() -> None:
    rig = Rig(delays=DELAYS)
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.answer(0, 0, STOP, save=True)
    rig.until(AttemptEnded)
    assert rig.story()[-2:] == [(17.25, "CheckpointSaved"), (18.25, "AttemptEnded")]


def test_older_attempts_and_unknown_trials_are_nobody() -> None:
    rig = Rig()
    rig.launch(0, 1)
    rig.until(AttemptStarted)
    rig.executor.answer(0, 0, STOP)
    rig.executor.answer(7, 0, STOP)
    rig.executor.kill(0, 0, "timeout")
    rig.executor.save(0, 0)
    assert rig.until(AttemptEnded).outcome == "finished"
    rig.executor.kill(0, 1, "timeout")
    with pytest.raises(ExecutorError, match="please report this"):
        rig.step()


def test_force_ends_it_at_once_wherever_it_is() -> None:
    rig = Rig(delays=DELAYS)
    rig.launch()
    rig.until(AttemptStarted)
    rig.step(4.0)
    rig.executor.kill(0, 0, "timeout")
    assert rig.until(AttemptEnded).outcome == "timeout"
    assert rig.story() == [(5, "AttemptStarted"), (10, "AttemptEnded")]


def test_held_warm_it_leaves_its_worker_and_goes_on_with_any() -> None:
    rig = Rig(delays=DELAYS, pauses="warm")
    assert rig.executor.capabilities.warm_pause
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.answer(0, 0, PAUSE, mode="warm")
    assert rig.executor.workers.busy_s == 15.25
    rig.launch(1)
    started = rig.until(AttemptStarted, 1)
    assert started.info == {"worker": 0}
    rig.executor.answer(0, 0, CONTINUE)
    rig.until(Reported, 0)
    assert rig.story() == [(5, "AttemptStarted"), (15.25, "Reported"), (30.5, "Reported")]
    assert rig.executor.workers.on(1) is not None


def test_held_warm_it_can_be_told_to_end() -> None:
    rig = Rig(delays=DELAYS)
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.answer(0, 0, PAUSE, mode="warm")
    rig.executor.answer(0, 0, STOP)
    assert rig.until(AttemptEnded).outcome == "stopped"
    assert rig.executor.workers.busy_s == 15.25, "it had no worker any more"


def test_a_cold_pause_saves_and_the_next_attempt_loads() -> None:
    rig = Rig(delays=DELAYS, pauses="cold")
    assert not rig.executor.capabilities.warm_pause
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.answer(0, 0, PAUSE, mode="cold")
    saved = rig.until(CheckpointSaved)
    rig.until(AttemptEnded)
    assert rig.story()[-2:] == [(17.25, "CheckpointSaved"), (18.25, "AttemptEnded")]
    assert (saved.checkpoint, saved.iteration) == ("0/checkpoint_000000", 1)
    rig.launch(0, 1, checkpoint_id=saved.checkpoint, iteration=1, time_total=10.0)
    rig.until(AttemptStarted)
    event = rig.until(Reported)
    assert rig.story()[-2:] == [(26.25, "AttemptStarted"), (36.5, "Reported")]
    assert (event.iteration, event.metrics["time_total_s"], event.metrics["loss"]) == (2, 20.0, 0.5)


def test_what_only_runs_again_saves_nothing() -> None:
    rig = Rig(delays=DELAYS, pauses="rerun")
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.save(0, 0)
    rig.executor.answer(0, 0, PAUSE, mode="rerun")
    rig.until(AttemptEnded)
    assert rig.story() == [(5, "AttemptStarted"), (15.25, "Reported"), (16.25, "AttemptEnded")]


@pytest.mark.parametrize("first", [True, False])
def test_a_save_that_is_asked_for_with_the_answer_comes_before_the_next_step(first: bool) -> None:
    rig = Rig(delays=DELAYS)
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    commands = [lambda: rig.executor.save(0, 0), lambda: rig.executor.answer(0, 0, CONTINUE)]
    for command in commands if first else reversed(commands):
        command()
    saved = rig.until(CheckpointSaved)
    rig.until(Reported)
    assert rig.story()[2:] == [(17.25, "CheckpointSaved"), (27.5, "Reported")]
    assert saved.iteration == 1


def test_a_save_that_is_asked_for_on_the_way_comes_after_the_next_report() -> None:
    rig = Rig(delays=DELAYS)
    rig.launch()
    rig.until(AttemptStarted)
    rig.executor.save(0, 0)
    assert rig.until(CheckpointSaved).iteration == 1
    assert rig.story() == [(5, "AttemptStarted"), (15.25, "Reported"), (17.25, "CheckpointSaved")]


def test_reports_bring_checkpoints_every_so_often_and_take_longer_then() -> None:
    rig = Rig(delays=DELAYS, checkpoint_freq=2, max_t=4)
    rig.launch()
    rig.until(AttemptEnded)
    reports = [(at, event.checkpoint) for at, event in rig.log if isinstance(event, Reported)]
    assert reports == [(15.25, None), (27.5, "0/checkpoint_000000"), (37.75, None), (50, "0/checkpoint_000001")]


def test_memory_is_saved_and_loaded_and_nothing_else_changes_it() -> None:
    def adds_up(config: dict[str, Any], iteration: int, memory: dict[str, Any]) -> Any:
        memory["seen"] = [*memory.get("seen", []), iteration]
        return {"seen": len(memory["seen"])}

    rig = Rig(adds_up, checkpoint_freq=2, max_t=None)
    rig.launch()
    for _ in range(3):
        rig.until(Reported)
    for trial in (1, 2):
        rig.launch(trial, checkpoint_id="0/checkpoint_000000", iteration=2)
        assert rig.until(Reported, trial).metrics["seen"] == 3
    rig.executor.store.delete("0/checkpoint_000000")
    assert rig.executor.store.load("0/checkpoint_000000") == {}


def test_speeds_are_of_workers() -> None:
    rig = Rig(speeds=(1.0, 0.5, 4.0))
    for trial in range(4):
        rig.launch(trial)
    for trial in range(4):
        while not any(kind == "Reported" for _, kind in rig.story(trial)):
            rig.step()
    assert [next(at for at, kind in rig.story(trial) if kind == "Reported") for trial in range(4)] == [10, 20, 2.5, 10]


def test_what_the_function_raises_is_the_trials_failure() -> None:
    def raises(config: dict[str, Any], iteration: int) -> Any:
        if iteration == 2:
            raise config["error"]
        return {"loss": 1.0}

    for error, outcome in ((ValueError("so it goes"), "user_error"), (Infeasible("no"), "infeasible"), (MemoryError(), "oom_ram")):
        rig = Rig(raises)
        rig.launch(config={"error": error})
        ended = rig.until(AttemptEnded)
        assert ended.outcome == outcome
        assert ended.error["type"] == type(error).__name__
        assert rig.story()[-2:] == [(1.0, "Reported"), (1.0, "AttemptEnded")]


def test_what_it_returns_must_be_metrics() -> None:
    for answer in ("text", ({"loss": 1}, -1.0), ({"loss": 1}, math.inf), ({"loss": 1}, "soon"), (1, 2, 3)):
        rig = Rig(lambda config, iteration, answer=answer: answer)
        rig.launch()
        with pytest.raises(SpecError, match="expected metrics"):
            rig.step()


def test_numbers_and_none_are_answers_too() -> None:
    rig = Rig(lambda config, iteration: None if iteration > 2 else 1.0 / iteration, max_t=None)
    rig.launch()
    assert rig.until(AttemptEnded).outcome == "finished"
    assert [event.metrics["_metric"] for _, event in rig.log if isinstance(event, Reported)] == [1.0, 0.5]
    assert rig.executor.clock.now() == 2.0


def test_it_runs_no_code() -> None:
    rig = Rig()
    assert rig.executor.start(ExecutorSetup(None, lambda events: None)) == {"cpu": 4.0}
    with pytest.raises(ExecutorError, match=r"tune\.simulate"):
        rig.executor.start(ExecutorSetup(TrainableSpec.of(lambda config: None), lambda events: None))


# -- faults --------------------------------------------------------------------------------------------------------------


def test_a_lost_worker_takes_its_attempt_with_it_and_another_takes_its_place() -> None:
    rig = Rig(faults=Faults(lost_at=[(12.0, 1)]))
    rig.launch(0)
    rig.launch(1)
    ended = rig.until(AttemptEnded, 1)
    assert (ended.outcome, ended.error["message"], rig.executor.clock.now()) == ("worker_lost", "worker 1 was lost", 12.0)
    assert rig.story(1) == [(0, "AttemptStarted"), (10, "Reported"), (12, "AttemptEnded")]
    rig.launch(1, 1)
    assert rig.until(AttemptStarted, 1).info == {"worker": 1}
    assert not any(isinstance(event, CapacityChanged) for _, event in rig.log)


def test_a_worker_that_is_down_is_missing_until_it_comes_back() -> None:
    rig = Rig(faults=Faults(lost_at=[(1.0, 0), (1.0, 2)], down_s=3.0), max_t=1)
    assert rig.executor.capabilities.growing
    rig.launch(0)
    rig.until(AttemptStarted)
    events = rig.step()
    assert [type(event) for event in events] == [CapacityChanged, AttemptEnded, CapacityChanged]
    assert [event.totals["cpu"] for event in events if isinstance(event, CapacityChanged)] == [3.0, 2.0]
    for trial in (1, 2):
        rig.launch(trial)
    assert [event.info["worker"] for event in rig.step()] == [1, 3]
    assert [event.totals["cpu"] for event in rig.step()] == [3.0, 4.0]
    assert rig.executor.clock.now() == 4.0
    rig.launch(3)
    assert rig.until(AttemptStarted, 3).info == {"worker": 0}


def test_workers_are_lost_at_a_rate() -> None:
    lost = []
    for seed in range(300):
        rig = Rig(faults=Faults(lost_every_s=20.0), seed=seed, max_t=1)
        rig.launch(config={"seconds": 20.0})
        lost.append(rig.until(AttemptEnded).outcome == "worker_lost")
    assert 0.55 < sum(lost) / len(lost) < 0.71, "1 - 1/e of them within the mean time"


def test_a_trial_that_is_held_can_be_lost_too() -> None:
    rig = Rig(faults=Faults(lost_every_s=1e6), seed=1)
    rig.answers = False
    rig.launch()
    rig.until(Reported)
    rig.executor.answer(0, 0, PAUSE, mode="warm")
    rig.launch(1)
    ended = rig.until(AttemptEnded, 0)
    assert ended.error["message"] == "the worker that held it was lost"
    assert rig.executor.workers.on(0) is not None or rig.story(1)[-1][1] == "AttemptEnded"


def test_slow_workers_are_the_same_ones_for_a_seed() -> None:
    plan, again, other = (FaultPlan(Faults(slow_share=0.3, slowdown=4.0), seed) for seed in (1, 1, 2))
    slow = [plan.slowness(worker) for worker in range(500)]
    assert set(slow) == {1.0, 4.0}
    assert 0.22 < slow.count(4.0) / 500 < 0.38
    assert slow == [again.slowness(worker) for worker in range(500)]
    assert slow != [other.slowness(worker) for worker in range(500)]
    assert FaultPlan(Faults(slow_share=0.3, slowdown=4.0, seed=2), 1).slowness(0) == other.slowness(0)


def test_a_lost_message_leaves_the_trial_waiting_until_its_connection_is_given_up() -> None:
    seen = set()
    for seed in range(20):
        rig = Rig(faults=Faults(lost_messages=1.0, message_timeout_s=30.0), seed=seed)
        rig.launch()
        assert rig.until(AttemptEnded).outcome == "worker_lost"
        seen.add(tuple(rig.story()))
    assert seen == {
        ((0, "AttemptStarted"), (40, "AttemptEnded")),  # the report was lost
        ((0, "AttemptStarted"), (10, "Reported"), (40, "AttemptEnded")),  # the answer to it
    }


def test_who_waits_for_a_lost_answer_does_not_hear_a_stop_but_can_be_killed() -> None:
    seed = next(seed for seed in range(20) if _reports_before_it_is_lost(seed))
    for force in (False, True):
        rig = Rig(faults=Faults(lost_messages=1.0), seed=seed)
        rig.answers = False
        rig.launch()
        rig.until(Reported)
        rig.executor.answer(0, 0, STOP)
        if force:
            rig.executor.kill(0, 0, "silent")
        ended = rig.until(AttemptEnded)
        assert (ended.outcome, rig.executor.clock.now()) == (("silent", 10) if force else ("worker_lost", 70))


def _reports_before_it_is_lost(seed: int) -> bool:
    rig = Rig(faults=Faults(lost_messages=1.0), seed=seed)
    rig.launch()
    rig.until(AttemptEnded)
    return any(kind == "Reported" for _, kind in rig.story())


def test_repeated_messages_come_again_and_change_nothing_here() -> None:
    rig, plain = Rig(faults=Faults(repeated_messages=1.0), seed=3), Rig()
    for one in (rig, plain):
        one.launch()
        one.until(AttemptEnded)
    while True:
        try:
            assert len(rig.step()) <= 1
        except ExecutorError:
            break
    events = [event for _, event in rig.log]
    assert len(events) == 2 * len(plain.log)
    first = [entry for place, entry in enumerate(rig.log) if not any(entry[1] == before for before in events[:place])]
    assert first == plain.log
    assert len({id(event) for event in events}) == len(events), "each is an event of its own"


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Delays(start=-1), "start must be a number >= 0"),
        (lambda: Delays(save=math.inf), "save must be finite"),
        (lambda: Delays(stop="1"), "stop must be a number"),
        (lambda: Faults(slow_share=2), "slow_share must be a number from 0 to 1"),
        (lambda: Faults(slowdown=0.5), "slowdown must be a number >= 1"),
        (lambda: Faults(lost_every_s=0), "lost_every_s must be a finite number > 0"),
        (lambda: Faults(lost_at=[3]), "lost_at must be pairs"),
        (lambda: Faults(lost_at=[(1.0, -1)]), "lost_at must be pairs"),
    ],
)
def test_numbers_that_cannot_be_are_refused(made: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        made()


def test_workers_are_taken_lowest_first_and_counted_while_they_are_busy() -> None:
    clock = VirtualClock()
    workers: Workers[str] = Workers(clock)
    assert [workers.take(who) for who in "abc"] == [0, 1, 2]
    clock.advance(10)
    workers.leave(1)
    workers.leave(1)
    workers.lose(0)
    workers.leave(0)
    workers.lose(4)
    assert [workers.take(who) for who in "de"] == [1, 3]
    workers.give_back(0)
    workers.give_back(4)
    assert [workers.take(who) for who in "fgh"] == [0, 4, 5]
    clock.advance(11)
    workers.close()
    assert workers.busy_s == 10 + 10 + 11 + 5 * 1
