"""The driver dies after each single event of an experiment that does everything: nothing finished is lost or done twice."""

from __future__ import annotations

from typing import Any

from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop, fold
from tunesmith.testing.world import Fates, World


class Mixed(Scheduler):
    """Stops some, pauses some, lets some exploit the newest finisher of a rung; all by iteration and loss alone."""

    def __init__(self) -> None:
        super().__init__()
        self.best: tuple[float, int] | None = None

    def on_result(self, trial: Any, result: Any) -> Any:
        loss, number = result["loss"], trial.number
        if self.best is None or loss < self.best[0]:
            self.best = (loss, number)
        if trial.iteration == 2 and number % 5 == 0:
            return self.pause("rung 2")
        if trial.iteration == 3 and number % 7 == 3:
            return self.stop("rung 3")
        if trial.iteration == 3 and number % 3 == 1 and self.best[1] != number:
            return [self.save(self.best[1]), self.exploit(self.best[1], "copies the best", values=None if number % 2 else {"x": 0.1})]
        return self.CONTINUE

    def on_trial_end(self, trial: Any, outcome: str) -> None:
        if self.best is not None and self.best[1] == trial.number:
            self.best = None


FATES = Fates(reports=(3, 5), checkpoint=0.4, failures={"user_error": 0.06, "worker_lost": 0.03}, hostile=0.1)
SPEC = {
    "num_samples": 30,
    "retries": {"user_error": 1},
    "num_to_keep": 1,
    "warm_pause": True,
    "warm_slots": 2,
    "identical": None,
    "max_silence_s": 9.0,
}


def new_loop(tools: Any) -> tuple[Loop, Any]:
    watch = tools.Watch(takes_pending=True)
    return Loop(Mixed, SPEC, World(11, FATES, totals={"cpu": 4.0}), watch=watch), watch


def test_the_story_has_everything(tools: Any) -> None:
    loop, watch = new_loop(tools)
    loop.run()
    assert watch.dos >= {"launch", "pause", "stop", "retry", "save", "exploit", "exploited", "end", "finish"}
    assert len(loop.controller.state.ended) == 30


def test_crash_at_every_event(tools: Any, faults: Any) -> None:
    whole, _ = new_loop(tools)
    whole.run()
    for at in range(2, len(whole.records)):
        loop, _ = new_loop(tools)
        loop.watch = None
        loop.start()
        while len(loop.records) < at:
            loop.step()
        if loop.controller.state.finished:
            continue
        over = {number: code for number, code in enumerate(loop.controller.state.ended) if code}
        launched = len(loop.world.launches)
        wanted = loop.controller.wanted()
        with faults.tried("the driver dies after an event (simulated; stops, pauses, retries, exploits)") as results:
            assert fold(loop.records, Mixed()).wanted() == wanted
            loop.crash()
            loop.run()
            state = loop.controller.state
            assert len(state.ended) == 30
            assert all(state.ended[number] == code for number, code in over.items())  # what has ended stays so ...
            assert not over.keys() & {launch.trial for launch in loop.world.launches[launched:]}  # ... and is not done again
            ends = [decision.trial for record in loop.records for decision in record.decisions if decision.do == "end"]
            assert sorted(ends) == list(range(30))  # each ends once
            results(30)


def test_invariants_hold_in_the_session_after(tools: Any) -> None:
    whole, _ = new_loop(tools)
    whole.run()
    for at in range(5, len(whole.records), 17):
        loop, _ = new_loop(tools)
        loop.start()
        while len(loop.records) < at and not loop.controller.state.finished:
            loop.step()
        if not loop.controller.state.finished:
            loop.crash()
            tools.finish(loop)
