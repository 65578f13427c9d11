"""``deterministic=True``: whenever the driver dies, the decisions after it are those of the run in which it does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunesmith.core import events as ev
from tunesmith.schedulers.base import Scheduler
from tunesmith.testing.loop import Loop
from tunesmith.testing.world import Fates, World

FATES = Fates(reports=(3, 5), checkpoint=1.0, failures={"user_error": 0.06, "worker_lost": 0.03}, lives=True)
SPEC: dict[str, Any] = {
    "num_samples": 30, "deterministic": True, "retries": {"user_error": 1}, "warm_slots": 2, "identical": None,
    "metrics": ["loss"], "modes": ["min"],
}  # fmt: skip


class Mixed(Scheduler):
    """Stops some, pauses some, lets some exploit the best one's newest checkpoint."""

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
            return self.exploit(self.best[1], "copies the best", values=None if number % 2 else {"x": 0.1})
        return self.CONTINUE

    def on_trial_end(self, trial: Any, outcome: str) -> None:
        if self.best is not None and self.best[1] == trial.number:
            self.best = None


def new_loop(checkpoint: float, warm: bool) -> Loop:
    return Loop(Mixed, {**SPEC, "warm_pause": warm}, World(11, replace(FATES, checkpoint=checkpoint), totals={"cpu": 4.0}))


def story(loop: Loop) -> list[Any]:
    """All that was decided, and about what; but for where a driver died, and that attempts were begun again for it."""
    told: list[Any] = []
    for record in loop.records:
        event = record.event
        decisions = [(one.do, one.trial, one.reason, one.data) for one in record.decisions if one.do != "launch"]
        if isinstance(event, ev.Suggested):
            told.append(("suggested", event.trial, event.values))
        elif isinstance(event, ev.Reported):
            told.append(("reported", event.trial, event.iteration, event.metrics, decisions))
        elif isinstance(event, ev.AttemptEnded):
            lost = event.outcome == "driver_lost"
            if not (lost and decisions and decisions[0][2].startswith("interrupted")):
                told.append(("ended", event.trial, [(do, trial, reason) for do, trial, reason, _ in decisions]))
    return told


def crashed(at: int, checkpoint: float, warm: bool) -> Loop | None:
    """The same, but that the driver dies once ``at`` records are committed; None: it has finished before. A round is one commit."""
    loop = new_loop(checkpoint, warm)
    loop.start()
    while len(loop.records) < at and not loop.controller.state.finished:
        loop.step()
    if loop.controller.state.finished:
        return None
    loop.crash()
    loop.run()
    return loop


def check(points: range, checkpoint: float, warm: bool, faults: Any) -> None:
    expected = story(whole(checkpoint, warm))
    died = 0
    for at in points:
        with faults.tried("the driver dies after a commit, deterministic=True: the same decisions (simulated)") as results:
            loop = crashed(at, checkpoint, warm)
            if loop is not None:
                died += 1
                assert story(loop) == expected, f"the driver died after record {at}"
                results(30)
    assert died > 0.7 * len(points)


def whole(checkpoint: float, warm: bool) -> Loop:
    loop = new_loop(checkpoint, warm)
    loop.run()
    return loop


STORIES = pytest.mark.parametrize(("checkpoint", "warm"), [(0.0, False), (0.4, True), (1.0, False)])


def test_the_stories_have_everything() -> None:
    dos = {one.do for at in ((0.0, False), (0.4, True)) for record in whole(*at).records for one in record.decisions}
    assert dos >= {"launch", "pause", "paused", "stop", "retry", "exploit", "exploited", "end", "finish"}


@STORIES
def test_crashes_here_and_there(checkpoint: float, warm: bool, faults: Any) -> None:
    """Attempts lose what they have done since their last checkpoint, and do it again; nobody can tell from the decisions."""
    check(range(3, len(whole(checkpoint, warm).records), 29), checkpoint, warm, faults)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@STORIES
def test_crash_at_every_commit(part: int, checkpoint: float, warm: bool, faults: Any) -> None:
    check(range(3 + part, len(whole(checkpoint, warm).records), 4), checkpoint, warm, faults)
