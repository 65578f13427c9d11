"""What a report costs with ASHA deciding on it, and whether that stays flat up to a million reports, a quarter of a million trials.

Once the scheduler alone is shown them, once a bare loop has the controller handle them, in both forms: 8 slots, up to 100 reports a trial,
of which most are stopped (or paused, and held warm) at the first. Suggesting, starting and ending trials is in the figures, and so is
making the events.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import Any

from _common import Medians, Row, main

REPORTS, SPAN, SLOTS = 1_000_000, 100_000, 8


def loss(trial: int, iteration: int) -> float:
    """As good as random over trials, falling over iterations."""
    return (trial * 2_654_435_761 % 2**32) / 2**32 + 1.0 / iteration


class View:
    """What the scheduler reads of a trial."""

    __slots__ = ("iteration", "metrics", "number")

    def __init__(self, number: int) -> None:
        self.number, self.iteration = number, 0
        self.metrics: dict[str, Any] = {}


def scheduler(form: str) -> Any:
    from tunesmith.schedulers import AsyncHyperBandScheduler

    return AsyncHyperBandScheduler(form=form)


def spans(marks: list[float]) -> dict[str, float]:
    """Of the times after each ``SPAN`` reports."""
    each = [(after - before) / SPAN * 1e6 for before, after in itertools.pairwise(marks)]
    return {"us": sum(each) / len(each), "last": each[-1], "last/first": each[-1] / each[0]}


def alone() -> dict[str, float]:
    from tunesmith.core.settings import Settings

    asha = scheduler("stop")
    asha.start(Settings.parse({"metrics": ["loss"], "modes": ["min"], "seed": 1}))
    views: deque[View] = deque()
    numbers = itertools.count()
    marks = [time.perf_counter()]
    for count in range(1, REPORTS + 1):
        if len(views) < SLOTS:
            views.append(View(next(numbers)))
            asha.on_trial_add(views[-1])
        view = views.popleft()
        view.iteration += 1
        view.metrics = {"loss": loss(view.number, view.iteration), "training_iteration": view.iteration, "time_total_s": float(count)}
        if asha.on_result(view, view.metrics) == "CONTINUE":
            views.append(view)
        else:
            asha.on_trial_end(view, "stopped")
        if count % SPAN == 0:
            marks.append(time.perf_counter())
    return spans(marks)


def between() -> dict[str, float]:
    """Reports at no rung."""
    from tunesmith.core.settings import Settings

    asha = scheduler("stop")
    asha.start(Settings.parse({"metrics": ["loss"], "modes": ["min"], "seed": 1}))
    view = View(0)
    asha.on_trial_add(view)
    asha.on_result(view, {"loss": 1.0, "training_iteration": 16})
    result = {"loss": 1.0, "training_iteration": 17}
    start = time.perf_counter()
    for _ in range(SPAN):
        asha.on_result(view, result)
    return {"us": (time.perf_counter() - start) / SPAN * 1e6}


def handled(form: str) -> dict[str, float]:
    from tunesmith.core import commands as cmd
    from tunesmith.core import events as ev
    from tunesmith.core.controller import Controller

    controller = Controller(scheduler(form))
    spec = {"num_samples": None, "metrics": ["loss"], "modes": ["min"], "seed": 1, "warm_pause": True, "warm_slots": REPORTS}
    queue: deque[ev.Event] = deque([ev.ExperimentStarted(spec), ev.CapacityChanged({"cpu": float(SLOTS)})])
    iterations: dict[int, int] = {}
    marks = [time.perf_counter()]
    reports = 0
    while reports < REPORTS:
        event = queue.popleft()
        event.at = float(reports)
        for command in controller.handle(event)[1]:
            if isinstance(command, cmd.Suggest):
                queue.extend(ev.Suggested(number, {"lr": 0.1}, "random") for number in range(command.first, command.first + command.n))
            elif isinstance(command, cmd.Stop):
                queue.append(ev.AttemptEnded(command.trial, command.attempt, "stopped"))
                del iterations[command.trial]
            elif isinstance(command, (cmd.Continue, cmd.Launch)):
                number = command.trial
                if isinstance(command, cmd.Launch):
                    queue.append(ev.AttemptStarted(number, command.attempt))
                at = iterations[number] = iterations.get(number, 0) + 1
                metrics = {"loss": loss(number, at), "training_iteration": at, "time_total_s": float(reports)}
                queue.append(ev.Reported(number, command.attempt, at, metrics))
            elif not isinstance(command, cmd.Pause):
                raise SystemExit(f"unexpected {command!r}")
        if isinstance(event, ev.Reported):
            reports += 1
            if reports % SPAN == 0:
                marks.append(time.perf_counter())
    return spans(marks)


def table(found: Medians) -> list[Row]:
    rows = []
    for case, what in (("alone", "scheduler alone"), ("stop", "with the controller"), ("promote", "promoting, with the controller")):
        us = found[case]
        rows += [
            Row(f"ASHA, {what}, us/report over {REPORTS:,}", us["us"], 60, "lower"),
            Row(f"ASHA, {what}, last {SPAN:,} reports / first {SPAN:,}", us["last/first"], 1.3, "lower"),
        ]
    return [*rows, Row("ASHA, us for a report at no rung", found["between"]["us"], 2, "lower")]


CASES = {"alone": alone, "stop": lambda: handled("stop"), "promote": lambda: handled("promote"), "between": between}

if __name__ == "__main__":
    main(__file__, CASES, table, repeat=3)
