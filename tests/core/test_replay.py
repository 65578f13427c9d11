"""Folding a journal again: equal state at every step; where code has changed the record stands, and the first difference is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.core.commands import Decision
from tunesmith.core.controller import Controller
from tunesmith.core.ports import Record, TrialView
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop, fold
from tunesmith.testing.world import Fates, World


class Halves(Scheduler):
    """Stops what is worse than ``cut`` at iteration ``rung``; pauses at iteration 1 if asked to."""

    def __init__(self, cut: float = 0.5, rung: int = 2, *, pauses: bool = False) -> None:
        super().__init__()
        self.cut, self.rung, self.pauses = cut, rung, pauses
        self.seen: list[tuple[int, float]] = []

    def on_result(self, trial: TrialView, result: Mapping[str, Any]) -> Any:
        self.seen.append((trial.number, result["loss"]))
        if self.pauses and trial.iteration == 1:
            return self.pause("first")
        if trial.iteration == self.rung and result["loss"] > self.cut + 1 / self.rung:
            return self.stop(f"worse than {self.cut}")
        return self.CONTINUE


def statuses(controller: Controller) -> tuple[bytes, dict[int, tuple[str, int]]]:
    state = controller.state
    return bytes(state.ended), {number: (trial.status, trial.attempt) for number, trial in state.trials.items()}


def story(scheduler: Scheduler | None = None, **settings: Any) -> Loop:
    fates = Fates(reports=(3, 6), checkpoint=0.4, failures={"user_error": 0.05})
    make = Halves if scheduler is None else lambda: scheduler
    loop = Loop(make, {"num_samples": 12, "retries": {"user_error": 1}, **settings}, World(3, fates, totals={"cpu": 3.0}))
    loop.run()
    return loop


def test_equal_at_every_step() -> None:
    loop = Loop(Halves, {"num_samples": 12}, World(3, Fates(reports=(3, 6), checkpoint=0.4), totals={"cpu": 3.0}))
    digests = []
    loop.watch = lambda loop, record, commands: digests.append(loop.controller.digest())
    loop.run()
    again = Controller(Halves())
    for record, digest in zip(loop.records, digests, strict=True):
        decisions, _ = again.handle(record.event, record.decisions)
        assert decisions == record.decisions
        assert again.digest() == digest
    assert again.difference == ""


@pytest.mark.parametrize("changed", [Halves(0.2), Halves(0.9), Halves(rung=1), Halves(pauses=True), Halves(cut=-9.0, rung=3, pauses=True)])
def test_the_record_stands_whatever_the_code_says_now(changed: Halves) -> None:
    loop = story()
    live, again = Controller(Halves()), Controller(changed)
    for record in loop.records:
        live.handle(record.event, record.decisions)
        decisions, _ = again.handle(record.event, record.decisions)
        assert decisions == record.decisions
        assert statuses(again) == statuses(live)
    assert again.difference.endswith("the record stands")
    assert again.state.finished == loop.controller.state.finished
    assert again.state.pool.used == {"cpu": 0}
    assert changed.seen  # its own state has followed the reports


def test_the_first_difference_is_named() -> None:
    loop = story()
    at = next(record for record in loop.records if any(decision.do == "stop" for decision in record.decisions))
    trial = at.decisions[0].trial
    again = fold(loop.records, Halves(9.0))
    where = f"at {at.event.at:.3f} s, Reported"
    assert again.difference == (
        f"{where}: recorded was 'stop trial {trial}', this code decides 'continue trial {trial}'; the record stands"
    )


def test_a_decision_that_the_record_lacks() -> None:
    loop = story(Halves(9.0))
    again = fold(loop.records, Halves(-9.0, 1))
    first = next(record.event for record in loop.records if isinstance(record.event, ev.Reported))
    where = f"at {first.at:.3f} s, Reported"
    assert again.difference.startswith(f"{where}: recorded was 'nothing more', this code decides 'stop trial {first.trial}'")


LOSS = {"loss": 1.0}


def test_a_record_of_powers_that_this_code_does_not_use() -> None:
    """A journal whose decisions no code would take (edited, or of a future version's scheduler) still folds."""
    records = [
        Record(ev.ExperimentStarted({"num_samples": 2})),
        Record(ev.CapacityChanged({"cpu": 2.0})),
        Record(ev.Suggested(0, {}), [Decision("launch", 0)]),
        Record(ev.Suggested(1, {}), [Decision("launch", 1)]),
        Record(ev.AttemptStarted(0, 0)),
        Record(ev.AttemptStarted(1, 0)),
        Record(ev.Reported(1, 0, 1, LOSS, "1/a")),
        Record(ev.Reported(0, 0, 1, LOSS), [Decision("exploit", 0, "", {"source": 1, "values": {"x": 1}})]),
        Record(ev.AttemptEnded(0, 0, "stopped"), [Decision("retry", 0), Decision("exploited", 0), Decision("launch", 0)]),
        Record(ev.AttemptStarted(0, 1)),
        Record(ev.Reported(0, 1, 2, LOSS), [Decision("stop", 1, "by 0"), Decision("pause", 0, "", {"mode": "cold"})]),
        Record(ev.AttemptEnded(1, 0, "stopped"), [Decision("end", 1, "", {"status": "TERMINATED", "outcome": "stopped"})]),
    ]
    again = fold(records, Halves(9.0))
    assert statuses(again) == (bytes([0, 1]), {0: ("RUNNING", 1)})
    assert again.state.trials[0].base.id == "1/a"
    assert "recorded was 'exploit trial 0', this code decides 'continue trial 0'" in again.difference


def test_a_fold_goes_on_live() -> None:
    """After a fold by other code, the next session runs as if nothing had been."""
    loop = story()
    cut = len(loop.records) // 2
    other = Loop(lambda: Halves(0.1), loop.settings, World(4, totals={"cpu": 3.0}))
    other.records = loop.records[:cut]
    other.controller = fold(other.records, Halves(0.1))
    assert other.controller.difference or other.controller.digest()
    other.world.now = other.records[-1].event.at
    other.resume()
    assert other.run() == "all 12 trials have ended"
